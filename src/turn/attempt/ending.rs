//! What is to be said of an attempt that is over.

use std::path::Path;

use super::super::call::end;
use super::super::context::{TurnContext, TurnFault};
use super::super::outcome::{Process, Stop};
use super::super::stored::{has_answered, last_message};
use super::{Attempt, AttemptEnd, warning};
use crate::agent::{Evidence, Stored};
use crate::clock::Timestamp;
use crate::event::{Event, NoticeLevel, TAKEN_UP};
use crate::exit::Exit;
use crate::ids::{RunId, SpoolOffset};
use crate::process::Identity;
use crate::redact::Redactor;
use crate::sandbox::Ending;
use crate::spool::{RunDir, Tail};
use crate::turn::seen::Seen;

/// What is read of the end of a file: where a reason may stand in stderr, and more than a crash
/// report shows, since what a secret may have begun before is left out of it.
const READ: u64 = 64 * 1024;
/// The end of the output that a crash report shows, and of stderr.
const SHOWN: usize = 8 * 1024;

/// The end of what a process wrote, for a crash report.
pub(in crate::turn) fn last_output(context: &TurnContext, dir: &RunDir) -> String {
    let shown = |path: &Path| {
        let text = tail_of(path, &context.redactor);
        end(&String::from_utf8_lossy(&text), SHOWN).to_owned()
    };
    let (mut output, stderr) = (shown(&dir.spool()), shown(&dir.stderr()));
    if !stderr.trim().is_empty() {
        output.push_str("\n--- stderr ---\n");
        output.push_str(&stderr);
    }
    output
}

/// The end of a process's stderr, where a reason may stand.
pub(in crate::turn) fn last_stderr(context: &TurnContext, dir: &RunDir) -> Vec<u8> {
    tail_of(&dir.stderr(), &context.redactor)
}

/// What became of a process.
pub(in crate::turn) struct Fate {
    pub(in crate::turn) process: Process,
    /// It did not die by itself: the runner had told it to end.
    pub(in crate::turn) told_to_end: bool,
    /// Its own time limit was up.
    pub(in crate::turn) timed_out: bool,
    leaked: Vec<Identity>,
    oom_kills: u64,
}

impl Fate {
    /// By its end. `was_destroyed`: neither it nor its shim could be killed.
    pub(in crate::turn) fn of(ending: &Ending, was_destroyed: bool) -> Self {
        let mut fate = Self {
            process: Process::Lost,
            told_to_end: false,
            timed_out: false,
            leaked: Vec::new(),
            oom_kills: 0,
        };
        match ending {
            Ending::Exited(stopped) => {
                fate.timed_out = stopped.timed_out;
                fate.told_to_end = !stopped.sent.is_empty();
                fate.leaked.extend_from_slice(&stopped.leaked);
                fate.oom_kills = if stopped.exit.oom {
                    0
                } else {
                    stopped.oom_kills
                };
                fate.process = if stopped.exit == Exit::default() {
                    Process::Unkillable
                } else if fate.told_to_end {
                    Process::Stopped(stopped.exit)
                } else {
                    Process::Ended(stopped.exit)
                };
            }
            Ending::Vanished { .. } if was_destroyed => fate.process = Process::Unkillable,
            Ending::Vanished { leaked } => fate.leaked.extend_from_slice(leaked),
            Ending::SpawnFailed(_) => {}
        }
        fate
    }

    /// How it exited, where that is known.
    pub(in crate::turn) const fn exit(&self) -> Option<Exit> {
        match self.process {
            Process::Ended(exit)
            | Process::Left(exit)
            | Process::Stopped(exit)
            | Process::Recorded(exit) => Some(exit),
            Process::Lost | Process::Unkillable | Process::GoesOn | Process::Unknown => None,
        }
    }

    /// What a person is to be told of it.
    pub(in crate::turn) fn warnings(&self) -> Vec<Event> {
        let mut warnings = Vec::new();
        if self.oom_kills > 0 {
            let text = format!(
                "the kernel killed {} process(es) of the agent's control group for want of \
                 memory, but not the agent itself",
                self.oom_kills
            );
            warnings.push(warning("out_of_memory", text));
        }
        if !self.leaked.is_empty() {
            let pids: Vec<String> = self
                .leaked
                .iter()
                .map(|left| left.pid.to_string())
                .collect();
            let text = format!("processes that could not be ended: {}", pids.join(", "));
            warnings.push(warning("leaked_processes", text));
        }
        warnings
    }
}

