//! What the session's participants ask of it, by way of the Hub.
//!
//! Every command is answered, truthfully: success means that it is done, or that what it asks for
//! is durable; what cannot be done is refused with the reason. A command that changes something and
//! comes twice under the same id, after a lost connection say, is done once and answered twice.

mod bash;
mod models;
mod recent;
mod state;
mod thinking;
mod told;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::bash::Shell;
use self::recent::Recent;
use self::told::Told;
use crate::agent::{COMPACT, Compacts};
use crate::hub::link::{Inbound, LinkHandle, Reply};
use crate::hub::rest::RestClient;
use crate::hub::{Command, Said};
use crate::ids::SessionId;
use crate::session::{Prompt, Session, SessionError};
use crate::turn::TurnContext;
use crate::turn::choices::Choice;

pub(in crate::daemon) use bash::clear;
pub(in crate::daemon) use state::Statuses;

/// What a command is answered with.
type Answer = Result<Option<Value>, String>;

/// The session's side of its participants' commands.
pub(in crate::daemon) struct Commands {
    pub(in crate::daemon) session: Session,
    pub(in crate::daemon) link: Arc<LinkHandle>,
    pub(in crate::daemon) context: Arc<TurnContext>,
    /// Lines of status that the Hub has set.
    pub(in crate::daemon) statuses: Statuses,
    /// Where the session's name is changed for everybody.
    pub(in crate::daemon) rest: RestClient,
}

/// How long a controller's command may take to end when the session ends.
const LEAVE: Duration = Duration::from_secs(4);

/// Commands under way that others must not wait for.
type Slow = FuturesUnordered<BoxFuture<'static, (Reply, Answer)>>;

impl Commands {
    /// Answers commands until the link is gone.
    pub(in crate::daemon) async fn serve(self, mut inbound: mpsc::Receiver<Inbound>) {
        let mut told = Told::default();
        let mut recent = Recent::default();
        let shell = Shell::new(Arc::clone(&self.context));
        let mut slow = Slow::new();
        loop {
            let Inbound { command, reply } = tokio::select! {
                // First what was begun: an abort is handed to the session before a later command
                // is read.
                biased;
                Some((reply, answer)) = slow.next() => {
                    recent.done(&reply, &answer);
                    self.link.respond(reply, answer);
                    continue;
                }
                inbound = inbound.recv() => match inbound {
                    Some(inbound) => inbound,
                    None => break,
                },
            };
            if let Some(answer) = recent.begin(&reply) {
                self.link.respond(reply, answer);
                continue;
            }
            if command == Command::AbortBash {
                let none = || Err("no command runs".to_owned());
                let answer = if shell.abort() { Ok(None) } else { none() };
                recent.done(&reply, &answer);
                self.link.respond(reply, answer);
                continue;
            }
            let command = match self.begin(command, &shell) {
                Ok(task) => {
                    slow.push(Box::pin(async move { (reply, task.await) }));
                    continue;
                }
                Err(command) => command,
            };
            let answer = match self.change(command, &reply).await {
                Ok(answer) => answer,
                Err(command) => self.tell(command, &mut told).await,
            };
            recent.done(&reply, &answer);
            self.link.respond(reply, answer);
        }
        // Nobody is left to answer, and nothing of theirs stays behind.
        shell.abort();
        let rest = async { while slow.next().await.is_some() {} };
        if tokio::time::timeout(LEAVE, rest).await.is_err() {
            tracing::warn!("a command of a controller may still run");
        }
    }

