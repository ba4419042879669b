//! The transcript that people read while an agent works.
//!
//! ```text
//! I'll run the tests first.
//! ● shell  sh test.sh
//!   ✗ exit 1 · FAIL: greet says 'Hallo'
//! ● edit   greet.sh
//!   ✓
//! completed in 3.2 s · 2,468 tokens in (1,800 cached), 35 out · $0.0154
//! ```

use std::io::{self, Write};

use serde_json::Value;

use super::line::{duration, first_line, grouped, harmless, readable, summary};
use crate::event::{Event, NoticeLevel, Outcome, PlanItem, TurnError, Usage};

/// The longest error's message that is known again, in bytes.
const LONGEST_ERROR: usize = 4096;

/// Who reads.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Whoever typed the prompts.
    #[default]
    Asker,
    /// Others, who are shown the prompts as well.
    Onlooker,
}

/// Renders events as they come.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own, in any combination
pub(in crate::cli) struct Transcript {
    colour: bool,
    /// The cursor stands behind streamed text, not at the start of a line.
    mid_line: bool,
    thinking: bool,
    /// The text that came last, as far as nothing else was shown since.
    said: String,
    usage: Option<Usage>,
    reader: Reader,
    /// Where the agent works, with a slash.
    cwd: Option<String>,
    /// The model that it said it runs.
    model: Option<String>,
    /// The call whose line was shown last: what ends next is that one, where nothing else is said.
    last_call: Option<String>,
}

impl Transcript {
    /// `colour`: the reader is a terminal that wants it.
    pub(in crate::cli) fn new(colour: bool) -> Self {
        Self {
            colour,
            ..Self::default()
        }
    }

    /// The same, for a reader who has not typed the prompts.
    pub(in crate::cli) fn with_prompts(self) -> Self {
        Self {
            reader: Reader::Onlooker,
            ..self
        }
    }

    /// Shows one event.
    pub(in crate::cli) fn show(&mut self, event: &Event, out: &mut impl Write) -> io::Result<()> {
        match event {
            Event::Prompt { text, author, .. } if self.reader == Reader::Onlooker => {
                let whose = author.as_deref().map(summary).unwrap_or_default();
                self.line(out, Style::Bold, &format!("{whose}> {}", summary(text)))
            }
            // Pi says which model it runs once that speaks.
            Event::Session {
                model: Some(model),
                cwd: None,
                ..
            } if self.cwd.is_some() => {
                if self.model.replace(model.clone()).as_ref() == Some(model) {
                    return Ok(());
                }
                self.line(out, Style::Dim, &format!("with {}", summary(model)))
            }
            Event::Session { model, cwd, .. } => {
                let cwd = cwd.as_ref().map(|cwd| format!("{cwd}/"));
                // A live process says it in each of its turns.
                if cwd.is_some() && (&self.model, &self.cwd) == (model, &cwd) {
                    return Ok(());
                }
                self.model.clone_from(model);
                self.cwd = cwd;
                let model = model.as_deref().unwrap_or("its default model");
                self.line(out, Style::Dim, &format!("agent ready, {}", summary(model)))
            }
            Event::Token {
                text,
                parent_call_id: None,
                ..
            } => self.stream(out, text, false),
            Event::Thinking {
                text,
                parent_call_id: None,
                ..
            } => self.stream(out, text, true),
            Event::ToolStart { .. } => self.begun(event, out),
            Event::ToolEnd { .. } => self.ended(event, out),
            Event::Plan { items } => self.plan(out, items),
            Event::Usage(usage) => {
                self.usage = Some(usage.clone());
                Ok(())
            }
            Event::PermissionRequest { tool, input, .. } => {
                let text = format!("? {}  {}", first_line(tool), self.argument(tool, input));
                self.line(out, Style::Yellow, &text)
            }
            Event::End {
                outcome,
                error,
                duration_ms,
            } => self.end(out, *outcome, error.as_ref(), *duration_ms),
            other => match remark(other) {
                Some((style, text)) => self.line(out, style, &text),
                None => Ok(()),
            },
        }
    }

    fn plan(&mut self, out: &mut impl Write, items: &[PlanItem]) -> io::Result<()> {
        for item in items {
            let is_done = item.status == "completed";
            let mark = if is_done { "☑" } else { "☐" };
            let text = format!("  {mark} {}", summary(&item.text));
            self.line(out, Style::Plain, &text)?;
        }
        Ok(())
    }

    /// A call begins; other events are none.
    fn begun(&mut self, event: &Event, out: &mut impl Write) -> io::Result<()> {
        let Event::ToolStart {
            call_id,
            name,
            input,
            parent_call_id,
            ..
        } = event
        else {
            return Ok(());
        };
        let nested = parent_call_id.as_ref().map_or("", |_| "  ");
        let argument = self.argument(name, input);
        let call = format!("{nested}● {}  {argument}", first_line(name));
        self.last_call = Some(call_id.clone());
        self.line(out, Style::Bold, call.trim_end())
    }

