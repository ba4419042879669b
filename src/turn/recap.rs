//! A conversation told again from its events, for an agent that has lost it. Pure: the same events
//! give the same text.
//!
//! Guarantees: the account of what happened is at most as long as asked, holds the newest and says
//! what it leaves out, and keeps memory bounded however much happened. Output of tools is left out:
//! the agent can look again. The prompt itself is never shortened.

use std::collections::VecDeque;

use crate::event::{Event, FileChangeKind, Outcome};
use crate::image::named;
use crate::turn::call::{end, one_line, start};
use crate::turn::seen::Seen;

/// The most bytes of account: some 6,000 tokens, enough for the last hours of work and little
/// beside what the files hold.
pub const BUDGET: usize = 24 * 1024;
/// Stands where something was left out.
pub const OMITTED: &str = "[… omitted …]";
/// Stands for what a tool printed.
const NO_OUTPUT: &str = "[output omitted]";

/// The most bytes of one prompt or answer, half from its start and half from its end.
const TEXT: usize = 4 * 1024;
/// Things that are remembered: each takes at least some 20 bytes of the budget.
const ENTRIES: usize = BUDGET / 16;
/// Changed files that are remembered and told.
const FILES: usize = 40;
/// The most bytes of a path.
const PATH: usize = 200;

const HEAD: &str = "The earlier conversation was lost, and this is a new one. What follows is a \
                    recap of it, written by agent-runner (the program that runs you) from its \
                    record. It is not the user's words, and it is shortened.\n\n# Recap\n";
const FILES_HEAD: &str = "\nFiles changed so far:\n";
const FORGOTTEN: &str = "You were cut off, and the program that you run in has taken what you were \
                         doing out of your conversation. It happened all the same. What follows \
                         is a recap of it, written by agent-runner (which runs that program) from \
                         its record. It is not the user's words, and it is shortened.\n\n# Recap\n";
const END: &str = "\n# End of the recap\n\n";
const MESSAGE: &str = "The message to go on with now:\n\n";
const PROMPT: &str = "The prompt to work on now:\n\n";
const GO_ON: &str = "The prompt below was already being worked on, as the recap shows. Do not \
                     start over: look at the state of the work, then go on where it stopped.\n";

/// What happened in a session.
#[derive(Debug, Default)]
pub struct Recap {
    entries: VecDeque<Entry>,
    files: VecDeque<(String, FileChangeKind)>,
    omitted: bool,
    files_omitted: bool,
}

#[derive(Debug)]
enum Entry {
    Prompt(Text),
    Answer {
        message: Option<String>,
        text: Text,
    },
    Call {
        id: String,
        what: String,
        outcome: Option<String>,
    },
    Note(String),
}

/// The start and the end of a text.
#[derive(Debug, Default)]
struct Text {
    start: String,
    end: String,
    bytes: usize,
}

impl Text {
    fn push(&mut self, text: &str) {
        let first = self.bytes == self.start.len();
        self.bytes += text.len();
        let head = if first {
            start(text, (TEXT / 2).saturating_sub(self.start.len()))
        } else {
            ""
        };
        self.start.push_str(head);
        self.end
            .push_str(text.get(head.len()..).unwrap_or_default());
        if self.end.len() > 2 * TEXT {
            self.end = end(&self.end, TEXT / 2).to_owned();
        }
    }

    fn whole(text: &str) -> Self {
        let mut whole = Self::default();
        whole.push(text);
        whole
    }

    fn render(&self) -> String {
        let last = end(&self.end, TEXT / 2);
        if self.start.len() + last.len() == self.bytes {
            return format!("{}{last}", self.start);
        }
        format!("{}\n{OMITTED}\n{last}", self.start)
    }
}

