//! How far a session in loop mode has come, as its `loop_*` events tell it. Pure.

use serde_json::{Map, Value};

use crate::clock::Timestamp;

/// What an event may say of the loop, with the type that answers carry.
const TEXTS: [&str; 6] = [
    "goal",
    "summary",
    "nextAction",
    "loopId",
    "activePrdKey",
    "activePrdTaskId",
];
const NUMBERS: [&str; 3] = ["iteration", "maxIterations", "lastCheckpointAt"];
const FLAGS: [&str; 2] = ["autoContinue", "allowDetached"];
const STATES: [&str; 8] = [
    "idle",
    "starting",
    "running",
    "paused",
    "completed",
    "cancelled",
    "blocked",
    "awaiting_input",
];

/// Whether events of this name tell of the loop.
pub(crate) fn tells(event: &str) -> bool {
    event.starts_with("loop_")
}

/// Takes in one event; its fields stand in its data, or in an object `loop` there.
pub(crate) fn apply(state: &mut Map<String, Value>, event: &str, data: &Value, at: Timestamp) {
    let said = data.get("loop").filter(|inner| inner.is_object());
    let said = said.unwrap_or(data);
    let mut keep = |names: &[&str], fits: fn(&Value) -> bool| {
        for name in names {
            if let Some(value) = said.get(*name).filter(|value| fits(value)) {
                state.insert((*name).to_owned(), value.clone());
            }
        }
    };
    keep(&TEXTS, Value::is_string);
    keep(&NUMBERS, Value::is_number);
    keep(&FLAGS, Value::is_boolean);
    let named = said.get("status").and_then(Value::as_str);
    let status = match event {
        "loop_started" | "loop_resumed" => Some("running"),
        "loop_paused" => Some("paused"),
        "loop_blocked" => Some("blocked"),
        "loop_completed" => Some("completed"),
        "loop_cancelled" => Some("cancelled"),
        _ => named.filter(|status| STATES.contains(status)),
    };
    let now = Value::from(at.millis());
    if let Some(status) = status {
        state.insert("status".into(), status.into());
        if matches!(status, "completed" | "cancelled") {
            state.insert("completedAt".into(), now.clone());
        }
    }
    if event == "loop_started" {
        state.insert("startedAt".into(), now.clone());
        state.remove("completedAt");
    }
    state.insert("updatedAt".into(), now);
}

/// The loop as answers show it: what was asked for, and over it what was told.
pub(crate) fn shown(
    asked: &Map<String, Value>,
    told: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("status".into(), "idle".into());
    shown.insert("iteration".into(), 0.into());
    for key in ["goal", "maxIterations", "autoContinue", "allowDetached"] {
        if let Some(value) = asked.get(key).filter(|value| !value.is_null()) {
            shown.insert(key.into(), value.clone());
        }
    }
    shown.extend(told.cloned().unwrap_or_default());
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_loop_is_shown_as_its_events_tell_it() {
        let mut state = Map::new();
        let at = Timestamp::from_millis;
        apply(&mut state, "loop_started", &json!({"loopId": "l1"}), at(5));
        let update = json!({"loop": {"iteration": 2, "status": "awaiting_input", "summary": 7}});
        apply(&mut state, "loop_state_updated", &update, at(6));
        let asked = json!({"goal": "green", "maxIterations": 9});
        let shown = shown(asked.as_object().unwrap(), Some(&state));
        let expected = json!({
            "status": "awaiting_input", "iteration": 2, "goal": "green", "maxIterations": 9,
            "loopId": "l1", "startedAt": 5, "updatedAt": 6,
        });
        assert_eq!(Value::Object(shown), expected);
        apply(&mut state, "loop_completed", &json!({}), at(7));
        assert_eq!(state["status"], "completed");
        assert_eq!(state["completedAt"], 7);
    }
}
