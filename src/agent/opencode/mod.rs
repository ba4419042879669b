//! OpenCode 1.18.33 in exec form: `opencode run --format json`, one process a turn.
//!
//! Guarantees: every record gives its events in order, an unknown one gives `raw`, a broken line
//! is taken apart and reported; only a record of this session can end the turn. There is no
//! terminal record: a turn is complete when the last step finished with `stop` and the process
//! exited with 0 by itself; OpenCode's own database is heard as well ([`store`]). Text that is
//! said again because a stream broke off, and the summary that takes a conversation's place, are
//! taken back.
//!
//! What this form does not give: text in pieces, the start of a tool call (it is told at its
//! end), what a sub-agent does inside its call.

mod config;
mod launch;
mod live;
mod lock;
mod log;
mod record;
mod step;
mod store;
mod tools;
mod verdict;

use serde::{Deserialize, Serialize};

use self::log::Stderr;
use self::record::{ErrorRecord, Part, Record, TextMetadata, Tokens};
use self::step::Step;
use self::verdict::Failed;
use super::json::typed;
use super::lines::{self, Piece, corrupt, notice, raw};
use super::{Adapter, AgentKind, Compacts, Credentials, Evidence, Ignored, RestoreError, snapshot};
use crate::event::{ErrorClass, Event, NoticeLevel, Usage};
use crate::exit::Exit;
use crate::frame::Line;

/// OpenCode in the registry of agents.
pub(super) const KIND: AgentKind = AgentKind {
    name: "opencode",
    command: "opencode",
    install: &[
        "agent-runner install opencode",
        "npm install -g opencode-ai@1.18.33",
    ],
    credentials: Credentials {
        env: &[
            "OPENCODE_API_KEY",
            "OPENCODE_AUTH_CONTENT",
            "ANTHROPIC_API_KEY",
            "OPENAI_API_KEY",
            "OPENROUTER_API_KEY",
        ],
        files: &[".local/share/opencode/auth.json"],
        login: &["auth", "login"],
    },
    settings: None,
    plan: launch::plan,
    takes_subagents: |_, asks| !asks,
    adapter: || Box::new(OpenCode::default()),
    restore: |snapshot| Ok(Box::new(OpenCode::restore(snapshot)?)),
    // In its database: the CLI itself says when it has no such session.
    conversation: None,
    store: Some(store::STORE),
    has_answered: None,
    forgets: None,
    exits_well_by_signal: false,
    compacts: Compacts::Live,
    live: Some(live::LIVE),
};

/// The snapshot's version: another program's state is not guessed at.
const VERSION: u32 = 1;

/// The adapter. All of it is in every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OpenCode {
    session: Option<String>,
    step: Step,
    used: Usage,
    /// Why the last step finished; taken back by whatever comes after it.
    finished: Option<String>,
    /// The last error, unless the CLI went on all the same.
    failed: Option<Failed>,
    /// An error was got over. The CLI exits with 1 nevertheless.
    recovered: bool,
    /// A call was not permitted, after which OpenCode stops.
    rejected: bool,
    /// Anything was said or done.
    has_output: bool,
}

impl Adapter for OpenCode {
    fn line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> Ignored {
        let before = out.len();
        let reason = self.any_line(line, out);
        let said = out.get(before..).unwrap_or_default();
        if said.is_empty() {
            return Ignored::Because(reason);
        }
        self.has_output |= said.iter().any(|event| {
            matches!(
                event,
                Event::Token { .. } | Event::ToolStart { .. } | Event::FileChange { .. }
            )
        });
        Ignored::No
    }

    fn end(&mut self, exit: Option<Exit>, stderr: &[u8], out: &mut Vec<Event>) -> Evidence {
        let text = String::from_utf8_lossy(stderr);
        let stderr = Stderr::read(&text);
        let evidence = self.evidence(exit, &stderr, out);
        let (count, last) = stderr.failed_requests();
        if count > 0 && !matches!(evidence, Evidence::Failed(_)) {
            let text = format!("requests to the model failed ({count}); the last one: {last}");
            out.push(notice(NoticeLevel::Warning, "api_retry", text));
        }
        evidence
    }

    fn finished(&self) -> bool {
        self.finished.as_deref() == Some("stop") && self.failed.is_none()
    }

    fn agent_session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::save(VERSION, self)
    }
}

impl OpenCode {
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

    /// A line that is no record: noise, or records that were mixed up with it.
    fn broken(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        let pieces = lines::pieces(bytes, is_record);
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
        if let [Piece::Noise(head), Piece::Record(inner), Piece::Noise(tail)] = pieces.as_slice() {
            let outer = [*head, *tail].concat();
            if is_record(&outer) {
                self.piece(inner, out);
                self.piece(&outer, out);
                return;
            }
        }
        for piece in pieces {
            match piece {
                Piece::Record(record) => self.piece(record, out),
                Piece::Noise(noise) => out.push(raw(noise)),
            }
        }
    }

