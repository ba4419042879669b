//! A live process between turns: warm before the first, kept for the next, ended when nobody comes.
//!
//! It is read all the time: what it says after a turn is stored as that turn's, what it says before
//! its first turn is told with that. A process that dies here is replaced once, and quietly.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::account::Account;
use super::course::{Course, News, Now, response};
use super::process::{LiveProcess, Place};
use super::saved::Saved;
use crate::agent::live::{Answer, Asked, Command, LiveKind, Phase, Setting};
use crate::event::{Event, NoticeLevel};
use crate::ids::{EventId, RunId};
use crate::journal::{Batch, Change as Stored, NewEvent};
use crate::process::clock_ticks;
use crate::sandbox::{self, Attach, Change};
use crate::spool::control::Stop as Ladder;
use crate::tasks::Tasks;
use crate::turn::approval::{Answered, Answerer, Ruling};
use crate::turn::attempt::until;
use crate::turn::context::{SetAnswer, TurnContext, TurnFault};
use crate::turn::conversation::Conversation;
use crate::turn::pump::Origin;
use crate::turn::seen::Seen;

/// What there is to begin with.
#[derive(Debug)]
pub enum RestFrom {
    /// Nothing, and nothing is started.
    Nothing,
    /// Nothing: a process is started, so that the next turn finds it warm.
    Warm,
    /// The process that an earlier daemon has left.
    Adopt(RunId),
    /// The process that a turn has left.
    Process(Box<LiveProcess>),
}

/// The time between two turns.
#[derive(Debug)]
pub struct Rest {
    wake: oneshot::Sender<Wake>,
    settings: mpsc::Sender<(Setting, oneshot::Sender<SetAnswer>)>,
    task: JoinHandle<Result<Option<Box<LiveProcess>>, TurnFault>>,
}

#[derive(Debug)]
enum Wake {
    Turn,
    End,
}

impl Rest {
    /// Begins it, on a task of its own.
    pub fn begin(context: Arc<TurnContext>, tasks: &Tasks, from: RestFrom) -> Self {
        let (wake, woken) = oneshot::channel();
        let (settings, asked) = mpsc::channel(SETTINGS);
        let resting = Resting {
            idle_since: Instant::now(),
            context,
            process: None,
            course: Course::default(),
            deaths: 0,
        };
        Self {
            wake,
            settings,
            task: tasks.spawn("live-rest", resting.run(from, woken, asked)),
        }
    }

    /// Asks the CLI for another setting. `done` is dropped where there is no process that could be
    /// asked: the next one is started with it.
    pub fn set(&self, setting: Setting, done: oneshot::Sender<SetAnswer>) {
        // One at a time: the driver waits for the answer.
        drop(self.settings.try_send((setting, done)));
    }

    /// Ends it for a turn: the process, where there is one.
    pub(in crate::turn) async fn wake(self) -> Result<Option<Box<LiveProcess>>, TurnFault> {
        self.over(Wake::Turn).await
    }

    /// Ends it, and the process in order.
    pub async fn end(self) -> Result<(), TurnFault> {
        self.over(Wake::End).await.map(drop)
    }

    async fn over(self, how: Wake) -> Result<Option<Box<LiveProcess>>, TurnFault> {
        // A task that has ended says why by its result.
        let _over = self.wake.send(how);
        self.task.await.map_err(|error| {
            TurnFault::Internal(format!("the task of a resting process ended: {error}"))
        })?
    }
}

/// Changes that wait for the resting process: the driver asks for one at a time.
const SETTINGS: usize = 1;

struct Resting {
    context: Arc<TurnContext>,
    process: Option<Box<LiveProcess>>,
    course: Course,
    idle_since: Instant,
    /// Processes that have died in this rest.
    deaths: u32,
}

/// Processes that may die in one rest and be replaced: one that does so again is the next turn's
/// to tell of.
const DEATHS: u32 = 1;

/// How long the next process waits for what was to be chosen when the one before died: one commit.
const CHOICE: Duration = Duration::from_secs(1);

impl Resting {
    async fn run(
        mut self,
        from: RestFrom,
        mut woken: oneshot::Receiver<Wake>,
        mut asked: mpsc::Receiver<(Setting, oneshot::Sender<SetAnswer>)>,
    ) -> Result<Option<Box<LiveProcess>>, TurnFault> {
        self.start(from).await?;
        loop {
            let grew = self.listen().await?;
            if !grew && self.speak().await? {
                continue;
            }
            let due = self.due();
            let Some(process) = &mut self.process else {
                // Whoever asks for a setting is told so by that.
                drop(asked);
                // Dropped: the driver is gone.
                return match (&mut woken).await {
                    Ok(Wake::Turn | Wake::End) | Err(_) => Ok(None),
                };
            };
            tokio::select! {
                biased;
                wake = &mut woken => match wake {
                    Ok(Wake::Turn) => return Ok(self.process.take()),
                    Ok(Wake::End) => {
                        self.end().await?;
                        return Ok(None);
                    }
                    // The driver is gone: the process is the next daemon's.
                    Err(_) => return Ok(None),
                },
                () = std::future::ready(()), if grew => {}
                () = until(due) => {
                    process.drop_late_change();
                    self.end_if_idle().await?;
                }
                Some((setting, done)) = asked.recv() => process.set(setting, done).await?,
                change = process.changed(), if process.ending.is_none() => match change? {
                    Change::Ended(ending) => process.ending = Some(ending),
                    Change::Spool { held, .. } => process.room.held(held),
                },
            }
        }
    }

