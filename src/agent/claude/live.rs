//! Claude Code 2.1.197 in live form: stream-json in both directions, with the control protocol.
//!
//! The records are those of exec form, read by the same state machine; what is added is who may
//! speak when. A `result` ends a turn. A message that is sent into a running turn is folded into it
//! at the next tool boundary, and the CLI says it again when it has (`--replay-user-messages`); one
//! that comes too late begins a round of its own.
//!
//! With [`LiveSpec::asks`] a `PreToolUse` hook of ours answers every call with `ask`: left alone,
//! the CLI lets read-only commands and reads pass without a word.

mod change;
mod control;
mod sending;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::control::{Control, Echo, Request, Response};
use self::sending::spoken;
use super::{Claude, launch};
use crate::agent::live::{
    Asked, Command, Dialog, Holds, LiveKind, LiveSpec, Phase, Refused, Sets, Setting, Settings,
    Since, Told, tell,
};
use crate::agent::{Adapter as _, Evidence, Ignored, snapshot};
use crate::exit::Exit;
use crate::frame::{Line, Loss};

/// The live form in the registry of agents.
pub(super) const LIVE: LiveKind = LiveKind {
    plan: launch::live_plan,
    can_steer: true,
    sets: Sets {
        model: Since::Now,
        effort: Since::Now,
        consent: Since::Now,
    },
    can_change_input: true,
    holds: Holds::All,
    richer_than_exec: true,
    open: |spec| Box::new(ClaudeLive::new(spec)),
    restore: |bytes| Ok(Box::new(snapshot::load::<ClaudeLive>(VERSION, bytes)?)),
};

const VERSION: u32 = 1;

/// Ends a task in the background.
const STOP_TASK: &str = "stop_task";

/// The tool by which it asks its user something.
const QUESTION: &str = "AskUserQuestion";

/// By which the CLI calls our hook.
const HOOK: &str = "consent";

/// The state of a dialog. All of it is in every snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ClaudeLive {
    spec: LiveSpec,
    claude: Claude,
    phase: Phase,
    opened: bool,
    /// Frames so far: our requests are numbered by it.
    frames: u64,
    /// Our requests that the CLI has not answered, by their ids: what each is for.
    ours: BTreeMap<String, String>,
    #[serde(default)]
    settings: Settings,
    /// An effort that the CLI was given and has not been asked about.
    #[serde(default)]
    effort: Effort,
    /// Messages that the CLI has not said again, in order.
    messages: Vec<Option<String>>,
    /// It says messages again.
    echoes: bool,
    /// How the turn went whose work goes on in the background.
    #[serde(default)]
    background: Option<Evidence>,
    /// Work of the turn in the background was told to stop.
    #[serde(default)]
    stops: bool,
    asked: Vec<Waiting>,
    owed: Vec<Owed>,
}

/// How far a change of the effort has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Effort {
    /// None is under way.
    #[default]
    Settled,
    /// The CLI has been given it, and is to be asked what it made of that.
    Given(String),
    /// It did not take it up: it is given what counted before.
    Refused,
}

/// A request for consent.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    asked: Asked,
    /// As the CLI gave it: an answer has to repeat it.
    native_input: Value,
}

/// An answer that nobody has to decide on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Owed {
    request_id: String,
    reply: Reply,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Reply {
    /// Our hook: somebody is to be asked.
    Ask,
    /// Our hook: the user listed this tool as one that needs no consent.
    Allow,
    /// That request is not known here.
    Unknown(String),
}

impl Dialog for ClaudeLive {
    fn received(&mut self, line: &Line<'_>, out: &mut Vec<Told>) -> Ignored {
        let before = out.len();
        let reason = match control::read(line) {
            Some(Control::Request(request)) => self.requested(&request, out),
            Some(Control::Response(response)) => self.responded(&response, out),
            Some(Control::Cancelled(request_id)) => self.withdrawn(request_id, out),
            Some(Control::Echo(echo)) => self.echoed(&echo, out),
            None => return self.record(line, out),
        };
        if out.len() == before {
            Ignored::Because(reason)
        } else {
            Ignored::No
        }
    }

    fn sent(&mut self, frame: &[u8], out: &mut Vec<Told>) {
        self.frames += 1;
        match control::read_frame(frame) {
            Some(Control::Echo(message)) => self.spoke(message.id),
            Some(Control::Request(request)) => {
                self.opened |= request.subtype == "initialize";
                self.stops |= request.subtype == STOP_TASK;
                if self.effort == Effort::Refused && request.subtype == change::APPLY {
                    self.effort = Effort::Settled;
                } else if let Some(setting) = request.change {
                    self.settings.ask(&request.id, setting);
                }
                self.ours.insert(request.id, request.subtype);
            }
            Some(Control::Response(response)) => self.answered(&response, out),
            Some(Control::Cancelled(_)) | None => {}
        }
    }

