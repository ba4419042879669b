//! The commands: what is typed, parsed by clap, handed to the module that does it.

mod printing;

mod approve;
mod attach;
mod background;
mod cancel;
mod checkpoints;
mod client;
mod daemon;
mod doctor;
mod end;
mod error;
mod events;
mod git_credential;
mod git_worker;
mod hosting;
mod hub;
mod hub_tools;
mod images;
mod init;
mod install;
mod lead;
mod log;
mod logs;
mod prompt;
mod render;
mod replay;
mod run;
mod scripted_model;
mod sessions;
mod set;
mod shim;
mod start;
mod status;
mod task;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::daemon::HUB_TOOLS;
use crate::workspace;

pub use error::{CliError, Exit};

/// Runs AI coding agents under supervision and forwards their typed events to a Coder Hub.
#[derive(Debug, Parser)]
#[command(name = "agent-runner", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Have an agent do a task, here and now, and watch it
    Run(run::Arguments),
    /// Have an agent do a task in the background
    Start(start::Arguments),
    /// Lead a Hub session
    Daemon(daemon::Arguments),
    /// List the sessions of the daemon
    Sessions(sessions::Arguments),
    /// Say how a session stands, or the daemon with all of them
    Status(status::Arguments),
    /// Show a session's events, and follow them
    Events(events::Arguments),
    /// Give a session's agent something more to do
    Prompt(prompt::Arguments),
    /// Join a session of a Hub: watch it, and tell its agent what to do
    Attach(attach::Arguments),
    /// Cancel what a session's agent is doing, and what waits behind it
    Cancel(cancel::Arguments),
    /// Answer what an agent asks before it goes on
    Approve(approve::Arguments),
    /// Change what a session's agent works with (model, effort, consent), or show it
    Set(set::Arguments),
    /// End a session for good: no daemon opens it again
    End(end::Arguments),
    /// Show what an agent's CLI wrote, as it wrote it
    Logs(logs::Arguments),
    /// Serve the embedded Hub
    Hub(hub::Arguments),
    /// Serve a model that plays a script: no model is behind it
    ScriptedModel(scripted_model::Arguments),
    /// Install agent CLIs at the versions that this agent-runner was tested with
    Install(install::Arguments),
    /// Say whether an agent can run here, and what to do where it cannot
    Doctor(doctor::Arguments),
    /// Show what an agent changed in its workspace
    Diff(checkpoints::DiffArguments),
    /// Make a workspace's files what they were before or after a turn
    Restore(checkpoints::RestoreArguments),
    /// Turn recorded CLI output into events
    Replay(replay::Arguments),
    #[command(hide = true, name = background::COMMAND)]
    Background(background::Arguments),
    #[command(hide = true, name = workspace::WORKER_COMMAND)]
    GitWorker,
    #[command(hide = true, name = workspace::HELPER)]
    GitCredential(git_credential::Arguments),
    #[command(hide = true, name = HUB_TOOLS)]
    HubTools(hub_tools::Arguments),
    #[command(hide = true)]
    Shim(shim::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    // Before clap: a PID 1 touches as little as it can.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|name| name == init::NAME) {
        return init::run(words).unwrap_or_else(|error| error.report());
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return error::usage(error, std::env::args_os()),
    };
    let result = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Start(arguments) => start::run(&arguments),
        Command::Background(arguments) => background::run(arguments),
        Command::Daemon(arguments) => daemon::run(&arguments),
        Command::Sessions(arguments) => sessions::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
        Command::Prompt(arguments) => prompt::run(&arguments),
        Command::Attach(arguments) => attach::run(&arguments),
        Command::Cancel(arguments) => cancel::run(&arguments),
        Command::Approve(arguments) => approve::run(&arguments),
        Command::Set(arguments) => set::run(&arguments),
        Command::End(arguments) => end::run(&arguments),
        Command::Logs(arguments) => logs::run(&arguments),
        Command::Hub(arguments) => hub::run(&arguments),
        Command::ScriptedModel(arguments) => scripted_model::run(&arguments),
        Command::Install(arguments) => install::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Diff(arguments) => checkpoints::diff(&arguments),
        Command::Restore(arguments) => checkpoints::restore(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::GitWorker => git_worker::run(),
        Command::GitCredential(arguments) => Ok(git_credential::run(&arguments)),
        Command::HubTools(arguments) => Ok(hub_tools::run(&arguments)),
        Command::Shim(arguments) => shim::run(&arguments),
    };
    result.unwrap_or_else(|error| error.report())
}
