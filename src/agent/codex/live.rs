//! Codex 0.169.0 in live form: `codex app-server`, JSON-RPC over stdio.
//!
//! Opened by `initialize`, `initialized` and a thread, which is begun or resumed. A turn begins
//! with `turn/start` and ends with `turn/completed` of the conversation's own thread; sub-agents'
//! threads share the connection. A message counts as taken up when the CLI shows it as an item of
//! the turn. An interrupt leaves commands running: they are cleaned up after it.

mod consent;
mod frames;
mod items;
mod launch;
mod limits;
mod sending;
mod wire;
mod work;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::consent::Waiting;
use self::frames::{client, said, shortening};
use self::sending::{CLEAN, DIALECT, INTERRUPT, SHORTEN};
use self::wire::{Fault, Params, SILENT, Started, Turn};
use self::work::Work;
use super::verdict;
use crate::agent::json::typed;
use crate::agent::json_rpc::{self, Frame, Peer, Requests};
use crate::agent::lines::notice;
use crate::agent::live::{
    Asked, Command, Dialog, Holds, Introduction, LiveKind, LiveSpec, Phase, Refused, Sets,
    Settings, Since, Told, tell,
};
use crate::agent::{COMPACT, Evidence, Ignored, snapshot};
use crate::event::{Event, NoticeLevel, TurnError};
use crate::exit::Exit;
use crate::frame::Line;

/// The live form in the registry of agents.
pub(super) const LIVE: LiveKind = LiveKind {
    plan: launch::plan,
    can_steer: true,
    sets: Sets {
        model: Since::NextTurn,
        effort: Since::NextTurn,
        consent: Since::NextTurn,
    },
    can_change_input: false,
    holds: Holds::AllBut("its to-do list and images that it opens"),
    richer_than_exec: true,
    open: |spec| Box::new(CodexLive::new(spec)),
    restore: |bytes| Ok(Box::new(snapshot::load::<CodexLive>(VERSION, bytes)?)),
};

const VERSION: u32 = 2;

/// The state of a dialog. All of it is in every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct CodexLive {
    spec: LiveSpec,
    #[serde(default)]
    settings: Settings,
    work: Work,
    phase: Phase,
    opening: Opening,
    ours: Requests,
    thread: Option<String>,
    #[serde(default)]
    introduction: Introduction,
    turn: Option<String>,
    /// The message that asked for a shorter context, which no item of the turn names.
    #[serde(default)]
    shortening: Option<String>,
    /// The running turn is being interrupted.
    interrupting: bool,
    /// What a turn that was cut off left running is to be ended.
    cleans: bool,
    /// How the turn went whose commands run on.
    #[serde(default)]
    background: Option<Evidence>,
    asked: Vec<Waiting>,
    /// Requests that are refused, by their ids: their methods.
    owed: BTreeMap<String, String>,
    #[serde(default)]
    limits: limits::Limits,
    /// The last error of the turn.
    failed: Option<TurnError>,
}

/// What of the opening was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Opening {
    #[default]
    Nothing,
    /// `initialize`, which is not answered yet.
    Asked,
    /// It is answered.
    Answered,
    /// `initialized` was sent.
    Notified,
    /// A thread was asked for.
    Thread,
}

impl Dialog for CodexLive {
    fn received(&mut self, line: &Line<'_>, out: &mut Vec<Told>) -> Ignored {
        json_rpc::received(self, line, out)
    }

    fn sent(&mut self, frame: &[u8], out: &mut Vec<Told>) {
        json_rpc::sent(self, frame, out);
    }

    fn due(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        match self.opening {
            Opening::Nothing => frames.push(self.request(0, "initialize", &client())),
            Opening::Answered => frames.push(DIALECT.notification("initialized", None)),
            Opening::Notified if self.phase == Phase::Opening => frames.push(self.open_thread()),
            Opening::Asked | Opening::Notified | Opening::Thread => {}
        }
        if let (true, Some(thread)) = (self.cleans, &self.thread) {
            let params = json!({ "threadId": thread });
            frames.push(self.request(frames.len(), CLEAN, &params));
        }
        let owed = self.owed.iter();
        frames.extend(owed.map(|(id, method)| DIALECT.refusal(id, method)));
        frames
    }