    async fn start(&mut self, from: RestFrom) -> Result<(), TurnFault> {
        match from {
            RestFrom::Nothing => {}
            RestFrom::Warm => self.warm().await?,
            RestFrom::Process(process) => {
                let is_as_asked = process.is_as_asked();
                self.process = Some(process);
                if !is_as_asked {
                    // It was another daemon's, and the settings have changed since.
                    self.end().await?;
                    self.warm().await?;
                }
            }
            RestFrom::Adopt(run) => match self.context.live {
                Some(kind) => self.adopt(kind, run).await?,
                None => self.dispose(run).await?,
            },
        }
        if self.context.live.is_none() {
            self.end().await?;
        }
        Ok(())
    }

    /// Starts a process for the conversation so far.
    async fn warm(&mut self) -> Result<(), TurnFault> {
        let Some(kind) = self.context.live else {
            return Ok(());
        };
        let session = self.context.journal.session(&self.context.session).await?;
        let id = session.and_then(|row| row.agent_session_id);
        let run = RunId::from_uuid(self.context.clock.new_uuid());
        let Some(plan) = Conversation::warm(&self.context, id.as_deref(), run) else {
            return Ok(());
        };
        remember(&self.context, Some(run)).await?;
        crash_point!("live.before_warm");
        let context = Arc::clone(&self.context);
        let mut process = Box::new(LiveProcess::new(context, kind, run, &plan.spec));
        match process.start(&plan).await {
            Ok(()) => self.process = Some(process),
            Err(error) => {
                // The next turn tells of it, if it has to.
                tracing::info!(message = %error.message, "no process could be started ahead");
                remember(&self.context, None).await?;
            }
        }
        self.idle_since = Instant::now();
        Ok(())
    }

    async fn adopt(&mut self, kind: &'static LiveKind, run: RunId) -> Result<(), TurnFault> {
        let turns = self.context.journal.turns(&self.context.session).await?;
        let last = turns.into_iter().rev().find(|turn| turn.run == Some(run));
        let place = last.and_then(|turn| {
            Some(Place {
                offset: turn.offset,
                ordinal: turn.ordinal_next,
                saved: Saved::load(turn.adapter.as_deref()?)?,
                turn: (turn.id, turn.attempt),
            })
        });
        let context = Arc::clone(&self.context);
        let opened = LiveProcess::attach(context, kind, run, place).await?;
        let mut process = Box::new(opened.process);
        if process.is_alive() && process.is_as_asked() {
            tracing::info!(%run, "going on with the process of the daemon before");
            self.process = Some(process);
            return Ok(());
        }
        process.end().await?;
        remember(&self.context, None).await?;
        self.warm().await
    }

    /// Ends what an earlier daemon has left, where this one has no use for it.
    async fn dispose(&mut self, run: RunId) -> Result<(), TurnFault> {
        let dir = self.context.run_dir(run);
        if dir.path().exists()
            && let Attach::Running(mut handle) = sandbox::attach(&dir).await?
            && let Some(control) = handle.control()
        {
            control.stop(Ladder::ORDERLY).await?;
            while !matches!(handle.changed().await?, Change::Ended(_)) {}
        }
        remember(&self.context, None).await
    }

    /// Reads what there is; whether there may be more.
    async fn listen(&mut self) -> Result<bool, TurnFault> {
        let Some(process) = &mut self.process else {
            return Ok(false);
        };
        let grew = process.read()?;
        if grew {
            self.idle_since = Instant::now();
        }
        self.tell().await?;
        Ok(grew)
    }

