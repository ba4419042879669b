//! The session driver: the one owner of a session's state.
//!
//! ```text
//!   Hub commands ─┐                              ┌──► turn task (one at a time)
//!   terminal ─────┼─► requests ─► driver ── owns ─┤
//!   signals ──────┘                  │           └──► queue of accepted prompts
//!                                    └─► watch<SessionState>
//! ```
//!
//! A prompt is in the journal before it is acknowledged, and a command id is run once. The driver
//! is the only writer of turn states besides the turn that it has started.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::choosing::{Changing, answered, in_force};
use super::handle::{Prompt, Request, SessionError};
use super::holding::Hold;
use super::state::SessionState;
use crate::agent::live::{Answer, Since};
use crate::event::{Event, NEW_CONVERSATION, NoticeLevel, Outcome};
use crate::ids::{EventId, TurnId};
use crate::journal::{Batch, Change, JournalError, NewEvent, TurnRow, TurnState};
use crate::tasks::Tasks;
use crate::turn::approval::{AnswerError, Answered, Waiting};
use crate::turn::choices::{Choice, Choices};
use crate::turn::{
    LiveProcess, Rest, RestFrom, Showing, Shown, Steering, Turn, TurnCommand, TurnContext, TurnEnd,
    TurnFault,
};

/// What whoever waits for people is told when the turn ends before they answer.
const OVER: &str = "the turn has ended before anybody answered";

pub(super) struct Running {
    turn: TurnId,
    pub(super) commands: mpsc::Sender<TurnCommand>,
    done: JoinHandle<Result<TurnEnd, TurnFault>>,
}

/// A choice, and who made it.
pub(super) type Choosing = (Choice, oneshot::Sender<Result<Since, SessionError>>);

/// The session's driver.
pub(super) struct Driver {
    pub(super) context: Arc<TurnContext>,
    tasks: Tasks,
    pub(super) queue: VecDeque<TurnRow>,
    /// What is not done for now.
    pub(super) hold: Hold,
    pub(super) running: Option<Running>,
    idle_waiters: Vec<oneshot::Sender<Result<(), SessionError>>>,
    /// Who waits for each pause that was asked for; not empty while pausing.
    pausing: Vec<oneshot::Sender<bool>>,
    /// A turn was paused in the middle.
    left_open: bool,
    pub(super) publish: watch::Sender<SessionState>,
    /// What the running turn's agent is doing, as the turn shows it and as it is seen.
    shown: Shown,
    showing: watch::Receiver<Showing>,
    /// The live process while no turn runs.
    pub(super) rest: Option<Rest>,
    /// A choice that the agent's CLI has not answered, and those that wait for that.
    pub(super) changing: Option<Changing>,
    pub(super) choosing: VecDeque<Choosing>,
}

impl Driver {
    /// A session's driver, with the turns that an earlier daemon left open, and its state.
    pub(super) async fn open(
        context: Arc<TurnContext>,
        tasks: &Tasks,
    ) -> Result<(Self, watch::Receiver<SessionState>), SessionError> {
        let workspace = context.workspace.display().to_string();
        let open = Change::OpenSession {
            workspace,
            at: context.clock.wall(),
        };
        context
            .journal
            .commit(Batch::new(&context.session, context.agent.name).with(open))
            .await?;
        crash_point!("session.opened");
        let turns = context.journal.turns(&context.session).await?;
        let row = context.journal.session(&context.session).await?;
        let chosen = row.as_ref().and_then(|row| row.choices.as_deref());
        let choices = chosen.map(Choices::from_json).unwrap_or_default();
        context.choices.send_replace(choices.clone());
        context.approval.set_mode(choices.approve);
        if context.live.is_none() && context.approval.asks() && choices.approve.is_some() {
            return Err(SessionError::NeedsLive);
        }
        let prompts = turns.len();
        let open = turns.into_iter();
        let open = open.filter(|turn| turn.state != TurnState::Ended);
        let queue: VecDeque<_> = open.collect();
        let live_run = row.as_ref().and_then(|row| row.live_run);
        // A turn that is under way goes on with its process itself.
        let from = match live_run {
            Some(run) if queue.iter().any(|turn| turn.run == Some(run)) => RestFrom::Nothing,
            Some(run) => RestFrom::Adopt(run),
            None => RestFrom::Warm,
        };
        let state = SessionState {
            queued: queue.len(),
            prompts,
            agent_session: row.and_then(|row| row.agent_session_id),
            choices,
            in_force: in_force(&context),
            ..SessionState::default()
        };
        let (publish, state) = watch::channel(state);
        let (shown, showing) = Shown::new();
        let rests = context.live.is_some() || live_run.is_some();
        let rest = rests.then(|| Rest::begin(Arc::clone(&context), tasks, from));
        let driver = Self {
            context,
            tasks: tasks.clone(),
            rest,
            queue,
            hold: Hold::Nothing,
            running: None,
            idle_waiters: Vec::new(),
            pausing: Vec::new(),
            left_open: false,
            publish,
            shown,
            showing,
            changing: None,
            choosing: VecDeque::new(),
        };
        Ok((driver, state))
    }

