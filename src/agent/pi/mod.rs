//! Pi 0.74.2 in exec form (`--mode json`).
//!
//! Guarantees: every tool call that began ends once; a turn counts as completed only when
//! `agent_end` came and the model's last message ended by itself; text of an answer that Pi asks
//! for again is taken back.
//!
//! Pi has no MCP, no sub-agents, no to-do list and asks for no consent, so there are no such
//! events. It does not say whether a written file is new, and its diffs are not unified.

mod calls;
mod launch;
mod record;
mod tools;
mod verdict;

use serde::{Deserialize, Serialize};

use self::calls::Calls;
use self::record::{Block, Compacted, Message, Record, TokenCounts};
use self::verdict::Terminal;
use super::json::typed;
use super::lines::notice;
use super::records::{self, Records, Taken};
use super::{Adapter, AgentKind, Compacts, Credentials, Evidence, Ignored, RestoreError, snapshot};
use crate::event::{Event, NoticeLevel, Usage};
use crate::exit::Exit;
use crate::frame::Line;

/// Pi in the registry of agents.
pub(super) const KIND: AgentKind = AgentKind {
    name: "pi",
    command: "pi",
    install: &[
        "agent-runner install pi",
        "npm install -g @earendil-works/pi-coding-agent@0.74.2",
    ],
    settings: None,
    credentials: Credentials {
        env: &["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"],
        files: &[".pi/agent/auth.json"],
        login: &[],
    },
    plan: launch::plan,
    takes_subagents: |_, _| false,
    adapter: || Box::new(Pi::default()),
    restore: |snapshot| Ok(Box::new(Pi::restore(snapshot)?)),
    // The CLI itself says when it has no such conversation.
    conversation: None,
    store: None,
    has_answered: None,
    forgets: None,
    exits_well_by_signal: false,
    compacts: Compacts::Never(
        "its `/compact` is a command of its own terminal and its RPC mode; in the print mode that it \
         is run in, it would go to the model as a text (0.74.2)",
    ),
    live: None,
};

/// The snapshot's version: another program's state is not guessed at.
const VERSION: u32 = 1;

/// The adapter. All of it is in every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Pi {
    session: Option<String>,
    /// The message of the model that is being written.
    message: Option<OpenMessage>,
    messages: u64,
    calls: Calls,
    usage: Usage,
    /// The model that speaks, with its vendor.
    #[serde(default)]
    model: Option<String>,
    /// How the last message of the model ended.
    last: Option<Terminal>,
    phase: Phase,
    /// The agent said or did anything at all.
    has_output: bool,
}

/// Where the process is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// The agent has not begun: stderr says why, if it never does.
    #[default]
    Before,
    /// `agent_start` came.
    Working,
    /// `agent_end` came.
    Over,
    /// It came, but another attempt or a shorter context is on its way.
    Waiting,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenMessage {
    id: String,
    /// Deltas came, and what they said is not taken back.
    streamed: bool,
}

impl Adapter for Pi {
    fn line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> Ignored {
        let before = out.len();
        let reason = records::take(self, line, out);
        if out.len() == before {
            Ignored::Because(reason)
        } else {
            Ignored::No
        }
    }

    fn end(&mut self, exit: Option<Exit>, stderr: &[u8], out: &mut Vec<Event>) -> Evidence {
        self.calls.interrupt(out);
        match self.phase {
            Phase::Before => return verdict::of_silence(exit, stderr),
            Phase::Working => {
                self.totals(out);
                return Evidence::None;
            }
            Phase::Over | Phase::Waiting => {}
        }
        match &self.last {
            Some(Terminal::Failed(error)) => Evidence::Failed(error.clone()),
            Some(Terminal::Interrupted) => Evidence::Interrupted,
            Some(Terminal::Success) if !self.has_output => {
                let text = "the CLI reports success, but the agent said and did nothing";
                out.push(notice(
                    NoticeLevel::Warning,
                    "empty_answer",
                    text.to_owned(),
                ));
                Evidence::None
            }
            Some(Terminal::Success) => Evidence::Completed,
            None => Evidence::None,
        }
    }