    fn frames(&self, command: &Command) -> Result<Vec<Vec<u8>>, Refused> {
        if let Command::Answer { request_id, answer } = command {
            return self.answer(request_id, answer);
        }
        let (Some(thread), Phase::Resting | Phase::Working) = (&self.thread, self.phase) else {
            return Err(Refused::NotReady);
        };
        let turn = self.turn.as_ref().filter(|_| self.phase == Phase::Working);
        let frame = match command {
            Command::Prompt(_) if self.phase == Phase::Working => return Err(Refused::Busy),
            Command::Prompt(message) if message.text.trim() == COMPACT => {
                self.request(0, SHORTEN, &shortening(thread, message))
            }
            Command::Prompt(message) => self.request(0, "turn/start", &said(thread, None, message)),
            Command::Steer(message) => {
                let turn = turn.ok_or(Refused::Resting)?;
                self.request(0, "turn/steer", &said(thread, Some(turn), message))
            }
            Command::Interrupt if self.interrupting => return Ok(Vec::new()),
            Command::Interrupt => return self.interrupt(thread, turn),
            Command::Set(setting) => self.change(thread, setting),
            Command::Answer { .. } => return Err(Refused::NotAsked),
        };
        Ok(vec![frame])
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn pending(&self) -> Vec<Asked> {
        let asked = self.asked.iter().map(|waiting| waiting.asked.clone());
        asked.collect()
    }

    fn end(&mut self, exit: Option<Exit>, stderr: &[u8], out: &mut Vec<Told>) -> Option<Evidence> {
        self.withdraw_all(out);
        let mut events = Vec::new();
        verdict::tool_errors(stderr, &mut events);
        self.work.turn_over(true, &mut events);
        tell(&mut events, out);
        match self.phase {
            Phase::Working => Some(Evidence::None),
            Phase::Opening => Some(verdict::of_stderr(exit, stderr)),
            Phase::Resting | Phase::Refused => None,
        }
    }

    fn agent_session(&self) -> Option<&str> {
        self.thread.as_deref()
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::save(VERSION, self)
    }
}

impl Peer for CodexLive {
    type Fault<'a> = Fault<'a>;

    fn requests(&mut self) -> &mut Requests {
        &mut self.ours
    }

    fn asks(
        &mut self,
        id: &str,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) -> &'static str {
        let params: Value = typed(params).unwrap_or_default();
        if !consent::is_asked_by(method, &params) {
            self.owed.insert(id.to_owned(), method.to_owned());
            return "a request that the runner answers by itself";
        }
        let waiting = Waiting::new(id, method, params, &self.work);
        out.push(Told::Event(waiting.asked.event()));
        self.asked.push(waiting);
        ""
    }

    fn responded(
        &mut self,
        id: &str,
        method: String,
        frame: &Frame<'_, Fault<'_>>,
        out: &mut Vec<Told>,
    ) -> &'static str {
        if let Some(setting) = self.settings.take(id) {
            let refused = frame.error.as_ref().map(Fault::text);
            self.introduction.settled(&setting, refused.as_ref());
            self.settings.settle(setting, refused, out);
            return "";
        }
        if let Some(fault) = &frame.error {
            if self.phase == Phase::Opening {
                self.phase = Phase::Refused;
            } else if matches!(&*method, "turn/start" | SHORTEN) && self.turn.is_none() {
                self.phase = Phase::Resting;
            }
            self.interrupting &= method != INTERRUPT;
            let (what, why) = (method, fault.text());
            out.push(Told::Failed { what, why });
            return "";
        }
        match method.as_str() {
            "initialize" => self.opening = self.opening.max_answered(),
            "thread/start" | "thread/resume" => self.began(frame.result, out),
            "turn/start" => {
                #[derive(Deserialize)]
                struct Begun<'a> {
                    #[serde(borrow)]
                    turn: Turn<'a>,
                }
                let begun: Option<Begun<'_>> = typed(frame.result);
                // it may be over already
                if let (Some(begun), Phase::Working) = (begun, self.phase) {
                    self.turn = Some(begun.turn.id.to_string());
                }
            }
            _ => {}
        }
        "done as asked"
    }

    fn notified(
        &mut self,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) -> Option<&'static str> {
        if method == limits::UPDATED {
            let mut events = Vec::new();
            let reason = self.limits.updated(params, &mut events);
            tell(&mut events, out);
            return reason;
        }
        if SILENT.iter().any(|silent| method.starts_with(silent)) {
            return Some("state of the CLI");
        }
        let params: Params<'_> = typed(params)?;
        let thread = params.thread_id.as_deref();
        let in_main = thread.is_none() || thread == self.thread.as_deref();
        let mut events = Vec::new();
        let reason = match method {
            "turn/started" if in_main => {
                self.turn = Some(params.turn.as_ref()?.id.to_string());
                if let Some(id) = self.shortening.take() {
                    out.push(Told::TakenUp { id: Some(id) });
                }
                "start of a turn"
            }
            "turn/completed" if in_main => {
                self.turn_over(params.turn.as_ref()?, out);
                ""
            }
            "error" => self.erred(&params, in_main, &mut events)?,
            "warning" | "guardianWarning" => {
                events.push(work::warning(params.message.as_deref()?));
                ""
            }
            "serverRequest/resolved" => self.resolved(params.request_id?.get(), out),
            "item/started" if in_main && is_message(&params) => {
                let item = params.item.as_ref()?;
                let id = item.client_id.as_deref().map(str::to_owned);
                out.push(Told::TakenUp { id });
                ""
            }
            _ => {
                let main = self.thread.as_deref();
                self.work.notified(method, &params, main, &mut events)?
            }
        };
        tell(&mut events, out);
        self.background_over(out);
        Some(reason)
    }

    fn requested(
        &mut self,
        id: &str,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) {
        self.has_requested(id, method, params, out);
    }

    fn told(&mut self, method: &str) {
        if method == "initialized" {
            self.opening = Opening::Notified;
        }
    }

    fn answered(&mut self, id: &str, result: Option<&RawValue>, out: &mut Vec<Told>) {
        self.has_answered(id, result, out);
    }
}

