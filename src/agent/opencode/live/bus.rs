//! What OpenCode's own events tell of the work, as our plugin (`plugin.mjs`) says them among the
//! frames: pieces of text by their parts, calls whole, requests that are made again, errors with
//! their status, the tokens of each request, what sub-agents do.
//!
//! A text is named by its part. What a request said that is made again, or that fails in the end,
//! is taken back; a summary that takes the conversation's place is not told at all. Of a sub-agent
//! its calls are told, within the call that began it, and its tokens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::record::{ErrorRecord, Part, State, TextMetadata, Time, Tokens};
use super::super::step;
use super::super::tools::{self, Permission};
use super::super::verdict::Failed;
use super::files::Files;
use crate::agent::acp::{Extended, OpenCall};
use crate::agent::hash;
use crate::agent::json::{Text, typed};
use crate::agent::lines::notice;
use crate::event::{ErrorClass, Event, NoticeLevel, TurnError, Usage};

/// How the plugin's notifications begin, and the first of them, which says nothing more.
pub(super) const PREFIX: &str = "_agent_runner/";
pub(super) const HERE: &str = "here";

/// More is not remembered at once, unless the output is damaged: state stays small.
const LIMIT: usize = 512;

/// The state. All of it is in every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Bus {
    /// Texts and thoughts of the request that is under way.
    texts: Vec<Said>,
    /// The message that is a summary for the model itself.
    summary: Option<String>,
    calls: Vec<OpenCall>,
    /// Files that were read or written, to tell a new file from an overwritten one.
    files: Files,
    /// The calls that began sub-agents, by the sub-agents' sessions.
    agents: BTreeMap<String, String>,
    used: Usage,
    /// The last error, unless the CLI went on all the same.
    failed: Option<Failed>,
}

/// A part that is being said.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    part: String,
    is_thought: bool,
    /// How much of it was told, and a hash of that.
    told: (usize, u64),
    /// White space behind that: OpenCode takes it away when nothing follows.
    held: String,
}

/// A notification of any kind.
#[derive(Debug, Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    session: Text<'a>,
    /// `part`: the whole of it. `delta`: its id.
    #[serde(borrow)]
    part: Option<&'a RawValue>,
    /// `delta`: of which message. `retry`: why.
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    /// `message`
    #[serde(borrow)]
    id: Option<Text<'a>>,
    summary: Option<bool>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Of the input of tools for files.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilePath<'a> {
    #[serde(borrow)]
    file_path: Option<Text<'a>>,
}

impl Bus {
    pub(super) fn turn_begins(&mut self) {
        *self = Self {
            files: std::mem::take(&mut self.files),
            ..Self::default()
        };
    }

    /// The error that ends the turn, with all that is known of it.
    pub(super) fn failed(&self) -> Option<&TurnError> {
        self.failed.as_ref().map(Failed::error)
    }

    /// The open call of that id.
    pub(super) fn call(&self, id: &str) -> Option<&OpenCall> {
        self.calls.iter().find(|call| call.id == id)
    }

    /// What is open will not end any more.
    pub(super) fn turn_over(&mut self, out: &mut Vec<Event>) {
        for call in self.calls.drain(..) {
            out.push(call.cut_off());
        }
    }

    /// Takes a notification about the conversation `main`, or about a sub-agent of it.
    pub(super) fn heard(
        &mut self,
        main: &str,
        what: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Event>,
    ) -> Option<Extended> {
        let params: Params<'_> = typed(params)?;
        let parent = self.agents.get(&*params.session).cloned();
        if parent.is_none() && *params.session != *main {
            return Some("of another session".into());
        }
        match (what, parent) {
            ("part", parent) => self.part(&typed(params.part)?, parent.as_deref(), out),
            (_, Some(_)) => Some("what a sub-agent says".into()),
            ("delta", _) => {
                let part: Text<'_> = typed(params.part)?;
                self.delta(&params.message?, &part, &params.text?, out)
            }
            ("message", _) => {
                let id = params.id?.to_string();
                if params.summary == Some(true) {
                    self.summary = Some(id);
                }
                Some("a message begins".into())
            }
            ("retry", _) => {
                self.retract(out);
                let text = params.message?.to_string();
                out.push(notice(NoticeLevel::Warning, "api_retry", text));
                Some("".into())
            }
            ("compacted", _) => {
                // Where it did so by itself, what it told its model then has said it.
                if self.summary.is_some() {
                    self.compacted("manual", out);
                }
                Some("a shorter context".into())
            }
            ("error", _) => Some(self.error(&typed(params.error)?, out)),
            _ => None,
        }
    }

