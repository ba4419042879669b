//! Codex CLI 0.169.0 in exec form: `codex exec --json`.
//!
//! Guarantees: every record gives its events in order, an unknown one gives `raw`; every tool call
//! that starts ends; only a record at the top of a line can end a turn. `turn.completed` without
//! any answer or tool call is no completion.
//!
//! What this form of the CLI does not tell: pieces of a text or of a command's output before it is
//! whole, diffs, how full the context is, cost, and what sub-agents do. Text is never taken back:
//! a message that stood before a lost connection stays part of the conversation.
//!
//! Two things go on from process to process of a thread, so that an adapter follows the one before
//! it: token counts are those of the whole thread, and item ids begin anew in each.

mod calls;
mod command;
mod launch;
mod live;

mod mcp;
mod record;
mod rollout;
mod verdict;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::calls::Calls;
use self::record::{Fault, Item, Record, TokenCounts};
use self::verdict::Terminal;
use super::json::{Text, typed};
use super::lines::{self, Piece, corrupt, notice, pieces, raw};
use super::{Adapter, AgentKind, Compacts, Credentials, Evidence, Ignored, RestoreError, snapshot};
use crate::event::{Event, NoticeLevel, PlanItem, TurnError, Usage};
use crate::exit::Exit;
use crate::frame::Line;

/// Codex in the registry of agents.
pub(super) const KIND: AgentKind = AgentKind {
    name: "codex",
    command: "codex",
    install: &[
        "agent-runner install codex",
        "npm install -g @openai/codex@0.169.0",
    ],
    credentials: Credentials {
        env: &["CODEX_API_KEY", "OPENAI_API_KEY"],
        files: &[".codex/auth.json"],
        login: &["login"],
    },
    settings: Some(".codex/config.toml"),
    plan: launch::plan,
    takes_subagents: |_, _| false,
    adapter: || Box::new(Codex::default()),
    restore: |snapshot| Ok(Box::new(Codex::restore(snapshot)?)),
    conversation: Some(launch::conversation),
    store: None,
    has_answered: Some(rollout::has_answered),
    forgets: None,
    exits_well_by_signal: false,
    compacts: Compacts::Live,
    live: Some(live::LIVE),
};

/// The snapshot's version: another program's state is not guessed at.
const VERSION: u32 = 1;

/// The record types that may stand at the top of a line.
const TYPES: &[&str] = &[
    "thread.started",
    "turn.started",
    "turn.completed",
    "turn.failed",
    "item.started",
    "item.updated",
    "item.completed",
    "error",
];

/// What Codex puts before the number of a retry, and before it waits for a network.
const RETRY: &str = "Reconnecting...";

/// The adapter. All of it is in every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Codex {
    thread: Option<String>,
    /// The thread's process before this one, until it is known whether this is the same thread.
    earlier: Option<Earlier>,
    /// Processes of the thread before this one.
    process: u32,
    /// What the thread had used before this process, and what it has used by now.
    base: Usage,
    total: Usage,
    calls: Calls,
    plan: Vec<PlanItem>,
    terminal: Option<Terminal>,
    /// The last `error` that is no retry and that nothing came after.
    last_error: Option<TurnError>,
    /// Any record came: then stderr is no longer what a failure is judged by.
    seen_record: bool,
    /// The agent said or did anything.
    has_output: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Earlier {
    thread: String,
    process: u32,
    total: Usage,
}

impl Adapter for Codex {
    fn line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> Ignored {
        let before = out.len();
        let reason = self.any_line(line, out);
        let said = out.get(before..).unwrap_or_default();
        if said.is_empty() {
            return Ignored::Because(reason);
        }
        self.has_output |= said
            .iter()
            .any(|event| matches!(event, Event::Token { .. } | Event::ToolStart { .. }));
        Ignored::No
    }