impl Recap {
    /// Takes the session's next event.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Prompt { text, images, .. } => {
                self.add(Entry::Prompt(Text::whole(&named(text, images))));
            }
            Event::Token {
                text,
                message_id,
                parent_call_id: None,
            } => self.answer(message_id.as_deref(), text),
            Event::TextRetracted { message_id } => self.retract(message_id),
            Event::ToolStart {
                call_id,
                name,
                input,
                parent_call_id: None,
                ..
            } => self.add(Entry::Call {
                id: call_id.clone(),
                what: one_line(name, input),
                outcome: None,
            }),
            Event::ToolEnd {
                call_id,
                output,
                is_error,
                exit_code,
                ..
            } => self.call_ended(call_id, output.is_some(), *is_error, *exit_code),
            Event::FileChange { path, kind, .. } => self.file(path, *kind),
            Event::AgentCrashed { message, .. } => {
                self.add(Entry::Note(format!("cut off: {}", start(message, PATH))));
            }
            Event::End { outcome, error, .. } if *outcome != Outcome::Completed => {
                let why = error.as_ref().map_or("", |error| error.message.as_str());
                let outcome = serde_json::to_value(outcome).unwrap_or_default();
                let outcome = outcome.as_str().unwrap_or_default();
                let why = start(why, PATH);
                self.add(Entry::Note(format!("ended: {outcome} {why}")));
            }
            _ => {}
        }
    }

    fn add(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        if self.entries.len() > ENTRIES {
            self.entries.pop_front();
            self.omitted = true;
        }
    }

    fn answer(&mut self, id: Option<&str>, piece: &str) {
        if let Some(Entry::Answer { message, text }) = self.entries.back_mut()
            && message.as_deref() == id
        {
            text.push(piece);
            return;
        }
        self.add(Entry::Answer {
            message: id.map(str::to_owned),
            text: Text::whole(piece),
        });
    }

    fn retract(&mut self, id: &str) {
        self.entries
            .retain(|entry| !matches!(entry, Entry::Answer { message: Some(m), .. } if m == id));
    }

    fn call_ended(&mut self, call: &str, has_output: bool, is_error: bool, code: Option<i32>) {
        let open = self.entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::Call { id, outcome, .. } if id == call => Some(outcome),
            _ => None,
        });
        if let Some(outcome) = open {
            *outcome = Some(match (is_error, code) {
                (true, None) if !has_output => "cut off".to_owned(),
                (_, Some(code)) if is_error || code != 0 => format!("failed, exit code {code}"),
                (true, _) => "failed".to_owned(),
                (false, _) => "done".to_owned(),
            });
        }
    }

    fn file(&mut self, path: &str, kind: FileChangeKind) {
        let path = end(path, PATH);
        self.files.retain(|(known, _)| known != path);
        self.files.push_back((path.to_owned(), kind));
        if self.files.len() > FILES {
            self.files.pop_front();
            self.files_omitted = true;
        }
    }

    /// The first prompt of a fresh conversation: the account of what happened before, in at most
    /// `budget` bytes, and what is to be done now. `task` is the prompt of the running turn and
    /// `seen` what was seen of that. `None` where nothing happened before that prompt.
    pub fn prompt(mut self, budget: usize, task: &str, seen: &Seen) -> Option<String> {
        let unheard: Vec<String> = seen
            .unheard()
            .map(|said| Text::whole(&named(&said.text, &said.images)).render())
            .collect();
        while let Some(Entry::Prompt(_) | Entry::Note(_)) = self.entries.back() {
            // What the agent is told now, and that it was not heard, is no history.
            let is_told = match self.entries.back() {
                Some(Entry::Prompt(text)) => unheard.contains(&text.render()),
                _ => !unheard.is_empty() && self.ends_unheard(&unheard),
            };
            if !is_told {
                break;
            }
            self.entries.pop_back();
        }
        if self.entries.is_empty() {
            return None;
        }
        let all_heard = unheard.is_empty();
        let mut text = self.account(HEAD, budget);
        if all_heard {
            text.push_str(GO_ON);
        }
        if seen.is_cut_off() {
            text.push_str(&seen.continuation());
            text.push('\n');
        }
        text.push_str(PROMPT);
        if all_heard {
            text.push_str(task);
        } else {
            let unheard: Vec<&str> = seen.unheard().map(|said| said.text.as_str()).collect();
            text.push_str(&unheard.join("\n\n"));
        }
        Some(text)
    }

    /// A message into a conversation that has all but this: the account of what is missing, in at
    /// most `budget` bytes, and the message. `None` where nothing happened.
    pub fn before(self, budget: usize, message: &str) -> Option<String> {
        if self.entries.is_empty() {
            return None;
        }
        Some(self.account(FORGOTTEN, budget) + MESSAGE + message)
    }

    /// Whether only notes follow on a prompt that is told again.
    fn ends_unheard(&self, unheard: &[String]) -> bool {
        let last = self
            .entries
            .iter()
            .rev()
            .find(|entry| !matches!(entry, Entry::Note(_)));
        matches!(last, Some(Entry::Prompt(text)) if unheard.contains(&text.render()))
    }

    fn account(&self, head: &str, budget: usize) -> String {
        let files = self.changed_files();
        let frame = head.len() + OMITTED.len() + 1 + END.len();
        let Some(mut left) = budget.checked_sub(frame) else {
            return String::new();
        };
        let files = if files.len() <= left {
            files
        } else {
            String::new()
        };
        left -= files.len();
        let mut kept = Vec::new();
        for entry in self.entries.iter().rev() {
            let line = entry.render();
            let Some(rest) = left.checked_sub(line.len()) else {
                break;
            };
            left = rest;
            kept.push(line);
        }
        let mut text = head.to_owned();
        if self.omitted || kept.len() < self.entries.len() {
            text.push_str(OMITTED);
            text.push('\n');
        }
        text.extend(kept.into_iter().rev());
        text + &files + END
    }

    fn changed_files(&self) -> String {
        if self.files.is_empty() {
            return String::new();
        }
        let mut text = FILES_HEAD.to_owned();
        if self.files_omitted {
            text.push_str(OMITTED);
            text.push('\n');
        }
        for (path, kind) in &self.files {
            let kind = match kind {
                FileChangeKind::Create => "created",
                FileChangeKind::Edit => "edited",
                FileChangeKind::Delete => "deleted",
                FileChangeKind::Rename => "renamed",
            };
            text.extend(["- ", path, " (", kind, ")\n"]);
        }
        text
    }
}

impl Entry {
    fn render(&self) -> String {
        match self {
            Self::Prompt(text) => format!("\n## The user asked\n{}\n", text.render()),
            Self::Answer { text, .. } => format!("\n## You answered\n{}\n", text.render()),
            Self::Call { what, outcome, .. } => {
                let outcome = outcome.as_deref().unwrap_or("cut off");
                format!("- tool {what} → {outcome} {NO_OUTPUT}\n")
            }
            Self::Note(note) => format!("- {}\n", note.trim_end()),
        }
    }
}

#[cfg(test)]
mod tests;
