//! TOML tables read key by key, each fault with its place.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A fault and the byte at which it lies.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }

    /// The line, from 1, that the fault lies in.
    pub(super) fn line(&self, text: &str) -> usize {
        let before = text.as_bytes().iter().take(self.at);
        1 + before.filter(|byte| **byte == b'\n').count()
    }
}

/// A table whose keys are all known.
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    /// Where the table begins.
    pub(super) at: usize,
}

impl<'a> Table<'a> {
    /// `what` names the table in the error about a key that is not among `known`.
    pub(super) fn new(
        what: &str,
        at: usize,
        entries: &'a DeTable<'a>,
        known: &[&str],
    ) -> Result<Self, Fault> {
        for key in entries.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                return Err(Fault::new(
                    key.span().start,
                    format!(
                        "unknown key `{name}` in {what}; {}",
                        suggestion(name, known)
                    ),
                ));
            }
        }
        Ok(Self { entries, at })
    }

    /// A table that stands as a value.
    pub(super) fn from_value(
        what: &str,
        value: &'a Spanned<DeValue<'a>>,
        known: &[&str],
    ) -> Result<Self, Fault> {
        let at = value.span().start;
        let entries = value
            .get_ref()
            .as_table()
            .ok_or_else(|| wrong_type(what, "a table", value))?;
        Self::new(what, at, entries, known)
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.get(key)
    }

    /// Where the key's value begins, or the table where the key is missing.
    pub(super) fn place(&self, key: &str) -> usize {
        self.value(key).map_or(self.at, |value| value.span().start)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Fault> {
        self.value(key)
            .map(|value| match value.get_ref().as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(wrong_type(key, "a string", value)),
            })
            .transpose()
    }

    pub(super) fn required_text(&self, key: &str) -> Result<String, Fault> {
        self.text(key)?
            .ok_or_else(|| Fault::new(self.at, format!("`{key}` is missing")))
    }

    /// A whole number of at least zero.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Fault> {
        self.value(key)
            .map(|value| {
                value
                    .get_ref()
                    .as_integer()
                    .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
                    .ok_or_else(|| wrong_type(key, "a whole number of at least 0", value))
            })
            .transpose()
    }

    pub(super) fn list(&self, key: &str) -> Result<Option<&'a [Spanned<DeValue<'a>>]>, Fault> {
        self.value(key)
            .map(|value| match value.get_ref().as_array() {
                Some(items) => Ok(&**items),
                None => Err(wrong_type(key, "a list", value)),
            })
            .transpose()
    }
}

/// The JSON that says the same as a TOML value.
pub(super) fn json(value: &Spanned<DeValue<'_>>) -> Result<Value, Fault> {
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .map_err(|_| wrong_type("this number", "a 64-bit integer", value))?,
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(Value::from)
            .ok_or_else(|| wrong_type("this number", "finite (JSON has no other)", value))?,
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(json).collect::<Result<_, _>>()?,
        DeValue::Table(entries) => entries
            .iter()
            .map(|(key, value)| Ok((key.get_ref().to_string(), json(value)?)))
            .collect::<Result<serde_json::Map<_, _>, Fault>>()?
            .into(),
    })
}

fn wrong_type(what: &str, wanted: &str, value: &Spanned<DeValue<'_>>) -> Fault {
    Fault::new(
        value.span().start,
        format!(
            "`{what}` must be {wanted}, not this {}",
            value.get_ref().type_str()
        ),
    )
}

/// Names the key that was probably meant, or all of them.
fn suggestion(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .min();
    match nearest {
        Some((distance, candidate)) if distance <= 1 + candidate.chars().count() / 3 => {
            format!("did you mean `{candidate}`?")
        }
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// Edits (insert, delete, replace) between two words.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        if let Some(first) = row.first_mut() {
            *first = last;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(right.chars()) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            last = replaced.min(diagonal + 1).min(last + 1);
            *cell = last;
        }
    }
    row.last().copied().unwrap_or(0)
}