    fn end(&mut self, exit: Option<Exit>, stderr: &[u8], out: &mut Vec<Event>) -> Evidence {
        let left_open = self.calls.interrupt(out);
        verdict::tool_errors(stderr, out);
        if left_open && self.terminal == Some(Terminal::Completed) {
            let text =
                "the CLI ended its turn with a command still running, and the command with it";
            out.push(notice(
                NoticeLevel::Warning,
                "background_open",
                text.to_owned(),
            ));
        }
        match &self.terminal {
            Some(Terminal::Failed(error)) => Evidence::Failed(error.clone()),
            Some(Terminal::Completed) if self.has_output => Evidence::Completed,
            Some(Terminal::Completed) => {
                let text = "the CLI reports success, but the agent said and did nothing";
                out.push(notice(
                    NoticeLevel::Warning,
                    "empty_answer",
                    text.to_owned(),
                ));
                Evidence::None
            }
            None if !self.seen_record => verdict::of_stderr(exit, stderr),
            None => match (&self.last_error, exit.and_then(|exit| exit.code)) {
                (Some(error), Some(1..)) => Evidence::Failed(error.clone()),
                _ => Evidence::None,
            },
        }
    }

    fn finished(&self) -> bool {
        self.terminal.is_some()
    }

    fn agent_session(&self) -> Option<&str> {
        self.thread.as_deref()
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::save(VERSION, self)
    }

    fn follow(&mut self, earlier: &[u8]) {
        let before = Self::restore(earlier).ok();
        self.earlier = before.and_then(|before| {
            Some(Earlier {
                thread: before.thread?,
                process: before.process,
                total: before.total,
            })
        });
    }
}

