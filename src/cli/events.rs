//! Shows a session's events, and follows them through restarts of the daemon.

use std::io::{self, Write as _};
use std::process::ExitCode;

use tokio::signal::ctrl_c;

use super::CliError;
use super::client::{Context, Follower, Step, Which, runtime};
use super::printing::{ended, say};
use super::render::Renderer;
use crate::config::ClientOptions;
use crate::ids::TurnId;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Only those after this seq
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Wait for more; Ctrl-C ends this, not the agent
    #[arg(long)]
    follow: bool,
    /// Only those of this turn
    #[arg(long, value_name = "ID")]
    turn: Option<TurnId>,
    /// How events are printed [default: pretty]
    #[arg(long, value_name = "pretty|jsonl")]
    output: Option<String>,
    #[command(flatten)]
    options: ClientOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let context = Context::read(&arguments.options, arguments.output.as_deref())?;
    runtime()?.block_on(async {
        let interrupted = ctrl_c();
        tokio::select! {
            biased;
            _ = interrupted => Ok(ExitCode::SUCCESS),
            shown = show(&context, arguments) => shown,
        }
    })
}

async fn show(context: &Context, arguments: &Arguments) -> Result<ExitCode, CliError> {
    let session = arguments.which.find(&context.client, &context.cwd).await?;
    let mut follower = Follower::new(
        context.client.clone(),
        session,
        arguments.turn,
        arguments.after,
        arguments.follow,
    );
    let mut renderer = Renderer::new(context.output).with_prompts();
    loop {
        let line = match follower.next().await? {
            Step::Line(line) => line,
            Step::Complete => return Ok(ExitCode::SUCCESS),
            Step::Waiting(error) => {
                say!("agent-runner: waiting for the daemon: {error}");
                continue;
            }
        };
        let mut out = io::stdout().lock();
        let shown = renderer.line(&line, &mut out).and_then(|_| out.flush());
        if shown.is_err() {
            return ended(shown);
        }
    }
}