/// The evidence, after a look at what the CLI itself has stored.
pub(in crate::turn) async fn checked(
    context: &TurnContext,
    run: RunId,
    session: Option<&str>,
    evidence: Evidence,
) -> (Evidence, Option<Event>) {
    let stored = last_message(context, run, session).await;
    let text = contradiction(&evidence, &stored);
    let notice = text.map(|text| warning("store_contradicts", text.to_owned()));
    (evidence.checked(stored), notice)
}

/// What is to be said where the agent took up what it was told, and its output showed nothing of it
/// before it was cut off: the prompt must not be told again, since a call may have begun.
pub(in crate::turn) async fn taken_up(
    context: &TurnContext,
    run: RunId,
    session: Option<&str>,
    (seen, evidence): (&Seen, &Evidence),
    since: Option<Timestamp>,
) -> Option<Event> {
    let was_cut_off = matches!(evidence, Evidence::None | Evidence::Interrupted);
    if !(was_cut_off && seen.awaits_answer()) {
        return None;
    }
    let has_answered = has_answered(context, run, session, since?).await;
    has_answered.then(|| Event::Notice {
        level: NoticeLevel::Info,
        code: TAKEN_UP.to_owned(),
        text: "the agent had begun to answer when it was cut off, by its own record of the \
            conversation; what it was asked is not told again"
            .to_owned(),
    })
}

impl Attempt {
    pub(super) async fn end(mut self, ending: &Ending) -> Result<AttemptEnd, TurnFault> {
        let was_destroyed = self.destroyed && self.run.is_none();
        let fate = Fate::of(ending, was_destroyed);
        if fate.timed_out && self.cause.is_none() {
            self.cause = Some(Stop::Timeout);
        }
        let stderr = last_stderr(&self.context, &self.dir);
        let output = last_output(&self.context, &self.dir);
        let said_done = self.pump.finished();
        let run = self.pump.run();
        let (mut evidence, mut closing) = self.pump.finish(fate.exit(), &stderr)?;
        if said_done {
            let session = closing.agent_session.as_deref();
            let (checked, notice) = checked(&self.context, run, session, evidence).await;
            evidence = checked;
            if let Some(notice) = notice {
                closing.add(&notice)?;
            }
        }
        let session = closing.agent_session.as_deref();
        let so_far = (&closing.seen, &evidence);
        let since = run.made_at().map(Timestamp::from_millis);
        let taken_up = taken_up(&self.context, run, session, so_far, since).await;
        for event in taken_up.into_iter().chain(fate.warnings()) {
            closing.add(&event)?;
        }
        // The daemon before may have had to go while the shim still waited for room.
        let told_before = self.taken_over && fate.told_to_end && self.cause.is_none();
        Ok(AttemptEnd {
            closing,
            evidence,
            process: match fate.process {
                Process::Ended(exit) if self.context.agent.exits_well_by_signal => {
                    Process::Left(exit)
                }
                process => process,
            },
            cause: self.cause,
            left_behind: self.left_behind || told_before,
            told_to_end: fate.told_to_end,
            output,
            hang: self.hang,
            kept: None,
        })
    }
}

/// What a person is told where the CLI printed success and stored something else.
fn contradiction(evidence: &Evidence, stored: &Stored) -> Option<&'static str> {
    match (evidence, stored) {
        (Evidence::Completed, Stored::Failed(_)) => {
            Some("the CLI printed a whole answer, but its own database says that it failed")
        }
        (Evidence::Completed, Stored::Unfinished) => {
            Some("the CLI printed a whole answer, but by its own database the answer did not end")
        }
        _ => None,
    }
}

/// The end of a file, masked; nothing where there is none.
fn tail_of(path: &Path, redactor: &Redactor) -> Vec<u8> {
    let length = path.metadata().map_or(0, |metadata| metadata.len());
    let from = length.saturating_sub(READ);
    let Ok(mut tail) = Tail::open(path, SpoolOffset::new(from)) else {
        return Vec::new();
    };
    let text = tail.read().unwrap_or_default();
    if from > 0 {
        redactor.end_of_text(text)
    } else {
        redactor.text(text).into_owned()
    }
}
