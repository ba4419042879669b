//! Why a turn failed, from a CLI's own words: one table per CLI, read from the top.
//!
//! A class needs positive evidence: a field's exact value, an HTTP status, or a phrase that stands
//! in the message as whole words. Every row names the recording that shows it, and a test holds it
//! to that; what matches no row is `unknown`, never guessed.

use super::Evidence;
use crate::event::{ErrorClass, TurnError};
use crate::exit::Exit;
use crate::frame::uncoloured;

/// How much of a message becomes the error's message, in bytes.
const MESSAGE_LIMIT: usize = 2000;

/// Where a row of the table looks.
pub(super) enum Sign {
    /// A field of the CLI's record, and its value.
    Field(&'static str, &'static str),
    /// An HTTP status, within a range.
    Status(u16, u16),
    /// A phrase in the message or on stderr, between word borders, whatever its case.
    Phrase(&'static str),
}

/// One row: the sign, the class, and the recording that shows it (the tests hold the row to it;
/// empty: from the CLI's own schema or text, not seen).
pub(super) type Row = (Sign, ErrorClass, &'static str);

/// What is known of a failure.
#[derive(Default)]
pub(super) struct Failure<'a> {
    /// Fields of the CLI's record by their names.
    pub(super) fields: &'a [(&'static str, Option<&'a str>)],
    /// The HTTP status that the CLI reports.
    pub(super) status: Option<u16>,
    /// What it says.
    pub(super) message: &'a str,
}

impl Failure<'_> {
    /// The class of the first row that fits.
    pub(super) fn class(&self, table: &[Row]) -> Option<ErrorClass> {
        let row = table.iter().find(|(sign, ..)| match sign {
            Sign::Field(name, value) => self
                .fields
                .iter()
                .any(|(field, found)| field == name && *found == Some(value)),
            Sign::Status(from, to) => self.status.is_some_and(|s| (*from..=*to).contains(&s)),
            Sign::Phrase(phrase) => has_phrase(self.message, phrase),
        });
        row.map(|(_, class, _)| *class)
    }

    /// The failure as a turn's error; `otherwise` where the CLI gave no message.
    pub(super) fn error(&self, table: &[Row], otherwise: &str) -> TurnError {
        TurnError::new(
            self.class(table).unwrap_or(ErrorClass::Unknown),
            shortened(self.message, otherwise),
        )
    }
}

/// What stderr says of a process that wrote no record and exited by itself, not with 0.
pub(super) fn of_stderr(table: &[Row], exit: Option<Exit>, stderr: &[u8]) -> Evidence {
    if exit.is_none_or(|exit| exit.code.is_none_or(|code| code == 0)) {
        return Evidence::None;
    }
    let stderr = String::from_utf8_lossy(stderr);
    // Claude Code colours its errors also where stderr is no terminal, as its stdout is one.
    let stderr = uncoloured(&stderr);
    let message = stderr.trim();
    let failure = Failure {
        message,
        ..Failure::default()
    };
    let says_error = message.lines().any(|line| {
        line.get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case("error:"))
    });
    if failure.class(table).is_some() || says_error {
        Evidence::Failed(failure.error(table, ""))
    } else {
        Evidence::None
    }
}

/// Whether `phrase` stands in `text` with no letter or digit right before or after it.
pub(super) fn has_phrase(text: &str, phrase: &str) -> bool {
    let text = text.as_bytes();
    let word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.windows(phrase.len()).enumerate().any(|(at, window)| {
        window.eq_ignore_ascii_case(phrase.as_bytes())
            && !at
                .checked_sub(1)
                .is_some_and(|before| word(text.get(before)))
            && !word(text.get(at + phrase.len()))
    })
}

fn shortened(message: &str, otherwise: &str) -> String {
    let message = message.trim();
    if message.is_empty() {
        return otherwise.to_owned();
    }
    let mut end = message.len().min(MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default().to_owned()
}

/// Holds every row of an agent's table to the recording that it names.
#[cfg(test)]
pub(super) fn assert_rows_are_what_their_recordings_show(agent: &super::AgentKind, table: &[Row]) {
    use crate::frame::{FrameLimits, LineFramer};
    use crate::ids::SpoolOffset;

    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(agent.name);
    for (_, expected, seen) in table.iter().filter(|row| !row.2.is_empty()) {
        let stdout = std::fs::read(corpus.join(format!("{seen}.pipe.jsonl"))).unwrap();
        let stderr = std::fs::read(corpus.join(format!("{seen}.pipe.stderr")));
        let mut adapter = (agent.adapter)();
        let mut framer = LineFramer::new(FrameLimits::default(), SpoolOffset::START);
        framer.push(&stdout, &mut |line| {
            adapter.line(&line, &mut Vec::new());
        });
        let exit = Exit {
            code: Some(1),
            ..Exit::default()
        };
        match adapter.end(Some(exit), &stderr.unwrap_or_default(), &mut Vec::new()) {
            Evidence::Failed(error) | Evidence::ConversationMissing(error) => {
                assert_eq!(error.class, *expected, "{seen}: {}", error.message);
            }
            evidence => panic!("{seen}: {evidence:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_found_as_whole_words_only() {
        assert!(has_phrase("API Error (ECONNRESET)", "econnreset"));
        assert!(!has_phrase("XECONNRESET", "ECONNRESET"));
        assert!(!has_phrase("ECONNRESETS", "ECONNRESET"));
        assert!(!has_phrase("short", "a much longer phrase"));
    }

    #[test]
    fn stderr_counts_only_when_the_process_failed_by_itself() {
        let exit = |code, signal| {
            Some(Exit {
                code,
                signal,
                oom: false,
            })
        };
        let of_stderr = |exit, stderr: &[u8]| of_stderr(&[], exit, stderr);
        let stderr = b"error: unknown option '--x'";
        assert_eq!(of_stderr(exit(Some(0), None), stderr), Evidence::None);
        assert_eq!(of_stderr(exit(None, Some(9)), stderr), Evidence::None);
        assert!(matches!(
            of_stderr(exit(Some(1), None), stderr),
            Evidence::Failed(_)
        ));
        assert_eq!(
            of_stderr(exit(Some(1), None), b"\x1b[0m\x1b[31mError: bad\x1b[39m\n"),
            Evidence::Failed(TurnError::new(ErrorClass::Unknown, "Error: bad"))
        );
        assert_eq!(
            of_stderr(exit(Some(1), None), b"panic: oh no"),
            Evidence::None
        );
    }
}
