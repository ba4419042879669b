//! What the session's participants ask of it, by way of the Hub.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::hub::Command;
use crate::hub::link::{Inbound, LinkHandle, Reply};
use crate::session::{Prompt, Session, SessionError, SessionState};

/// Answers commands until the link is gone.
pub(super) async fn serve(
    session: Session,
    link: Arc<LinkHandle>,
    mut inbound: mpsc::Receiver<Inbound>,
    model: Option<String>,
) {
    // An abort is answered when the agent is idle; other commands must not wait for that.
    let mut aborts = FuturesUnordered::new();
    loop {
        let Inbound { command, reply } = tokio::select! {
            // First the aborts: each is handed to the session before a later command is read.
            biased;
            Some((reply, result)) = aborts.next() => {
                link.respond(reply, result);
                continue;
            }
            inbound = inbound.recv() => match inbound {
                Some(inbound) => inbound,
                None => return,
            },
        };
        let result = match command {
            Command::Abort => {
                let session = session.clone();
                aborts.push(async move { (reply, said(session.abort().await)) });
                continue;
            }
            Command::Prompt(text) | Command::FollowUp(text) => {
                said(session.prompt(prompt(text, &reply)).await)
            }
            Command::Steer(text) => said(session.steer(prompt(text, &reply)).await),
            Command::GetState => Ok(Some(state(&session.state().borrow(), model.as_deref()))),
            Command::Other(name) => Err(format!("`{name}` is not supported by this driver")),
        };
        link.respond(reply, result);
    }
}

fn said<T>(result: Result<T, SessionError>) -> Result<Option<Value>, String> {
    result.map(|_| None).map_err(|error| error.to_string())
}

/// A command that is sent again, after a lost connection say, is done once and answered twice.
fn prompt(text: String, reply: &Reply) -> Prompt {
    Prompt {
        text,
        command_id: reply.unique_id().map(|id| format!("hub:{id}")),
        is_task: false,
    }
}

/// The answer to `get_state`.
fn state(state: &SessionState, model: Option<&str>) -> Value {
    let mut answer = json!({
        "thinkingLevel": "off",
        "isStreaming": state.running.is_some(),
        "isCompacting": false,
        "isWaitingForInput": state.is_idle(),
        "steeringMode": "all",
        "followUpMode": "one-at-a-time",
        "autoCompactionEnabled": true,
        "messageCount": state.prompts,
        "pendingMessageCount": state.queued,
    });
    if let Some(answer) = answer.as_object_mut() {
        if let Some(id) = &state.agent_session {
            answer.insert("sessionId".to_owned(), json!(id));
        }
        if let Some(model) = model {
            answer.insert("model".to_owned(), json!({"id": model, "name": model}));
        }
    }
    answer
}
