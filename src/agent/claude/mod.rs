//! Claude Code 2.1.197 in exec form: `claude -p --output-format stream-json --verbose
//! --include-partial-messages`, one process a turn.
//!
//! Guarantees: every record gives its events in order, an unknown one gives `raw`, a broken line
//! is put together where it can be and reported; every tool call that starts ends; only a record
//! at the top of a line can end a turn, so text that looks like one (in a tool's output) cannot.
//! One process may write several `result`s (background work): the last one counts, and only once
//! nothing is open. A success without any answer or tool call is no completion.

mod calls;
mod launch;
mod live;
mod messages;
mod record;
mod resync;
mod system;
mod tools;
mod totals;
mod verdict;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::calls::Calls;
use self::messages::Messages;
use self::record::{
    AssistantRecord, Block, Record, ResultRecord, StreamRecord, ToolResults, UserRecord,
};
use self::totals::Totals;
use self::verdict::Terminal;
use super::json::{Text, typed};
use super::lines::{self, notice, raw};
use super::{Adapter, AgentKind, Compacts, Credentials, Evidence, Ignored, RestoreError, snapshot};
use crate::event::{Event, NoticeLevel};
use crate::exit::Exit;
use crate::frame::Line;

/// Claude Code in the registry of agents.
pub(super) const KIND: AgentKind = AgentKind {
    name: "claude",
    command: "claude",
    install: &[
        "agent-runner install claude",
        "npm install -g @anthropic-ai/claude-code@2.1.197",
    ],
    credentials: Credentials {
        env: &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "AWS_BEARER_TOKEN_BEDROCK",
        ],
        files: &[".claude/.credentials.json"],
        login: &["auth", "login"],
    },
    settings: None,
    plan: launch::plan,
    takes_subagents: launch::takes_subagents,
    adapter: || Box::new(Claude::default()),
    restore: |snapshot| Ok(Box::new(Claude::restore(snapshot)?)),
    conversation: Some(launch::conversation),
    store: None,
    has_answered: None,
    forgets: None,
    exits_well_by_signal: false,
    compacts: Compacts::AsAsked,
    live: Some(live::LIVE),
};

/// The snapshot's version: another program's state is not guessed at.
const VERSION: u32 = 1;

/// The adapter. All of it is in every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Claude {
    session: Option<Session>,
    /// The running turn was told it.
    #[serde(default)]
    introduced: bool,
    messages: Messages,
    calls: Calls,
    totals: Totals,
    /// Background work by task id, with the call that began it.
    tasks: BTreeMap<String, Option<String>>,
    /// What the last `result` said; taken back by a new round of the conversation.
    terminal: Option<Terminal>,
    /// `error` of the record that stands for the model's answer.
    api_error: Option<String>,
    /// Any record came: then stderr is no longer what a failure is judged by.
    seen_record: bool,
    /// The main conversation said something in words, and since the start did anything at all.
    has_answer: bool,
    has_output: bool,
    /// The first half of a record that another one cut in two.
    fragment: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    id: String,
    model: Option<String>,
    cwd: Option<String>,
}

impl Adapter for Claude {
    fn line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> Ignored {
        let before = out.len();
        let reason = self.any_line(line, out);
        let said = out.get(before..).unwrap_or_default();
        if said.is_empty() {
            return Ignored::Because(reason);
        }
        self.has_output |= said.iter().any(|event| match event {
            Event::Token { .. } | Event::ToolStart { .. } | Event::FileChange { .. } => true,
            // what somebody asked for was done
            Event::Compaction { trigger, .. } => trigger.as_deref() == Some("manual"),
            _ => false,
        });
        self.has_answer |= said.iter().any(
            |event| matches!(event, Event::Token { parent_call_id, .. } if parent_call_id.is_none()),
        );
        Ignored::No
    }

    fn end(&mut self, exit: Option<Exit>, stderr: &[u8], out: &mut Vec<Event>) -> Evidence {
        if let Some(fragment) = self.fragment.take() {
            out.push(raw(&fragment));
        }
        self.calls.interrupt(out);
        self.totals.end(out);
        self.evidence(exit, stderr, out)
    }

    fn finished(&self) -> bool {
        self.terminal.is_some() && self.tasks.is_empty()
    }

    fn in_background(&self) -> bool {
        self.terminal.is_some() && !self.tasks.is_empty()
    }

    fn agent_session(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.id.as_str())
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::save(VERSION, self)
    }
}

