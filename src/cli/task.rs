//! The text of a task that lies in a file or comes over stdin.
//!
//! It is UTF-8, not empty, and no longer than a Hub takes. What is longer is not read to its end:
//! `/dev/zero` is refused like any other.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::render::grouped;
use super::{CliError, Exit};

/// The longest task, in bytes of JSON: with what stands around it, it fits into the 4 MiB that one
/// message of a Hub may have.
const LONGEST: usize = 3 << 20;

/// The text of the task in that file.
pub(super) fn from_file(path: &Path) -> Result<String, CliError> {
    read(&path.display().to_string(), File::open(path))
}

/// The text of the task on stdin.
pub(super) fn from_stdin() -> Result<String, CliError> {
    read("stdin", Ok(io::stdin().lock()))
}

fn read(from: &str, source: io::Result<impl Read>) -> Result<String, CliError> {
    let fault = |why: String| CliError::new(Exit::Usage, format!("{from} {why}"));
    let too_long = || {
        fault(format!(
            "is too long for a task: at most {} bytes as a JSON string; have the agent read what is \
             large from a file of its workspace",
            grouped(LONGEST as u64)
        ))
    };
    let unreadable = |why: &dyn std::fmt::Display| {
        CliError::new(Exit::Usage, format!("cannot read {from}: {why}"))
    };
    let mut bytes = Vec::new();
    let source = source.map_err(|error| unreadable(&error))?;
    let read = source.take(LONGEST as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(&error))?;
    if bytes.len() > LONGEST {
        return Err(too_long());
    }
    let text = String::from_utf8(bytes).map_err(|_| unreadable(&"it is not UTF-8 text"))?;
    if text.trim().is_empty() {
        return Err(fault("is empty: say what to do".to_owned()));
    }
    let quoted = serde_json::to_string(&text).map_err(|error| unreadable(&error))?;
    if quoted.len() > LONGEST {
        return Err(too_long());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(read: Result<String, CliError>) -> String {
        read.unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_task_is_text_that_a_hub_takes() {
        let of = |bytes: &[u8]| told(read("stdin", Ok(bytes)));
        assert_eq!(of(b"do it\n"), "do it\n");
        assert_eq!(of(b" \n"), "stdin is empty: say what to do");
        assert_eq!(of(b"\xff"), "cannot read stdin: it is not UTF-8 text");
        let endless = told(read("stdin", Ok(io::repeat(b'a'))));
        assert!(endless.starts_with("stdin is too long for a task: at most 3,145,728 bytes"));
        let quotes = vec![b'"'; LONGEST / 2];
        assert!(of(&quotes).starts_with("stdin is too long"));
        assert!(!of(&vec![b'a'; LONGEST - 2]).starts_with("stdin is too long"));
        let missing = told(from_file(Path::new("/nowhere/task.txt")));
        assert!(missing.starts_with("cannot read /nowhere/task.txt: No such file"));
    }
}
