//! A handle to a running session: what it can be asked, and its state.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::driver::Driver;
use super::holding::Hold;
use super::state::SessionState;
use crate::agent::live::Since;
use crate::config::Author;
use crate::ids::TurnId;
use crate::image::Image;
use crate::journal::JournalError;
use crate::tasks::Tasks;
use crate::turn::approval::{AnswerError, Answered};
use crate::turn::choices::Choice;
use crate::turn::{NotSet, TurnContext, TurnFault};

/// Requests that may wait for the driver, which answers each within a journal commit; more than a
/// handful means that somebody floods us, and then they wait.
const REQUESTS: usize = 64;

/// Something that the agent is asked to do.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// What is asked.
    pub text: String,
    /// On whose behalf, where the asker says so: who authors the commits of its turn. A message
    /// that a running turn takes is told with its own, and leaves that turn's as it is.
    pub author: Option<Author>,
    /// The images that go with it, as many as one prompt takes ([`crate::image::all`]).
    pub images: Vec<Image>,
    /// The asker's own id: the same id twice does one thing.
    pub command_id: Option<String>,
    /// Whether this is the session's first task, which runs once in the session's life.
    pub is_task: bool,
}

/// Why a request could not be honoured.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nothing was asked.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The daemon is going.
    #[error("the session is stopping; send it again when the daemon is back")]
    Stopping,
    /// A turn runs or waits.
    #[error("the session is at work; abort it or wait until it rests")]
    Busy,
    /// What was chosen is nothing that the agent's CLI could be given.
    #[error("{0}")]
    Unfit(String),
    /// Consent needs an agent that can be answered while it works.
    #[error(
        "consent needs the agent's live form, and this session runs in its exec form: start one with \
         `--mode live`"
    )]
    NeedsLive,
    /// The agent's other form takes images.
    #[error(
        "{agent} takes images in its live form only, and this session runs in its exec form: start \
         one with `--mode live`, or have the agent read the image from a file"
    )]
    ImagesNeedLive {
        /// The agent.
        agent: &'static str,
    },
    /// The agent has no form that takes images.
    #[error(
        "{agent} takes no images with a prompt here; claude, codex, opencode and gemini do, in their \
         live forms"
    )]
    NoImages {
        /// The agent.
        agent: &'static str,
    },
    /// The CLI was asked for it, and all is as it was.
    #[error("{agent} was not changed: {why}")]
    NotSet {
        /// The agent.
        agent: &'static str,
        /// What its CLI says, or that it says nothing.
        why: NotSet,
    },
    /// What was accepted would not be durable.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What the driver is asked.
pub(super) enum Request {
    Prompt(Prompt, oneshot::Sender<Result<TurnId, SessionError>>),
    Steer(Prompt, oneshot::Sender<Result<(), SessionError>>),
    Abort {
        at_once: bool,
        done: Option<oneshot::Sender<Result<(), SessionError>>>,
    },
    Pause {
        at_once: bool,
        done: oneshot::Sender<bool>,
    },
    Answer(Answered, oneshot::Sender<Result<(), AnswerError>>),
    Choose(Choice, oneshot::Sender<Result<Since, SessionError>>),
    Renew(oneshot::Sender<Result<(), SessionError>>),
    Hold(Hold),
}

/// A handle to a running session; clones share it.
#[derive(Debug, Clone)]
pub struct Session {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<SessionState>,
}

impl Session {
    /// Starts the driver; turns that an earlier daemon left open go on first.
    pub async fn start(
        context: Arc<TurnContext>,
        tasks: &Tasks,
    ) -> Result<(Self, JoinHandle<Result<(), TurnFault>>), SessionError> {
        let (driver, state) = Driver::open(context, tasks).await?;
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let task = tasks.spawn("session-driver", driver.run(inbox));
        Ok((Self { requests, state }, task))
    }

    /// Queues a prompt; it is durable when this returns.
    pub async fn prompt(&self, prompt: Prompt) -> Result<TurnId, SessionError> {
        self.ask(|reply| Request::Prompt(prompt, reply)).await
    }

    /// Gives a message to the running turn, or queues it where none runs.
    pub async fn steer(&self, prompt: Prompt) -> Result<(), SessionError> {
        self.ask(|reply| Request::Steer(prompt, reply)).await
    }

    /// Cancels the running turn and those that wait; returns when nothing runs any more.
    pub async fn abort(&self) -> Result<(), SessionError> {
        self.ask(|done| Request::Abort {
            at_once: false,
            done: Some(done),
        })
        .await
    }

    /// Cancels like [`Session::abort`] without waiting. `at_once`: without giving the CLI time to
    /// put its own session in order.
    pub async fn cancel(&self, at_once: bool) {
        // A driver that is gone has nothing left to cancel.
        drop(
            self.requests
                .send(Request::Abort {
                    at_once,
                    done: None,
                })
                .await,
        );
    }

    /// Interrupts the running turn and leaves it open for the next daemon; whether any turn is
    /// left open. `at_once`: without giving the CLI time to put its own session in order.
    pub async fn pause(&self, at_once: bool) -> bool {
        let (done, paused) = oneshot::channel();
        // A driver that is gone has nothing left to pause.
        self.requests
            .send(Request::Pause { at_once, done })
            .await
            .is_ok()
            && paused.await.unwrap_or(false)
    }

    /// Answers a request that waits ([`SessionState::asked`]); the first answer counts, and is
    /// durable when this returns.
    pub async fn answer(&self, answer: Answered) -> Result<(), AnswerError> {
        let (done, answered) = oneshot::channel();
        let request_id = answer.request_id.clone();
        self.requests
            .send(Request::Answer(answer, done))
            .await
            .map_err(|_| AnswerError::Stopping)?;
        match answered.await {
            Ok(result) => result,
            // A turn that has just ended drops its orders: nothing waits any more.
            Err(_) if !self.state.borrow().stopped => Err(AnswerError::NotWaiting(request_id)),
            Err(_) => Err(AnswerError::Stopping),
        }
    }

    /// Lets this choice count; durable when it returns, with from when on it does. A live process
    /// that can takes it up at once, and where its CLI refuses nothing is changed.
    pub async fn choose(&self, choice: Choice) -> Result<Since, SessionError> {
        self.ask(|reply| Request::Choose(choice, reply)).await
    }

    /// Lets the next turn begin a conversation of the agent's CLI anew. Only at rest.
    pub async fn renew(&self) -> Result<(), SessionError> {
        self.ask(Request::Renew).await
    }

    /// Holds the session back, or lets it go on.
    pub async fn hold(&self, hold: Hold) {
        // A driver that is gone does nothing any more.
        drop(self.requests.send(Request::Hold(hold)).await);
    }

    /// The state, and news of it.
    pub fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, SessionError>>) -> Request,
    ) -> Result<T, SessionError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| SessionError::Stopping)?;
        answer.await.map_err(|_| SessionError::Stopping)?
    }
}
