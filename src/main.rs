//! The `agent-runner` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_runner::cli::main()
}
