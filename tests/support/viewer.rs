//! What every viewer relies on in a lead's frames, whatever happened (`balanced`); and what the
//! frames of a real agent's turn keep besides (`faithful`).
//!
//! Frames are pairs of an event's name and its data, in the order in which they were sent.
#![allow(dead_code)] // each suite uses its part

use std::collections::{HashMap, HashSet};

use serde_json::Value;

type Frames = [(String, Value)];

/// Statuses of `agent_progress` that the official overlay knows.
const STATUSES: [&str; 7] = [
    "running",
    "tool_start",
    "tool_end",
    "completed",
    "failed",
    "thinking_delta",
    "text_delta",
];

/// Opened is closed, one message at a time, ids and stamps are distinct, usage is on each answer.
pub(crate) fn balanced(frames: &Frames) {
    let mut viewer = Viewer::default();
    for (event, data) in frames {
        viewer.see(event, data);
    }
    viewer.is_at_rest();
}

#[derive(Default)]
struct Viewer {
    run: bool,
    turn: bool,
    message: Option<String>,
    tools: HashSet<String>,
    /// By id: whose it is.
    tasks: HashMap<String, Value>,
    calls: i64,
    stamps: HashSet<Option<u64>>,
    ids: HashSet<String>,
}

impl Viewer {
    fn see(&mut self, event: &str, data: &Value) {
        assert_eq!(data["type"], *event);
        assert_eq!(data["agentRole"], "lead");
        assert_eq!(data.get("timestamp").is_some(), event == "turn_start");
        let of_task = event.starts_with("task_") || event == "agent_progress";
        assert_eq!(data.get("taskId").is_some(), of_task, "{event}: {data}");
        match event {
            "agent_start" | "agent_end" => self.run(event, data),
            "turn_start" | "turn_end" => self.turn(event, data),
            "message_start" | "message_update" | "message_end" => self.message(event, data),
            _ if of_task => self.task(event, data),
            _ => self.tool(event, data),
        }
    }

    fn run(&mut self, event: &str, data: &Value) {
        if event == "agent_start" {
            assert!(!std::mem::replace(&mut self.run, true));
            self.stamps.clear();
            return;
        }
        assert!(std::mem::replace(&mut self.run, false) && !self.turn);
        // What a sub-agent does may outlast the model turn that started it.
        assert!(self.tasks.is_empty() && self.calls == 0);
        for message in data["messages"].as_array().unwrap() {
            has_shape(message);
        }
    }

    fn turn(&mut self, event: &str, data: &Value) {
        if event == "turn_start" {
            assert!(self.run && !std::mem::replace(&mut self.turn, true));
            assert!(self.stamps.insert(data["timestamp"].as_u64()));
            return;
        }
        assert!(std::mem::replace(&mut self.turn, false));
        assert!(self.message.is_none() && self.tools.is_empty());
        assert_eq!(data["message"]["role"], "assistant");
        assert!(data["toolResults"].is_array());
    }

    fn message(&mut self, event: &str, data: &Value) {
        let message = &data["message"];
        let id = message["id"].as_str().unwrap().to_owned();
        has_shape(message);
        match event {
            "message_start" => {
                assert!(self.turn && self.message.is_none());
                assert!(self.stamps.insert(message["timestamp"].as_u64()));
                assert!(self.ids.insert(id.clone()));
                self.message = Some(id);
            }
            "message_update" => assert_eq!(self.message, Some(id)),
            _ => assert_eq!(self.message.take(), Some(id)),
        }
    }

    fn tool(&mut self, event: &str, data: &Value) {
        let call = || data["toolCallId"].as_str().unwrap();
        let quiet = self.turn && self.message.is_none();
        match event {
            "tool_execution_start" => {
                assert!(quiet && self.tools.insert(call().to_owned()));
                assert!(data["args"].is_object());
            }
            "tool_execution_update" => assert!(self.tools.contains(call())),
            "tool_call" | "tool_result" => assert!(quiet && self.tools.contains(call())),
            "tool_execution_end" => assert!(quiet && self.tools.remove(call())),
            _ => {}
        }
    }

    fn task(&mut self, event: &str, data: &Value) {
        let id = data["taskId"].as_str().unwrap();
        let (agent, status) = (&data["agent"], data["status"].as_str().unwrap_or_default());
        match event {
            "task_start" => {
                assert!(data["prompt"].is_string() && data["description"].is_string());
                let first = self.tasks.insert(id.to_owned(), agent.clone()).is_none();
                assert!(first && agent.as_str().is_some_and(|name| !name.is_empty()));
            }
            "agent_progress" => {
                assert!(STATUSES.contains(&status) && data["agentName"].is_string());
                self.calls += i64::from(status == "tool_start") - i64::from(status == "tool_end");
            }
            "task_complete" | "task_error" => {
                assert_eq!(self.tasks.remove(id).as_ref(), Some(agent));
                let (says, field) = match event {
                    "task_error" => (true, "error"),
                    _ => (data["duration"].is_u64(), "result"),
                };
                assert!(says && data[field].is_string(), "{data}");
            }
            other => panic!("no viewer knows {other}"),
        }
    }