    /// Stores what was told as the last turn's; before the first turn it waits for that.
    async fn tell(&mut self) -> Result<(), TurnFault> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let Some((turn, attempt)) = process.last_turn else {
            return Ok(());
        };
        let phase = process.dialog().phase();
        let now = Now {
            wall: self.context.clock.wall(),
            tick: clock_ticks(),
        };
        let told: Vec<_> = process.told().collect();
        let course = &mut self.course;
        let news = told
            .into_iter()
            .filter_map(|told| course.told(told, phase, now));
        let events: Vec<Event> = news
            .filter_map(|news| match news {
                News::Event(event) => Some(event),
                News::TakenUp(_) => None,
            })
            .collect();
        if events.is_empty() {
            return Ok(());
        }
        let origin = Origin {
            session: self.context.session.clone(),
            agent: self.context.agent.name,
            turn,
            attempt,
            run: process.run,
        };
        let mut account = Account::new(origin, self.context.clock, Seen::default());
        for event in events {
            account.add(event);
        }
        let is_short = self.context.journal.room().borrow().is_short();
        let batch = account.batch(process, &self.course, is_short)?;
        self.context.journal.commit(batch).await?;
        Ok(())
    }

    /// Says what is to be said; whether there is more to do at once.
    async fn speak(&mut self) -> Result<bool, TurnFault> {
        let Some(process) = &mut self.process else {
            return Ok(false);
        };
        if process.ending.is_some() {
            self.gone().await?;
            return Ok(true);
        }
        if !process.send_due().await? {
            self.end().await?;
            return Ok(true);
        }
        if process.dialog().phase() == Phase::Refused {
            // The next turn hears why.
            self.end().await?;
            return Ok(true);
        }
        let pending = process.dialog().pending();
        let undecided = |asked: &Asked| !self.course.is_decided(&asked.request_id);
        let Some(asked) = pending.into_iter().find(undecided) else {
            return Ok(false);
        };
        self.decide(asked).await?;
        Ok(true)
    }

    /// No turn runs, so nobody is asked.
    async fn decide(&mut self, asked: Asked) -> Result<(), TurnFault> {
        let (answer, by) = match self.context.approval.decide(&asked) {
            Ruling::Allow => (Answer::Allow { input: None }, Answerer::Policy),
            Ruling::Deny { message } => (Answer::Deny { message }, Answerer::Policy),
            Ruling::Ask => {
                let message = "no turn is running, so nobody is asked".to_owned();
                (Answer::Deny { message }, Answerer::Runner)
            }
        };
        let request_id = asked.request_id;
        tracing::info!(%request_id, decision = answer.decision(), "asked between two turns");
        self.course.decide(Answered {
            request_id: request_id.clone(),
            answer: answer.clone(),
            by,
        });
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let event = response(&request_id, answer.decision(), by);
        let command = Command::Answer { request_id, answer };
        if let Ok(frames) = process.dialog().frames(&command) {
            process.tell(event);
            process.send(frames).await?;
        }
        self.tell().await
    }

    /// The process is gone although nobody ended it.
    async fn gone(&mut self) -> Result<(), TurnFault> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        tracing::warn!(run = %process.run, "the agent's process died between two turns");
        let mut choices = self.context.choices.subscribe();
        let was_asked = process.change.take().is_some();
        self.deaths += 1;
        let event = Event::Notice {
            level: NoticeLevel::Warning,
            code: "agent_restarted".to_owned(),
            text: "the agent's process died between two turns; the next one goes on with its \
                   conversation in a new process"
                .to_owned(),
        };
        let id = EventId::derive(process.run.uuid(), process.ordinal);
        let mut batch = Batch::new(&self.context.session, self.context.agent.name)
            .with(Stored::LiveRun { run: None });
        let now = self.context.clock.wall();
        batch.events.push(NewEvent::encode(&event, id, now, None)?);
        self.context.journal.commit(batch).await?;
        if self.deaths <= DEATHS {
            if was_asked {
                // What the dead one did not answer counts from the next process on: from this one.
                // Not waited for, the turn would have to replace that again.
                drop(tokio::time::timeout(CHOICE, choices.changed()).await);
            }
            self.warm().await?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), TurnFault> {
        if let Some(mut process) = self.process.take() {
            process.end().await?;
            remember(&self.context, None).await?;
        }
        Ok(())
    }

    async fn end_if_idle(&mut self) -> Result<(), TurnFault> {
        if self.idle_at().is_some_and(|at| at <= Instant::now()) {
            tracing::info!("the agent's process has been idle; ending it");
            self.end().await?;
        }
        Ok(())
    }

    /// When something is due although nothing happens.
    fn due(&self) -> Option<Instant> {
        let process = self.process.as_ref();
        let change = process.and_then(|process| process.change_due());
        self.idle_at().into_iter().chain(change).min()
    }

    /// When the process is ended if nothing happens. Never while it works.
    fn idle_at(&self) -> Option<Instant> {
        let process = self.process.as_ref()?;
        let rests = process.dialog().phase() == Phase::Resting;
        let limit: Duration = self.context.idle_timeout?;
        rests.then(|| self.idle_since + limit)
    }
}

/// Stores which process is the session's.
async fn remember(context: &TurnContext, run: Option<RunId>) -> Result<(), TurnFault> {
    let batch = Batch::new(&context.session, context.agent.name);
    let batch = batch.with(Stored::LiveRun { run });
    context.journal.commit(batch).await?;
    Ok(())
}