    /// A call is over; other events are none.
    fn ended(&mut self, event: &Event, out: &mut impl Write) -> io::Result<()> {
        let Event::ToolEnd {
            call_id,
            name,
            output,
            is_error,
            exit_code,
            ..
        } = event
        else {
            return Ok(());
        };
        let output = output.as_deref().unwrap_or_default();
        let mut result = tool_result(name, output, *is_error, *exit_code);
        if self.last_call.as_ref() != Some(call_id) {
            result = format!("{}  {result}", first_line(name));
        }
        let (mark, style) = end_of_call(*is_error);
        self.line(out, style, format!("  {mark} {result}").trim_end())
    }

    /// Shows a whole line that is not the agent's.
    pub(in crate::cli) fn line_of_others(
        &mut self,
        text: &str,
        out: &mut impl Write,
    ) -> io::Result<()> {
        self.line(out, Style::Bold, text)
    }

    /// The one argument of a call that tells most, without the folder that the agent works in.
    fn argument(&self, tool: &str, input: &Value) -> String {
        let argument = telling(tool, input);
        let cwd = self.cwd.as_deref().unwrap_or_default();
        first_line(argument.strip_prefix(cwd).unwrap_or(&argument))
    }

    fn stream(&mut self, out: &mut impl Write, text: &str, thinking: bool) -> io::Result<()> {
        if self.mid_line && self.thinking != thinking {
            self.new_line(out)?;
        }
        self.thinking = thinking;
        let text = readable(text);
        // More than this is no error's message.
        if self.said.len() < LONGEST_ERROR {
            self.said.push_str(&text);
        }
        let style = if thinking { Style::Dim } else { Style::Plain };
        self.paint(out, style, &text)?;
        if !text.is_empty() {
            self.mid_line = !text.ends_with('\n');
        }
        Ok(())
    }

    fn end(
        &mut self,
        out: &mut impl Write,
        outcome: Outcome,
        error: Option<&TurnError>,
        duration_ms: Option<u64>,
    ) -> io::Result<()> {
        if let Some(error) = error {
            let message = readable(&error.message);
            // Claude Code says what went wrong as if the agent had.
            if self.said.trim() != message.trim() {
                self.line(out, Style::Red, &message)?;
            }
        }
        let mut text = outcome_words(outcome).to_owned();
        if let Some(millis) = duration_ms {
            text.push_str(" in ");
            text.push_str(&duration(millis));
        }
        if let Some(usage) = self.usage.take() {
            text.push_str(" · ");
            text.push_str(&usage_words(&usage));
        }
        let style = if outcome == Outcome::Completed {
            Style::Green
        } else {
            Style::Red
        };
        self.line(out, style, &text)
    }

    fn line(&mut self, out: &mut impl Write, style: Style, text: &str) -> io::Result<()> {
        // Whatever a line is made of, and whoever forgot to look at it.
        let text = &harmless(text);
        if self.mid_line {
            self.new_line(out)?;
        }
        self.said.clear();
        self.paint(out, style, text)?;
        self.new_line(out)
    }

    fn new_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.mid_line = false;
        out.write_all(b"\n")
    }

    fn paint(&self, out: &mut impl Write, style: Style, text: &str) -> io::Result<()> {
        match style.code().filter(|_| self.colour && !text.is_empty()) {
            Some(code) => write!(out, "\x1b[{code}m{text}\x1b[0m"),
            None => out.write_all(text.as_bytes()),
        }
    }
}

/// How the end of a call is marked.
const fn end_of_call(is_error: bool) -> (&'static str, Style) {
    if is_error {
        ("✗", Style::Red)
    } else {
        ("✓", Style::Dim)
    }
}

