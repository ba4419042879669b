//! One process of a turn: started or taken over, followed to its end.

pub(super) mod ending;
pub(super) mod left;
pub(super) mod vigil;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::left::Left;
use super::context::{TurnCommand, TurnContext, TurnFault};
use super::live::LiveProcess;
use super::outcome::{Process, Stop};
use super::provision;
use super::pump::{Closing, Origin, Pump};
use super::shown::Shown;
use super::spool_room::SpoolRoom;
use super::storing::{Reached, Storing};
use crate::agent::{Evidence, LaunchPlan, OutputReader};
use crate::event::{ErrorClass, Event, NoticeLevel, TurnError};
use crate::ids::SpoolOffset;
use crate::journal::{self, Batch, Journal, JournalError, TurnRow};
use crate::sandbox::{self, Attach, Change, Ending, RunControl, RunHandle, SandboxError};
use crate::spool::control::Stop as Ladder;
use crate::spool::{RunDir, Tail};
use crate::turn::approval::AnswerError;
use crate::turn::seen::Seen;
use crate::turn::silence::Silence;

/// A pause has to fit into the grace of a container's stop (10 s) together with all else that is
/// to be done then.
pub(super) const PAUSE: Ladder = Ladder {
    interrupt_grace_ms: 3_000,
    term_grace_ms: 1_500,
};
/// A process of a turn.
pub(super) struct Attempt {
    context: Arc<TurnContext>,
    dir: RunDir,
    /// None when it was over before anyone could watch.
    run: Option<RunHandle>,
    control: Option<RunControl>,
    ending: Option<Ending>,
    /// None when it never wrote.
    tail: Option<Tail>,
    pump: Pump,
    storing: Storing,
    room: SpoolRoom,
    cause: Option<Stop>,
    silence: Silence,
    /// Why it was taken to hang.
    hang: Option<String>,
    /// When a stop that was asked for must have come to its end.
    bound: Option<Instant>,
    /// Its shim was killed, because it did not do as it was told.
    destroyed: bool,
    /// An earlier daemon started it.
    taken_over: bool,
    left_behind: bool,
}

/// What a process is started with.
pub(super) struct Launch<'a> {
    pub(super) plan: &'a LaunchPlan,
    pub(super) prompt: &'a str,
    /// The last state of the adapter of the conversation's process before.
    pub(super) earlier: Option<&'a [u8]>,
}

/// A process of a turn that is over.
pub(super) struct AttemptEnd {
    pub(super) closing: Closing,
    pub(super) evidence: Evidence,
    pub(super) process: Process,
    /// Why we ended it, if we did.
    pub(super) cause: Option<Stop>,
    /// An earlier daemon started it, and it was over when this one came, or had been told to end.
    pub(super) left_behind: bool,
    /// It did not die by itself: the runner had told it to end.
    pub(super) told_to_end: bool,
    /// The end of its raw output and of its stderr, masked.
    pub(super) output: String,
    /// Why it was taken to hang.
    pub(super) hang: Option<String>,
    /// The process, where it goes on without the turn.
    pub(super) kept: Option<Box<LiveProcess>>,
}

impl Attempt {
    /// Starts a process; an error is the turn's end.
    pub(super) async fn start(
        context: Arc<TurnContext>,
        origin: Origin,
        Launch {
            plan: launch,
            prompt,
            earlier,
        }: Launch<'_>,
        ordinal: u64,
        seen: Seen,
    ) -> Result<Self, TurnError> {
        let dir = context.run_dir(origin.run);
        let sandbox = |message: String| TurnError::new(ErrorClass::Sandbox, message);
        let plan = context.shim_plan(launch, &dir).map_err(sandbox)?;
        let environment = context.environment(launch).map_err(sandbox)?;
        provision::write(&context, &dir, launch).map_err(|error| sandbox(error.to_string()))?;
        crash_point!("attempt.files_written");
        let started = context
            .sandbox
            .start(&dir, &plan, prompt.as_bytes(), &environment)
            .await;
        let run = started.map_err(|error| sandbox(describe(&error)))?;
        crash_point!("attempt.started");
        let tail = match run.tail(SpoolOffset::START) {
            Ok(tail) => Some(tail),
            // A shim that was killed early has made no spool.
            Err(_) if run.is_over() => None,
            Err(error) => return Err(sandbox(describe(&error))),
        };
        let reader = fresh(&context, earlier);
        let pump = Pump::new(
            origin,
            context.clock,
            reader,
            SpoolOffset::START,
            ordinal,
            seen,
        )
        .with_model(context.spec_now().model);
        Ok(Self {
            control: run.control(),
            silence: vigil::begin(&context, &pump),
            room: SpoolRoom::new(&context, &dir),
            storing: Storing::new(context.journal.clone(), commit),
            context,
            dir,
            run: Some(run),
            ending: None,
            tail,
            pump,
            cause: None,
            hang: None,
            bound: None,
            destroyed: false,
            taken_over: false,
            left_behind: false,
        })
    }

