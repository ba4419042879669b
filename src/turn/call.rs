//! A tool call in one line, as people and models are told of it. Pure.

use serde_json::Value;

/// The most bytes of an argument that are told.
const ARGUMENT: usize = 160;
/// What stands for the rest of a text that was shortened.
const ELLIPSIS: &str = "…";
/// The inputs that say what a call is about, the most telling first.
const TELLING: &[&str] = &[
    "command",
    "file_path",
    "path",
    "pattern",
    "url",
    "query",
    "description",
    "prompt",
];

/// `shell: cargo test`; the name alone where the input says nothing.
pub(super) fn one_line(name: &str, input: &Value) -> String {
    let telling = TELLING.iter().find_map(|key| input.get(key)?.as_str());
    let argument = match telling {
        Some(text) => text.to_owned(),
        None if input.as_object().is_none_or(serde_json::Map::is_empty) => String::new(),
        None => input.to_string(),
    };
    let argument = argument.split_whitespace().collect::<Vec<_>>().join(" ");
    if argument.is_empty() {
        return name.to_owned();
    }
    let short = start(&argument, ARGUMENT);
    let rest = if short.len() < argument.len() {
        ELLIPSIS
    } else {
        ""
    };
    format!("{name}: {short}{rest}")
}

/// The first `limit` bytes of a text, or a few fewer: whole characters.
pub(super) fn start(text: &str, limit: usize) -> &str {
    let mut ends = (0..=limit.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

/// The last `limit` bytes of a text, or a few fewer: whole characters.
pub(super) fn end(text: &str, limit: usize) -> &str {
    let mut starts = text.len().saturating_sub(limit)..=text.len();
    starts
        .find_map(|start| text.get(start..))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_told_by_its_most_telling_input_on_one_line() {
        let shell = json!({"command": "cargo\n  test", "description": "tests"});
        assert_eq!(one_line("shell", &shell), "shell: cargo test");
        assert_eq!(one_line("mcp", &json!({"n": 1})), r#"mcp: {"n":1}"#);
        assert_eq!(one_line("plan", &json!({})), "plan");
        assert_eq!(one_line("plan", &Value::Null), "plan");
    }

    #[test]
    fn a_long_argument_is_cut_between_characters() {
        let line = one_line("shell", &json!({"command": "é".repeat(500)}));
        assert_eq!(line, format!("shell: {}…", "é".repeat(ARGUMENT / 2)));
        assert_eq!((start("aé", 2), end("éa", 2)), ("a", "a"));
    }
}
