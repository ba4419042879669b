//! What the fields of a request may be, so that no answer carries back what the official schemas
//! refuse.

use serde_json::{Map, Value};

use super::Failure;

/// The shape of one field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Text,
    /// A text with more in it than white space.
    Filled,
    OneOf(&'static [&'static str]),
    Flag,
    Texts,
    Object,
    Objects,
    /// References to skills.
    Skills,
}

impl Shape {
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Filled => value.as_str().is_some_and(|text| !text.trim().is_empty()),
            Self::OneOf(choices) => value.as_str().is_some_and(|text| choices.contains(&text)),
            Self::Flag => value.is_boolean(),
            Self::Texts => is_list(value, Value::is_string),
            Self::Object => value.is_object(),
            Self::Objects => is_list(value, Value::is_object),
            Self::Skills => is_list(value, is_skill),
        }
    }

    fn says(self) -> String {
        match self {
            Self::Text => "a string".to_owned(),
            Self::Filled => "a string that is not blank".to_owned(),
            Self::OneOf(choices) => format!("one of {}", choices.join(", ")),
            Self::Flag => "true or false".to_owned(),
            Self::Texts => "a list of strings".to_owned(),
            Self::Object => "an object".to_owned(),
            Self::Objects => "a list of objects".to_owned(),
            Self::Skills => "a list of objects with skillId and repo".to_owned(),
        }
    }
}

fn is_list(value: &Value, each: fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(each))
}

fn is_skill(value: &Value) -> bool {
    ["skillId", "repo"]
        .iter()
        .all(|key| value.get(key).is_some_and(Value::is_string))
}

/// Refuses fields of another shape than the table's; fields that it does not name may be anything.
pub(super) fn check(fields: &Map<String, Value>, table: &[(&str, Shape)]) -> Result<(), Failure> {
    for (key, shape) in table {
        match fields.get(*key) {
            Some(value) if !shape.holds(value) => {
                let message = format!("{key} must be {}", shape.says());
                return Err(Failure::bad_request(message));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses a request without one of these.
pub(super) fn require(fields: &Map<String, Value>, names: &[&str]) -> Result<(), Failure> {
    match names.iter().find(|name| !fields.contains_key(**name)) {
        Some(name) => Err(Failure::bad_request(format!("{name} is missing"))),
        None => Ok(()),
    }
}
