//! The Hub wants people to consent before the model gets what one of its tools has given.
//!
//! Every request that is told has an end that is told, once: by this daemon, also when it goes, or
//! where it dies by the next one ([`end_left`]).

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::SERVER;
use crate::agent::live::{Answer, Asked};
use crate::clock::{Clock, Timestamp};
use crate::event::{Envelope, Event};
use crate::hub::Confirm;
use crate::hub::link::ToolCall;
use crate::ids::{EventId, Seq};
use crate::journal::{Batch, JournalError, NewEvent};
use crate::turn::TurnContext;
use crate::turn::approval::{Answered, Answerer, Matter, Waiting};

/// How long people are waited for at most: a CLI waits for its tools only so long.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);
/// What the model is told where nobody says anything else.
const DENIED: &str = "Denied by user";
/// … and where the daemon goes. No model hears it: the connection is gone by then.
const GOING: &str = "the daemon is going";
/// What the ids of these requests begin with.
const PREFIX: &str = "hub-tool:";

/// Asks the session's people.
pub(super) struct People<'a> {
    pub(super) context: &'a TurnContext,
    pub(super) clock: Clock,
}

impl People<'_> {
    /// Waits for their word on a call; why it is refused, if it is. The request and the answer are
    /// events, as is that nobody waits any more because the daemon goes.
    pub(super) async fn consent(
        &self,
        call: &ToolCall,
        confirm: Vec<Confirm>,
        going: &CancellationToken,
    ) -> Result<(), String> {
        let limit = self.context.approval.limit();
        let limit = limit.map_or(PATIENCE, |limit| limit.min(PATIENCE));
        let since = self.clock.wall();
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let asked = asked(call, self.shown(call, &confirm));
        let denied = confirm
            .iter()
            .find_map(|confirm| confirm.deny_reason.clone());
        let request_id = asked.request_id.clone();
        self.tell(&asked.event()).await;
        crash_point!("hub_tools.asked");
        let waiting = Waiting {
            asked,
            since,
            until: Some(Timestamp::from_millis(
                since.millis().saturating_add(millis),
            )),
            matters: confirm.into_iter().map(matter).collect(),
        };
        let asking = self.context.asides.ask(waiting, limit);
        let (decision, by, result) = match going.run_until_cancelled(asking).await {
            Some(answered) => judged(answered, denied),
            None => ("cancel", Answerer::Runner, Err(GOING.to_owned())),
        };
        self.tell(&response(request_id, decision, by)).await;
        result
    }

    /// What people see of it, without secrets.
    fn shown(&self, call: &ToolCall, confirm: &[Confirm]) -> Value {
        let matters = confirm.iter();
        let matters = matters.map(|c| json!({"title": c.title, "message": c.message}));
        let matters: Vec<Value> = matters.collect();
        let shown = json!({"confirm": matters, "arguments": call.params}).to_string();
        let masked = self.context.redactor.text(shown.as_bytes());
        serde_json::from_slice(&masked).unwrap_or_default()
    }

    /// What cannot be stored is in the log at least; the answer counts all the same.
    async fn tell(&self, event: &Event) {
        if let Err(error) = self.store(event).await {
            tracing::warn!(%error, "a request for consent is not among the events");
        }
    }

    async fn store(&self, event: &Event) -> Result<(), JournalError> {
        let mut batch = Batch::new(&self.context.session, self.context.agent.name);
        batch.events.push(encoded(event, self.clock)?);
        self.context.journal.commit(batch).await.map(drop)
    }
}

/// Ends the requests that an earlier daemon has told and nobody waits for any more.
pub(super) async fn end_left(context: &TurnContext, clock: Clock) -> Result<(), JournalError> {
    let mut batch = Batch::new(&context.session, context.agent.name);
    for request_id in left(context).await? {
        let ended = response(request_id, "cancel", Answerer::Runner);
        batch.events.push(encoded(&ended, clock)?);
    }
    if !batch.events.is_empty() {
        context.journal.commit(batch).await?;
    }
    Ok(())
}