    /// Begins what takes its time; gives other commands back.
    fn begin(
        &self,
        command: Command,
        shell: &Shell,
    ) -> Result<BoxFuture<'static, Answer>, Command> {
        let session = self.session.clone();
        Ok(match command {
            Command::Abort => Box::pin(async move { said(session.abort().await) }),
            Command::NewSession => Box::pin(async move {
                session.abort().await.map_err(|error| error.to_string())?;
                session.renew().await.map_err(|error| error.to_string())?;
                Ok(Some(json!({"cancelled": false})))
            }),
            Command::SetName(name) => {
                let id = self.context.session.clone();
                Box::pin(rename(session, self.rest.clone(), name, id))
            }
            Command::Bash(command) => shell.run(command),
            other => return Err(other),
        })
    }

    /// Does what changes the session; gives other commands back.
    async fn change(&self, command: Command, reply: &Reply) -> Result<Answer, Command> {
        let session = &self.session;
        Ok(match command {
            Command::Prompt(asked) | Command::FollowUp(asked) => {
                said(session.prompt(prompt(asked, reply)).await)
            }
            Command::Steer(asked) => said(session.steer(prompt(asked, reply)).await),
            Command::Compact(instructions) => self.compact(instructions, reply).await,
            Command::SetThinking(level) => self.set_thinking(&level).await,
            Command::CycleThinking => self.cycle_thinking().await,
            other => return Err(other),
        })
    }

    /// Answers what only asks, and what has to know what was said.
    async fn tell(&self, command: Command, told: &mut Told) -> Answer {
        match command {
            Command::GetMessages { before, limit } => {
                told.messages(&self.context, before, limit).await
            }
            Command::Fixed { agrees: true, .. } => Ok(None),
            Command::Fixed { agrees: false, is } => Err(format!("cannot be changed: {is}")),
            Command::GetCommands => Ok(Some(json!({"commands": []}))),
            Command::GetForkMessages => Ok(Some(json!({"messages": []}))),
            Command::Other(name) => Err(format!("this driver does not support `{name}`")),
            known => {
                told.catch_up(&self.context).await?;
                self.tell_of(known, told).await
            }
        }
    }

    async fn tell_of(&self, command: Command, told: &Told) -> Answer {
        match command {
            Command::GetState => Ok(Some(self.state(told))),
            Command::GetStats => Ok(Some(self.stats(told))),
            Command::GetLastText => Ok(Some(json!({"text": told.history().last_text()}))),
            Command::GetModels => Ok(Some(json!({"models": self.models(told)}))),
            Command::SetModel { provider, model } => {
                self.set_model(provider.as_deref(), model, told).await
            }
            Command::CycleModel => self.cycle_model(told).await,
            other => Err(format!("not to be answered here: {other:?}")),
        }
    }

    /// A CLI that can be told so takes its own command as a prompt.
    async fn compact(&self, instructions: Option<String>, reply: &Reply) -> Answer {
        let agent = self.context.agent;
        let text = match (agent.compacts, instructions) {
            (Compacts::Never(why), _) => {
                return Err(format!(
                    "{} shortens its context by itself, and not when it is told to: {why}",
                    agent.name
                ));
            }
            (Compacts::Live, _) if self.context.live.is_none() => {
                return Err(format!(
                    "{} shortens its context when it is told to in its live form only, and this \
                     session runs in its exec form: start one with `--mode live`",
                    agent.name
                ));
            }
            (Compacts::Live, Some(_)) => {
                return Err(format!(
                    "{} takes no instructions for that: send `compact` without \
                     `customInstructions`",
                    agent.name
                ));
            }
            (Compacts::AsAsked, Some(instructions)) => format!("{COMPACT} {instructions}"),
            (Compacts::AsAsked | Compacts::Live, None) => COMPACT.to_owned(),
        };
        let asked = Said {
            text,
            author: None,
            images: Vec::new(),
        };
        said(self.session.prompt(prompt(asked, reply)).await)
    }
}

/// The session is called so at the Hub, and from then on here.
async fn rename(session: Session, rest: RestClient, name: String, id: SessionId) -> Answer {
    let renamed = rest.rename(&id, &name).await;
    renamed.map_err(|error| format!("the Hub does not take the name: {error}"))?;
    said(session.choose(Choice::Name(name)).await)
}

fn said<T>(result: Result<T, SessionError>) -> Answer {
    result.map(|_| None).map_err(|error| error.to_string())
}

/// A prompt that is sent again is durable under its id.
fn prompt(asked: Said, reply: &Reply) -> Prompt {
    Prompt {
        text: asked.text,
        author: asked.author,
        images: asked.images,
        command_id: reply.unique_id().map(|id| format!("hub:{id}")),
        is_task: false,
    }
}
