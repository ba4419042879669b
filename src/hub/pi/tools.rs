//! Tool names and arguments as viewers format them.

use serde_json::{Map, Value, json};

use super::frame::cut_strings;
use super::text::cut;

/// The largest arguments that are passed on, in bytes of JSON.
const MAX_ARGS: usize = 64 * 1024;
/// The longest description that is made of a prompt's first line, in bytes.
const MAX_DESCRIPTION: usize = 120;
/// A sub-agent whose kind its CLI does not say.
pub(super) const SOMEBODY: &str = "sub-agent";

/// A normalized tool call in the Hub's words: its name and its arguments (always an object).
pub(super) fn translate(name: &str, input: &Value) -> (String, Value) {
    let mut args = match input {
        Value::Object(map) => map.clone(),
        Value::Null => Map::new(),
        other => Map::from_iter([("input".to_owned(), other.clone())]),
    };
    let name = match name {
        "shell" => "bash",
        "glob" => "find",
        // Gemini CLI's own name: the vocabulary of events has none for it.
        "list" | "list_directory" => "ls",
        other => own_tool(other).unwrap_or(other),
    };
    match name {
        "read" | "write" | "edit" => rename(&mut args, "file_path", "path"),
        "ls" => rename(&mut args, "dir_path", "path"),
        "task" => delegated(&mut args),
        _ => {}
    }
    (name.to_owned(), bounded(Value::Object(args)))
}

fn rename(args: &mut Map<String, Value>, from: &str, to: &str) {
    if !args.contains_key(to)
        && let Some(value) = args.remove(from)
    {
        args.insert(to.to_owned(), value);
    }
}

/// A sub-agent's call, in the words of the lead's own `task`: viewers show whose it is and what it
/// is about. Codex and Gemini CLI say less, or by other names.
fn delegated(args: &mut Map<String, Value>) {
    let text = |name: &&str| {
        let text = args.get(*name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let first = |names: &[&str]| names.iter().find_map(text);
    let prompt = first(&["prompt", "message", "objective"]).unwrap_or_default();
    let agent = first(&["subagent_type", "agent_name", "agent"]);
    let description = first(&["description"])
        .or_else(|| prompt.lines().next().map(|line| cut(line, MAX_DESCRIPTION)));
    for (name, value) in [
        ("prompt", prompt),
        (
            "subagent_type",
            agent.unwrap_or_else(|| SOMEBODY.to_owned()),
        ),
        ("description", description.unwrap_or_default()),
    ] {
        args.insert(name.to_owned(), value.into());
    }
}

/// A tool of the Hub itself, which it knows by the name that it gave: CLIs put the name of the MCP
/// server before it, each in its own way.
fn own_tool(name: &str) -> Option<&str> {
    let name = name.strip_prefix("mcp").unwrap_or(name);
    let name = name.trim_start_matches('_').strip_prefix("coder_hub")?;
    let own = name.trim_start_matches('_');
    (own.len() < name.len() && !own.is_empty()).then_some(own)
}

fn bounded(args: Value) -> Value {
    let size = args.to_string().len();
    if size <= MAX_ARGS {
        return args;
    }
    let mut smaller = args;
    for limit in [16 * 1024, 2 * 1024, 256] {
        cut_strings(&mut smaller, limit);
        if smaller.to_string().len() <= MAX_ARGS {
            return smaller;
        }
    }
    json!({ "cut": format!("…[+{size} bytes]") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arguments_become_those_that_viewers_know() {
        let cases = [
            (
                "shell",
                json!({"command": "ls"}),
                "bash",
                json!({"command": "ls"}),
            ),
            (
                "read",
                json!({"file_path": "/a"}),
                "read",
                json!({"path": "/a"}),
            ),
            (
                "glob",
                json!({"pattern": "*"}),
                "find",
                json!({"pattern": "*"}),
            ),
            (
                "WebFetch",
                json!({"url": "u"}),
                "WebFetch",
                json!({"url": "u"}),
            ),
            (
                "list_directory",
                json!({"dir_path": "/a"}),
                "ls",
                json!({"path": "/a"}),
            ),
            (
                "task",
                json!({"prompt": "Look around.\nWell."}),
                "task",
                json!({"prompt": "Look around.\nWell.", "description": "Look around.",
                    "subagent_type": "sub-agent"}),
            ),
            (
                "task",
                json!({"agent_name": "scout", "objective": "Look."}),
                "task",
                json!({"agent_name": "scout", "objective": "Look.", "prompt": "Look.",
                    "description": "Look.", "subagent_type": "scout"}),
            ),
            ("x", json!("text"), "x", json!({"input": "text"})),
            ("x", Value::Null, "x", json!({})),
        ];
        for (name, input, expected, args) in cases {
            assert_eq!(translate(name, &input), (expected.to_owned(), args));
        }
    }

    #[test]
    fn arguments_are_bounded_whatever_their_form() {
        let long = json!({"file_path": "/a", "content": "x".repeat(1 << 20)});
        let (_, args) = translate("write", &long);
        assert!(args.to_string().len() <= MAX_ARGS);
        assert_eq!(args["path"], "/a");
        let (_, args) = translate("x", &json!({"numbers": vec![1; 1 << 20]}));
        assert!(args["cut"].is_string());
    }
}
