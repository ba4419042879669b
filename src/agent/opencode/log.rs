//! What OpenCode writes on stderr: log lines (`--print-logs`) and what it tells a person.
//!
//! A request that fails is tried again without a word on stdout, and some errors are on stdout
//! only as "Unexpected server error. Check server logs for details." (1.18.33): the log says why.
//! Nothing of this is evidence while the records on stdout say how the turn ended.

use std::borrow::Cow;

use crate::frame::without_sequences;

/// A log line of level `ERROR`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogLine<'a> {
    fields: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> LogLine<'a> {
    /// Reads `timestamp=… level=ERROR key=value key="quoted value" …`; `None` for anything else.
    fn parse(line: &'a str) -> Option<Self> {
        let mut rest = line.strip_prefix("timestamp=")?.split_once(' ')?.1;
        let mut fields = Vec::new();
        while let Some((key, after)) = rest.split_once('=') {
            let (value, left) = value(after);
            fields.push((key, value));
            rest = left.trim_start();
        }
        let line = Self { fields };
        (line.field("level") == Some("ERROR")).then_some(line)
    }

    /// A field's value.
    pub(super) fn field(&self, key: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| &**value)
    }

    /// What went wrong.
    pub(super) fn error(&self) -> Option<&str> {
        self.field("error.error").or_else(|| self.field("error"))
    }

    /// Whether a request to the model failed that the answer depends on (`small` ones make titles).
    fn is_request(&self) -> bool {
        self.field("message") == Some("stream error") && self.field("small") != Some("true")
    }
}

/// A value and what stands behind it. A quoted one is a JSON string; one that was cut is taken as
/// it stands.
fn value(text: &str) -> (Cow<'_, str>, &str) {
    if !text.starts_with('"') {
        let (value, rest) = text.split_once(' ').unwrap_or((text, ""));
        return (value.into(), rest);
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    match values.next() {
        Some(Ok(value)) => {
            let rest = text.get(values.byte_offset()..).unwrap_or_default();
            (value.into(), rest)
        }
        _ => (text.into(), ""),
    }
}

/// Stderr's tail, read.
#[derive(Debug)]
pub(super) struct Stderr<'a> {
    /// Errors of the log, in order.
    pub(super) log: Vec<LogLine<'a>>,
    /// The lines that are no log.
    pub(super) told: String,
}

impl<'a> Stderr<'a> {
    /// Reads it; colours, which OpenCode writes into pipes as well, are left out.
    pub(super) fn read(text: &'a str) -> Self {
        let mut log = Vec::new();
        let mut told = String::new();
        for line in text.lines() {
            if let Some(line) = LogLine::parse(line) {
                log.push(line);
            } else if !line.starts_with("timestamp=") {
                told.push_str(&String::from_utf8_lossy(&without_sequences(
                    line.as_bytes(),
                )));
                told.push('\n');
            }
        }
        Self { log, told }
    }

    /// What the log says of the error that a record calls `reference`.
    pub(super) fn referred(&self, reference: &str) -> Option<&str> {
        let mut lines = self.log.iter();
        let line = lines.find(|line| line.field("ref") == Some(reference))?;
        line.error()
    }

    /// How many requests to the model failed, and what the last one said.
    pub(super) fn failed_requests(&self) -> (usize, &str) {
        let failed = || self.log.iter().filter(|line| line.is_request());
        let last = failed().next_back().and_then(LogLine::error);
        (failed().count(), last.unwrap_or("without a reason"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_read_by_its_fields() {
        let line = LogLine::parse(
            r#"timestamp=2026-11-21T02:54:41Z level=ERROR run=0 message="stream error" small=false error.error="a \"b\"\n=c""#,
        );
        let line = line.unwrap();
        assert_eq!(line.error(), Some("a \"b\"\n=c"));
        assert!(line.is_request());
        assert_eq!(LogLine::parse("timestamp=x level=WARN message=m"), None);
        assert_eq!(LogLine::parse("level=ERROR"), None);
    }

    #[test]
    fn a_line_that_was_cut_keeps_what_there_is() {
        let line = LogLine::parse(r#"timestamp=x level=ERROR message=failed error="half"#).unwrap();
        assert_eq!(line.error(), Some("\"half"));
    }

    #[test]
    fn a_title_that_failed_is_no_failed_request() {
        let text = "timestamp=x level=ERROR message=\"stream error\" small=true error.error=no\n\
                    \u{1b}[91m\u{1b}[1mError: \u{1b}[0mSession not found\n";
        let stderr = Stderr::read(text);
        assert_eq!(stderr.failed_requests().0, 0);
        assert_eq!(stderr.told, "Error: Session not found\n");
    }
}
