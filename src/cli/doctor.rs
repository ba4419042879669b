//! Says whether an agent can run here.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::lead::{Context, runtime};
use super::printing::{print, say};
use super::{CliError, Exit, log};
use crate::agent::AGENTS;
use crate::config::{CommandKind, HubOptions, Options};
use crate::doctor::{self, Check, Fatal, Status, Subject};

/// The version of the object that `--json` prints.
const SCHEMA: u32 = 1;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    hub: HubOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let chosen = Settings::of(arguments, None)?;
    if arguments.options.print_config {
        return print(&chosen.daemon.config.render());
    }
    log::start(chosen.daemon.config.log_level);
    for warning in &chosen.daemon.config.warnings {
        say!("agent-runner: warning: {warning}");
    }
    let report = examine(arguments, &chosen)?;
    let exit = report.exit_code();
    let mut out = io::stdout().lock();
    let written = if arguments.json {
        writeln!(out, "{}", report.object(exit))
    } else {
        report.write(&mut out)
    };
    // Whoever closed stdout still has the exit code.
    if let Err(error) = written {
        tracing::debug!(%error, "the report could not be written");
    }
    Ok(ExitCode::from(exit))
}

/// The settings of one agent, as `run` and as `daemon` would have them.
struct Settings {
    run: Context,
    daemon: Context,
}

impl Settings {
    /// Those of the agent called `name`, else of the one that the settings choose.
    fn of(arguments: &Arguments, name: Option<&str>) -> Result<Self, CliError> {
        let options = Options {
            agent: name.map(str::to_owned).or(arguments.options.agent.clone()),
            // Neither a task nor a Hub need be there where settings are only looked at.
            print_config: true,
            ..arguments.options.clone()
        };
        let hub = Some(&arguments.hub);
        Ok(Self {
            run: Context::resolve(CommandKind::Run, &options, None, None)?,
            daemon: Context::resolve(CommandKind::Start, &options, hub, None)?,
        })
    }
}

/// All checks, those of the chosen agent first.
struct Report {
    agent: &'static str,
    agents: Vec<Check>,
    machine: Vec<Check>,
}

fn examine(arguments: &Arguments, chosen: &Settings) -> Result<Report, CliError> {
    let agent = chosen.run.config.agent.name.as_str();
    let (first, others): (Vec<_>, Vec<_>) = AGENTS.iter().partition(|kind| kind.name == agent);
    let narrowed = arguments.options.agent.is_some();
    let mut agents = Vec::new();
    for kind in first.into_iter().chain(others) {
        if narrowed && kind.name != agent {
            continue;
        }
        let settings = Settings::of(arguments, Some(kind.name))?;
        agents.extend(doctor::examine_agent(&Subject {
            kind,
            chosen: kind.name == agent,
            run: &settings.run.setup(),
            daemon: &settings.daemon.setup(),
        }));
    }
    let setup = chosen.daemon.setup();
    let mut machine = doctor::examine_machine(&setup);
    machine.push(runtime()?.block_on(doctor::examine_hub(&setup)));
    Ok(Report {
        agent,
        agents,
        machine,
    })
}

impl Report {
    fn checks(&self) -> impl Iterator<Item = &Check> {
        self.agents.iter().chain(&self.machine)
    }

    /// Of the first fatal thing, else 0.
    fn exit_code(&self) -> u8 {
        let fatal = self.checks().find_map(|check| match check.status {
            Status::Error(fatal) => Some(fatal),
            _ => None,
        });
        let exit = fatal.map(|fatal| match fatal {
            Fatal::Settings => Exit::Usage,
            Fatal::Agent => Exit::Agent,
            Fatal::State => Exit::State,
            Fatal::HubUnreachable => Exit::HubUnreachable,
            Fatal::HubRefused => Exit::HubRefused,
        });
        exit.map_or(0, |exit| exit as u8)
    }

    fn object(&self, exit: u8) -> serde_json::Value {
        json!({
            "schema": SCHEMA,
            "agent_runner": env!("CARGO_PKG_VERSION"),
            "agent": self.agent,
            "exit_code": exit,
            "checks": self.checks().collect::<Vec<_>>(),
        })
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut heading = None;
        for check in self.checks() {
            let next = check.agent.unwrap_or("machine");
            if heading != Some(next) {
                let blank = if heading.is_some() { "\n" } else { "" };
                let chosen = if check.agent == Some(self.agent) {
                    " (the agent of these settings)"
                } else {
                    ""
                };
                writeln!(out, "{blank}{next}{chosen}")?;
                heading = Some(next);
            }
            write_check(check, out)?;
        }
        Ok(())
    }
}

fn write_check(check: &Check, out: &mut impl Write) -> io::Result<()> {
    let mark = match check.status {
        Status::Ok => '✓',
        Status::Info => '·',
        Status::Warning => '!',
        Status::Error(_) => '✗',
    };
    // Whatever a CLI or a Hub said stays on one line.
    let text: String = check.text.lines().collect::<Vec<_>>().join(" ");
    writeln!(out, "  {mark} {:<12} {text}", check.id)?;
    if let Some(mend) = &check.mend {
        for line in mend.lines() {
            writeln!(out, "    {:<12} → {line}", "")?;
        }
    }
    Ok(())
}