    fn delta(
        &mut self,
        message: &str,
        part: &str,
        text: &str,
        out: &mut Vec<Event>,
    ) -> Option<Extended> {
        if self.summary.as_deref() == Some(message) {
            return Some("a summary for the model itself".into());
        }
        let mut texts = self.texts.iter_mut();
        let said = texts.find(|said| said.part == part)?;
        said.add(text, out);
        Some("white space, so far".into())
    }

    fn part(
        &mut self,
        part: &Part<'_>,
        parent: Option<&str>,
        out: &mut Vec<Event>,
    ) -> Option<Extended> {
        match (&*part.kind, parent) {
            ("tool", _) => return self.tool(part, parent, out),
            ("step-finish", None) => {
                self.texts.clear();
                self.count(part, out);
                if let Some(used_tokens) = context(part).filter(|_| !self.is_summary(part)) {
                    out.push(Event::Context {
                        used_tokens,
                        max_tokens: None,
                    });
                }
            }
            ("step-finish", Some(_)) => self.count(part, out),
            ("step-start", None) => {
                self.texts.clear();
                // a context that overflows is told again when it cannot be shortened either
                let is_got_over =
                    |failed: &mut Failed| failed.error().class != ErrorClass::ContextOverflow;
                self.failed.take_if(is_got_over);
            }
            ("text" | "reasoning", None) => return self.text(part, out),
            _ => {}
        }
        Some("of a request".into())
    }

    fn is_summary(&self, part: &Part<'_>) -> bool {
        self.summary.as_deref() == Some(&*part.message)
    }

    fn count(&mut self, part: &Part<'_>, out: &mut Vec<Event>) {
        let request = Usage::from(typed::<Tokens>(part.tokens).unwrap_or_default());
        let cost = typed::<f64>(part.cost).filter(|cost| *cost > 0.0);
        step::add(&mut self.used, &request, cost);
        out.push(Event::Usage(self.used.clone()));
    }

    fn text(&mut self, part: &Part<'_>, out: &mut Vec<Event>) -> Option<Extended> {
        let text = part.text.as_deref()?;
        if part.synthetic == Some(true) {
            let metadata: TextMetadata = typed(part.metadata).unwrap_or_default();
            if metadata.compaction_continue == Some(true) {
                self.compacted("auto", out);
            }
            return Some("text to the model".into());
        }
        if self.is_summary(part) {
            return Some("a summary for the model itself".into());
        }
        let at = self.texts.iter().position(|said| said.part == *part.id);
        if at.is_none() && self.texts.len() >= LIMIT {
            return None;
        }
        let at = at.unwrap_or_else(|| {
            self.texts.push(Said {
                part: part.id.to_string(),
                is_thought: &*part.kind == "reasoning",
                told: (0, hash::EMPTY),
                held: String::new(),
            });
            self.texts.len() - 1
        });
        self.texts.get_mut(at)?.whole(text, out);
        Some("nothing new".into())
    }

    /// What the request under way has said is void.
    fn retract(&mut self, out: &mut Vec<Event>) {
        for said in self.texts.drain(..) {
            if !said.is_thought && said.told.0 > 0 {
                out.push(Event::TextRetracted {
                    message_id: said.part,
                });
            }
        }
    }

    /// A summary stands in the conversation's place.
    fn compacted(&mut self, trigger: &str, out: &mut Vec<Event>) {
        self.summary = None;
        self.failed
            .take_if(|failed| failed.error().class == ErrorClass::ContextOverflow);
        out.push(Event::Compaction {
            trigger: Some(trigger.to_owned()),
            before_tokens: None,
            after_tokens: None,
        });
    }

    fn error(&mut self, error: &ErrorRecord<'_>, out: &mut Vec<Event>) -> Extended {
        let failed = Failed::new(error);
        if failed.is_interrupt() {
            return "the turn was interrupted".into();
        }
        self.retract(out);
        // it is told of the message and of the session
        if self.failed.as_ref() != Some(&failed) {
            let text = failed.error().message.clone();
            out.push(notice(NoticeLevel::Error, "api_error", text));
        }
        self.failed = Some(failed);
        "the same error again".into()
    }

