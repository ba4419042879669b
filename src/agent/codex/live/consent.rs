//! Requests that somebody has to decide on, and how an answer is put.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::work::Work;
use crate::agent::codex::command;
use crate::agent::live::{Answer, Asked};

const COMMAND: &str = "item/commandExecution/requestApproval";
const FILES: &str = "item/fileChange/requestApproval";
const PERMISSIONS: &str = "item/permissions/requestApproval";
const QUESTION: &str = "item/tool/requestUserInput";

/// Of an MCP server, and of Codex itself before it calls a server's tool.
const SERVER: &str = "mcpServer/elicitation/request";

const CONSENT: &[&str] = &[COMMAND, FILES, PERMISSIONS, QUESTION];

/// A request for consent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) asked: Asked,
    method: String,
    params: Value,
}

/// Whether that request asks somebody. What a server itself wants to know has a form of its own,
/// which nobody here can fill in.
pub(super) fn is_asked_by(method: &str, params: &Value) -> bool {
    let kind = params.pointer("/_meta/codex_approval_kind");
    CONSENT.contains(&method)
        || (method == SERVER && kind.and_then(Value::as_str) == Some("mcp_tool_call"))
}

impl Waiting {
    /// The request with that id; what it is about is the open call that it names.
    pub(super) fn new(id: &str, method: &str, params: Value, work: &Work) -> Self {
        let text = |name: &str| params.get(name).and_then(Value::as_str);
        let (tool, input) = subject(method, &params, work);
        let item = text("itemId").or_else(|| work.named(&tool).filter(|_| method == SERVER));
        let asked = Asked {
            request_id: id.to_owned(),
            call_id: item.map(str::to_owned),
            tool,
            input,
        };
        Self {
            asked,
            method: method.to_owned(),
            params,
        }
    }

    /// Whether an answer to it can end the turn: the others have no word for that.
    pub(super) fn ends_turn(&self) -> bool {
        !matches!(self.method.as_str(), QUESTION | PERMISSIONS)
    }

    /// The result that stands for an answer.
    pub(super) fn result(&self, answer: &Answer) -> Value {
        match (self.method.as_str(), answer) {
            (QUESTION, Answer::Allow { input }) => {
                json!({"answers": input.as_ref().and_then(|input| input.get("answers"))})
            }
            (QUESTION, _) => json!({"answers": {}}),
            (PERMISSIONS, Answer::Allow { .. }) => {
                json!({"permissions": self.params.get("permissions"), "scope": "turn"})
            }
            (PERMISSIONS, _) => json!({"permissions": {}}),
            (SERVER, Answer::Allow { .. }) => json!({"action": "accept", "content": {}}),
            (SERVER, Answer::Deny { .. }) => json!({"action": "decline"}),
            (SERVER, Answer::Stop) => json!({"action": "cancel"}),
            (_, Answer::Allow { .. }) => json!({"decision": "accept"}),
            (_, Answer::Deny { .. }) => json!({"decision": "decline"}),
            (_, Answer::Stop) => json!({"decision": "cancel"}),
        }
    }
}

/// The tool that is to be used, and with what: the whole of it, since rules judge by it.
fn subject(method: &str, params: &Value, work: &Work) -> (String, Value) {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    let item = text("itemId").unwrap_or_default();
    let calls: Vec<_> = work.calls(item).collect();
    match method {
        QUESTION => {
            let questions = json!({ "questions": params.get("questions") });
            return ("request_user_input".to_owned(), questions);
        }
        SERVER => {
            let meta = params.get("_meta").cloned().unwrap_or_default();
            let server = text("serverName").unwrap_or_default();
            let tool = meta.get("tool_name").and_then(Value::as_str);
            let name = format!("mcp__{server}__{}", tool.unwrap_or_default());
            return (name, meta.get("tool_params").cloned().unwrap_or_default());
        }
        // consent to something else that a command does (network), which is not the command
        COMMAND if text("kind").is_some_and(|kind| kind != "command") => {}
        COMMAND => {
            let of_call = calls
                .first()
                .map(|call| (call.name.clone(), call.input.clone()));
            let of_command = || {
                let (tool, input) = command::call(text("command")?);
                Some((tool.to_owned(), input))
            };
            if let Some((tool, mut input)) = of_call.or_else(of_command) {
                // paths are meant from the folder that the command is run in
                if let (Value::Object(fields), Some(cwd)) = (&mut input, text("cwd")) {
                    fields.insert("cwd".to_owned(), cwd.into());
                }
                return (tool, input);
            }
        }
        FILES => {
            let (tool, mut input) = match calls.as_slice() {
                [] => ("fileChange".to_owned(), json!({})),
                [call] => (call.name.clone(), call.input.clone()),
                several => (
                    "edit".to_owned(),
                    json!({
                        "file_paths": several.iter().flat_map(|call| files(&call.input)).collect::<Vec<_>>(),
                        "changes": several.iter().map(|call| &call.input).collect::<Vec<_>>(),
                    }),
                ),
            };
            // consent to all writes in that folder from here on
            if let (Value::Object(fields), Some(root)) = (&mut input, text("grantRoot")) {
                fields.insert("grant_root".to_owned(), root.into());
            }
            return (tool, input);
        }
        _ => {}
    }
    let tool = method.rsplit('/').nth(1).unwrap_or(method);
    (tool.to_owned(), params.clone())
}

/// The files that a change is about.
fn files(input: &Value) -> impl Iterator<Item = &str> {
    let fields = ["file_path", "move_path"].into_iter();
    fields.filter_map(|field| input.get(field).and_then(Value::as_str))
}

/// What a result says, as events word it.
pub(super) fn decision(result: &Value) -> &'static str {
    let has = |field: &str| {
        let all = result.get(field).and_then(Value::as_object);
        all.is_some_and(|all| !all.is_empty())
    };
    let allowed = has("answers") || has("permissions");
    let decision = result.get("decision").or_else(|| result.get("action"));
    match decision.and_then(Value::as_str) {
        Some("cancel") => "cancel",
        Some("decline") => "deny",
        Some(_) => "allow",
        None if allowed => "allow",
        None => "deny",
    }
}
