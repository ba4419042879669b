//! One turn's share of a live process: its messages said, its events stored, its requests answered.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::account::Account;
use super::course::{Course, News, Now, Step};
use super::process::LiveProcess;
use crate::agent::live::{Command, LivePlan, Phase, Told};
use crate::event::TurnError;
use crate::image::ImageNote;
use crate::journal::{Batch, Journal, JournalError};
use crate::process::clock_ticks;
use crate::sandbox::Change;
use crate::turn::activity::Doing;
use crate::turn::approval::Waiting;
use crate::turn::attempt::vigil::LEAVE;
use crate::turn::attempt::{AttemptEnd, until, warning};
use crate::turn::context::{TurnCommand, TurnContext, TurnFault};
use crate::turn::forgotten::{Next, recalled};
use crate::turn::outcome::Stop;
use crate::turn::pump::Closing;
use crate::turn::shown::Shown;
use crate::turn::silence::Silence;
use crate::turn::storing::{Reached, Storing};

/// How long an interrupt may take before signals end the process; the CLIs take less than a second.
pub(super) const INTERRUPT: Duration = Duration::from_secs(5);
/// The same for a daemon that is told to go, which has some ten seconds in all.
pub(super) const PAUSE: Duration = Duration::from_secs(3);

/// A turn over a live process.
pub(in crate::turn) struct LiveAttempt {
    pub(super) context: Arc<TurnContext>,
    pub(super) process: Box<LiveProcess>,
    pub(super) course: Course,
    pub(super) account: Account,
    pub(super) storing: Storing,
    pub(super) cause: Option<Stop>,
    pub(super) silence: Silence,
    pub(super) hang: Option<String>,
    /// When a stop that was asked for must have come to its next step.
    pub(super) bound: Option<Instant>,
    /// How far a stop has come.
    pub(super) stopping: Stopping,
    /// Requests that wait for somebody, and when each is denied.
    pub(super) waiting: Vec<(Waiting, Option<Instant>)>,
    pub(super) taken_over: bool,
    pub(super) left_behind: bool,
}

/// How far a stop has come: it only climbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stopping {
    /// None was asked for.
    Not,
    /// The CLI is asked to end its turn.
    Asked,
    /// Its process is being ended.
    Signalled,
    /// So is its shim.
    Destroyed,
}

impl LiveAttempt {
    /// A turn that begins over a process.
    pub(in crate::turn) fn begin(
        process: Box<LiveProcess>,
        course: Course,
        account: Account,
    ) -> Self {
        let context = Arc::clone(&process.context);
        let now = context.clock.now();
        Self {
            silence: Silence::new(context.patience, Doing::Starting, now),
            storing: Storing::new(context.journal.clone(), commit),
            context,
            process,
            course,
            account,
            cause: None,
            hang: None,
            bound: None,
            stopping: Stopping::Not,
            waiting: Vec::new(),
            taken_over: false,
            left_behind: false,
        }
    }

    /// A turn that an earlier daemon began over a process. `frames` were sent after its state was
    /// stored.
    pub(in crate::turn) fn take_over(
        process: Box<LiveProcess>,
        course: Course,
        mut account: Account,
        frames: &[Vec<u8>],
    ) -> Result<Self, TurnFault> {
        account.seen.waits_for(course.open_texts());
        let mut attempt = Self::begin(process, course, account);
        attempt.taken_over = true;
        attempt.left_behind = attempt.process.ending.is_some();
        // What was said shows in what the process has written since.
        attempt.absorb();
        while attempt.process.read()? {
            attempt.absorb();
        }
        let phase = attempt.process.dialog().phase();
        let can_steer = attempt.process.kind.can_steer;
        let frames = frames.iter().map(Vec::as_slice);
        attempt.course.recover(frames, phase, can_steer);
        Ok(attempt)
    }

    /// The first batch: what the process told before the turn is told with it.
    pub(in crate::turn) fn opening(&mut self) -> Result<Batch, TurnFault> {
        self.absorb();
        self.batch()
    }

    /// Starts the process.
    pub(in crate::turn) async fn start(&mut self, plan: &LivePlan) -> Result<(), TurnError> {
        self.process.start(plan).await
    }