impl CodexLive {
    fn new(spec: &LiveSpec) -> Self {
        Self {
            spec: spec.clone(),
            settings: Settings::started_with(spec),
            ..Self::default()
        }
    }

    fn turn_over(&mut self, turn: &Turn<'_>, out: &mut Vec<Told>) {
        let status = turn.status.as_deref().unwrap_or_default();
        let mut events = Vec::new();
        self.withdraw_all(out);
        if status == "failed" {
            // what it had begun to say is not in the conversation
            self.work.drop_drafts(false, &mut events);
        }
        self.work.turn_over(status != "completed", &mut events);
        let failed = self.failed.take();
        let evidence = match status {
            "interrupted" => Evidence::Interrupted,
            "failed" => {
                let said = turn.error.as_ref().map(error).or(failed);
                said.map_or(Evidence::None, Evidence::Failed)
            }
            "completed" if self.work.has_output => Evidence::Completed,
            "completed" => {
                let text = "the CLI reports success, but the agent said and did nothing";
                events.push(notice(
                    NoticeLevel::Warning,
                    "empty_answer",
                    text.to_owned(),
                ));
                Evidence::None
            }
            _ => Evidence::None,
        };
        tell(&mut events, out);
        self.turn = None;
        self.interrupting = false;
        self.cleans |= status != "completed";
        self.phase = Phase::Resting;
        let background = self.work.has_background();
        self.background = background.then(|| evidence.clone());
        out.push(Told::TurnOver {
            evidence,
            background,
        });
    }

    /// The commands that the turn has left running have ended.
    fn background_over(&mut self, out: &mut Vec<Told>) {
        if self.phase == Phase::Resting
            && !self.work.has_background()
            && let Some(evidence) = self.background.take()
        {
            out.push(Told::TurnOver {
                evidence,
                background: false,
            });
        }
    }

    fn erred(
        &mut self,
        params: &Params<'_>,
        in_main: bool,
        events: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let fault = params.error.as_ref()?;
        let (level, code) = if params.will_retry == Some(true) {
            if in_main {
                self.work.drop_drafts(false, events);
            }
            (NoticeLevel::Warning, "api_retry")
        } else {
            if in_main {
                self.failed = Some(error(fault));
            }
            (NoticeLevel::Error, "api_error")
        };
        events.push(notice(level, code, fault.text()));
        Some("")
    }

    fn began(&mut self, result: Option<&RawValue>, out: &mut Vec<Told>) {
        let Some(started) = typed::<Started<'_>>(result) else {
            self.phase = Phase::Refused;
            let why = "its answer names no thread".to_owned();
            let what = "thread/start".to_owned();
            out.push(Told::Failed { what, why });
            return;
        };
        let text = |text: Option<crate::agent::json::Text<'_>>| text.map(|text| text.to_string());
        let thread = self.thread.insert(started.thread.id.to_string());
        self.work.cwd = text(started.cwd);
        self.introduction = Introduction::new(text(started.model), self.work.cwd.clone());
        self.introduction.tell(thread, out);
        self.opening = Opening::Thread;
        if self.phase == Phase::Opening {
            self.phase = Phase::Resting;
        }
        out.push(Told::Ready);
    }

    fn resolved(&mut self, id: &str, out: &mut Vec<Told>) -> &'static str {
        self.owed.remove(id);
        let at = self
            .asked
            .iter()
            .position(|waiting| waiting.asked.request_id == id);
        if let Some(at) = at {
            let request_id = self.asked.remove(at).asked.request_id;
            out.push(Told::Withdrawn { request_id });
        }
        "it was answered"
    }

    fn withdraw_all(&mut self, out: &mut Vec<Told>) {
        let ids = self.asked.drain(..).map(|waiting| waiting.asked.request_id);
        out.extend(ids.map(|request_id| Told::Withdrawn { request_id }));
    }
}

impl Opening {
    /// An answer to `initialize` takes nothing back that was sent meanwhile.
    fn max_answered(self) -> Self {
        match self {
            Self::Nothing | Self::Asked => Self::Answered,
            later => later,
        }
    }
}

fn is_message(params: &Params<'_>) -> bool {
    let item = params.item.as_ref();
    item.is_some_and(|item| &*item.kind == "userMessage")
}

/// The error that ends a turn.
fn error(fault: &Fault<'_>) -> TurnError {
    let (name, status) = fault.info();
    verdict::live_error(name, status, &fault.message)
}

#[cfg(test)]
mod tests;