impl Codex {
    /// Goes on where `snapshot` was taken.
    pub fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        snapshot::load(VERSION, snapshot)
    }

    /// The reason is for the case that no event comes of it.
    fn any_line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> &'static str {
        let bytes = match lines::content(line, out) {
            Ok(bytes) => bytes,
            Err(reason) => return reason,
        };
        let mut mended = String::new();
        if let Some((record, text)) = lines::record::<Record<'_>>(bytes, &mut mended) {
            return self.record(&record, text, out);
        }
        self.broken(bytes, out);
        ""
    }

    fn record(&mut self, record: &Record<'_>, bytes: &[u8], out: &mut Vec<Event>) -> &'static str {
        self.seen_record |= TYPES.contains(&&*record.kind);
        let reason = match &*record.kind {
            "thread.started" => self.thread_started(record.thread_id, out),
            "turn.started" => {
                self.terminal = None;
                Some("start of a turn")
            }
            "item.started" | "item.updated" | "item.completed" => {
                typed::<Item<'_>>(record.item).and_then(|item| self.item(&record.kind, &item, out))
            }
            "turn.completed" => self.turn_completed(record.usage, out),
            "turn.failed" => Some(self.turn_failed(record.error)),
            "error" => self.error(record.message, out),
            _ => None,
        };
        reason.unwrap_or_else(|| {
            out.push(raw(bytes));
            ""
        })
    }

    fn thread_started(
        &mut self,
        id: Option<&RawValue>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let id: Text<'_> = typed(id)?;
        self.thread = Some(id.to_string());
        if let Some(earlier) = self.earlier.take().filter(|earlier| earlier.thread == *id) {
            self.process = earlier.process.saturating_add(1);
            self.base = earlier.total.clone();
            self.total = earlier.total;
        }
        out.push(Event::Session {
            id: id.to_string(),
            model: None,
            cwd: None,
            tools: None,
            at_work: false,
        });
        Some("")
    }

    fn item(
        &mut self,
        record: &str,
        item: &Item<'_>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        const LATER: &str = "its end tells";
        self.last_error = None;
        let completed = record == "item.completed";
        let id = self.id(&item.id);
        let message_id = || Some(id.to_string());
        match &*item.kind {
            "agent_message" | "reasoning" | "error" if !completed => return Some(LATER),
            "agent_message" => out.push(Event::Token {
                text: item.text.as_deref()?.to_owned(),
                message_id: message_id(),
                parent_call_id: None,
            }),
            "reasoning" => out.push(Event::Thinking {
                text: item.text.as_deref()?.to_owned(),
                message_id: message_id(),
                parent_call_id: None,
            }),
            "error" => {
                let text = item.message.as_deref()?.to_owned();
                out.push(notice(NoticeLevel::Warning, "agent_warning", text));
            }
            "todo_list" => self.planned(item, out)?,
            _ if completed => self.calls.end(item, &id, out).then_some(())?,
            _ if record == "item.started" => self.calls.start(item, &id, out).then_some(())?,
            _ if calls::is_call(&item.kind) => return Some(LATER),
            _ => return None,
        }
        Some("the same again")
    }

    /// An item's id within the whole thread: the CLI counts from 0 in every process.
    fn id<'i>(&self, item: &'i str) -> Cow<'i, str> {
        match self.process {
            0 => Cow::Borrowed(item),
            before => Cow::Owned(format!("{item}-{}", u64::from(before) + 1)),
        }
    }

    fn planned(&mut self, item: &Item<'_>, out: &mut Vec<Event>) -> Option<()> {
        let todos = item.items.as_ref()?.iter();
        let plan = todos.map(|todo| PlanItem {
            text: todo.text.clone(),
            status: if todo.completed {
                "completed"
            } else {
                "pending"
            }
            .to_owned(),
        });
        let plan: Vec<PlanItem> = plan.collect();
        // its last state comes once more at the end of the turn
        if plan != self.plan {
            self.plan.clone_from(&plan);
            out.push(Event::Plan { items: plan });
        }
        Some(())
    }

    fn turn_completed(
        &mut self,
        usage: Option<&RawValue>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        self.terminal = Some(Terminal::Completed);
        let counts: TokenCounts = typed(usage)?;
        self.total = Usage::from(counts);
        out.push(Event::Usage(record::since(&self.base, &self.total)));
        Some("")
    }

    fn turn_failed(&mut self, error: Option<&RawValue>) -> &'static str {
        let message = typed::<Fault<'_>>(error).map(|fault| fault.message);
        let error = verdict::error(message.as_deref().unwrap_or_default());
        self.terminal = Some(Terminal::Failed(error));
        "the turn's end says it"
    }

    /// A retry, or the error that `turn.failed` says once more.
    fn error(&mut self, message: Option<&RawValue>, out: &mut Vec<Event>) -> Option<&'static str> {
        let message: Text<'_> = typed(message)?;
        let text = message.to_string();
        if text.starts_with(RETRY) {
            out.push(notice(NoticeLevel::Warning, "api_retry", text));
        } else {
            self.last_error = Some(verdict::error(&text));
            out.push(notice(NoticeLevel::Error, "api_error", text));
        }
        Some("")
    }

    /// A line that is no record: noise, or records with other output between them (on a terminal,
    /// `^C` has no line of its own). A turn ends by it only if nothing but records and control
    /// characters is in it: what other programs print must not end a turn.
    fn broken(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        let pieces = pieces(bytes, is_record);
        if !pieces.iter().any(|piece| matches!(piece, Piece::Record(_))) {
            if bytes.starts_with(b"{\"") {
                out.push(corrupt("a record is incomplete; its text is kept as it is"));
            }
            out.push(raw(bytes));
            return;
        }
        out.push(corrupt(
            "several records, or a record and other output, share a line",
        ));
        let is_ours = pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Record(_) | Piece::Noise(b"^C")));
        for piece in pieces {
            match piece {
                Piece::Record(bytes) => match serde_json::from_slice::<Record<'_>>(bytes) {
                    Ok(record) if is_ours || !record.kind.starts_with("turn.") => {
                        self.record(&record, bytes, out);
                    }
                    _ => out.push(raw(bytes)),
                },
                Piece::Noise(noise) => out.push(raw(noise)),
            }
        }
    }
}

/// Whether `bytes` are one whole record of a known type.
fn is_record(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Record<'_>>(bytes).is_ok_and(|record| TYPES.contains(&&*record.kind))
}

#[cfg(test)]
mod tests;