    /// Whether its process was started, or is to be, with what is wanted now.
    pub(in crate::turn) fn is_as_wanted(&self) -> bool {
        self.process.is_as_wanted()
    }

    /// Ends its process before anything was said to it; what was seen of the turn.
    pub(in crate::turn) async fn part(mut self) -> Result<Closing, TurnFault> {
        self.process.end().await?;
        Ok(self.account.close(self.process.ordinal, None)?)
    }

    /// The turn ends: its process could not be started.
    pub(in crate::turn) fn unstarted(self) -> Result<Closing, TurnFault> {
        Ok(self.account.close(self.process.ordinal, None)?)
    }

    /// Drives the turn until it is over, or its process is gone.
    pub(in crate::turn) async fn follow(
        mut self,
        orders: &mut mpsc::Receiver<TurnCommand>,
        deadline: Option<Instant>,
        shown: &Shown,
    ) -> Result<AttemptEnd, TurnFault> {
        self.show(shown);
        loop {
            let grew = self.read_chunk()?;
            self.storing.send(&mut self.process.room);
            if !grew && !self.storing.is_full() {
                if self.process.ending.is_none() && self.act(shown).await? {
                    self.settle().await?;
                    return self.over(shown).await;
                }
                if self.storing.is_settled() && self.account.is_empty() {
                    if let Some(ending) = self.process.ending.take() {
                        return self.died(&ending, shown).await;
                    }
                    self.tell_of_held_output().await?;
                }
            }
            if self.heard(grew) {
                self.show(shown);
            }
            let more = (grew || !self.account.is_empty()) && !self.storing.is_full();
            let deadline = deadline.filter(|_| self.cause.is_none());
            tokio::select! {
                biased;
                Some(order) = orders.recv() => self.obey(order, shown).await?,
                () = until(deadline) => self.stop(Stop::Timeout, INTERRUPT),
                () = until(self.due()) => self.look(shown).await?,
                stored = self.storing.stored() => {
                    let Reached { output, input } = stored?;
                    self.process.reclaim_input(input);
                    self.process.room.reclaim(output, self.process.control.as_ref()).await;
                }
                () = std::future::ready(()), if more => {}
                change = self.process.changed(), if self.process.ending.is_none() => match change? {
                    Change::Ended(ending) => self.process.ending = Some(ending),
                    Change::Spool { held, .. } => {
                        self.process.room.held(held);
                        self.silence.hold(held, self.context.clock.now());
                    }
                },
            }
        }
    }

    fn read_chunk(&mut self) -> Result<bool, TurnFault> {
        if self.storing.is_full() {
            return Ok(false);
        }
        let grew = self.process.read()?;
        self.absorb();
        if !self.account.is_empty() {
            let batch = self.batch()?;
            let reached = Reached {
                output: self.process.offset,
                input: self.process.input(),
            };
            self.storing.put(batch, reached);
        }
        Ok(grew)
    }

    /// Takes what was told.
    pub(super) fn absorb(&mut self) {
        let phase = self.process.dialog().phase();
        let now = self.now();
        let told: Vec<Told> = self.process.told().collect();
        hear(&mut self.course, &mut self.account, told, phase, now);
    }

    pub(super) fn now(&self) -> Now {
        Now {
            wall: self.context.clock.wall(),
            tick: clock_ticks(),
        }
    }

    /// All that was told, with the state after it.
    pub(super) fn batch(&mut self) -> Result<Batch, TurnFault> {
        let is_short = self.context.journal.room().borrow().is_short();
        let batch = self
            .account
            .batch(&mut self.process, &self.course, is_short)?;
        Ok(batch)
    }

    /// Waits until all batches so far are stored.
    pub(super) async fn settle(&mut self) -> Result<(), TurnFault> {
        Ok(self.storing.settle(&mut self.process.room).await?)
    }

    async fn tell_of_held_output(&mut self) -> Result<(), TurnFault> {
        if let Some(notice) = self.process.room.stuck() {
            self.account.add(notice);
            let batch = self.batch()?;
            self.context.journal.commit(batch).await?;
        }
        Ok(())
    }