    fn due(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        if !self.opened {
            frames.push(self.initialize());
        }
        let ahead = frames.len() as u64;
        frames.extend(
            self.effort_due()
                .map(|request| self.request(ahead, &request)),
        );
        frames.extend(self.owed.iter().map(Owed::frame));
        frames
    }

    fn frames(&self, command: &Command) -> Result<Vec<Vec<u8>>, Refused> {
        match (command, self.phase) {
            (Command::Answer { request_id, answer }, _) => self.answer(request_id, answer),
            (_, Phase::Opening | Phase::Refused) => Err(Refused::NotReady),
            (Command::Prompt(_), Phase::Working) => Err(Refused::Busy),
            (Command::Steer(_), Phase::Resting) => Err(Refused::Resting),
            (Command::Prompt(message) | Command::Steer(message), _) => Ok(vec![spoken(message)]),
            (Command::Interrupt, _) => self.interrupt(),
            (Command::Set(setting), _) => {
                let request = change::request(setting, &self.spec.allowed_tools);
                Ok(vec![self.request(0, &request)])
            }
        }
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
        for waiting in self.asked.drain(..) {
            let request_id = waiting.asked.request_id;
            out.push(Told::Withdrawn { request_id });
        }
        let mut events = Vec::new();
        let evidence = self.claude.end(exit, stderr, &mut events);
        tell(&mut events, out);
        matches!(self.phase, Phase::Working | Phase::Opening).then_some(evidence)
    }

    fn agent_session(&self) -> Option<&str> {
        self.claude.agent_session()
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::save(VERSION, self)
    }
}

impl ClaudeLive {
    fn new(spec: &LiveSpec) -> Self {
        Self {
            spec: spec.clone(),
            claude: Claude::default(),
            phase: Phase::Opening,
            opened: false,
            frames: 0,
            ours: BTreeMap::new(),
            settings: Settings::started_with(spec),
            effort: Effort::Settled,
            messages: Vec::new(),
            echoes: false,
            background: None,
            stops: false,
            asked: Vec::new(),
            owed: Vec::new(),
        }
    }

    /// A record of the work itself.
    fn record(&mut self, line: &Line<'_>, out: &mut Vec<Told>) -> Ignored {
        let mut events = Vec::new();
        // a round that nobody asked for: background work woke the agent
        let wakes = self.phase == Phase::Resting && line.loss == Loss::None;
        if wakes
            && line
                .bytes
                .starts_with(br#"{"type":"system","subtype":"init""#)
        {
            self.phase = Phase::Working;
        }
        let ignored = self.claude.line(line, &mut events);
        let over = self.claude.turn_over(&mut events);
        let is_stopped = wakes && is_stop(line.bytes) && self.claude.stopped(&mut events);
        tell(&mut events, out);
        let stopped = self.background.take_if(|_| is_stopped);
        let over = over.or(stopped.map(|evidence| (evidence, false)));
        if let Some((evidence, background)) = over {
            // what it began did not come to its end
            let is_cut = self.stops && evidence == Evidence::Completed;
            let evidence = if is_cut {
                Evidence::Interrupted
            } else {
                evidence
            };
            self.background = background.then(|| evidence.clone());
            if !self.echoes {
                self.messages.clear();
            }
            // what was said too late for this turn begins the next one by itself
            self.phase = if self.messages.is_empty() {
                Phase::Resting
            } else {
                self.claude.turn_begins();
                Phase::Working
            };
            out.push(Told::TurnOver {
                evidence,
                background,
            });
        }
        ignored
    }

    fn requested(&mut self, request: &Request, out: &mut Vec<Told>) -> &'static str {
        let request_id = request.id.clone();
        if request.subtype == "can_use_tool" {
            let asked = Asked {
                request_id,
                call_id: request.call_id.clone(),
                tool: super::tools::name(&request.tool).to_owned(),
                input: self.claude.calls.input(&request.tool, &request.input),
            };
            out.push(Told::Event(asked.event()));
            self.asked.push(Waiting {
                asked,
                native_input: request.input.clone(),
            });
            return "";
        }
        let is_ours = request.subtype == "hook_callback" && request.hook.as_deref() == Some(HOOK);
        let reply = if !is_ours {
            Reply::Unknown(request.subtype.clone())
        } else if self.needs_no_consent(&request.tool) {
            Reply::Allow
        } else {
            Reply::Ask
        };
        self.owed.push(Owed { request_id, reply });
        "a request that the runner answers by itself"
    }