    /// Goes on with the process that an earlier daemon started for `row`, where it left off.
    pub(super) async fn take_over(
        context: Arc<TurnContext>,
        origin: Origin,
        row: &TurnRow,
        seen: Seen,
        earlier: Option<&[u8]>,
    ) -> Result<Self, TurnFault> {
        let dir = context.run_dir(origin.run);
        let found = if dir.path().exists() {
            sandbox::attach(&dir).await?
        } else {
            Attach::Ended(Ending::vanished())
        };
        crash_point!("attempt.attached");
        let (run, ending) = match found {
            Attach::Running(run) => (Some(run), None),
            Attach::Ended(ending) => (None, Some(ending)),
        };
        let redactor = || Arc::clone(&context.redactor);
        let left = Left::of(&dir.spool(), row.offset, run.is_some());
        let (offset, ordinal) = (left.offset, row.ordinal_next);
        let (reader, lost) = match row.adapter.as_deref() {
            None => (fresh(&context, earlier), None),
            Some(snapshot) => {
                match OutputReader::restore(context.agent, redactor(), snapshot, offset) {
                    Ok(reader) => (reader, None),
                    Err(error) => (
                        OutputReader::resync(context.agent, redactor(), offset),
                        Some(error),
                    ),
                }
            }
        };
        let pump = Pump::new(origin, context.clock, reader, offset, ordinal, seen);
        let mut pump = pump.with_model(context.spec_now().model);
        if let Some(error) = lost {
            // Bytes that were read once are not read again by another version: its events could
            // differ under the same ids.
            let text = format!("read on without what was known of the turn so far: {error}");
            let notice = warning("adapter_restarted", text);
            context.journal.commit(pump.own(notice)?).await?;
        }
        if let Some(text) = left.lost {
            let notice = warning("output_lost", text);
            context.journal.commit(pump.own(notice)?).await?;
        }
        Ok(Self {
            control: run.as_ref().and_then(RunHandle::control),
            silence: vigil::begin(&context, &pump),
            room: SpoolRoom::new(&context, &dir),
            storing: Storing::new(context.journal.clone(), commit),
            context,
            dir,
            taken_over: true,
            left_behind: run.is_none(),
            run,
            ending,
            tail: left.tail,
            pump,
            cause: None,
            hang: None,
            bound: None,
            destroyed: false,
        })
    }

    /// Reads until the process is gone and all of its output is in the journal.
    pub(super) async fn follow(
        mut self,
        orders: &mut mpsc::Receiver<TurnCommand>,
        deadline: Option<Instant>,
        shown: &Shown,
    ) -> Result<AttemptEnd, TurnFault> {
        self.show(shown);
        loop {
            let grew = self.read_chunk()?;
            self.storing.send(&mut self.room);
            if !grew && self.storing.is_settled() {
                match self.ending.take() {
                    Some(ending) => return self.end(&ending).await,
                    None => self.tell_of_held_output().await?,
                }
            }
            if grew && self.heard() {
                self.show(shown);
            }
            let deadline = deadline.filter(|_| self.cause.is_none());
            tokio::select! {
                biased;
                Some(order) = orders.recv() => self.obey(order).await?,
                () = until(deadline) => self.stop(Stop::Timeout, Ladder::ORDERLY).await,
                () = until(self.due()) => self.look().await?,
                stored = self.storing.stored() => {
                    self.room.reclaim(stored?.output, self.control.as_ref()).await;
                    // It may have taken long, and nothing more was read meanwhile.
                    if self.heard() {
                        self.show(shown);
                    }
                }
                // More may be waiting in the spool; orders and deadlines come first.
                () = std::future::ready(()), if grew && !self.storing.is_full() => {}
                // Said once: what is left then is to store what was read.
                change = changed(&mut self.run), if self.ending.is_none() => match change? {
                    Change::Ended(ending) => self.ending = Some(ending),
                    Change::Spool { held, .. } => {
                        self.room.held(held);
                        self.silence.hold(held, self.context.clock.now());
                    }
                },
            }
        }
    }

