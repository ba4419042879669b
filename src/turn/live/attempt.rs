//! One turn's share of a live process: its messages said, its events stored, its requests answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::account::Account;
use super::course::{Course, News, Now, Step};
use super::process::LiveProcess;
use crate::agent::Evidence;
use crate::agent::live::{Command, LivePlan, Phase, Told};
use crate::event::TurnError;
use crate::ids::SpoolOffset;
use crate::journal::Batch;
use crate::process::{clock_ticks, tree_usage};
use crate::sandbox::{Change, Ending, RunHandle};
use crate::spool::control::Stop as Ladder;
use crate::turn::activity::Doing;
use crate::turn::approval::Waiting;
use crate::turn::attempt::ending::{Fate, checked, last_output, last_stderr};
use crate::turn::attempt::vigil::LEAVE;
use crate::turn::attempt::{AttemptEnd, Storing, stored, until, warning};
use crate::turn::context::{TurnCommand, TurnContext, TurnFault};
use crate::turn::outcome::{Process, Stop};
use crate::turn::pump::Closing;
use crate::turn::shown::Shown;
use crate::turn::silence::{Look, Silence};

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
    /// One batch on its way to the disk.
    storing: Option<Storing>,
    /// The next one. Nothing more is read until it is on its way.
    ready: Option<(Batch, SpoolOffset)>,
    pub(super) cause: Option<Stop>,
    silence: Silence,
    hang: Option<String>,
    /// When a stop that was asked for must have come to its next step.
    pub(super) bound: Option<Instant>,
    /// How far a stop has come.
    pub(super) stopping: Stopping,
    /// Requests that wait for somebody, and when each is denied.
    pub(super) waiting: Vec<(Waiting, Option<Instant>)>,
    taken_over: bool,
    left_behind: bool,
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
            context,
            process,
            course,
            account,
            storing: None,
            ready: None,
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
            self.store();
            if !grew && self.ready.is_none() {
                if self.process.ending.is_none() && self.act(shown).await? {
                    self.settle().await?;
                    return self.over(shown).await;
                }
                if self.is_settled() && self.account.is_empty() {
                    if let Some(ending) = self.process.ending.take() {
                        return self.died(&ending, shown).await;
                    }
                    self.tell_of_held_output().await?;
                }
            }
            if self.heard(grew) {
                self.show(shown);
            }
            let more = (grew || !self.account.is_empty()) && self.ready.is_none();
            let deadline = deadline.filter(|_| self.cause.is_none());
            tokio::select! {
                biased;
                Some(order) = orders.recv() => self.obey(order, shown).await?,
                () = until(deadline) => self.stop(Stop::Timeout, INTERRUPT),
                () = until(self.due()) => self.look(shown).await?,
                stored = stored(&mut self.storing) => {
                    self.process.room.reclaim(stored?, self.process.control.as_ref()).await;
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
        if self.ready.is_some() {
            return Ok(false);
        }
        let grew = self.process.read()?;
        self.absorb();
        if !self.account.is_empty() {
            let batch = self.batch()?;
            self.ready = Some((batch, self.process.offset));
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

    fn now(&self) -> Now {
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

    fn store(&mut self) {
        if self.storing.is_some() {
            return;
        }
        if let Some((mut batch, place)) = self.ready.take() {
            batch.synced = self.process.room.is_due(place);
            let journal = self.context.journal.clone();
            self.storing = Some(Box::pin(async move {
                crash_point!("live.before_progress");
                journal.commit(batch).await?;
                crash_point!("live.progress_stored");
                Ok(place)
            }));
        }
    }

    fn is_settled(&self) -> bool {
        self.storing.is_none() && self.ready.is_none()
    }

    /// Waits until all batches so far are stored.
    pub(super) async fn settle(&mut self) -> Result<(), TurnFault> {
        if let Some(storing) = self.storing.take() {
            storing.await?;
        }
        self.store();
        match self.storing.take() {
            Some(storing) => Ok(storing.await.map(drop)?),
            None => Ok(()),
        }
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
                    if !self.say(&command).await? {
                        return Ok(false);
                    }
                }
            }
        }
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

    /// Asks the CLI to end its turn; signals do it where it does not.
    pub(super) fn stop(&mut self, cause: Stop, patience: Duration) {
        crash_point!("live.before_stop");
        self.cause = Some(cause);
        let bound = Instant::now() + patience;
        self.bound = Some(self.bound.map_or(bound, |earlier| earlier.min(bound)));
        self.stopping = self.stopping.max(Stopping::Asked);
    }

    /// Has the process ended.
    pub(super) async fn signal(&mut self, how: Ladder) {
        self.stopping = self.stopping.max(Stopping::Signalled);
        let graces = how.interrupt_grace_ms + how.term_grace_ms;
        let limit = Duration::from_millis(graces) + self.context.patience.stopping;
        self.bound = Some(Instant::now() + limit);
        if let Some(control) = &self.process.control
            && let Err(error) = control.stop(how).await
        {
            tracing::warn!(%error, "the run cannot be told to stop; waiting for it to end");
        }
    }

    /// What the agent is doing.
    fn doing(&self) -> Doing {
        let phase = self.process.dialog().phase();
        if phase == Phase::Resting && self.course.in_background() {
            return Doing::Background;
        }
        match self.account.seen.activity().doing() {
            // A process that is there already waits for the model at once.
            Doing::Starting if phase == Phase::Working => Doing::Model,
            doing => doing,
        }
    }

    /// Whether the agent does something else now.
    fn heard(&mut self, grew: bool) -> bool {
        let doing = self.doing();
        if !grew && doing == *self.silence.doing() {
            return false;
        }
        let clock = self.context.clock;
        let (now, wall) = (clock.now(), clock.wall().millis());
        self.silence.heard(doing, now, clock_ticks(), wall)
    }

    fn show(&self, shown: &Shown) {
        shown.doing(self.silence.doing().clone(), self.context.clock.wall());
    }

    fn due(&self) -> Option<Instant> {
        let limits = self.waiting.iter().filter_map(|(_, until)| *until);
        let silence = match self.stopping {
            Stopping::Not if !self.is_settled() => None,
            Stopping::Not => self.silence.deadline().map(Instant::from_std),
            _ => self.bound,
        };
        limits.chain(silence).min()
    }

    /// A moment has come at which something is due although nothing happens.
    async fn look(&mut self, shown: &Shown) -> Result<(), TurnFault> {
        self.deny_what_is_late(shown).await?;
        if self.stopping != Stopping::Not {
            if self.bound.is_some_and(|bound| Instant::now() >= bound) {
                self.stop_is_overdue().await;
            }
            return Ok(());
        }
        if self
            .silence
            .deadline()
            .is_none_or(|at| Instant::now() < Instant::from_std(at))
        {
            return Ok(());
        }
        let identities = self.process.handle.as_ref().and_then(RunHandle::identities);
        let usage = || identities.and_then(|(shim, agent)| tree_usage(shim, agent).ok());
        match self.silence.look(self.context.clock.now(), usage) {
            Look::Wait => {}
            Look::Linger => {
                self.cause = Some(Stop::Linger);
                self.signal(LEAVE).await;
            }
            Look::Stopped => {
                let text = "the agent's process is stopped (SIGSTOP); SIGCONT lets it go on";
                self.account.add(warning("agent_stopped", text.to_owned()));
            }
            Look::Hung(how) => {
                tracing::warn!(run = %self.process.run, "the agent {how}");
                self.hang = Some(how);
                self.cause = Some(Stop::Hang);
                self.signal(Ladder::ORDERLY).await;
            }
        }
        Ok(())
    }

    /// A stop has not come to its next step in time.
    async fn stop_is_overdue(&mut self) {
        let is_full = self.context.journal.room().borrow().is_full();
        match self.stopping {
            Stopping::Not => {}
            Stopping::Asked => {
                tracing::warn!(run = %self.process.run, "the agent does not end its turn");
                self.signal(LEAVE).await;
            }
            _ if self.process.ending.is_some() || self.process.room.is_held() || is_full => {
                self.bound = Some(Instant::now() + self.context.patience.stopping);
            }
            Stopping::Signalled => {
                self.stopping = Stopping::Destroyed;
                self.bound = Some(Instant::now() + self.context.patience.stopping);
                if let Some(control) = &self.process.control {
                    tracing::warn!(run = %self.process.run, "the shim does not end; killing it");
                    control.destroy();
                }
            }
            Stopping::Destroyed => {
                self.process.handle = None;
                self.process.ending = Some(Ending::vanished());
            }
        }
    }

    /// The turn is over, and its process goes on without it.
    async fn over(mut self, shown: &Shown) -> Result<AttemptEnd, TurnFault> {
        shown.nothing();
        if self.cause.is_some()
            && let (Some(control), Some(since)) = (&self.process.control, self.course.since())
        {
            // What the turn has started and its interrupt has left.
            control.sweep(since).await.ok();
        }
        crash_point!("live.turn_over");
        let mut evidence = self.course.evidence().unwrap_or(Evidence::None);
        let session = self.process.agent_session().map(str::to_owned);
        if evidence == Evidence::Completed {
            let (run, session) = (self.process.run, session.as_deref());
            let (checked, notice) = checked(&self.context, run, session, evidence).await;
            evidence = checked;
            if let Some(notice) = notice {
                self.account.add(notice);
            }
        }
        let is_of_use = self.process.dialog().phase() != Phase::Refused;
        let closing = self.account.close(self.process.ordinal, session)?;
        let mut process = self.process;
        if !is_of_use {
            process.end().await?;
        }
        Ok(AttemptEnd {
            closing,
            evidence,
            process: Process::GoesOn,
            cause: self.cause,
            left_behind: false,
            told_to_end: false,
            output: String::new(),
            hang: None,
            kept: is_of_use.then_some(process),
        })
    }

    /// The process is gone, and the turn with it, or before it.
    async fn died(mut self, ending: &Ending, shown: &Shown) -> Result<AttemptEnd, TurnFault> {
        shown.nothing();
        let was_destroyed = self.stopping == Stopping::Destroyed && self.process.handle.is_none();
        let fate = Fate::of(ending, was_destroyed);
        if fate.timed_out && self.cause.is_none() {
            self.cause = Some(Stop::Timeout);
        }
        let stderr = last_stderr(&self.process.dir);
        let output = last_output(&self.context, &self.process.dir);
        let (run, ordinal) = (self.process.run, self.process.ordinal);
        let mut session = self.process.agent_session().map(str::to_owned);
        let (mut told, now) = (Vec::new(), self.now());
        let last = self.process.finish(fate.exit(), &stderr, &mut told);
        hear(
            &mut self.course,
            &mut self.account,
            told,
            Phase::Resting,
            now,
        );
        let mut evidence = last.or(self.course.evidence()).unwrap_or(Evidence::None);
        if evidence == Evidence::Completed {
            let (checked, notice) = checked(&self.context, run, session.as_deref(), evidence).await;
            evidence = checked;
            if let Some(notice) = notice {
                self.account.add(notice);
            }
        }
        for warning in fate.warnings() {
            self.account.add(warning);
        }
        // The daemon before may have had to go while the shim still waited for room.
        let told_before = self.taken_over && fate.told_to_end && self.cause.is_none();
        Ok(AttemptEnd {
            closing: self.account.close(ordinal, session.take())?,
            evidence,
            process: fate.process,
            cause: self.cause,
            left_behind: self.left_behind || told_before,
            told_to_end: fate.told_to_end,
            output,
            hang: self.hang,
            kept: None,
        })
    }
}

fn hear(course: &mut Course, account: &mut Account, told: Vec<Told>, phase: Phase, now: Now) {
    for told in told {
        match course.told(told, phase, now) {
            Some(News::Event(event)) => account.add(event),
            Some(News::TakenUp(text)) => account.seen.taken_up(&text),
            None => {}
        }
    }
}
