//! How the session stands, as `get_state` and `get_session_stats` say it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::Commands;
use super::thinking::level_of;
use super::told::Told;

/// The most lines of status that are kept: those of the keys that come first stay.
const MAX_STATUSES: usize = 32;

/// Lines of status that the Hub has set, by their keys; clones share them.
#[derive(Debug, Clone, Default)]
pub(in crate::daemon) struct Statuses(Arc<Mutex<BTreeMap<String, String>>>);

impl Statuses {
    /// Sets a line, or takes it away.
    pub(in crate::daemon) fn set(&self, key: String, text: Option<String>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) if lines.len() < MAX_STATUSES || lines.contains_key(&key) => {
                lines.insert(key, text);
            }
            Some(_) => {}
            None => drop(lines.remove(&key)),
        }
    }

    fn to_json(&self) -> Option<Value> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!lines.is_empty()).then(|| json!(*lines))
    }
}

impl Commands {
    pub(super) fn state(&self, told: &Told) -> Value {
        // A copy. The state is looked at below as well, and a second look that is taken within the
        // first waits for ever behind a writer that waits for the first to end.
        let state = self.session.state().borrow().clone();
        let effort = state.choices.effort.as_deref();
        let effort = effort.or(self.context.spec.effort.as_deref());
        let mut answer = json!({
            "thinkingLevel": level_of(effort),
            "isStreaming": state.running.is_some(),
            "isCompacting": false,
            "isWaitingForInput": state.is_idle() || !state.asked.is_empty(),
            "steeringMode": "all",
            "followUpMode": "one-at-a-time",
            "autoCompactionEnabled": true,
            "messageCount": told.history().counts().messages(),
            "pendingMessageCount": state.queued,
            "waitingRequestCount": state.asked.len(),
            "sessionId": state.agent_session.as_deref().unwrap_or(self.context.session.as_str()),
        });
        if let Some(fields) = answer.as_object_mut() {
            let mut set = |name: &str, value: Option<Value>| {
                fields.extend(value.map(|value| (name.to_owned(), value)));
            };
            set(
                "sessionName",
                state.choices.name.as_ref().map(|name| json!(name)),
            );
            set("model", self.model(told));
            set("statuses", self.statuses.to_json());
        }
        answer
    }

    pub(super) fn stats(&self, told: &Told) -> Value {
        let counts = told.history().counts();
        let [input, output, cache_read, cache_write] = counts.tokens;
        let state = self.session.state();
        let session = state.borrow().agent_session.clone();
        let mut answer = json!({
            "sessionId": session.as_deref().unwrap_or(self.context.session.as_str()),
            "userMessages": counts.user,
            "assistantMessages": counts.assistant,
            "toolCalls": counts.calls,
            "toolResults": counts.results,
            "totalMessages": counts.messages(),
            "tokens": {
                "input": input, "output": output,
                "cacheRead": cache_read, "cacheWrite": cache_write,
                "total": input + output + cache_read + cache_write,
            },
            "cost": counts.cost,
        });
        if let (Some((used, window)), Some(fields)) =
            (told.history().context(), answer.as_object_mut())
        {
            fields.insert("contextUsage".to_owned(), usage(used, window).into());
        }
        answer
    }
}

/// How full the context is. A share of an unknown size is unknown.
fn usage(used: u64, window: Option<u64>) -> Map<String, Value> {
    let mut usage = Map::new();
    usage.insert("tokens".to_owned(), used.into());
    if let Some(window) = window.filter(|window| *window > 0) {
        usage.insert("contextWindow".to_owned(), window.into());
        #[allow(clippy::cast_precision_loss)] // a percentage
        let percent = used as f64 * 100.0 / window as f64;
        usage.insert("percent".to_owned(), percent.into());
    }
    usage
}
