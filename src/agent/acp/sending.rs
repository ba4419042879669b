//! What goes to the agent: the frames, and what follows from their having been sent.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::vendor::Vendor;
use super::wire::Sent;
use super::{Acp, Opening, Owed, Turn};
use crate::agent::json::typed;
use crate::agent::json_rpc::Dialect;
use crate::agent::live::{Answer, Asked, Command, Phase, Refused, Told, tell};

const DIALECT: Dialect = Dialect::Versioned;

impl<V: Vendor> Acp<V> {
    /// A request of ours was sent.
    pub(super) fn has_requested(
        &mut self,
        id: &str,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) {
        let raw = params;
        let params: Sent<'_> = typed(raw).unwrap_or_default();
        match method {
            "initialize" => self.opening = Opening::Asked,
            "session/new" | "session/load" | "session/resume" => {
                self.opening = Opening::Session;
                // OpenCode tells what was said before it answers
                self.in_history = method == "session/load";
                if let Some(session) = &params.session_id {
                    self.session = Some(session.to_string());
                }
                // In a recording that is all that is known of it.
                let asked = || params.cwd.as_ref().map(|cwd| cwd.to_string());
                self.spec.cwd = self.spec.cwd.take().or_else(asked);
            }
            "session/prompt" => {
                let message = params.meta.and_then(|meta| meta.message);
                let name = message.clone().unwrap_or_else(|| id.to_owned());
                self.work.turn_begins(name);
                self.vendor.turn_begins();
                let session = self.session.as_deref().unwrap_or_default();
                self.introduction.turn_begins(session, out);
                self.phase = Phase::Working;
                self.turn = Some(Turn {
                    request: id.to_owned(),
                    message,
                    taken_up: false,
                });
            }
            _ => {
                self.opened_with += usize::from(self.phase == Phase::Opening);
                let asked: Value = typed(raw).unwrap_or_default();
                if let Some(setting) = V::changed_by(method, &asked) {
                    self.settings.ask(id, setting);
                }
            }
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
        let mut asked = self.asked.iter();
        let Some(at) = asked.position(|waiting| waiting.asked.request_id == id) else {
            return;
        };
        let waiting = self.asked.remove(at);
        let decision = waiting.decision(result);
        let Asked {
            request_id,
            call_id,
            ..
        } = waiting.asked;
        out.push(Told::Answered {
            request_id,
            decision,
        });
        let silent = call_id.filter(|_| decision == "deny" && !V::TELLS_DENIED);
        if let Some(call_id) = silent {
            let mut ended = Vec::new();
            self.work.denied(&call_id, &mut ended);
            tell(&mut ended, out);
        }
    }

    pub(super) fn frames_due(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        match (self.opening, &self.session) {
            (Opening::Nothing, _) => frames.push(self.initialize()),
            (Opening::Answered, _) => frames.push(self.open_session()),
            (Opening::Session, Some(session)) if self.is_answered() => {
                let settings = V::settings(&self.spec).into_iter().skip(self.opened_with);
                for (method, mut params) in settings {
                    if let Value::Object(fields) = &mut params {
                        fields.insert("sessionId".to_owned(), session.clone().into());
                    }
                    frames.push(self.request(frames.len(), method, &params));
                }
            }
            _ => {}
        }
        frames.extend(self.owed.iter().filter_map(|(id, owed)| match owed {
            Owed::Unknown(method) => Some(DIALECT.refusal(id, method)),
            Owed::Allow => {
                let mut asked = self.asked.iter();
                let waiting = asked.find(|waiting| waiting.asked.request_id == *id)?;
                let result = waiting.result(&Answer::Allow { input: None });
                Some(DIALECT.result(id, &result))
            }
        }));
        frames
    }

    /// The session is there, not only asked for.
    fn is_answered(&self) -> bool {
        self.phase == Phase::Opening && !self.ours.open().any(|ours| ours.starts_with("session/"))
    }

    pub(super) fn command(&self, command: &Command) -> Result<Vec<Vec<u8>>, Refused> {
        if let Command::Answer { request_id, answer } = command {
            return self.answer(request_id, answer);
        }
        let (Some(session), Phase::Resting | Phase::Working) = (&self.session, self.phase) else {
            return Err(Refused::NotReady);
        };
        match (command, self.phase) {
            (Command::Prompt(_), Phase::Working) => Err(Refused::Busy),
            (Command::Prompt(message), _) => {
                let mut prompt = vec![json!({"type": "text", "text": message.text})];
                for image in &message.images {
                    prompt.push(json!({
                        "type": "image",
                        "mimeType": image.note().media_type,
                        "data": image.base64(),
                    }));
                }
                let params = json!({
                    "sessionId": session,
                    "prompt": prompt,
                    "_meta": {"agent-runner/message": message.id},
                });
                Ok(vec![self.request(0, "session/prompt", &params)])
            }
            (Command::Steer(_) | Command::Interrupt, Phase::Resting) => Err(Refused::Resting),
            (Command::Interrupt, _) if self.interrupting => Ok(Vec::new()),
            (Command::Interrupt, _) => Ok(self.interrupt(session)),
            (Command::Set(setting), _) => {
                let (method, mut params) = V::change(setting).ok_or(Refused::NotLive)?;
                if let Value::Object(fields) = &mut params {
                    fields.insert("sessionId".to_owned(), session.clone().into());
                }
                Ok(vec![self.request(0, method, &params)])
            }
            (Command::Steer(_) | Command::Answer { .. }, _) => Err(Refused::NotLive),
        }
    }

    /// Ends the turn. The protocol wants every request that waits answered then.
    fn interrupt(&self, session: &str) -> Vec<Vec<u8>> {
        let params = json!({"sessionId": session});
        let mut frames = vec![DIALECT.notification("session/cancel", Some(params))];
        frames.extend(self.asked.iter().map(|waiting| {
            let result = waiting.result(&Answer::Stop);
            DIALECT.result(&waiting.asked.request_id, &result)
        }));
        frames
    }

    fn answer(&self, request_id: &str, answer: &Answer) -> Result<Vec<Vec<u8>>, Refused> {
        let mut asked = self.asked.iter();
        let waiting = asked
            .find(|waiting| waiting.asked.request_id == request_id)
            .ok_or(Refused::NotAsked)?;
        if let (Answer::Stop, Some(session), false) = (answer, &self.session, self.interrupting) {
            return Ok(self.interrupt(session));
        }
        Ok(vec![DIALECT.result(request_id, &waiting.result(answer))])
    }

    fn initialize(&self) -> Vec<u8> {
        let params = json!({
            "protocolVersion": 1,
            "clientCapabilities": {
                "fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false,
            },
            "clientInfo": {
                "name": "agent-runner", "title": "agent-runner",
                "version": env!("CARGO_PKG_VERSION"),
            },
        });
        self.request(0, "initialize", &params)
    }

    fn open_session(&self) -> Vec<u8> {
        let mut params = json!({"cwd": self.spec.cwd, "mcpServers": []});
        let Some(resume) = &self.spec.resume else {
            return self.request(0, "session/new", &params);
        };
        if let Value::Object(fields) = &mut params {
            fields.insert("sessionId".to_owned(), resume.clone().into());
        }
        self.request(0, V::RESUME, &params)
    }

    /// The `ahead`-th request from here on.
    fn request(&self, ahead: usize, method: &str, params: &Value) -> Vec<u8> {
        self.ours.frame(DIALECT, ahead, method, params)
    }
}