    fn read_chunk(&mut self) -> Result<bool, TurnFault> {
        let Some(tail) = self.tail.as_mut().filter(|_| !self.storing.is_full()) else {
            return Ok(false);
        };
        let chunk = tail.read()?;
        if chunk.is_empty() {
            return Ok(false);
        }
        let room = *self.context.journal.room().borrow();
        self.pump.save(room.is_short());
        if let Some(batch) = self.pump.feed(chunk)? {
            let reached = Reached {
                output: self.pump.offset(),
                input: SpoolOffset::START,
            };
            self.storing.put(batch, reached);
        }
        Ok(true)
    }

    /// All was read, and still the output is held: what is there is one line longer than the quota.
    async fn tell_of_held_output(&mut self) -> Result<(), TurnFault> {
        if let Some(notice) = self.room.stuck() {
            self.context.journal.commit(self.pump.own(notice)?).await?;
        }
        Ok(())
    }

    async fn obey(&mut self, order: TurnCommand) -> Result<(), TurnFault> {
        match order {
            TurnCommand::Abort { at_once } => {
                // First on the disk: no later daemon goes on with what was cancelled.
                self.context.journal.commit(self.pump.cancel()).await?;
                let how = if at_once {
                    Ladder::NOW
                } else {
                    Ladder::ORDERLY
                };
                self.stop(Stop::Cancel, how).await;
            }
            // In exec form the CLI takes nothing and asks for nothing.
            TurnCommand::Set { .. } | TurnCommand::Reconsider => {}
            TurnCommand::Answer { answer, done } => {
                let _gone = done.send(Err(AnswerError::NotWaiting(answer.request_id)));
            }
            TurnCommand::Pause { at_once } => {
                let how = if at_once { Ladder::NOW } else { PAUSE };
                self.stop(Stop::Pause, how).await;
            }
            TurnCommand::Steer { message, accepted } => {
                if message
                    .prompt_id
                    .as_deref()
                    .is_some_and(|id| self.pump.has_prompt(id))
                {
                    // The same message again: the turn has it.
                    let _gone = accepted.send(());
                    return Ok(());
                }
                let taken = matches!(self.cause, None | Some(Stop::Steer));
                let is_full = self.context.journal.room().borrow().is_full();
                if !taken || is_full || self.pump.finished() {
                    // Dropping `accepted` says so: the message becomes a turn of its own.
                    return Ok(());
                }
                // What came before it is stored before it.
                self.storing.settle(&mut self.room).await?;
                let promise = journal::Change::TakePrompt {
                    turn: self.pump.turn(),
                    images: message.images.clone(),
                };
                let promise = self.pump.own(message.event())?.with(promise);
                self.context.journal.commit(promise).await?;
                crash_point!("attempt.message_stored");
                // Whoever asked may have gone; the message is accepted all the same.
                let _gone = accepted.send(());
                self.stop(Stop::Steer, Ladder::ORDERLY).await;
            }
        }
        Ok(())
    }
}

pub(super) fn warning(code: &str, text: String) -> Event {
    Event::Notice {
        level: NoticeLevel::Warning,
        code: code.to_owned(),
        text,
    }
}

/// A reader from a process's first byte on.
fn fresh(context: &TurnContext, earlier: Option<&[u8]>) -> OutputReader {
    let redactor = Arc::clone(&context.redactor);
    match earlier {
        Some(earlier) => OutputReader::following(context.agent, redactor, earlier),
        None => OutputReader::new(context.agent, redactor),
    }
}

pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Stores what was read of the output.
fn commit(journal: Journal, batch: Batch) -> BoxFuture<'static, Result<(), JournalError>> {
    Box::pin(async move {
        crash_point!("attempt.before_progress");
        journal.commit(batch).await?;
        crash_point!("attempt.progress_stored");
        Ok(())
    })
}

async fn changed(run: &mut Option<RunHandle>) -> Result<Change, SandboxError> {
    match run {
        Some(run) => run.changed().await,
        None => std::future::pending().await,
    }
}

/// An error with its causes, on one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
