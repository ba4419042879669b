//! Questions of agents to their user, in one form, and answers in the form that the CLI takes.

use serde_json::{Map, Value, json};

use crate::agent::live::Asked;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub text: String,
    /// The same in a word or two.
    pub header: Option<String>,
    /// What may be chosen; anything may be said as well.
    pub options: Vec<Choice>,
    /// Whether several may be chosen.
    pub multiple: bool,
    /// The CLI's name for it, where it has one.
    id: Option<String>,
}

/// Something that may be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What is said to choose it.
    pub label: String,
    /// What it means.
    pub description: Option<String>,
}

/// The questions that a request asks, in its order; none for a call that needs consent.
pub fn questions(asked: &Asked) -> Vec<Question> {
    if !asked.is_question() {
        return Vec::new();
    }
    let all = asked.input.get("questions").and_then(Value::as_array);
    all.into_iter().flatten().map(question).collect()
}

fn question(value: &Value) -> Question {
    let text = |value: &Value, name: &str| {
        let text = value.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let options = value.get("options").and_then(Value::as_array);
    let choices = options.into_iter().flatten().filter_map(|option| {
        Some(Choice {
            label: text(option, "label").or_else(|| option.as_str().map(str::to_owned))?,
            description: text(option, "description"),
        })
    });
    let multiple = ["multiSelect", "multiple"].iter().any(|name| {
        let value = value.get(*name);
        value.and_then(Value::as_bool) == Some(true)
    });
    Question {
        text: text(value, "question").unwrap_or_default(),
        header: text(value, "header"),
        options: choices.collect(),
        multiple,
        id: text(value, "id"),
    }
}

/// The input that answers a request: to each question, in its order, what was chosen or said. Of
/// the CLIs, Codex has names for questions and takes lists, Claude takes its questions' texts and
/// one text for each.
pub fn answered(asked: &Asked, answers: &[Vec<String>]) -> Value {
    let mut given = Map::new();
    for (question, answer) in questions(asked).into_iter().zip(answers) {
        match question.id {
            Some(id) => given.insert(id, json!({ "answers": answer })),
            None => given.insert(question.text, answer.join(", ").into()),
        };
    }
    let mut input = match &asked.input {
        Value::Object(fields) => fields.clone(),
        _ => Map::new(),
    };
    input.insert("answers".to_owned(), Value::Object(given));
    Value::Object(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(tool: &str, input: Value) -> Asked {
        Asked {
            request_id: "1".to_owned(),
            call_id: None,
            tool: tool.to_owned(),
            input,
        }
    }

    #[test]
    fn each_cli_is_answered_in_its_own_form() {
        let claude = asked(
            "AskUserQuestion",
            json!({"questions": [{
                "question": "Which colour?", "header": "Colour", "multiSelect": true,
                "options": [{"label": "Red", "description": "warm"}, {"label": "Blue"}],
            }]}),
        );
        let found = questions(&claude);
        assert_eq!(found[0].header.as_deref(), Some("Colour"));
        assert_eq!(found[0].options[0].description.as_deref(), Some("warm"));
        assert!(found[0].multiple);
        let input = answered(&claude, &[vec!["Red".to_owned(), "Blue".to_owned()]]);
        assert_eq!(input["answers"], json!({"Which colour?": "Red, Blue"}));
        assert_eq!(input["questions"], claude.input["questions"]);
        let codex = asked(
            "request_user_input",
            json!({"questions": [{"id": "q1", "question": "Name?", "header": "", "options": null}]}),
        );
        assert_eq!(questions(&codex)[0].header, None);
        let input = answered(&codex, &[vec!["Ann".to_owned()]]);
        assert_eq!(input["answers"], json!({"q1": {"answers": ["Ann"]}}));
    }

    #[test]
    fn a_call_that_needs_consent_asks_no_question() {
        let call = asked("shell", json!({"questions": [{"question": "x"}]}));
        assert_eq!(questions(&call), []);
    }
}
