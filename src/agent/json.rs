//! JSON borrowed from its line.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::frame::{MAX_DEPTH, nesting};

/// A string that is copied only where it holds escapes. (`Option<Cow<str>>` always copies.)
#[derive(Debug, Clone, Default)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// Parses a raw value into its type, if it has it.
pub(super) fn typed<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// A tool's input. What nests too deeply for consumers, or is no JSON, stays its text.
pub(super) fn tool_input(raw: Option<&RawValue>) -> Value {
    let Some(raw) = raw else {
        return Value::Object(serde_json::Map::new());
    };
    if nesting(raw.get().as_bytes()) > MAX_DEPTH {
        return Value::from(raw.get());
    }
    serde_json::from_str(raw.get()).unwrap_or_else(|_| Value::from(raw.get()))
}