    fn finished(&self) -> bool {
        self.phase == Phase::Over && self.last.is_some()
    }

    fn agent_session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::save(VERSION, self)
    }
}

impl Records for Pi {
    const TYPES: &'static [&'static str] = &[
        "session",
        "agent_start",
        "agent_end",
        "turn_start",
        "turn_end",
        "message_start",
        "message_update",
        "message_end",
        "tool_execution_start",
        "tool_execution_update",
        "tool_execution_end",
        "queue_update",
        "compaction_start",
        "compaction_end",
        "auto_retry_start",
        "auto_retry_end",
    ];

    fn record(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Taken {
        let Ok(record) = serde_json::from_slice::<Record<'_>>(bytes) else {
            return Taken::Broken;
        };
        let read = match &*record.kind {
            "session" => self.session(&record, out),
            "agent_start" => Some(self.start()),
            "agent_end" => Some(self.stop(out)),
            "message_start" => self.message_start(&record, out),
            "message_update" => self.message_update(&record, out),
            "message_end" => self.message_end(&record, out),
            "tool_execution_start" => {
                let read = self.calls.start(&record, out);
                self.has_output |= read.is_some();
                read
            }
            "tool_execution_update" => self.calls.update(&record, out),
            "tool_execution_end" => self.calls.end(&record, out),
            "auto_retry_start" => Some(self.retry(&record, out)),
            "auto_retry_end" => Some(self.retry_end(&record, out)),
            "compaction_start" => Some(self.compacting()),
            "compaction_end" => Some(self.compacted(&record, out)),
            "turn_start" | "turn_end" | "queue_update" => Some("border of a round"),
            _ => None,
        };
        read.map_or(Taken::Unknown, Taken::Read)
    }
}

