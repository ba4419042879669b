//! The commands: what is typed, parsed by clap, handed to the module that does it.
#![allow(clippy::print_stdout, clippy::print_stderr)] // commands talk to people

mod error;
mod exec_agent;
mod hub;
mod install;
mod replay;
mod scripted_model;
mod shim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Serve the embedded Hub
    Hub(hub::Arguments),
    /// Serve a model that plays a script: no model is behind it
    ScriptedModel(scripted_model::Arguments),
    /// Install agent CLIs at the versions that this agent-runner was tested with
    Install(install::Arguments),
    /// Turn recorded CLI output into events
    Replay(replay::Arguments),
    #[command(hide = true)]
    Shim(shim::Arguments),
    #[command(hide = true)]
    ExecAgent(exec_agent::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return error::usage(&error),
    };
    let result = match arguments.command {
        Command::Hub(arguments) => hub::run(&arguments),
        Command::ScriptedModel(arguments) => scripted_model::run(&arguments),
        Command::Install(arguments) => install::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Shim(arguments) => shim::run(&arguments),
        Command::ExecAgent(arguments) => exec_agent::run(&arguments),
    };
    result.unwrap_or_else(|error| error.report())
}
