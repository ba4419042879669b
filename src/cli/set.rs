//! Changes what a session's agent works with while it runs, and shows it.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::CliError;
use super::client::{Context, Which, runtime};
use super::printing::print;
use crate::api::wire::{CountsFrom, SettingsAnswer, SettingsInForce, SettingsRequest};
use crate::config::{Approve, ClientOptions};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// The model, as the agent's CLI calls it
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// How hard the model thinks, as the agent's CLI calls it
    #[arg(long, value_name = "NAME")]
    effort: Option<String>,
    /// Who consents to what the agent does
    #[arg(long, value_name = "auto|ask|policy", value_parser = Approve::parse)]
    approve: Option<Approve>,
    #[command(flatten)]
    options: ClientOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let context = Context::read(&arguments.options, None)?;
    let text = runtime()?.block_on(set(&context, arguments))?;
    print(&text)
}

async fn set(context: &Context, arguments: &Arguments) -> Result<String, CliError> {
    let client = &context.client;
    let session = arguments.which.find(client, &context.cwd).await?;
    let path = format!("/v1/sessions/{session}/settings");
    let request = SettingsRequest {
        model: arguments.model.clone(),
        effort: arguments.effort.clone(),
        approve: arguments.approve,
    };
    if request == SettingsRequest::default() {
        return Ok(shown(&client.get::<SettingsInForce>(&path).await?));
    }
    let answer: SettingsAnswer = client.post(&path, &request).await?;
    let when = match answer.counts_from {
        CountsFrom::Now => "from now on",
        CountsFrom::NextTurn => "from the next turn on",
    };
    Ok(format!("{}{when}\n", shown(&answer.settings)))
}

fn shown(settings: &SettingsInForce) -> String {
    let own = "the CLI's own";
    let mut text = String::new();
    // Writing to a string cannot fail.
    writeln!(
        text,
        "model    {}",
        settings.model.as_deref().unwrap_or(own)
    )
    .ok();
    writeln!(
        text,
        "effort   {}",
        settings.effort.as_deref().unwrap_or(own)
    )
    .ok();
    writeln!(text, "approve  {}", settings.approve).ok();
    text
}