impl Pi {
    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        snapshot::load(VERSION, snapshot)
    }

    fn session(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let id = record.id.as_deref()?.to_owned();
        out.push(Event::Session {
            id: id.clone(),
            model: None,
            cwd: record.cwd.as_deref().map(str::to_owned),
            tools: None,
            at_work: false,
        });
        self.session = Some(id);
        Some("")
    }

    fn start(&mut self) -> &'static str {
        self.phase = Phase::Working;
        self.last = None;
        "start of the agent"
    }

    fn stop(&mut self, out: &mut Vec<Event>) -> &'static str {
        self.phase = Phase::Over;
        self.totals(out);
        "end without usage"
    }

    fn totals(&self, out: &mut Vec<Event>) {
        if self.usage != Usage::default() {
            out.push(Event::Usage(self.usage.clone()));
        }
    }

    fn message_start(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let message: Message<'_> = typed(record.message)?;
        if &*message.role == "assistant" {
            self.speaks(&message, out);
            let at = message.timestamp.unwrap_or_default();
            self.message = Some(OpenMessage {
                id: format!("{at}#{}", self.messages),
                streamed: false,
            });
            self.messages += 1;
        }
        Some("start of a message")
    }

    /// Its first record does not say which model it runs; each message of that does.
    fn speaks(&mut self, message: &Message<'_>, out: &mut Vec<Event>) {
        let (Some(provider), Some(model)) = (&message.provider, &message.model) else {
            return;
        };
        let model = Some(format!("{}/{}", &**provider, &**model));
        if let Some(id) = self.session.clone().filter(|_| self.model != model) {
            self.model.clone_from(&model);
            out.push(Event::Session {
                id,
                model,
                cwd: None,
                tools: None,
                at_work: false,
            });
        }
    }

    fn message_update(
        &mut self,
        record: &Record<'_>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let update = record.assistant_message_event.as_ref()?;
        let message = self.message.as_mut()?;
        let text = update.delta.as_deref().unwrap_or_default();
        if text.is_empty() {
            return Some("delta without text");
        }
        match &*update.kind {
            "text_delta" => out.push(Event::Token {
                text: text.to_owned(),
                message_id: Some(message.id.clone()),
                parent_call_id: None,
            }),
            "thinking_delta" => out.push(Event::Thinking {
                text: text.to_owned(),
                message_id: Some(message.id.clone()),
                parent_call_id: None,
            }),
            "toolcall_delta" => return Some("piece of a call: its start tells"),
            _ => return None,
        }
        message.streamed = true;
        self.has_output |= &*update.kind == "text_delta";
        Some("")
    }

    fn message_end(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let message: Message<'_> = typed(record.message)?;
        if &*message.role != "assistant" {
            return Some("text to the model");
        }
        if let Some(open) = self.message.as_mut().filter(|open| !open.streamed) {
            // an answer that was not streamed
            let blocks: Vec<Block<'_>> = typed(message.content).unwrap_or_default();
            for block in blocks {
                open.streamed |= whole(&open.id, &block, out);
            }
            self.has_output |= open.streamed;
        }
        if let Some(counts) = message.usage {
            self.add(counts, out);
        }
        self.last = verdict::of_message(&message);
        if let Some(Terminal::Failed(error)) = &self.last {
            let text = error.message.clone();
            out.push(notice(NoticeLevel::Error, "api_error", text));
        }
        Some("it was streamed already")
    }

    fn add(&mut self, counts: TokenCounts, out: &mut Vec<Event>) {
        let usage = &mut self.usage;
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut usage.input_tokens, counts.input);
        add(&mut usage.output_tokens, counts.output);
        add(&mut usage.cache_read_tokens, counts.cache_read);
        add(&mut usage.cache_write_tokens, counts.cache_write);
        if counts.cost.total > 0.0 {
            *usage.cost_usd.get_or_insert(0.0) += counts.cost.total;
        }
        if counts.total_tokens > 0 {
            out.push(Event::Context {
                used_tokens: counts.total_tokens,
                max_tokens: None,
            });
        }
    }

    fn retry(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> &'static str {
        self.wait();
        self.retract(out);
        let text = format!(
            "the request to the model failed ({}); retry {} of {} in {} ms",
            record.error_message.as_deref().unwrap_or("unknown"),
            record.attempt.unwrap_or(1),
            record.max_attempts.unwrap_or(1),
            record.delay_ms.unwrap_or(0),
        );
        out.push(notice(NoticeLevel::Warning, "api_retry", text));
        ""
    }

    fn retry_end(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> &'static str {
        self.go_on();
        if record.success == Some(false) {
            self.retract(out);
        }
        "end of the retries"
    }

    /// Pi leaves a failed message out of the conversation when it asks again.
    fn retract(&mut self, out: &mut Vec<Event>) {
        if let Some(message) = self.message.take().filter(|message| message.streamed) {
            out.push(Event::TextRetracted {
                message_id: message.id,
            });
        }
    }

    fn wait(&mut self) {
        if self.phase == Phase::Over {
            self.phase = Phase::Waiting;
        }
    }

    fn go_on(&mut self) {
        if self.phase == Phase::Waiting {
            self.phase = Phase::Over;
        }
    }

    fn compacting(&mut self) -> &'static str {
        self.wait();
        "start of a compaction"
    }

    fn compacted(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> &'static str {
        self.go_on();
        if let Some(result) = typed::<Compacted>(record.result) {
            out.push(Event::Compaction {
                trigger: record.reason.as_deref().map(str::to_owned),
                before_tokens: result.tokens_before,
                after_tokens: None,
            });
        }
        "compaction without a result"
    }
}

/// A block that comes in one piece; whether there was anything in it.
fn whole(id: &str, block: &Block<'_>, out: &mut Vec<Event>) -> bool {
    let message_id = Some(id.to_owned());
    let parent_call_id = None;
    let event = match (
        &*block.kind,
        block.text.as_deref(),
        block.thinking.as_deref(),
    ) {
        ("text", Some(text), _) if !text.is_empty() => Event::Token {
            text: text.to_owned(),
            message_id,
            parent_call_id,
        },
        ("thinking", _, Some(text)) if !text.is_empty() => Event::Thinking {
            text: text.to_owned(),
            message_id,
            parent_call_id,
        },
        _ => return false,
    };
    out.push(event);
    true
}
