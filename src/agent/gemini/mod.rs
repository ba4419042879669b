//! Gemini CLI 0.61.0 in exec form (`--output-format stream-json`).
//!
//! Guarantees: every tool call that began ends once; a turn counts as completed only by a `result`
//! that says so and that no `error` record contradicts; text of an answer that the CLI gave up is
//! taken back.
//!
//! What the CLI does not write cannot be given: thinking, the exit code of a command, what a tool
//! call gave the model (only what a person is shown), the steps of sub-agents, cost, and a mark
//! where it silently asks again and repeats its text.

mod chat;
mod launch;
mod live;
mod record;
mod settings;
mod tools;
mod verdict;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::record::Record;
use self::verdict::Terminal;
use super::json::{Text, typed};
use super::lines::notice;
use super::records::{self, Records, Taken};
use super::{
    Adapter, AgentKind, Compacts, Credentials, Evidence, Forgets, Ignored, RestoreError, snapshot,
};
use crate::event::{Event, FileChangeKind, NoticeLevel, PlanItem, TurnError, Usage};
use crate::exit::Exit;
use crate::frame::Line;

/// Gemini CLI in the registry of agents.
pub(super) const KIND: AgentKind = AgentKind {
    name: "gemini",
    command: "gemini",
    install: &[
        "agent-runner install gemini",
        "npm install -g @google/gemini-cli@0.61.0",
    ],
    settings: Some(".gemini/settings.json"),
    credentials: Credentials {
        env: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        files: &[".gemini/oauth_creds.json"],
        login: &[],
    },
    plan: launch::plan,
    takes_subagents: |_, _| false,
    adapter: || Box::new(Gemini::default()),
    restore: |snapshot| Ok(Box::new(Gemini::restore(snapshot)?)),
    // The CLI itself says when it has no such conversation.
    conversation: None,
    store: None,
    has_answered: None,
    forgets: Some(Forgets {
        file: chat::file,
        last_said: chat::last_said,
    }),
    // 0.61.0, at SIGTERM, SIGINT and SIGHUP
    exits_well_by_signal: true,
    compacts: Compacts::Never(
        "its `/compress` is a command of its own terminal; over its protocol it would go to the model \
         as a text (0.61.0)",
    ),
    live: Some(live::LIVE),
};

/// The snapshot's version: another program's state is not guessed at.
const VERSION: u32 = 1;

/// Files that were read or written are remembered up to this many, to tell a new file from an
/// overwritten one.
const FILES_REMEMBERED: usize = 1024;

/// The adapter. All of it is in every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Gemini {
    session: Option<String>,
    /// The id of the message that is being written, and how many there were: the CLI gives none.
    message: Option<String>,
    messages: u64,
    open: Vec<OpenCall>,
    files: BTreeSet<u64>,
    /// What an `error` record said since the agent last said or did something.
    complaint: Option<TurnError>,
    terminal: Option<Terminal>,
    /// Any record came: then stderr is no longer what a failure is judged by.
    seen_record: bool,
    /// The agent said or did anything at all.
    has_output: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenCall {
    id: String,
    native: String,
    file: Option<String>,
    plan: Option<Vec<PlanItem>>,
}

impl Adapter for Gemini {
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
        for call in self.open.drain(..) {
            out.push(Event::ToolEnd {
                name: tools::name(&call.native).to_owned(),
                call_id: call.id,
                output: None,
                is_error: true,
                exit_code: None,
                duration_ms: None,
            });
        }
        match &self.terminal {
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
            None if self.seen_record => Evidence::None,
            None => verdict::of_silence(exit, stderr),
        }
    }

    fn finished(&self) -> bool {
        self.terminal.is_some()
    }

    fn agent_session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::save(VERSION, self)
    }
}

impl Records for Gemini {
    const TYPES: &'static [&'static str] = &[
        "init",
        "message",
        "tool_use",
        "tool_result",
        "error",
        "result",
    ];

    fn record(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Taken {
        let Ok(record) = serde_json::from_slice::<Record<'_>>(bytes) else {
            return Taken::Broken;
        };
        let read = match &*record.kind {
            "init" => self.init(&record, out),
            "message" => self.message(&record, out),
            "tool_use" => self.tool_use(&record, out),
            "tool_result" => self.tool_result(&record, out),
            "error" => self.complain(&record, out),
            "result" => Some(self.result(&record, out)),
            _ => None,
        };
        self.seen_record |= read.is_some();
        read.map_or(Taken::Unknown, Taken::Read)
    }
}