impl Claude {
    /// Goes on where `snapshot` was taken.
    pub fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        snapshot::load(VERSION, snapshot)
    }

    /// Live form: a message of the user begins a turn.
    fn turn_begins(&mut self) {
        self.terminal = None;
        self.api_error = None;
        self.has_answer = false;
        self.has_output = false;
        self.introduced = false;
        self.totals.turn_begins();
    }

    /// Live form: how the turn went, once, if its `result` has come; and whether background work
    /// goes on, which is no fault where the process stays.
    fn turn_over(&mut self, out: &mut Vec<Event>) -> Option<(Evidence, bool)> {
        self.terminal.as_ref()?;
        let background = !self.tasks.is_empty();
        if !background {
            self.calls.interrupt(out);
        }
        let evidence = self.said(out);
        self.terminal = None;
        Some((evidence, background))
    }

    /// Live form: the work in the background was stopped, so nothing wakes the agent; whether none of
    /// it is left.
    fn stopped(&mut self, out: &mut Vec<Event>) -> bool {
        let is_over = self.tasks.is_empty();
        if is_over {
            self.calls.interrupt(out);
        }
        is_over
    }

    /// The reason is for the case that no event comes of it.
    fn any_line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> &'static str {
        let bytes = match lines::content(line, out) {
            Ok(bytes) => bytes,
            Err(reason) => return reason,
        };
        // Checked once for the whole line, not once for each string in it.
        let text = text(bytes);
        if let Some(reason) = self.usual(&text, out) {
            return reason;
        }
        if let Ok(record) = serde_json::from_str::<Record<'_>>(&text) {
            return self.record(&record, &text, out);
        }
        self.broken(bytes, out);
        ""
    }

    /// A record that begins as the CLI writes it and is what its type says: read in one go.
    /// `None` for any other line, of which nothing was taken then.
    fn usual(&mut self, line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
        let (kind, rest) = line.strip_prefix("{\"type\":\"")?.split_once('"')?;
        let reason = match kind {
            "stream_event" => self.stream_event(line, out),
            "assistant" => self.assistant(line, out),
            "user" => self.user(line, out),
            "result" => self.result(line, out),
            "system" if rest.starts_with(",\"subtype\":\"init\",") => self.init(line, out),
            _ => None,
        }?;
        self.seen_record = true;
        Some(reason)
    }

    fn record(&mut self, record: &Record<'_>, line: &str, out: &mut Vec<Event>) -> &'static str {
        self.seen_record |= resync::TYPES.contains(&&*record.kind);
        let reason = match &*record.kind {
            "stream_event" => self.stream_event(line, out),
            "assistant" => self.assistant(line, out),
            "user" => self.user(line, out),
            "system" => self.system(record.subtype.as_deref(), line, out),
            "result" => self.result(line, out),
            "rate_limit_event" => system::rate_limit(line, out),
            "tool_progress" | "keep_alive" => Some("sign of life"),
            _ => None,
        };
        reason.unwrap_or_else(|| {
            out.push(raw(line.as_bytes()));
            ""
        })
    }

    fn stream_event(&mut self, line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
        let record: StreamRecord<'_> = serde_json::from_str(line).ok()?;
        let (event, parent) = (record.event, record.parent_tool_use_id.as_deref());
        match &*event.kind {
            "content_block_delta" => {
                self.messages
                    .delta(parent, event.index?, &event.delta?, out);
                Some("delta without text")
            }
            "content_block_start" => {
                self.messages
                    .open(parent, event.index?, &event.content_block?, out);
                Some("start of a block")
            }
            "content_block_stop" => Some("end of a block"),
            "message_start" => {
                let message = event.message?;
                self.messages.start(parent, message.id.as_deref()?, out);
                self.totals.start(message.usage);
                Some("start of a message")
            }
            "message_delta" => {
                if let Some(counts) = event.usage {
                    self.totals.update(counts, parent.is_none());
                }
                Some("usage so far")
            }
            "message_stop" => {
                self.messages.stop(parent);
                Some("end of a message")
            }
            "ping" => Some("sign of life"),
            _ => None,
        }
    }

    fn assistant(&mut self, line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
        let record: AssistantRecord<'_> = serde_json::from_str(line).ok()?;
        let message = record.message;
        let content = message.content?;
        let blocks: Vec<Block<'_>> = typed(Some(content))?;
        let parent = record.parent_tool_use_id.as_deref();
        if let Some(error) = typed::<Text<'_>>(record.error) {
            self.failed(parent, &error, &blocks, out);
            return Some("error without a text");
        }
        if parent.is_none() {
            self.terminal = None;
            self.api_error = None;
        }
        if let Some(counts) = message.usage {
            self.totals.context(counts, parent.is_none());
        }
        let id = message.id.as_deref();
        for block in &blocks {
            match &*block.kind {
                "text" => {
                    let text = block.text.as_deref().unwrap_or_default();
                    self.messages.text(parent, id, text, out);
                }
                "thinking" => {
                    let text = block.thinking.as_deref().unwrap_or_default();
                    self.messages.thinking(parent, id, text, out);
                }
                "tool_use" => {
                    let call = block.id.as_deref().unwrap_or_default();
                    self.messages.tool(parent, id, call, out);
                    self.calls.start(parent, block, out);
                }
                "redacted_thinking" => {}
                _ => out.push(raw(content.get().as_bytes())),
            }
        }
        Some("it was streamed already")
    }

    /// The CLI says an error in place of the model's answer.
    fn failed(
        &mut self,
        parent: Option<&str>,
        error: &str,
        blocks: &[Block<'_>],
        out: &mut Vec<Event>,
    ) {
        self.messages.abandon(parent, out);
        if parent.is_none() {
            self.terminal = None;
            self.api_error = Some(error.to_owned());
        }
        let texts: Vec<&str> = blocks
            .iter()
            .filter_map(|block| block.text.as_deref())
            .collect();
        out.push(notice(NoticeLevel::Error, "api_error", texts.join("\n")));
    }

    fn user(&mut self, line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
        let record: UserRecord<'_> = serde_json::from_str(line).ok()?;
        let ToolResults(results) = record.message.content;
        // the structured result stands beside the blocks: with several it could be anyone's
        let only = results.len() == 1;
        let cwd = self
            .session
            .as_ref()
            .and_then(|session| session.cwd.as_deref());
        for block in &results {
            let call = block.tool_use_id.as_deref().unwrap_or_default();
            let outcome = record.tool_use_result.filter(|_| only);
            if !self.calls.end(call, block, outcome, cwd, out) {
                self.tasks.retain(|_, owner| owner.as_deref() != Some(call));
            }
        }
        Some("text to the model")
    }

    fn result(&mut self, line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
        let result: ResultRecord<'_> = serde_json::from_str(line).ok()?;
        let text = result.result.as_deref().unwrap_or_default();
        if !result.is_error && !self.has_answer {
            // a slash command's answer, and all there is in other output formats
            self.messages.text(None, None, text, out);
        }
        for denial in result.permission_denials.iter().flatten() {
            let call = denial.tool_use_id.as_deref().unwrap_or("unknown");
            let text = format!("{} was not permitted (call {call})", &*denial.tool_name);
            out.push(notice(NoticeLevel::Warning, "permission_denied", text));
        }
        let model = self
            .session
            .as_ref()
            .and_then(|session| session.model.as_deref());
        self.totals.result(&result, model, out);
        let subtype = result.subtype.as_deref();
        let terminal = verdict::of_result(&result, subtype, self.api_error.as_deref());
        self.terminal = Some(terminal);
        Some("")
    }

    fn evidence(&self, exit: Option<Exit>, stderr: &[u8], out: &mut Vec<Event>) -> Evidence {
        match &self.terminal {
            Some(Terminal::Success { .. }) if !self.tasks.is_empty() => {
                let text = "the CLI ended while background work that it had begun was still open";
                out.push(notice(
                    NoticeLevel::Warning,
                    "background_open",
                    text.to_owned(),
                ));
                Evidence::None
            }
            None if !self.seen_record => verdict::of_stderr(exit, stderr),
            _ => self.said(out),
        }
    }

    /// What the last `result` says of the turn.
    fn said(&self, out: &mut Vec<Event>) -> Evidence {
        match &self.terminal {
            Some(Terminal::Failed(error)) => Evidence::Failed(error.clone()),
            Some(Terminal::ConversationMissing(error)) => {
                Evidence::ConversationMissing(error.clone())
            }
            Some(Terminal::Interrupted) => Evidence::Interrupted,
            Some(Terminal::Success { empty: true }) if !self.has_output => {
                let text = "the CLI reports success, but the agent said and did nothing";
                out.push(notice(
                    NoticeLevel::Warning,
                    "empty_answer",
                    text.to_owned(),
                ));
                Evidence::None
            }
            Some(Terminal::Success { .. }) => Evidence::Completed,
            None => Evidence::None,
        }
    }
}

/// `bytes` as text. The standard library's lossy conversion alone takes seven times as long.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests;