/// The ids of requests without an answer, the oldest first. One waits no longer than its turn: no
/// more than the last two turns are looked at, the last of which may have begun at that moment.
async fn left(context: &TurnContext) -> Result<Vec<String>, JournalError> {
    let (journal, session) = (&context.journal, &context.session);
    let last = journal.last_seq(session).await?;
    let mut after = last;
    for _ in 0..2 {
        let Some(at) = Seq::new(after) else { break };
        let first = journal.turn_start(session, at).await?;
        after = first.map_or(0, |first| first.get() - 1);
    }
    let mut open = Vec::new();
    let mut tail = journal.tail(session, after);
    while tail.position() < last {
        let Some(batch) = tail.try_next().await? else {
            break;
        };
        batch.lines().for_each(|line| note(line, &mut open));
    }
    Ok(open)
}

/// Notes a request that is told in a line, or takes one out that is answered there.
fn note(line: &[u8], open: &mut Vec<String>) {
    // Most lines are something else: not worth being parsed.
    if memchr::memmem::find(line, PREFIX.as_bytes()).is_none() {
        return;
    }
    match Envelope::parse(line).map(|envelope| envelope.event) {
        Ok(Event::PermissionRequest { request_id, .. }) if request_id.starts_with(PREFIX) => {
            open.push(request_id);
        }
        Ok(Event::PermissionResponse { request_id, .. }) => open.retain(|id| *id != request_id),
        _ => {}
    }
}

fn encoded(event: &Event, clock: Clock) -> Result<NewEvent, JournalError> {
    let id = EventId::derive(clock.new_uuid(), 0);
    NewEvent::encode(event, id, clock.wall(), None)
        .map_err(|error| JournalError::Corrupt(error.to_string()))
}

fn response(request_id: String, decision: &str, by: Answerer) -> Event {
    Event::PermissionResponse {
        request_id,
        decision: decision.to_owned(),
        by: by.name().to_owned(),
    }
}

fn asked(call: &ToolCall, input: Value) -> Asked {
    Asked {
        request_id: format!("{PREFIX}{}", call.id),
        call_id: call.told_as.clone(),
        tool: format!("mcp__{SERVER}__{}", call.name),
        input,
    }
}

fn matter(confirm: Confirm) -> Matter {
    Matter {
        title: confirm.title,
        message: confirm.message,
        deny_reason: confirm.deny_reason,
    }
}

/// What an answer, or none in time, comes to: its decision, by whom, and why the model gets nothing.
fn judged(
    answered: Option<Answered>,
    denied: Option<String>,
) -> (&'static str, Answerer, Result<(), String>) {
    let Some(Answered { answer, by, .. }) = answered else {
        let late = || "nobody has confirmed it in time".to_owned();
        return ("deny", Answerer::Timeout, Err(denied.unwrap_or_else(late)));
    };
    let decision = answer.decision();
    let result = match answer {
        Answer::Allow { .. } => Ok(()),
        Answer::Deny { message } => Err(message),
        Answer::Stop => Err(denied.unwrap_or_else(|| DENIED.to_owned())),
    };
    (decision, by, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_no_consent_and_the_hubs_reason_goes_to_the_model() {
        let (decision, by, result) = judged(None, Some("ask again".to_owned()));
        assert_eq!((decision, by), ("deny", Answerer::Timeout));
        assert_eq!(result, Err("ask again".to_owned()));
        let answered = |answer| {
            Some(Answered {
                request_id: "r".to_owned(),
                answer,
                by: Answerer::Local,
            })
        };
        let (decision, _, result) = judged(answered(Answer::Allow { input: None }), None);
        assert_eq!((decision, result), ("allow", Ok(())));
        let (decision, _, result) = judged(answered(Answer::Stop), None);
        assert_eq!((decision, result), ("cancel", Err(DENIED.to_owned())));
    }
}
