//! Gives a session's agent something more to do, and waits for it where that is asked for.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tokio::signal::ctrl_c;

use super::client::{Client, ClientError, Context, Follower, Step, Which, runtime};
use super::lead::exit_code;
use super::printing::{print, say};
use super::render::Stage;
use super::{CliError, Exit, images, task};
use crate::api::wire::{PromptAnswer, PromptRequest};
use crate::clock::Clock;
use crate::config::{Author, ClientOptions};
use crate::event::Outcome;
use crate::ids::SessionId;

/// Between two tries to hand a prompt to a daemon that is starting or setting the session up.
const AGAIN: Duration = Duration::from_millis(500);

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What the agent is to do; `-` reads it from stdin
    #[arg(value_name = "TEXT", required_unless_present = "task_file")]
    text: Option<String>,
    /// File with what the agent is to do
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    task_file: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// Show the turn and end with it, with its exit code; Ctrl-C ends this, not the agent
    #[arg(long)]
    wait: bool,
    /// An id for the prompt: the same one again does nothing more
    #[arg(long, value_name = "ID")]
    prompt_id: Option<String>,
    #[command(flatten)]
    images: images::Images,
    /// On whose behalf: the author of the commits that the agent makes of it
    #[arg(long, value_name = "NAME <ADDRESS>")]
    author: Option<Author>,
    /// How events are printed [default: pretty]
    #[arg(long, value_name = "pretty|jsonl")]
    output: Option<String>,
    #[command(flatten)]
    options: ClientOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let context = Context::read(&arguments.options, arguments.output.as_deref())?;
    let text = text(arguments)?;
    let images = arguments.images.base64()?;
    runtime()?.block_on(prompt(&context, arguments, (text, images)))
}

fn text(arguments: &Arguments) -> Result<String, CliError> {
    match (&arguments.task_file, arguments.text.as_deref()) {
        (Some(path), _) => task::from_file(path),
        (None, Some("-")) => task::from_stdin(),
        (None, text) => Ok(text.unwrap_or_default().to_owned()),
    }
}

async fn prompt(
    context: &Context,
    arguments: &Arguments,
    (text, images): (String, Vec<String>),
) -> Result<ExitCode, CliError> {
    let client = &context.client;
    let session = arguments.which.find(client, &context.cwd).await?;
    let given = arguments.prompt_id.clone();
    // With an id of its own it can be sent again when the daemon goes away in the middle.
    let prompt_id = given.unwrap_or_else(|| Clock.new_uuid().to_string());
    let request = PromptRequest {
        text,
        author: arguments.author.as_ref().map(ToString::to_string),
        images,
        prompt_id: Some(prompt_id),
    };
    let accepted = tokio::select! {
        biased;
        _ = ctrl_c() => return Err(CliError::new(
            Exit::TryAgain,
            format!(
                "no longer waiting; the prompt may have been accepted: sent again with \
                 --prompt-id {} it stays one prompt",
                request.prompt_id.as_deref().unwrap_or_default()
            ),
        )),
        accepted = hand_over(client, &session, &request) => accepted?,
    };
    if !arguments.wait {
        let answer = json!({"session_id": accepted.session_id, "turn_id": accepted.turn_id});
        return print(&format!("{answer}\n"));
    }
    let turn = Some(accepted.turn_id);
    let follower = Follower::new(client.clone(), session.clone(), turn, 0, true).once_answered();
    tokio::select! {
        biased;
        _ = ctrl_c() => Err(CliError::new(
            Exit::TryAgain,
            format!(
                "no longer waiting; the turn goes on: `agent-runner events --session {session} \
                 --turn {} --follow` shows it, `agent-runner cancel --session {session}` ends it",
                accepted.turn_id
            ),
        )),
        outcome = wait(context, follower) => outcome.map(exit_code),
    }
}

/// Hands the prompt over, as often as that is of use.
async fn hand_over(
    client: &Client,
    session: &SessionId,
    request: &PromptRequest,
) -> Result<PromptAnswer, ClientError> {
    let path = format!("/v1/sessions/{session}/prompts");
    let mut said = false;
    loop {
        let error = match client.post(&path, request).await {
            // Nobody is there, and nobody was.
            Err(error @ ClientError::Absent { .. }) if !said => return Err(error),
            Err(error) if error.is_passing() => error,
            answer => return answer,
        };
        if !said {
            say!("agent-runner: waiting to hand the prompt over: {error}");
            said = true;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Shows the turn until it has ended. It counts also where nobody reads it.
async fn wait(context: &Context, mut follower: Follower) -> Result<Outcome, CliError> {
    let mut stage = Stage::new(context.output);
    let mut outcome = None;
    loop {
        let line = match follower.next().await? {
            Step::Line(line) => line,
            Step::Complete => break,
            Step::Waiting(error) => {
                say!("agent-runner: waiting for the daemon: {error}");
                continue;
            }
        };
        outcome = stage.line(&line).or(outcome);
    }
    outcome.ok_or_else(|| {
        let message = "the turn has ended, and its end is no longer kept";
        CliError::new(Exit::Internal, message)
    })
}
