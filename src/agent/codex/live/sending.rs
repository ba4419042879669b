//! What goes to Codex: the frames, and what follows from their having been sent.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::wire::Params;
use super::{CodexLive, Opening, consent};
use crate::agent::json::typed;
use crate::agent::json_rpc::Dialect;
use crate::agent::live::{Answer, Phase, Refused, Setting, Told};

pub(super) const DIALECT: Dialect = Dialect::Bare;

/// Ends commands that an interrupted turn left running.
pub(super) const CLEAN: &str = "thread/backgroundTerminals/clean";

/// Ends a turn.
pub(super) const INTERRUPT: &str = "turn/interrupt";

/// Has the thread's context made shorter, in a turn of its own.
pub(super) const SHORTEN: &str = "thread/compact/start";

/// Changes what the thread's next turns work with.
const SET: &str = "thread/settings/update";

impl CodexLive {
    /// A request of ours was sent.
    pub(super) fn has_requested(
        &mut self,
        id: &str,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) {
        match method {
            "initialize" => self.opening = Opening::Asked,
            "thread/start" | "thread/resume" => self.opening = Opening::Thread,
            "turn/start" | SHORTEN if self.phase == Phase::Resting => {
                let params: Option<Params<'_>> = typed(params);
                let (thread, message) = params.map_or((None, None), |params| {
                    (params.thread_id, params.client_user_message_id)
                });
                if method == SHORTEN {
                    self.shortening = message.as_deref().map(str::to_owned);
                }
                if let Some(thread) = thread.filter(|thread| self.thread.as_deref() == Some(thread))
                {
                    self.introduction.turn_begins(&thread, out);
                    self.phase = Phase::Working;
                    self.failed = None;
                    self.background = None;
                    self.work.turn_begins(method == SHORTEN);
                }
            }
            INTERRUPT => self.interrupting |= self.phase == Phase::Working,
            CLEAN => self.cleans = false,
            SET => {
                let changed = typed::<Value>(params).as_ref().and_then(changed_by);
                if let Some(setting) = changed {
                    self.settings.ask(id, setting);
                }
            }
            _ => {}
        }
    }

    /// An answer of ours was sent.
    pub(super) fn has_answered(
        &mut self,
        id: &str,
        result: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) {
        self.owed.remove(id);
        let at = self
            .asked
            .iter()
            .position(|waiting| waiting.asked.request_id == id);
        let Some(at) = at else { return };
        let request_id = self.asked.remove(at).asked.request_id;
        let result: Value = typed(result).unwrap_or_default();
        let decision = consent::decision(&result);
        out.push(Told::Answered {
            request_id,
            decision,
        });
    }

    /// The request for another setting: it counts from the next turn on.
    pub(super) fn change(&self, thread: &str, setting: &Setting) -> Vec<u8> {
        let params = match setting {
            Setting::Model(model) => json!({"threadId": thread, "model": model}),
            Setting::Effort(effort) => json!({"threadId": thread, "effort": effort}),
            Setting::Consent(asks) => {
                json!({"threadId": thread, "approvalPolicy": policy(*asks)})
            }
        };
        self.request(0, SET, &params)
    }

    /// Ends the turn, or what it has left running, and what sub-agents are doing.
    pub(super) fn interrupt(
        &self,
        thread: &str,
        turn: Option<&String>,
    ) -> Result<Vec<Vec<u8>>, Refused> {
        let first = match turn {
            Some(turn) => self.ending(0, thread, turn),
            None if self.background.is_some() => {
                self.request(0, CLEAN, &json!({ "threadId": thread }))
            }
            None => return Err(Refused::Resting),
        };
        let children = (1..).zip(self.work.running());
        let children = children.map(|(at, (thread, turn))| self.ending(at, thread, turn));
        Ok(std::iter::once(first).chain(children).collect())
    }

    fn ending(&self, ahead: usize, thread: &str, turn: &str) -> Vec<u8> {
        let params = json!({"threadId": thread, "turnId": turn});
        self.request(ahead, INTERRUPT, &params)
    }

    pub(super) fn open_thread(&self) -> Vec<u8> {
        let spec = &self.spec;
        let options = [
            ("approvalPolicy", Some(policy(self.spec.asks))),
            ("sandbox", Some("danger-full-access")),
            ("model", spec.model.as_deref()),
            ("modelProvider", spec.provider.as_deref()),
            ("cwd", spec.cwd.as_deref()),
            ("developerInstructions", spec.system_prompt.as_deref()),
            ("threadId", spec.resume.as_deref()),
        ];
        let given = options.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some((name.to_owned(), value.into()))
        });
        let mut params: Map<String, Value> = given.collect();
        if let Some(servers) = &spec.mcp_servers {
            params.insert("config".to_owned(), json!({"mcp_servers": servers}));
        }
        if spec.resume.is_none() {
            return self.request(0, "thread/start", &params.into());
        }
        params.insert("excludeTurns".to_owned(), true.into());
        self.request(0, "thread/resume", &params.into())
    }

    /// The `ahead`-th request from here on.
    pub(super) fn request(&self, ahead: usize, method: &str, params: &Value) -> Vec<u8> {
        self.ours.frame(DIALECT, ahead, method, params)
    }

    pub(super) fn answer(
        &self,
        request_id: &str,
        answer: &Answer,
    ) -> Result<Vec<Vec<u8>>, Refused> {
        let mut asked = self.asked.iter();
        let waiting = asked
            .find(|waiting| waiting.asked.request_id == request_id)
            .ok_or(Refused::NotAsked)?;
        let result = waiting.result(answer);
        let mut frames = vec![DIALECT.result(request_id, &result)];
        if let (Answer::Stop, false, Some(thread), Some(turn)) =
            (answer, waiting.ends_turn(), &self.thread, &self.turn)
        {
            frames.push(self.ending(1, thread, turn));
        }
        Ok(frames)
    }
}

/// Who is asked for consent, as the CLI words it.
const fn policy(asks: bool) -> &'static str {
    if asks { "untrusted" } else { "never" }
}

/// What a request changes, the other way round.
fn changed_by(params: &Value) -> Option<Setting> {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    let model = text("model").map(|model| Setting::Model(model.to_owned()));
    let effort = || text("effort").map(|effort| Setting::Effort(effort.to_owned()));
    let consent = || Some(Setting::Consent(text("approvalPolicy")? == policy(true)));
    model.or_else(effort).or_else(consent)
}
