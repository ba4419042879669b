//! Turns a recorded talk with a live agent into events: those of all its turns, one `end` each.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::{Arguments, CliError, Failure, Printer, Status, last_of, status};
use crate::agent::live::recording::{self, Recording};
use crate::agent::live::{Heard, LiveReader, LiveSpec, Told};
use crate::agent::{AgentKind, Evidence};
use crate::event::{Event, NoticeLevel};
use crate::exit::Exit;
use crate::redact::Redactor;
use crate::spool::{RunDir, read_inputs};
use crate::turn::outcome::{Process, Verdict};

/// Prints the events of the dialog at `path`.
pub(super) fn replay(
    kind: &AgentKind,
    path: &Path,
    arguments: &Arguments,
    mut printer: Printer<impl Write>,
) -> Result<(), Failure> {
    let input = |message: String| Failure::Input(CliError::new(Status::Usage, message));
    let live = kind.live.as_ref().ok_or_else(|| {
        input(format!(
            "{} has no live form here; leave --dialog out",
            kind.name
        ))
    })?;
    let recording = read(path).map_err(Failure::Input)?;
    let stderr = match &arguments.stderr {
        Some(path) => last_of(path).map_err(Failure::Input)?,
        None => Vec::new(),
    };
    let redactor = Arc::new(Redactor::none());
    let mut reader = LiveReader::new(live, &LiveSpec::default(), redactor);
    let mut events = Vec::new();
    let mut turns = Turns::default();
    let mut sink = |heard: Heard<'_>| turns.take(heard.told, &mut events);
    for (at, frame) in recording.input {
        reader.sent(at, frame, &mut sink);
    }
    reader.push(&recording.output, &mut sink);
    let mut last = Vec::new();
    let exit = status(arguments);
    let evidence = reader.finish(exit, &stderr, &mut sink, &mut last);
    turns.take(&mut last, &mut events);
    turns.finish(&mut events);
    printer.events(&events);
    if let Some(evidence) = evidence {
        let process = exit.map_or(Process::Unknown, Process::Recorded);
        let output = String::from_utf8_lossy(&stderr);
        printer.events(&Verdict::new(evidence, process, None).into_events(&output, false, None));
    }
    printer.ok()?;
    printer.out.flush().map_err(Failure::Output)
}

/// A recording of both directions in one file, or the folder of a run.
fn read(path: &Path) -> Result<Recording, CliError> {
    let file = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            CliError::new(Status::Usage, message)
        })
    };
    if path.is_dir() {
        let run = RunDir::new(path.to_owned());
        let inputs = read_inputs(&file(&run.input())?).into_iter();
        return Ok(Recording {
            output: file(&run.spool())?,
            input: inputs.map(|input| (input.at, input.frame)).collect(),
        });
    }
    recording::read(&file(path)?).ok_or_else(|| {
        let message = format!(
            "{} holds no dialog; give a recording of both directions, or a run's folder",
            path.display()
        );
        CliError::new(Status::Usage, message)
    })
}

/// The ends of turns. One that leaves work in the background is over when the next begins.
#[derive(Default)]
struct Turns {
    left: Option<Evidence>,
}

impl Turns {
    fn take(&mut self, told: &mut Vec<Told>, events: &mut Vec<Event>) {
        for told in told.drain(..) {
            match told {
                Told::Event(event) => events.push(event),
                Told::TakenUp { .. } => self.finish(events),
                Told::TurnOver {
                    evidence,
                    background,
                } => {
                    self.left = Some(evidence);
                    if !background {
                        self.finish(events);
                    }
                }
                Told::Answered {
                    request_id,
                    decision,
                } => events.push(answer(request_id, decision, "recorded")),
                Told::Withdrawn { request_id } => {
                    events.push(answer(request_id, "cancel", "agent"));
                }
                Told::Failed { what, why } => events.push(Event::Notice {
                    level: NoticeLevel::Warning,
                    code: "request_failed".to_owned(),
                    text: format!("the agent did not do what it was asked for ({what}): {why}"),
                }),
                Told::Setting {
                    setting,
                    refused: Some(why),
                } => events.push(Event::Notice {
                    level: NoticeLevel::Warning,
                    code: "request_failed".to_owned(),
                    text: format!("the agent refused {setting:?}: {why}"),
                }),
                Told::Setting { refused: None, .. } | Told::Ready => {}
            }
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        let Some(evidence) = self.left.take() else {
            return;
        };
        // the process went on, as after an orderly end
        let process = Process::Ended(Exit {
            code: Some(0),
            ..Exit::default()
        });
        events.extend(Verdict::new(evidence, process, None).into_events("", false, None));
    }
}

fn answer(request_id: String, decision: &str, by: &str) -> Event {
    Event::PermissionResponse {
        request_id,
        decision: decision.to_owned(),
        by: by.to_owned(),
    }
}
