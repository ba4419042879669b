//! What is to be said of an attempt that is over.

use std::path::Path;

use super::super::call::end;
use super::super::context::TurnFault;
use super::super::outcome::{Process, Stop};
use super::super::stored::last_message;
use super::{Attempt, AttemptEnd, warning};
use crate::agent::{Evidence, Stored};
use crate::exit::Exit;
use crate::ids::SpoolOffset;
use crate::sandbox::Ending;
use crate::spool::Tail;

/// The end of stderr that is looked at for a reason.
const STDERR_TAIL: u64 = 64 * 1024;
/// The end of the output that a crash report shows, and of stderr.
const OUTPUT_TAIL: usize = 8 * 1024;
/// What is read for it: a secret that the start of this cuts in two is not recognised, and lies
/// before what is shown.
const OUTPUT_READ: u64 = 2 * OUTPUT_TAIL as u64;
impl Attempt {
    /// The end of what the process wrote, for a crash report.
    fn last_output(&self) -> String {
        let shown = |path: &Path| {
            let text = tail_of(path, OUTPUT_READ);
            let text = self.context.redactor.text(&text);
            end(&String::from_utf8_lossy(&text), OUTPUT_TAIL).to_owned()
        };
        let (mut output, stderr) = (shown(&self.dir.spool()), shown(&self.dir.stderr()));
        if !stderr.trim().is_empty() {
            output.push_str("\n--- stderr ---\n");
            output.push_str(&stderr);
        }
        output
    }

    pub(super) async fn end(mut self, ending: &Ending) -> Result<AttemptEnd, TurnFault> {
        let mut leaked = Vec::new();
        let mut told_to_end = false;
        let mut oom_kills = 0;
        let process = match ending {
            Ending::Exited(stopped) => {
                if stopped.timed_out && self.cause.is_none() {
                    self.cause = Some(Stop::Timeout);
                }
                told_to_end = !stopped.sent.is_empty();
                leaked.extend_from_slice(&stopped.leaked);
                oom_kills = if stopped.exit.oom {
                    0
                } else {
                    stopped.oom_kills
                };
                if stopped.exit == Exit::default() {
                    Process::Unkillable
                } else if told_to_end {
                    Process::Stopped(stopped.exit)
                } else {
                    Process::Ended(stopped.exit)
                }
            }
            // Neither it nor its shim could be killed.
            Ending::Vanished { .. } if self.destroyed && self.run.is_none() => Process::Unkillable,
            Ending::Vanished { leaked: left } => {
                leaked.extend_from_slice(left);
                Process::Lost
            }
            Ending::SpawnFailed(_) => Process::Lost,
        };
        let exit = match process {
            Process::Ended(exit) | Process::Stopped(exit) | Process::Recorded(exit) => Some(exit),
            Process::Lost | Process::Unkillable | Process::Unknown => None,
        };
        let stderr = tail_of(&self.dir.stderr(), STDERR_TAIL);
        let output = self.last_output();
        let said_done = self.pump.finished();
        let run = self.pump.run();
        let (evidence, mut closing) = self.pump.finish(exit, &stderr)?;
        let evidence = if said_done {
            let session = closing.agent_session.as_deref();
            let stored = last_message(&self.context, run, session).await;
            if let Some(text) = contradiction(&evidence, &stored) {
                closing.add(&warning("store_contradicts", text.to_owned()))?;
            }
            evidence.checked(stored)
        } else {
            evidence
        };
        if oom_kills > 0 {
            let text = format!(
                "the kernel killed {oom_kills} process(es) of the agent's control group for want of \
                 memory, but not the agent itself"
            );
            closing.add(&warning("out_of_memory", text))?;
        }
        if !leaked.is_empty() {
            let pids: Vec<String> = leaked.iter().map(|left| left.pid.to_string()).collect();
            let text = format!("processes that could not be ended: {}", pids.join(", "));
            closing.add(&warning("leaked_processes", text))?;
        }
        // The daemon before may have had to go while the shim still waited for room.
        let told_before = self.taken_over && told_to_end && self.cause.is_none();
        Ok(AttemptEnd {
            closing,
            evidence,
            process,
            cause: self.cause,
            left_behind: self.left_behind || told_before,
            told_to_end,
            output,
            hang: self.hang,
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

/// The end of a file; nothing where there is none.
fn tail_of(path: &Path, limit: u64) -> Vec<u8> {
    let length = path.metadata().map_or(0, |metadata| metadata.len());
    let from = SpoolOffset::new(length.saturating_sub(limit));
    let tail = Tail::open(path, from);
    tail.and_then(|mut tail| tail.read().map(<[u8]>::to_vec))
        .unwrap_or_default()
}