    /// Serves until nobody asks any more, or the session is paused.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) -> Result<(), TurnFault> {
        let mut result = self.serve(&mut inbox).await;
        if let Some(rest) = self.rest.take() {
            result = result.and(rest.end().await);
        }
        self.publish.send_modify(|state| state.stopped = true);
        let open = self.left_open || !self.queue.is_empty();
        for done in self.pausing.drain(..) {
            // Whoever asked for the pause may have gone.
            let _gone = done.send(open);
        }
        result
    }

    async fn serve(&mut self, inbox: &mut mpsc::Receiver<Request>) -> Result<(), TurnFault> {
        let mut showing = self.showing.clone();
        let mut asides = self.context.asides.waiting();
        loop {
            if self.running.is_none() {
                if !self.pausing.is_empty() {
                    return Ok(());
                }
                match self.next_turn() {
                    Some(turn) => self.start_turn(turn),
                    None => self.tell_idle(),
                }
            }
            tokio::select! {
                biased;
                ended = finished(&mut self.running) => {
                    self.turn_ended(ended?).await?;
                    self.choose_next().await;
                }
                answer = answered(&mut self.changing) => self.chosen(answer).await,
                Ok(()) = showing.changed() => {
                    let Showing { doing, mut asked } = showing.borrow_and_update().clone();
                    asked.extend_from_slice(&asides.borrow());
                    self.publish.send_modify(|state| {
                        state.doing = doing;
                        state.asked = asked;
                    });
                }
                Ok(()) = asides.changed() => {
                    let beside = asides.borrow_and_update().clone();
                    self.publish.send_modify(|state| {
                        state.asked.retain(|waiting| waiting.matters.is_empty());
                        state.asked.extend(beside);
                    });
                }
                request = inbox.recv() => match request {
                    Some(request) => self.handle(request).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn start_turn(&mut self, turn: TurnRow) {
        let (commands, orders) = mpsc::channel(TurnCommand::QUEUE);
        let id = turn.id;
        let shown = self.shown.clone();
        let rest = self.rest.take();
        let task = Turn::new(Arc::clone(&self.context), turn, shown, rest).drive(orders);
        let done = self.tasks.spawn("turn", task);
        self.running = Some(Running {
            turn: id,
            commands,
            done,
        });
        let now = self.context.clock.wall();
        self.publish
            .send_modify(|state| state.running = Some((id, now)));
        self.publish_queue();
    }

    async fn turn_ended(&mut self, end: TurnEnd) -> Result<(), TurnFault> {
        crash_point!("session.turn_ended");
        self.context.asides.deny_all(OVER);
        self.left_open = end.outcome.is_none();
        if let Some(ended) = self.running.take()
            && self.left_open
        {
            self.keep_paused(ended.turn).await?;
        }
        self.rest(end.process, end.outcome);
        self.publish.send_modify(|state| {
            state.running = None;
            state.doing = None;
            state.asked.clear();
            if end.agent_session.is_some() {
                state.agent_session = end.agent_session;
            }
            if end.last_seq.is_some() {
                state.last_end = end.last_seq;
            }
        });
        self.publish_queue();
        Ok(())
    }

    /// Until the next turn the live process rests; a new one is made ready where the turn's was
    /// ended with it.
    fn rest(&mut self, process: Option<Box<LiveProcess>>, outcome: Option<Outcome>) {
        let ended_ours = matches!(
            outcome,
            Some(Outcome::Completed | Outcome::Cancelled | Outcome::TimedOut)
        );
        let from = match process {
            Some(process) => RestFrom::Process(process),
            None if self.context.live.is_none() => return,
            None if ended_ours && self.pausing.is_empty() => RestFrom::Warm,
            None => RestFrom::Nothing,
        };
        let context = Arc::clone(&self.context);
        self.rest = Some(Rest::begin(context, &self.tasks, from));
    }

    async fn handle(&mut self, request: Request) -> Result<(), TurnFault> {
        // An asker that has gone needs no answer.
        match request {
            Request::Prompt(prompt, reply) => drop(reply.send(self.accept(prompt).await)),
            Request::Steer(prompt, reply) => drop(reply.send(self.steer(prompt).await)),
            Request::Abort { at_once, done } => {
                // First the agent: without room for events the rest may take a while.
                self.order(TurnCommand::Abort { at_once }).await;
                self.cancel_queue().await?;
                self.idle_waiters.extend(done);
            }
            Request::Answer(answer, done) if self.changes_in_vain(&answer) => {
                let error = AnswerError::FixedInput(self.context.agent.name);
                drop(done.send(Err(error)));
            }
            Request::Answer(answer, done) => {
                let ends = answer.answer == Answer::Stop;
                match (self.context.asides.answer(answer), &self.running) {
                    (Ok(()), _) => {
                        drop(done.send(Ok(())));
                        if ends {
                            self.order(TurnCommand::Abort { at_once: false }).await;
                        }
                    }
                    (Err(answer), Some(running)) => {
                        let order = TurnCommand::Answer { answer, done };
                        drop(running.commands.send(order).await);
                    }
                    (Err(answer), None) => {
                        drop(done.send(Err(AnswerError::NotWaiting(answer.request_id))));
                    }
                }
            }
            Request::Choose(choice, reply) => {
                self.choosing.push_back((choice, reply));
                self.choose_next().await;
            }
            Request::Renew(reply) => {
                // What waits warm knows the old conversation.
                let rested = if self.is_at_rest() {
                    self.rest.take()
                } else {
                    None
                };
                let rests = rested.is_some();
                if let Some(rest) = rested {
                    rest.end().await?;
                }
                drop(reply.send(self.renew().await));
                if rests {
                    let context = Arc::clone(&self.context);
                    self.rest = Some(Rest::begin(context, &self.tasks, RestFrom::Warm));
                }
            }
            Request::Hold(hold) => self.hold_back(hold).await,
            Request::Pause { at_once, done } => {
                self.order(TurnCommand::Pause { at_once }).await;
                self.pausing.push(done);
            }
        }
        Ok(())
    }

    /// Whether an answer gives a call another input, and its agent cannot take one. The answers to
    /// a question are an input too.
    fn changes_in_vain(&self, answered: &Answered) -> bool {
        let changes = matches!(answered.answer, Answer::Allow { input: Some(_) });
        let can_change = self.context.live.is_some_and(|live| live.can_change_input);
        let state = self.publish.borrow();
        let is_it = |waiting: &&Waiting| waiting.asked.request_id == answered.request_id;
        let asked = state.asked.iter().find(is_it);
        let is_aside = asked.is_some_and(|waiting| !waiting.matters.is_empty());
        let is_question = asked.is_some_and(|waiting| waiting.asked.is_question());
        changes && (is_aside || !(can_change || is_question))
    }

    /// Whether the agent can be given that, in the form that the session runs in.
    fn can_be_told(&self, prompt: &Prompt) -> Result<(), SessionError> {
        if prompt.text.trim().is_empty() {
            return Err(SessionError::EmptyPrompt);
        }
        let agent = self.context.agent;
        match (self.context.live, &agent.live) {
            _ if prompt.images.is_empty() => Ok(()),
            (Some(_), _) => Ok(()),
            (None, Some(_)) => Err(SessionError::ImagesNeedLive { agent: agent.name }),
            (None, None) => Err(SessionError::NoImages { agent: agent.name }),
        }
    }

    async fn accept(&mut self, prompt: Prompt) -> Result<TurnId, SessionError> {
        self.can_be_told(&prompt)?;
        if !self.pausing.is_empty() {
            return Err(SessionError::Stopping);
        }
        let turn = TurnId::from_uuid(self.context.clock.new_uuid());
        let queue = Change::QueueTurn {
            turn,
            command_id: prompt.command_id.clone(),
            prompt: prompt.text,
            author: prompt.author,
            images: prompt.images,
            is_task: prompt.is_task,
            at: self.context.clock.wall(),
        };
        self.context
            .journal
            .commit(self.batch().with(queue))
            .await?;
        crash_point!("session.prompt_stored");
        // The same command id again: the journal kept the first.
        let accepted = self.context.journal.accepted_turn(
            &self.context.session,
            turn,
            prompt.command_id.clone(),
        );
        let Some(row) = accepted.await? else {
            return Err(JournalError::Corrupt(format!("turn {turn} was not stored")).into());
        };
        let id = row.id;
        if id == turn {
            self.queue.push_back(row);
            self.publish.send_modify(|state| state.prompts += 1);
            self.publish_queue();
        }
        Ok(id)
    }

    async fn steer(&mut self, prompt: Prompt) -> Result<(), SessionError> {
        self.can_be_told(&prompt)?;
        if let Some(running) = &self.running {
            let (accepted, taken) = oneshot::channel();
            let steer = TurnCommand::Steer {
                message: Steering {
                    text: prompt.text.clone(),
                    images: prompt.images.clone(),
                    prompt_id: prompt.command_id.clone(),
                    author: prompt.author.as_ref().map(ToString::to_string),
                },
                accepted,
            };
            // A turn that has just ended takes no message: it becomes a turn of its own.
            if running.commands.send(steer).await.is_ok() && taken.await.is_ok() {
                return Ok(());
            }
        }
        self.accept(prompt).await.map(drop)
    }

    fn is_at_rest(&self) -> bool {
        self.running.is_none() && self.queue.is_empty()
    }

    async fn renew(&mut self) -> Result<(), SessionError> {
        if !self.is_at_rest() {
            return Err(SessionError::Busy);
        }
        let event = Event::Notice {
            level: NoticeLevel::Info,
            code: NEW_CONVERSATION.to_owned(),
            text: "the agent begins a new conversation with the next prompt".to_owned(),
        };
        let id = EventId::derive(self.context.clock.new_uuid(), 0);
        let at = self.context.clock.wall();
        let notice = NewEvent::encode(&event, id, at, None).map_err(|error| unwritable(&error))?;
        let mut batch = self.batch().with(Change::RenewConversation);
        batch.events.push(notice);
        self.context.journal.commit(batch).await?;
        crash_point!("session.conversation_renewed");
        self.publish.send_modify(|state| state.agent_session = None);
        Ok(())
    }

    /// Every accepted prompt has an honest end, also one that never ran.
    async fn cancel_queue(&mut self) -> Result<(), TurnFault> {
        let paused = self.cancel_paused().await?;
        while let Some(turn) = self.queue.pop_front() {
            let at = self.context.clock.wall();
            let outcome = Outcome::Cancelled;
            let prompt = turn.prompt_event();
            let end = Event::End {
                outcome,
                error: None,
                duration_ms: None,
            };
            let mut batch = self.batch().with(Change::EndTurn {
                turn: turn.id,
                outcome,
                at,
            });
            for (ordinal, event) in [prompt, end].iter().enumerate() {
                let id = EventId::derive(turn.id.uuid(), ordinal as u64);
                batch
                    .events
                    .push(NewEvent::encode(event, id, at, Some((turn.id, 0)))?);
            }
            self.context.journal.commit(batch).await?;
            crash_point!("session.prompt_cancelled");
        }
        self.queue.extend(paused);
        self.publish_queue();
        Ok(())
    }

    pub(super) async fn order(&self, command: TurnCommand) {
        if let Some(running) = &self.running {
            tracing::debug!(turn = %running.turn, ?command, "turn gets an order");
            // A turn that has just ended needs no order.
            drop(running.commands.send(command).await);
        }
    }

    fn tell_idle(&mut self) {
        for waiter in self.idle_waiters.drain(..) {
            // Whoever waited may have gone.
            drop(waiter.send(Ok(())));
        }
    }

    fn publish_queue(&self) {
        self.publish
            .send_modify(|state| state.queued = self.queue.len());
    }

    pub(super) fn batch(&self) -> Batch {
        Batch::new(&self.context.session, self.context.agent.name)
    }
}

/// Plain values always have a JSON form.
pub(super) fn unwritable(error: &serde_json::Error) -> SessionError {
    JournalError::Corrupt(format!("a value has no JSON: {error}")).into()
}

/// The running turn's end; never, while none runs.
async fn finished(running: &mut Option<Running>) -> Result<TurnEnd, TurnFault> {
    match running {
        Some(running) => (&mut running.done).await.map_err(|error| {
            TurnFault::Internal(format!("the turn's task ended unexpectedly: {error}"))
        })?,
        None => std::future::pending().await,
    }
}
