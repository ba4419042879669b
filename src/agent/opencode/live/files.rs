//! The files that an agent has seen.
//!
//! OpenCode says of a `write` whether the file was there when it is over only; its start is told
//! before that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::hash;

/// Files are remembered up to this many.
const LIMIT: usize = 1024;

/// Hashes of their paths.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Files(BTreeSet<u64>);

impl Files {
    /// Whether it was read or written.
    pub(super) fn knows(&self, path: &str) -> bool {
        self.0.contains(&hash::more(hash::EMPTY, path))
    }

    /// A call with that input is over.
    pub(super) fn saw(&mut self, input: &Value, is_failed: bool) {
        if let Some(path) = input.get("file_path").and_then(Value::as_str)
            && !is_failed
            && self.0.len() < LIMIT
        {
            self.0.insert(hash::more(hash::EMPTY, path));
        }
    }
}