impl Gemini {
    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        snapshot::load(VERSION, snapshot)
    }

    fn init(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let id = record.session_id.as_deref()?.to_owned();
        out.push(Event::Session {
            id: id.clone(),
            model: record.model.as_deref().map(str::to_owned),
            cwd: None,
            tools: None,
            at_work: false,
        });
        self.session = Some(id);
        Some("")
    }

    fn message(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        match record.role.as_deref()? {
            "user" => return Some("text to the model"),
            "assistant" => {}
            _ => return None,
        }
        let text: Text<'_> = typed(record.content)?;
        if text.is_empty() {
            return Some("text without text");
        }
        if self.message.is_none() {
            let at = record.timestamp.as_deref().unwrap_or_default();
            self.message = Some(format!("{at}#{}", self.messages));
            self.messages += 1;
        }
        self.goes_on();
        out.push(Event::Token {
            text: text.0.into_owned(),
            message_id: self.message.clone(),
            parent_call_id: None,
        });
        Some("")
    }

    fn tool_use(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let id = record.tool_id.as_deref()?;
        let native = record.tool_name.as_deref()?;
        self.message = None;
        self.goes_on();
        if self.open.iter().any(|call| call.id == id) {
            return Some("start of a call that is open");
        }
        let input = tools::input(native, record.parameters, &self.files);
        let file = input.get("file_path").and_then(|path| path.as_str());
        self.open.push(OpenCall {
            id: id.to_owned(),
            native: native.to_owned(),
            file: file.map(str::to_owned),
            plan: tools::plan(native, record.parameters),
        });
        out.push(Event::ToolStart {
            call_id: id.to_owned(),
            name: tools::name(native).to_owned(),
            native_name: native.to_owned(),
            input,
            parent_call_id: None,
        });
        Some("")
    }

    fn tool_result(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let id = record.tool_id.as_deref()?;
        let status = record.status.as_deref()?;
        self.message = None;
        let at = self.open.iter().position(|call| call.id == id);
        let call = at.map(|at| self.open.remove(at));
        let native = call.as_ref().map_or("", |call| call.native.as_str());
        let shown = record.output.as_deref();
        let is_error = status != "success" || tools::was_blocked(native, shown);
        let error = record.error.as_ref();
        if error.is_some_and(|error| error.kind.as_deref() == Some("policy_violation")) {
            let text = format!("{native} was not permitted (call {id})");
            out.push(notice(NoticeLevel::Warning, "permission_denied", text));
        }
        if let (Some(call), false) = (&call, is_error) {
            self.changed(call, out);
        }
        // the error's message is what the model was given, and says more
        let told = error.and_then(|error| error.message.as_deref()).or(shown);
        out.push(Event::ToolEnd {
            call_id: id.to_owned(),
            // a call whose start was lost still gets its end
            name: call
                .as_ref()
                .map_or("unknown", |call| tools::name(&call.native))
                .to_owned(),
            output: told.map(str::to_owned),
            is_error,
            exit_code: None,
            duration_ms: None,
        });
        if let Some(items) = call.and_then(|call| call.plan).filter(|_| !is_error) {
            out.push(Event::Plan { items });
        }
        Some("")
    }

    /// Reports a change of a file. A diff would need line numbers, which the CLI does not tell.
    fn changed(&mut self, call: &OpenCall, out: &mut Vec<Event>) {
        let Some(path) = &call.file else {
            return;
        };
        let key = tools::file_key(path);
        let known = self.files.contains(&key);
        if self.files.len() < FILES_REMEMBERED {
            self.files.insert(key);
        }
        let kind = match tools::name(&call.native) {
            "write" if !known => FileChangeKind::Create,
            "write" | "edit" => FileChangeKind::Edit,
            _ => return,
        };
        out.push(Event::FileChange {
            path: path.clone(),
            kind,
            diff: None,
            call_id: Some(call.id.clone()),
        });
    }

    /// The agent says or does something: what the CLI complained of before did not stop it.
    fn goes_on(&mut self) {
        self.has_output = true;
        self.complaint = None;
        self.terminal = None;
    }

    fn complain(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> Option<&'static str> {
        let message = record.message.as_deref()?;
        let severity = record.severity.as_deref();
        let level = if severity == Some("error") {
            // the answer that it is about is gone from the conversation
            self.retract(out);
            NoticeLevel::Error
        } else {
            NoticeLevel::Warning
        };
        self.complaint = verdict::of_complaint(severity, message).or(self.complaint.take());
        out.push(notice(level, "api_error", message.to_owned()));
        Some("")
    }

    fn result(&mut self, record: &Record<'_>, out: &mut Vec<Event>) -> &'static str {
        let terminal = verdict::of_result(record, self.complaint.as_ref());
        if let Terminal::Failed(error) = &terminal
            && self.complaint.is_none()
            && error.message.starts_with("[API Error")
        {
            self.retract(out);
            let text = error.message.clone();
            out.push(notice(NoticeLevel::Error, "api_error", text));
        }
        if let Some(stats) = record.stats {
            let usage = Usage::from(stats);
            if usage != Usage::default() {
                out.push(Event::Usage(usage));
            }
        }
        self.terminal = Some(terminal);
        "result without usage"
    }

    fn retract(&mut self, out: &mut Vec<Event>) {
        if let Some(message_id) = self.message.take() {
            out.push(Event::TextRetracted { message_id });
        }
    }
}

#[cfg(test)]
mod tests;
