//! The Hub's tools in the words of the Model Context Protocol. Pure: one request, one answer.

use serde_json::{Map, Value, json};

use crate::hub::HubTool;

/// Spoken where the client names no version.
const VERSION: &str = "2025-06-18";

/// What a line of a client comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    /// This is the answer.
    Answer(Value),
    /// A tool is called.
    Call(Call),
    /// It wants no answer.
    Nothing,
}

/// A call of a tool.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    /// The request's id.
    pub(super) id: Value,
    /// The tool's name.
    pub(super) name: String,
    /// The agent's own id of the call, where its CLI tells it.
    pub(super) told_as: Option<String>,
    /// The arguments.
    pub(super) params: Value,
}

/// Reads a request.
pub(super) fn read(line: &[u8], tools: &[HubTool]) -> Asked {
    let Ok(request) = serde_json::from_slice::<Value>(line) else {
        return Asked::Answer(error(&Value::Null, -32700, "no JSON"));
    };
    let Some(id) = request.get("id").filter(|id| !id.is_null()).cloned() else {
        return Asked::Nothing;
    };
    let params = request.get("params");
    match request.get("method").and_then(Value::as_str) {
        Some("initialize") => Asked::Answer(answer(&id, &greeting(params))),
        Some("ping") => Asked::Answer(answer(&id, &json!({}))),
        Some("tools/list") => {
            let tools: Vec<Value> = tools.iter().map(listed).collect();
            Asked::Answer(answer(&id, &json!({"tools": tools})))
        }
        Some("tools/call") => called(id, params, tools),
        _ => Asked::Answer(error(&id, -32601, "this server has tools and nothing else")),
    }
}

fn greeting(params: Option<&Value>) -> Value {
    let wanted = params.and_then(|params| params.get("protocolVersion")?.as_str());
    json!({
        "protocolVersion": wanted.unwrap_or(VERSION),
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "coder-hub", "version": env!("CARGO_PKG_VERSION")},
    })
}

fn listed(tool: &HubTool) -> Value {
    let mut schema = tool.parameters.clone();
    schema
        .entry("type")
        .or_insert_with(|| Value::from("object"));
    let mut listed = json!({
        "name": tool.name, "description": tool.told(), "inputSchema": schema,
    });
    if let Some(fields) = listed.as_object_mut().filter(|_| !tool.label.is_empty()) {
        fields.insert("title".to_owned(), tool.label.clone().into());
    }
    listed
}

fn called(id: Value, params: Option<&Value>, tools: &[HubTool]) -> Asked {
    let field = |name: &str| params.and_then(|params| params.get(name));
    let name = field("name").and_then(Value::as_str).unwrap_or_default();
    if tools.iter().all(|tool| tool.name != name) {
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let text = format!("there is no tool `{name}`; there are: {}", names.join(", "));
        return Asked::Answer(error(&id, -32602, &text));
    }
    let params = match field("arguments") {
        Some(Value::Object(arguments)) => arguments.clone(),
        _ => Map::new(),
    };
    // Claude Code says it so; no other CLI says it.
    let told_as = field("_meta").and_then(|meta| meta.get("claudecode/toolUseId")?.as_str());
    Asked::Call(Call {
        id,
        name: name.to_owned(),
        told_as: told_as.map(str::to_owned),
        params: Value::Object(params),
    })
}

/// What a tool has come to.
pub(super) fn result(id: &Value, text: &str, is_error: bool) -> Value {
    let content = json!([{"type": "text", "text": text}]);
    answer(id, &json!({"content": content, "isError": is_error}))
}

fn answer(id: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Vec<HubTool> {
        let tool = json!({"name": "recall", "label": "Recall", "description": "Recalls.",
            "parameters": {"properties": {"q": {"type": "string"}}}});
        vec![serde_json::from_value(tool).unwrap()]
    }

    fn asked(request: &Value) -> Asked {
        read(request.to_string().as_bytes(), &tools())
    }

    fn answered(request: &Value) -> Value {
        match asked(request) {
            Asked::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_finds_the_tools_with_their_schemas() {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {"protocolVersion": "2024-11-05"}});
        assert_eq!(answered(&hello)["result"]["protocolVersion"], "2024-11-05");
        let list = json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"});
        let list = answered(&list);
        assert_eq!(list["id"], "l");
        let tool = &list["result"]["tools"][0];
        assert_eq!(
            (&tool["name"], &tool["title"]),
            (&json!("recall"), &json!("Recall"))
        );
        assert_eq!(tool["inputSchema"]["type"], "object");
        let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(asked(&note), Asked::Nothing);
        let other = json!({"jsonrpc": "2.0", "id": 3, "method": "resources/list"});
        assert_eq!(answered(&other)["error"]["code"], -32601);
        assert!(matches!(read(b"{", &tools()), Asked::Answer(_)));
    }

    #[test]
    fn a_call_is_of_a_tool_that_there_is() {
        let call = |name: &str| {
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params":
                {"name": name, "arguments": {"q": "x"}, "_meta": {"claudecode/toolUseId": "t1"}}})
        };
        match asked(&call("recall")) {
            Asked::Call(call) => {
                assert_eq!(call.told_as.as_deref(), Some("t1"));
                assert_eq!(call.params, json!({"q": "x"}));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(answered(&call("other"))["error"]["code"], -32602);
    }
}
