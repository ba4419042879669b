//! Sub-agents: a `task` call of the lead and what happens below it.
//!
//! Viewers route by `taskId`, so every event from below carries it, and no other event does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::frame::set;
use super::message::Kind;
use super::sink::Sink;
use super::text::cut;
use super::tools::SOMEBODY;

/// The longest result of a task, in bytes (the official lead's limit in characters).
const MAX_RESULT: usize = 10_000;
/// The longest arguments shown in a progress line, in bytes.
const MAX_PROGRESS_ARGS: usize = 1024;

#[derive(Debug)]
struct Task {
    agent: String,
    started: u64,
}

/// The delegated work that is under way.
#[derive(Debug, Default)]
pub(super) struct SubAgents {
    /// By call id; in order of start, so that closing them is deterministic.
    tasks: Vec<(String, Task)>,
    /// Tool calls below a task: call id → (task id, tool name).
    calls: BTreeMap<String, (String, String)>,
}

impl SubAgents {
    /// A `task` call has begun.
    pub(super) fn start(&mut self, call: &str, args: &Value, out: &mut Sink<'_>) {
        if self.find(call).is_some() {
            return;
        }
        let field = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or_default();
        let agent = field("subagent_type");
        out.state(
            "task_start",
            &json!({
                "taskId": call, "agent": agent,
                "prompt": field("prompt"), "description": field("description"),
            }),
        );
        let task = Task {
            agent: agent.to_owned(),
            started: out.at,
        };
        self.tasks.push((call.to_owned(), task));
    }

    /// A call is over; says so when it was a task.
    pub(super) fn end(&mut self, call: &str, output: &str, is_error: bool, out: &mut Sink<'_>) {
        let Some(at) = self.tasks.iter().position(|(id, _)| id == call) else {
            return;
        };
        let below = self.calls.iter().filter(|(_, (task, _))| task == call);
        let below: Vec<String> = below.map(|(id, _)| id.clone()).collect();
        for id in &below {
            self.call_end(id, out);
        }
        let (id, task) = self.tasks.remove(at);
        for id in &below {
            self.end(id, "interrupted", true, out);
        }
        if is_error {
            out.state(
                "task_error",
                &json!({"taskId": id, "agent": task.agent, "error": cut(output, MAX_RESULT)}),
            );
        } else {
            out.state(
                "task_complete",
                &json!({
                    "taskId": id, "agent": task.agent,
                    "duration": out.at.saturating_sub(task.started),
                    "result": cut(output, MAX_RESULT),
                }),
            );
        }
    }

    /// Everything that is still under way has been interrupted.
    pub(super) fn close(&mut self, out: &mut Sink<'_>) {
        let open: Vec<String> = self.calls.keys().cloned().collect();
        for id in open {
            self.call_end(&id, out);
        }
        while let Some((id, _)) = self.tasks.last() {
            let id = id.clone();
            self.end(&id, "interrupted", true, out);
        }
    }

    /// Who works on `task`.
    pub(super) fn agent(&self, task: &str) -> String {
        self.find(task)
            .map_or(SOMEBODY, |t| t.agent.as_str())
            .to_owned()
    }

    fn find(&self, task: &str) -> Option<&Task> {
        self.tasks.iter().find(|(id, _)| id == task).map(|(_, t)| t)
    }

    /// A tool call below `task` has begun.
    pub(super) fn call_start(
        &mut self,
        (task, call): (&str, &str),
        (name, args): (&str, &Value),
        out: &mut Sink<'_>,
    ) {
        let mut fields = self.progress(task, "tool_start", out.at);
        set(&mut fields, "currentTool", name);
        set(
            &mut fields,
            "currentToolArgs",
            cut(&args.to_string(), MAX_PROGRESS_ARGS),
        );
        out.state("agent_progress", &fields);
        self.calls
            .insert(call.to_owned(), (task.to_owned(), name.to_owned()));
    }

    /// Whether `call` runs below a task.
    pub(super) fn has_call(&self, call: &str) -> bool {
        self.calls.contains_key(call)
    }

    /// A tool call below a task is over.
    pub(super) fn call_end(&mut self, call: &str, out: &mut Sink<'_>) {
        if let Some((task, name)) = self.calls.remove(call) {
            let mut fields = self.progress(&task, "tool_end", out.at);
            set(&mut fields, "currentTool", name);
            out.state("agent_progress", &fields);
        }
    }

    fn progress(&self, task: &str, status: &str, at: u64) -> Value {
        let elapsed = self.find(task).map_or(0, |t| at.saturating_sub(t.started));
        json!({
            "taskId": task, "agentName": self.agent(task), "status": status, "elapsed": elapsed,
        })
    }
}

/// A piece of a sub-agent's text.
pub(super) fn delta(task: &str, agent: &str, kind: Kind, text: &str) -> Value {
    json!({"taskId": task, "agentName": agent, "status": kind.delta(), "delta": text})
}
