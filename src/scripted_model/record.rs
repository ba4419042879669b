//! What the model was asked, for tests and for users who wonder: one JSON object a line.
//!
//! Only method, path and body are written. Headers and the query, where keys travel, are not.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::files;

/// A file that requests are appended to, mode 0600.
#[derive(Debug)]
pub struct Record {
    file: Mutex<File>,
}

impl Record {
    /// Opens the file, creating it where it is missing.
    pub fn append(path: &Path) -> Result<Self, RecordError> {
        match files::append_private(path) {
            Ok(file) => Ok(Self {
                file: Mutex::new(file),
            }),
            Err(source) => Err(RecordError {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Appends a request. It is in the file before the request is answered. A body that is not
    /// JSON stands there as a string.
    pub(super) fn write(&self, method: &str, path: &str, body: &[u8]) -> io::Result<()> {
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body)
                .unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into())
        };
        let mut line = json!({"method": method, "path": path, "body": body}).to_string();
        line.push('\n');
        // A panic elsewhere leaves no half-written line that would matter more than this one.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())
    }
}

/// The record cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot record requests in {}: {source}; name a file in a folder that you may write", path.display())]
pub struct RecordError {
    path: PathBuf,
    source: io::Error,
}
