//! Tool names and arguments as viewers format them.

use serde_json::{Map, Value, json};

use super::frame::cut_strings;

/// The largest arguments that are passed on, in bytes of JSON.
const MAX_ARGS: usize = 64 * 1024;

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
        "list" => "ls",
        other => own_tool(other).unwrap_or(other),
    };
    if matches!(name, "read" | "write" | "edit")
        && !args.contains_key("path")
        && let Some(path) = args.remove("file_path")
    {
        args.insert("path".to_owned(), path);
    }
    (name.to_owned(), bounded(Value::Object(args)))
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