    fn is_at_rest(&self) {
        assert!(!self.run && !self.turn && self.message.is_none());
        assert!(self.tools.is_empty() && self.tasks.is_empty() && self.calls == 0);
    }
}

/// A message in the shape that viewers index into without looking.
fn has_shape(message: &Value) {
    let content = message["content"].as_array();
    for block in content.unwrap_or_else(|| panic!("no list: {message}")) {
        let fits = match block["type"].as_str() {
            Some("text") => block["text"].is_string(),
            Some("thinking") => block["thinking"].is_string(),
            Some("toolCall") => {
                block["id"].is_string()
                    && block["name"].is_string()
                    && block["arguments"].is_object()
            }
            _ => false,
        };
        assert!(fits, "{block}");
    }
    assert!(message["timestamp"].is_u64());
    match message["role"].as_str().unwrap() {
        "assistant" => {
            for field in ["api", "provider", "model", "stopReason"] {
                assert!(message[field].is_string(), "{field}: {message}");
            }
            let usage = &message["usage"];
            for name in ["input", "output", "cacheRead", "cacheWrite", "totalTokens"] {
                assert!(usage[name].is_u64(), "{message}");
                assert!(name == "totalTokens" || usage["cost"][name].is_number());
            }
            assert!(usage["cost"]["total"].is_number());
        }
        "toolResult" => {
            assert!(message["toolCallId"].is_string() && message["toolName"].is_string());
            assert!(message["isError"].is_boolean());
        }
        role => assert_eq!(role, "user"),
    }
}

/// The frames of turns that an agent has really had: balanced; each call asked for by a message
/// and told in one order, under one id, name and arguments; what viewers read of a tool is there.
pub(crate) fn faithful(frames: &Frames) {
    balanced(frames);
    let mut asked: HashMap<&str, &Value> = HashMap::new();
    let mut last = "";
    for (place, (event, data)) in frames.iter().enumerate() {
        no_null(data);
        let next = frames.get(place + 1).map(|(event, _)| event.as_str());
        match event.as_str() {
            "before_agent_start" => assert_eq!(next, Some("agent_start")),
            "agent_start" => assert!(["before_agent_start", ""].contains(&last), "{last}"),
            "message_end" => {
                let message = &data["message"];
                let blocks = message["content"].as_array().unwrap();
                let calls = blocks.iter().filter(|block| block["type"] == "toolCall");
                let before = asked.len();
                asked.extend(calls.map(|call| (call["id"].as_str().unwrap(), call)));
                if asked.len() > before {
                    assert_eq!(message["stopReason"], "toolUse");
                }
            }
            "tool_execution_start" | "tool_execution_update" => {
                let call = asked[data["toolCallId"].as_str().unwrap()];
                assert_eq!(data["toolName"], call["name"]);
                assert_eq!(data["args"], call["arguments"]);
                if event == "tool_execution_start" {
                    assert_eq!(next, Some("tool_call"));
                    can_be_shown(data);
                }
            }
            "tool_call" => assert_eq!(last, "tool_execution_start"),
            "tool_result" => {
                let call = asked[data["toolCallId"].as_str().unwrap()];
                assert_eq!(
                    (&data["toolName"], &data["input"]),
                    (&call["name"], &call["arguments"])
                );
                assert_eq!(next, Some("tool_execution_end"));
            }
            "tool_execution_end" => {
                assert!(data["result"]["content"].is_array() && data["isError"].is_boolean());
                let message = &frames[place + 1].1["message"];
                assert_eq!(message["role"], "toolResult");
                assert_eq!(message["toolCallId"], data["toolCallId"]);
            }
            _ => {}
        }
        last = event;
    }
}

/// Absent is absent: the official schemas take no null. What a tool is given is the tool's own.
fn no_null(value: &Value) {
    match value {
        Value::Null => panic!("a null"),
        Value::Array(items) => items.iter().for_each(no_null),
        Value::Object(fields) => {
            let own = |name: &&String| ["args", "input", "arguments"].contains(&name.as_str());
            for (name, field) in fields {
                if !own(&name) {
                    no_null(field);
                }
            }
        }
        _ => {}
    }
}

/// The arguments that viewers show of the tools that they know. A call that its CLI has refused as
/// malformed (`error`) may lack them.
fn can_be_shown(data: &Value) {
    let wanted: &[&str] = match data["toolName"].as_str().unwrap() {
        "bash" => &["command"],
        "read" | "write" | "edit" | "ls" => &["path"],
        "grep" | "find" => &["pattern"],
        "task" => &["description", "prompt", "subagent_type"],
        other => {
            let native = [
                "list_directory",
                "invoke_agent",
                "spawn_agent",
                "run_shell_command",
            ];
            assert!(!native.contains(&other), "{other} is known by another name");
            &[]
        }
    };
    let args = data["args"].as_object().unwrap();
    if args.contains_key("error") {
        return;
    }
    for name in wanted {
        let is_there = args.get(*name).is_some_and(Value::is_string);
        assert!(is_there, "{} without {name}: {data}", data["toolName"]);
    }
}
