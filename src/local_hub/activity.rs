//! What a session is doing, as its events tell it. Pure.
//!
//! The same function runs over live events and, when the Hub starts, over the stored ones, so
//! that the two cannot disagree. Deltas do not matter here and are never parsed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::entries::becomes_entry;
use super::loops;
use super::store::Mark;
use crate::clock::Timestamp;
use crate::clock::iso;

/// A session's present state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity {
    /// Whether an agent run is open.
    pub(crate) streaming: bool,
    tasks: Vec<Task>,
    agents: BTreeMap<String, Agent>,
    /// What was told of the session's loop, if it has one.
    pub(crate) loop_state: Option<Map<String, Value>>,
}

/// A sub-agent's piece of work.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    #[serde(rename = "taskId")]
    id: String,
    agent: String,
    status: TaskStatus,
    prompt: String,
    started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum TaskStatus {
    Running,
    Completed,
    Failed,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Agent {
    status: &'static str,
    tool_call_count: u64,
    last_activity: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_tool: Option<String>,
}

/// Whether the store must be able to find events of this name without reading the rest: they
/// make the conversation, or the state kept here.
pub(crate) fn mark(event: &str) -> Mark {
    if becomes_entry(event) || changes_state(event) {
        Mark::Kept
    } else {
        Mark::Passing
    }
}

fn changes_state(event: &str) -> bool {
    loops::tells(event)
        || matches!(
            event,
            "session_start"
                | "session_shutdown"
                | "agent_start"
                | "agent_end"
                | "tool_call"
                | "tool_result"
                | "task_start"
                | "task_complete"
                | "task_error"
        )
}

impl Activity {
    /// Takes in one event; `data` is its JSON text.
    pub(crate) fn apply(&mut self, event: &str, data: &str, at: Timestamp) {
        if !changes_state(event) {
            return;
        }
        match event {
            // A lead that starts anew, or leaves, has no run open.
            "session_start" | "session_shutdown" => return self.interrupt(),
            // Carries every message of the run, and nothing that is needed here.
            "agent_end" => {
                self.streaming = false;
                if let Some(lead) = self.agents.get_mut("lead") {
                    lead.status = "idle";
                    lead.current_tool = None;
                }
                return;
            }
            _ => {}
        }
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        let text = |key: &str| data.get(key).and_then(Value::as_str).map(str::to_owned);
        match event {
            "task_start" => self.tasks.push(Task {
                id: text("taskId").unwrap_or_default(),
                agent: text("agent").unwrap_or_default(),
                status: TaskStatus::Running,
                prompt: text("prompt")
                    .or_else(|| text("description"))
                    .unwrap_or_default(),
                started_at: iso(at),
                completed_at: None,
                duration: None,
                result: None,
                error: None,
            }),
            "task_complete" | "task_error" => {
                let id = text("taskId").unwrap_or_default();
                if let Some(task) = self.tasks.iter_mut().rfind(|task| task.id == id) {
                    task.status = if event == "task_error" {
                        TaskStatus::Failed
                    } else {
                        TaskStatus::Completed
                    };
                    task.completed_at = Some(iso(at));
                    task.duration = data.get("duration").and_then(Value::as_f64);
                    task.result = text("result");
                    task.error = text("error");
                }
            }
            event if loops::tells(event) => {
                let state = self.loop_state.get_or_insert_default();
                loops::apply(state, event, &data, at);
            }
            _ => self.apply_to_agent(event, &data, at),
        }
    }

    fn apply_to_agent(&mut self, event: &str, data: &Value, at: Timestamp) {
        let text = |key: &str| data.get(key).and_then(Value::as_str);
        let name = text("agentName").or_else(|| text("agentRole"));
        let agent = self
            .agents
            .entry(name.unwrap_or("lead").to_owned())
            .or_insert(Agent {
                status: "idle",
                tool_call_count: 0,
                last_activity: at,
                current_tool: None,
            });
        agent.last_activity = at;
        match event {
            "agent_start" => {
                agent.status = "running";
                self.streaming = true;
            }
            "tool_call" => {
                agent.tool_call_count += 1;
                agent.current_tool = text("toolName").map(str::to_owned);
            }
            _ => agent.current_tool = None,
        }
    }

    /// What was running runs no more, and said nothing.
    pub(crate) fn interrupt(&mut self) {
        self.streaming = false;
        for agent in self.agents.values_mut() {
            agent.status = "idle";
            agent.current_tool = None;
        }
        for task in &mut self.tasks {
            if task.status == TaskStatus::Running {
                task.status = TaskStatus::Failed;
                task.error = Some("the lead ended before this task did".into());
            }
        }
    }

    /// The `tasks` of hydration and detail.
    pub(crate) fn tasks(&self) -> Value {
        json!(self.tasks)
    }

    /// How many sub-agent tasks there have been.
    pub(crate) fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// How many agents but the lead have worked.
    pub(crate) fn sub_agent_count(&self) -> usize {
        let mut names: Vec<&str> = self.tasks.iter().map(|task| task.agent.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    }

    /// The `agentActivity` of snapshot and detail.
    pub(crate) fn agents(&self) -> Value {
        json!(self.agents)
    }

    /// The `activeTasks` of a streaming state.
    pub(crate) fn active_tasks(&self) -> Value {
        let running = self
            .tasks
            .iter()
            .filter(|task| task.status == TaskStatus::Running)
            .map(|task| json!({"taskId": task.id, "agent": task.agent}));
        running.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_open_from_its_start_to_its_end() {
        let mut activity = Activity::default();
        let at = Timestamp::from_millis(1);
        activity.apply("agent_start", r#"{"agentName":"lead"}"#, at);
        activity.apply("tool_call", r#"{"toolName":"bash","agentRole":"lead"}"#, at);
        activity.apply(
            "task_start",
            r#"{"taskId":"t","agent":"scout","prompt":"p"}"#,
            at,
        );
        assert!(activity.streaming);
        assert_eq!(activity.agents()["lead"]["toolCallCount"], 1);
        assert_eq!(activity.active_tasks()[0]["taskId"], "t");
        activity.apply(
            "task_complete",
            r#"{"taskId":"t","duration":3,"result":"ok"}"#,
            at,
        );
        activity.apply("agent_end", r#"{"messages":[]}"#, at);
        assert!(!activity.streaming);
        assert_eq!(activity.tasks()[0]["status"], "completed");
        assert_eq!(activity.active_tasks(), json!([]));
    }

    #[test]
    fn a_lead_that_starts_anew_leaves_no_task_running() {
        let mut activity = Activity::default();
        let at = Timestamp::from_millis(1);
        activity.apply("agent_start", "{}", at);
        activity.apply(
            "task_start",
            r#"{"taskId":"t","agent":"a","prompt":""}"#,
            at,
        );
        activity.apply("session_start", "{}", at);
        assert!(!activity.streaming);
        assert_eq!(activity.tasks()[0]["status"], "failed");
    }
}