    /// Says what is to be said now that all of the output is read; whether the turn is over.
    async fn act(&mut self, shown: &Shown) -> Result<bool, TurnFault> {
        loop {
            if self.stopping >= Stopping::Signalled {
                return Ok(false);
            }
            let heard = self.process.send_due().await?;
            self.absorb();
            if !heard {
                self.signal(LEAVE).await;
                return Ok(false);
            }
            self.consider(shown).await?;
            let (dialog, kind) = (self.process.dialog(), self.process.kind);
            let (phase, pending) = (dialog.phase(), dialog.pending());
            let step = if self.cause.is_some() {
                self.course.stopping(phase, &pending)
            } else {
                self.course.next(phase, &pending, kind.can_steer)
            };
            match step {
                Step::Wait => return Ok(false),
                Step::Over | Step::Hopeless => return Ok(true),
                Step::Say(command) => {
                    let command = self.recalled(command).await?;
                    if !self.say(&command).await? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// What is to be said, with its images. What the CLI has forgotten of the turn, which was cut off
    /// for the message, goes before it.
    async fn recalled(&mut self, mut command: Command) -> Result<Command, TurnFault> {
        let mut images = self.course.images(&command).to_vec();
        let Command::Prompt(message) = &mut command else {
            return self.illustrated(command, images).await;
        };
        let session = self.process.agent_session().map(str::to_owned);
        let may_be_forgotten =
            self.context.agent.forgets.is_some() && !self.course.begins_with(&message.id);
        if let Some(session) = session.filter(|_| may_be_forgotten) {
            // What it forgot is read from the journal.
            self.settle().await?;
            let batch = self.batch()?;
            self.context.journal.commit(batch).await?;
            let next = Next {
                turn: self.account.origin().turn,
                text: &message.text,
                seen: &self.account.seen,
                is_cut_off: true,
            };
            let recalled = recalled(&self.context, self.process.run, &session, next).await?;
            if let Some(recalled) = recalled {
                message.text = recalled.text;
                images.splice(0..0, recalled.images);
                self.account.add(recalled.notice);
            }
        }
        self.illustrated(command, images).await
    }

    /// What is to be said, with these images. One that cannot be had any more is told of in its place.
    async fn illustrated(
        &mut self,
        mut command: Command,
        notes: Vec<ImageNote>,
    ) -> Result<Command, TurnFault> {
        let turn = self.account.origin().turn;
        let (Command::Prompt(message) | Command::Steer(message)) = &mut command else {
            return Ok(command);
        };
        for note in notes {
            if let Some(image) = self.context.journal.image(turn, &note).await? {
                message.images.push(image);
                continue;
            }
            let lost = format!("an image of the prompt ({note}) was damaged on the disk");
            message.text = format!("{}\n[{lost}]", message.text);
            self.account.add(warning("image_lost", lost));
        }
        Ok(command)
    }

    /// Says one thing; whether there may be more to say at once.
    async fn say(&mut self, command: &Command) -> Result<bool, TurnFault> {
        let frames = match self.process.dialog().frames(command) {
            Ok(frames) if frames.is_empty() => return Ok(false),
            Ok(frames) => frames,
            Err(refused) => {
                tracing::debug!(%refused, ?command, "the agent cannot be told that now");
                self.course.unsaid(command);
                return Ok(false);
            }
        };
        crash_point!("live.before_command");
        let said = self.process.send(frames).await?;
        self.absorb();
        if !said {
            self.signal(LEAVE).await;
        }
        Ok(said)
    }
}

pub(super) fn hear(
    course: &mut Course,
    account: &mut Account,
    told: Vec<Told>,
    phase: Phase,
    now: Now,
) {
    for told in told {
        match course.told(told, phase, now) {
            Some(News::Event(event)) => account.add(event),
            Some(News::TakenUp(text)) => account.seen.taken_up(&text),
            None => {}
        }
    }
}

/// Stores what was told.
fn commit(journal: Journal, batch: Batch) -> BoxFuture<'static, Result<(), JournalError>> {
    Box::pin(async move {
        crash_point!("live.before_progress");
        journal.commit(batch).await?;
        crash_point!("live.progress_stored");
        Ok(())
    })
}
