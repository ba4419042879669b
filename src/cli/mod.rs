//! The commands: what is typed, parsed by clap, handed to the module that does it.
#![allow(clippy::print_stdout, clippy::print_stderr)] // commands talk to people

mod checkpoints;
mod daemon;
mod doctor;
mod error;
mod git_worker;
mod hub;
mod install;
mod lead;
mod log;
mod render;
mod replay;
mod run;
mod scripted_model;
mod shim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Lead a Hub session
    Daemon(daemon::Arguments),
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
    #[command(hide = true, name = workspace::WORKER_COMMAND)]
    GitWorker,
    #[command(hide = true)]
    Shim(shim::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return error::usage(&error),
    };
    let result = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Daemon(arguments) => daemon::run(&arguments),
        Command::Hub(arguments) => hub::run(&arguments),
        Command::ScriptedModel(arguments) => scripted_model::run(&arguments),
        Command::Install(arguments) => install::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Diff(arguments) => checkpoints::diff(&arguments),
        Command::Restore(arguments) => checkpoints::restore(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::GitWorker => git_worker::run(),
        Command::Shim(arguments) => shim::run(&arguments),
    };
    result.unwrap_or_else(|error| error.report())
}
