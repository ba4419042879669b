//! Calls of the Hub's own tools: asked once, on one connection, and answered or lost with it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::hub::inbound::{Actions, Confirm};

/// Calls on one connection that wait for their answers; more are told that the Hub is busy.
const MAX_CALLS: usize = 64;

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The request's id, given once in the world.
    pub id: String,
    /// The tool, as the Hub calls it.
    pub name: String,
    /// The agent's own id of the call, where its CLI has told it.
    pub told_as: Option<String>,
    /// Its arguments: an object.
    pub params: Value,
}

/// What the Hub has answered.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolAnswer {
    /// It was done, with this result; none where it gives none.
    Done(Option<Value>),
    /// It was not done, for this reason.
    Refused(String),
    /// The model gets the result when people have consented.
    Confirm(Vec<Confirm>, Option<Value>),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody was asked.
    #[error("the Hub is not connected: the tool was not run; try again later")]
    Away,
    /// The connection ended before the answer.
    #[error("the connection to the Hub was lost: whether the tool was run is not known")]
    Lost,
    /// It took too long.
    #[error("the Hub has not answered within {} s: whether the tool was run is not known", .0.as_secs())]
    Late(Duration),
}

/// A call on its way to the socket.
#[derive(Debug)]
pub(super) struct ToolRequest {
    pub(super) call: ToolCall,
    pub(super) answer: oneshot::Sender<ToolAnswer>,
}

/// Calls that were sent on a connection and wait.
#[derive(Debug, Default)]
pub(super) struct Calls(HashMap<String, oneshot::Sender<ToolAnswer>>);

impl Calls {
    /// Notes a call; its frame. None where nobody waits for it any more, or too many wait.
    pub(super) fn begin(&mut self, request: ToolRequest) -> Option<String> {
        let ToolRequest { call, answer } = request;
        self.0.retain(|_, waiting| !waiting.is_closed());
        if answer.is_closed() {
            return None;
        }
        if self.0.len() >= MAX_CALLS {
            let busy = "too many of the Hub's tools are at work; wait for one to end".to_owned();
            // Whoever asked may be gone.
            drop(answer.send(ToolAnswer::Refused(busy)));
            return None;
        }
        let ToolCall {
            id,
            name,
            told_as,
            params,
        } = call;
        let call_id = told_as.unwrap_or_else(|| id.clone());
        let frame = json!({"id": id, "type": "tool", "name": name, "toolCallId": call_id,
            "params": params});
        self.0.insert(id, answer);
        Some(frame.to_string())
    }

    /// Hands the answer over, if it is to a call; what else it says stays in `actions`.
    pub(super) fn answered(&mut self, id: &str, actions: &mut Actions) -> bool {
        let Some(waiting) = self.0.remove(id) else {
            return false;
        };
        let confirm = std::mem::take(&mut actions.confirm);
        let returned = actions.returned.take();
        let answer = match actions.block.take() {
            Some(reason) => ToolAnswer::Refused(reason),
            None if confirm.is_empty() => ToolAnswer::Done(returned),
            None => ToolAnswer::Confirm(confirm, returned),
        };
        // Whoever asked may be gone.
        drop(waiting.send(answer));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(calls: &mut Calls, id: &str) -> (Option<String>, oneshot::Receiver<ToolAnswer>) {
        let (answer, answered) = oneshot::channel();
        let call = ToolCall {
            id: id.to_owned(),
            name: "memory_recall".to_owned(),
            told_as: Some("toolu_1".to_owned()),
            params: json!({"query": "herons"}),
        };
        (calls.begin(ToolRequest { call, answer }), answered)
    }

    #[test]
    fn a_call_gets_what_is_returned_to_it_and_nothing_of_others() {
        let mut calls = Calls::default();
        let (frame, mut answered) = begun(&mut calls, "a");
        let frame: Value = serde_json::from_str(&frame.unwrap()).unwrap();
        assert_eq!(frame["toolCallId"], "toolu_1");
        let mut actions = Actions {
            returned: Some(json!({"found": 2})),
            ..Actions::default()
        };
        assert!(!calls.answered("b", &mut actions));
        assert!(calls.answered("a", &mut actions));
        assert!(actions.is_plain(), "nothing is left to be done");
        let done = ToolAnswer::Done(Some(json!({"found": 2})));
        assert_eq!(answered.try_recv().unwrap(), done);
    }

    #[test]
    fn a_result_that_people_have_to_consent_to_waits_for_them_unless_it_is_refused() {
        let mut calls = Calls::default();
        let (_, mut answered) = begun(&mut calls, "a");
        let confirm = Confirm {
            title: "Sure?".to_owned(),
            message: "m".to_owned(),
            deny_reason: None,
        };
        let mut actions = Actions {
            confirm: vec![confirm.clone()],
            returned: Some(json!("found")),
            ..Actions::default()
        };
        assert!(calls.answered("a", &mut actions) && actions.is_plain());
        let waits = ToolAnswer::Confirm(vec![confirm.clone()], Some(json!("found")));
        assert_eq!(answered.try_recv().unwrap(), waits);
        let (_, mut answered) = begun(&mut calls, "b");
        let mut actions = Actions {
            confirm: vec![confirm],
            block: Some("no".to_owned()),
            ..Actions::default()
        };
        calls.answered("b", &mut actions);
        let refused = ToolAnswer::Refused("no".to_owned());
        assert_eq!(answered.try_recv().unwrap(), refused);
    }

    #[test]
    fn calls_are_bounded_and_those_of_nobody_are_not_sent() {
        let mut calls = Calls::default();
        let waiting: Vec<_> = (0..MAX_CALLS)
            .map(|n| begun(&mut calls, &n.to_string()))
            .collect();
        let (frame, mut answered) = begun(&mut calls, "one more");
        assert_eq!(frame, None);
        assert!(matches!(answered.try_recv(), Ok(ToolAnswer::Refused(_))));
        drop(waiting);
        assert!(
            begun(&mut calls, "later").0.is_some(),
            "there is room again"
        );
    }
}