    fn tool(
        &mut self,
        part: &Part<'_>,
        parent: Option<&str>,
        out: &mut Vec<Event>,
    ) -> Option<Extended> {
        let (tool, state) = (part.tool.as_deref()?, part.state.as_ref()?);
        let time = typed::<Time>(state.time).unwrap_or_default();
        if time.compacted.is_some() {
            let reason = "an old call's output was dropped from the context";
            return Some(reason.into());
        }
        let id = part.call.as_deref().unwrap_or(&part.id);
        let known = self.calls.iter().position(|call| call.id == id);
        match &*state.status {
            "pending" => return Some("its input is not known yet".into()),
            "running" if known.is_none() && self.calls.len() >= LIMIT => return None,
            _ => {}
        }
        let is_over = &*state.status != "running";
        let metadata = tools::metadata(tool, state.metadata);
        let at = known.unwrap_or_else(|| {
            let path: FilePath<'_> = typed(state.input).unwrap_or_default();
            let exists = path.file_path.is_some_and(|path| self.files.knows(&path));
            let begun = tools::begun(tool, state.input, exists);
            let name = tools::name(&begun.native).to_owned();
            let mut call = OpenCall::new(id, begun.native, name, begun.input);
            call.start(parent, out);
            self.calls.push(call);
            self.calls.len() - 1
        });
        self.remember_agent(id, tool, state);
        if !is_over {
            let shown = metadata.output.as_deref();
            self.calls.get_mut(at)?.grow(shown, out);
            return Some("nothing new".into());
        }
        let call = self.calls.remove(at);
        let done = tools::Done {
            is_failed: &*state.status != "completed",
            title: state.title.as_deref(),
            output: state.output.as_deref(),
            error: state.error.as_deref(),
            metadata,
            duration_ms: time.start.and_then(|start| time.end?.checked_sub(start)),
        };
        let begun = tools::resumed(&call.native, &call.input);
        self.files.saw(&call.input, done.is_failed);
        let refused = tools::ended(id, &begun, done, out) == Permission::Rejected;
        let reason = "";
        Some(Extended { reason, refused })
    }

    fn remember_agent(&mut self, call: &str, tool: &str, state: &State<'_>) {
        #[derive(Default, Deserialize)]
        struct Task<'a> {
            #[serde(borrow, rename = "sessionId")]
            session: Option<Text<'a>>,
        }
        if tool != "task" || self.agents.len() >= LIMIT {
            return;
        }
        let task: Task<'_> = typed(state.metadata).unwrap_or_default();
        if let Some(session) = task.session {
            self.agents.insert(session.to_string(), call.to_owned());
        }
    }
}

/// What a request left in the context.
fn context(part: &Part<'_>) -> Option<u64> {
    let request = Usage::from(typed::<Tokens>(part.tokens).unwrap_or_default());
    let used = step::add(&mut Usage::default(), &request, None);
    Some(used).filter(|used| *used > 0)
}

impl Said {
    /// A piece more.
    fn add(&mut self, text: &str, out: &mut Vec<Event>) {
        let mut more = std::mem::take(&mut self.held);
        more.push_str(text);
        let kept = more.trim_end().len();
        self.held = more.split_off(kept);
        self.tell(more, out);
    }

    fn tell(&mut self, more: String, out: &mut Vec<Event>) {
        if more.is_empty() {
            return;
        }
        let (len, known) = self.told;
        self.told = (len + more.len(), hash::more(known, &more));
        out.push(self.event(more));
    }

    /// All of it: what was not told in pieces follows. One that a plugin of the user's has changed
    /// is told anew.
    fn whole(&mut self, text: &str, out: &mut Vec<Event>) {
        if text.is_empty() {
            return; // it begins
        }
        self.held.clear();
        let (len, known) = self.told;
        let told = text.get(..len);
        if told.is_some_and(|told| hash::more(hash::EMPTY, told) == known) {
            let rest = text.get(len..).unwrap_or_default();
            self.tell(rest.to_owned(), out);
        } else if !self.is_thought {
            let message_id = self.part.clone();
            out.push(Event::TextRetracted { message_id });
            self.told = (0, hash::EMPTY);
            self.tell(text.to_owned(), out);
        }
    }

    fn event(&self, text: String) -> Event {
        let message_id = Some(self.part.clone());
        let parent_call_id = None;
        if self.is_thought {
            Event::Thinking {
                text,
                message_id,
                parent_call_id,
            }
        } else {
            Event::Token {
                text,
                message_id,
                parent_call_id,
            }
        }
    }
}

#[cfg(test)]
mod tests;