/// What is one line and changes nothing.
fn remark(event: &Event) -> Option<(Style, String)> {
    let remark = match event {
        Event::TextRetracted { .. } => (
            Style::Dim,
            "(the text above was a draft that the agent took back)".to_owned(),
        ),
        Event::RateLimit { status, .. } => (Style::Dim, format!("rate limit: {}", summary(status))),
        Event::Compaction { .. } => (Style::Dim, "(the agent shortened its context)".to_owned()),
        Event::Setup { text, .. } => (Style::Dim, summary(text)),
        Event::Notice { level, text, .. } => (level_style(*level), summary(text)),
        Event::PermissionResponse { decision, by, .. } => {
            (Style::Dim, format!("  {}", answer_words(decision, by)))
        }
        Event::Gap {
            from_seq,
            to_seq,
            why,
        } => {
            let text = format!(
                "(events {from_seq} to {to_seq} are missing: {})",
                summary(why)
            );
            (Style::Yellow, text)
        }
        Event::Report {
            path,
            ok,
            error,
            unchanged,
            ..
        } => {
            let verdict = match (*ok, *unchanged) {
                (true, false) => "as expected",
                (true, true) => "as an earlier turn left it",
                (false, _) => "not as expected",
            };
            let why = error.as_deref().map(|why| format!(": {}", summary(why)));
            let why = why.unwrap_or_default();
            (
                Style::Plain,
                format!("report {} is {verdict}{why}", summary(path)),
            )
        }
        Event::AgentCrashed {
            message,
            will_resume,
            ..
        } => {
            let next = if *will_resume { "; resuming" } else { "" };
            (
                Style::Red,
                format!("agent crashed: {}{next}", summary(message)),
            )
        }
        // Told by the lines around them, or too fine for a transcript.
        _ => return None,
    };
    Some(remark)
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Style {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Red => Some("31"),
            Self::Green => Some("32"),
            Self::Yellow => Some("33"),
        }
    }
}

const fn level_style(level: NoticeLevel) -> Style {
    match level {
        NoticeLevel::Info => Style::Dim,
        NoticeLevel::Warning => Style::Yellow,
        NoticeLevel::Error => Style::Red,
    }
}

fn answer_words(decision: &str, by: &str) -> String {
    let what = match decision {
        "allow" => "permitted",
        "deny" => "denied",
        "cancel" => "denied, and the turn ended,",
        other => &summary(other),
    };
    let whose = match by {
        "local" => "by a person here",
        "controller" => "by a controller of the session",
        "hub" => "by the Hub",
        "policy" => "by a rule",
        "timeout" => "as nobody answered in time",
        "runner" => "as nobody is left to ask",
        other => &format!("by {}", summary(other)),
    };
    format!("{what} {whose}")
}

pub(in crate::cli) const fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
        Outcome::TimedOut => "timed out",
        Outcome::Crashed => "crashed",
        Outcome::Incomplete => "incomplete: the agent left without saying that it was done",
        Outcome::Unkillable => "the agent could not be ended",
        Outcome::Unknown => "ended, outcome unknown",
    }
}

pub(in crate::cli) fn usage_words(usage: &Usage) -> String {
    let read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
    let cached = match usage.cache_read_tokens {
        0 => String::new(),
        cached => format!(" ({} cached)", grouped(cached)),
    };
    let cost = usage
        .cost_usd
        .map(|cost| format!(" · ${cost:.4}"))
        .unwrap_or_default();
    format!(
        "{} tokens in{cached}, {} out{cost}",
        grouped(read),
        grouped(usage.output_tokens)
    )
}

/// What of a call's result fits on a line.
fn tool_result(name: &str, output: &str, is_error: bool, exit_code: Option<i32>) -> String {
    let telling = match name {
        // That a file was read or changed is all there is to say.
        "read" | "write" | "edit" if !is_error => "",
        _ if is_error => last_words(output),
        _ => output.lines().next().unwrap_or_default(),
    };
    let mut parts = Vec::new();
    parts.extend(
        exit_code
            .filter(|code| *code != 0)
            .map(|code| format!("exit {code}")),
    );
    parts.extend(Some(summary(telling)).filter(|telling| !telling.is_empty()));
    let lines = output.lines().count();
    if lines > 1 && !matches!(name, "write" | "edit") {
        parts.push(format!("{lines} lines"));
    }
    parts.join(" · ")
}

/// The last line of an error that says anything: it tells more than the first, where Claude Code puts
/// `Exit code N`. Its own errors stand in a tag.
fn last_words(output: &str) -> &str {
    let output = output.trim();
    let output = output.strip_prefix("<tool_use_error>").unwrap_or(output);
    let output = output.strip_suffix("</tool_use_error>").unwrap_or(output);
    let mut lines = output.lines().rev();
    let says = |line: &&str| line.contains(char::is_alphanumeric);
    lines.find(says).unwrap_or_default()
}

/// The one argument of a call that tells most.
pub(in crate::cli) fn telling(tool: &str, input: &Value) -> String {
    let asked = input
        .pointer("/questions/0/question")
        .and_then(Value::as_str);
    if let Some(question) = asked {
        return question.to_owned();
    }
    let key = match tool {
        "shell" => "command",
        "write" | "read" | "edit" => "file_path",
        "glob" | "grep" => "pattern",
        "task" => "description",
        _ => {
            return if input.is_null() {
                String::new()
            } else {
                input.to_string()
            };
        }
    };
    input
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests;