    fn piece(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        match serde_json::from_slice::<Record<'_>>(bytes) {
            Ok(record) => {
                self.record(&record, bytes, out);
            }
            Err(_) => out.push(raw(bytes)),
        }
    }

    fn record(&mut self, record: &Record<'_>, bytes: &[u8], out: &mut Vec<Event>) -> &'static str {
        match &self.session {
            // sub-agents' sessions are not printed: what names another one is not ours
            Some(session) if *session != *record.session => {
                out.push(raw(bytes));
                return "";
            }
            Some(_) => {}
            None if record.session.is_empty() => {
                out.push(raw(bytes));
                return "";
            }
            None => self.begin(record, out),
        }
        let part: Option<Part<'_>> = typed(record.part);
        let reason = match (&*record.kind, part) {
            ("error", _) => self.error(record, out),
            ("step_start", Some(part)) => Some(self.step_start(&part, out)),
            ("text", Some(part)) => self.text(&part, out),
            ("reasoning", Some(part)) => self.reasoning(&part, out),
            ("tool_use", Some(part)) => self.tool(&part, out),
            ("step_finish", Some(part)) => self.step_finish(&part, out),
            _ => None,
        };
        reason.unwrap_or_else(|| {
            out.push(raw(bytes));
            ""
        })
    }

    fn begin(&mut self, first: &Record<'_>, out: &mut Vec<Event>) {
        self.session = Some(first.session.to_string());
        out.push(Event::Session {
            id: first.session.to_string(),
            model: None,
            cwd: None,
            tools: None,
            // It prints nothing of a call before that is over: one that is cut off in its first
            // would otherwise be asked the same again (1.18.33).
            at_work: &*first.kind == "step_start",
        });
    }

    /// Work goes on in this message.
    fn enter(&mut self, message: &str) {
        self.finished = None;
        self.step.enter(message);
    }

    fn step_start(&mut self, part: &Part<'_>, out: &mut Vec<Event>) -> &'static str {
        self.enter(&part.message);
        self.step.start(&part.id, out);
        "start of a step"
    }

    fn text(&mut self, part: &Part<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let text = part.text.as_deref()?;
        if part.synthetic == Some(true) {
            let metadata: TextMetadata = typed(part.metadata).unwrap_or_default();
            if metadata.compaction_continue == Some(true) {
                self.compacted(out);
            }
            return Some("text to the model");
        }
        self.enter(&part.message);
        self.step.text(&part.id);
        if !text.is_empty() {
            out.push(Event::Token {
                text: text.to_owned(),
                message_id: Some(part.message.to_string()),
                parent_call_id: None,
            });
        }
        Some("empty text")
    }

    fn reasoning(&mut self, part: &Part<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let text = part.text.as_deref()?;
        self.enter(&part.message);
        if !text.is_empty() {
            out.push(Event::Thinking {
                text: text.to_owned(),
                message_id: Some(part.message.to_string()),
                parent_call_id: None,
            });
        }
        Some("empty reasoning")
    }

    fn tool(&mut self, part: &Part<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let (tool, state) = (part.tool.as_deref()?, part.state.as_ref()?);
        let time = typed::<record::Time>(state.time).unwrap_or_default();
        if time.compacted.is_some() {
            return Some("an old call's output was dropped from the context");
        }
        self.enter(&part.message);
        let call = part.call.as_deref().unwrap_or(&part.id);
        if tools::call(call, tool, state, &time, out) == tools::Permission::Rejected {
            self.rejected = true;
        }
        Some("")
    }

    fn step_finish(&mut self, part: &Part<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let reason = part.reason.as_deref()?;
        self.enter(&part.message);
        self.step.finish();
        self.finished = Some(reason.to_owned());
        let request = Usage::from(typed::<Tokens>(part.tokens).unwrap_or_default());
        let cost = typed::<f64>(part.cost).filter(|cost| *cost > 0.0);
        let used_tokens = step::add(&mut self.used, &request, cost);
        out.push(Event::Usage(self.used.clone()));
        if used_tokens > 0 {
            out.push(Event::Context {
                used_tokens,
                max_tokens: None,
            });
        }
        Some("")
    }

    /// What the model had said last was a summary of the conversation, for itself.
    fn compacted(&mut self, out: &mut Vec<Event>) {
        self.finished = None;
        self.step.retract(out);
        let overflow = |failed: &mut Failed| failed.error().class == ErrorClass::ContextOverflow;
        self.recovered |= self.failed.take_if(overflow).is_some();
        out.push(Event::Compaction {
            trigger: Some("auto".to_owned()),
            before_tokens: None,
            after_tokens: None,
        });
    }

    fn error(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let error: ErrorRecord<'_> = typed(record.error)?;
        let failed = Failed::new(&error);
        // a context that overflows is told again when it cannot be shortened either
        if self.failed.as_ref() != Some(&failed) {
            let text = failed.error().message.clone();
            out.push(notice(NoticeLevel::Error, "api_error", text));
        }
        self.failed = Some(failed);
        Some("the same error again")
    }

    fn evidence(&self, exit: Option<Exit>, stderr: &Stderr<'_>, out: &mut Vec<Event>) -> Evidence {
        let code = exit.map(|exit| exit.code);
        let by_itself = matches!(code, None | Some(Some(_)));
        let well =
            matches!(code, None | Some(Some(0))) || (self.recovered && code == Some(Some(1)));
        match (&self.failed, self.finished.as_deref()) {
            (Some(failed), finished) if finished != Some("stop") || !well => {
                failed.evidence(stderr)
            }
            (_, Some("stop")) if well && !self.has_output => {
                let text = "the CLI ended well, but the agent said and did nothing".to_owned();
                out.push(notice(NoticeLevel::Warning, "empty_answer", text));
                Evidence::None
            }
            (_, Some("stop")) if well => Evidence::Completed,
            (_, Some(reason)) if by_itself && reason != "stop" => {
                verdict::of_reason(reason, self.rejected)
            }
            _ => verdict::of_stderr(exit, stderr, self.session.is_some()),
        }
    }
}

/// Whether `bytes` are one whole record of a known type.
fn is_record(bytes: &[u8]) -> bool {
    const TYPES: [&str; 6] = [
        "step_start",
        "text",
        "reasoning",
        "tool_use",
        "step_finish",
        "error",
    ];
    serde_json::from_slice::<Record<'_>>(bytes).is_ok_and(|record| TYPES.contains(&&*record.kind))
}

#[cfg(test)]
mod tests;