    fn responded(&mut self, response: &Response, out: &mut Vec<Told>) -> &'static str {
        let Some(what) = self.ours.remove(&response.id) else {
            return "an answer to nothing that was asked";
        };
        if let Some(setting) = self.settings.take(&response.id) {
            self.changed(setting, response, out);
            return "done as asked";
        }
        match (&response.error, what.as_str()) {
            (_, change::CHECK) => self.checked(response, out),
            (None, "initialize") => {
                if self.phase == Phase::Opening {
                    self.phase = Phase::Resting;
                }
                out.push(Told::Ready);
            }
            (None, _) => {}
            (Some(why), _) => {
                if what == "initialize" {
                    self.phase = Phase::Refused;
                }
                let why = why.clone();
                out.push(Told::Failed { what, why });
            }
        }
        "done as asked"
    }

    /// The CLI's answer to a change.
    fn changed(&mut self, setting: Setting, response: &Response, out: &mut Vec<Told>) {
        match (setting, &response.error) {
            (Setting::Effort(effort), None) => self.effort = Effort::Given(effort),
            (setting, refused) => {
                let switched = match &setting {
                    Setting::Model(model) if refused.is_none() => self.claude.switched(model),
                    _ => None,
                };
                // its next turn says so itself
                let is_now = self.phase == Phase::Working;
                out.extend(switched.filter(|_| is_now).map(Told::Event));
                self.settings.settle(setting, refused.clone(), out);
            }
        }
    }

    /// What the CLI says of its settings, once it was given an effort.
    fn checked(&mut self, response: &Response, out: &mut Vec<Told>) {
        let Effort::Given(given) = std::mem::take(&mut self.effort) else {
            return;
        };
        let refused = if let Some(error) = &response.error {
            Some(error.clone())
        } else if response.effort.as_ref() == Some(&given) {
            None
        } else {
            let counts = response.effort.as_deref().unwrap_or("none at all");
            Some(format!(
                "the model does not take it; what counts is {counts}"
            ))
        };
        if refused.is_some() {
            self.effort = Effort::Refused;
        }
        self.settings.settle(Setting::Effort(given), refused, out);
    }

    /// What a change of the effort needs next.
    fn effort_due(&self) -> Option<Value> {
        let is_asked = self.ours.values().any(|what| what == change::CHECK);
        match &self.effort {
            Effort::Given(_) if !is_asked => Some(json!({"subtype": change::CHECK})),
            Effort::Refused => Some(change::effort(self.settings.effort.as_deref())),
            Effort::Given(_) | Effort::Settled => None,
        }
    }

    /// Whether our hook lets the calls of a tool pass. A question is not answered by that.
    fn needs_no_consent(&self, tool: &str) -> bool {
        let is_listed = self.spec.allowed_tools.iter().any(|listed| listed == tool);
        is_listed || (!self.settings.asks && tool != QUESTION)
    }

    fn withdrawn(&mut self, request_id: String, out: &mut Vec<Told>) -> &'static str {
        self.owed.retain(|owed| owed.request_id != request_id);
        let before = self.asked.len();
        self.asked
            .retain(|waiting| waiting.asked.request_id != request_id);
        if self.asked.len() < before {
            out.push(Told::Withdrawn { request_id });
        }
        "a request that nobody knows was withdrawn"
    }

    fn echoed(&mut self, echo: &Echo, out: &mut Vec<Told>) -> &'static str {
        self.echoes = true;
        if echo.is_output && self.settings.is_changing_model() {
            return "what the CLI says of its new model";
        }
        let known = self.messages.iter().position(|sent| *sent == echo.id);
        // one that was sent without an id is said again with one of the CLI's own
        let nameless = || self.messages.iter().position(Option::is_none);
        // a command's output is said under an id of its own, and only when it is done
        let command = || (echo.is_output && !self.messages.is_empty()).then_some(0);
        if let Some(at) = known.or_else(nameless).or_else(command) {
            let id = self.messages.remove(at);
            out.push(Told::TakenUp { id });
        }
        "what the CLI says to itself"
    }

    fn spoke(&mut self, id: Option<String>) {
        self.messages.push(id);
        if self.phase != Phase::Working {
            self.phase = Phase::Working;
            self.stops = false;
            self.claude.turn_begins();
        }
    }

    fn answered(&mut self, response: &Response, out: &mut Vec<Told>) {
        self.owed.retain(|owed| owed.request_id != response.id);
        let is_it = |waiting: &Waiting| waiting.asked.request_id == response.id;
        if let Some(at) = self.asked.iter().position(is_it) {
            let request_id = self.asked.remove(at).asked.request_id;
            out.push(Told::Answered {
                request_id,
                decision: response.decision,
            });
        }
    }
}

/// Whether that is the end of a task that was stopped. The others wake the agent.
fn is_stop(line: &[u8]) -> bool {
    line.starts_with(br#"{"type":"system","subtype":"task_notification""#)
        && memchr::memmem::find(line, br#""status":"stopped""#).is_some()
}

#[cfg(test)]
mod tests;
