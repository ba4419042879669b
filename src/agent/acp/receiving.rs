//! What comes from the agent: requests, answers, and what it tells of its work.

use serde_json::value::RawValue;

use super::consent::Waiting;
use super::vendor::Vendor;
use super::wire::{Consent, Fault, Notice, Opened, Update};
use super::{Acp, Opening, Owed};
use crate::agent::json::typed;
use crate::agent::json_rpc::{Frame, Peer, Requests};
use crate::agent::live::{Introduction, Phase, Told, tell};

impl<V: Vendor> Peer for Acp<V> {
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
        let consent: Option<Consent<'_>> = (method == "session/request_permission")
            .then(|| typed(params))
            .flatten();
        let Some(consent) = consent else {
            let owed = Owed::Unknown(method.to_owned());
            self.owed.insert(id.to_owned(), owed);
            return "a request that the runner answers by itself";
        };
        self.taken_up(out);
        let mut begun = Vec::new();
        let call = &consent.tool_call;
        self.work.asked_for(&self.vendor, call, &mut begun);
        tell(&mut begun, out);
        let waiting = Waiting::new(id, &consent, &self.vendor, &self.work);
        out.push(Told::Event(waiting.asked.event()));
        self.asked.push(waiting);
        if !self.spec.asks {
            self.owed.insert(id.to_owned(), Owed::Allow);
        }
        ""
    }

    fn responded(
        &mut self,
        id: &str,
        method: String,
        frame: &Frame<'_, Fault<'_>>,
        out: &mut Vec<Told>,
    ) -> &'static str {
        if self.turn.as_ref().is_some_and(|turn| turn.request == id) {
            self.taken_up(out);
            self.turn_over(frame, out);
            return "";
        }
        let is_opening = self.phase == Phase::Opening;
        let setting = self.settings.take(id);
        if let Some(setting) = setting.filter(|_| !is_opening || frame.error.is_none()) {
            let refused = frame.error.as_ref().map(|fault| fault.message.to_string());
            self.introduction.settled(&setting, refused.as_ref());
            self.settings.settle(setting, refused, out);
            self.ready_if_open(out);
            return "";
        }
        if let Some(fault) = &frame.error {
            if is_opening {
                self.phase = Phase::Refused;
            }
            let why = fault.message.to_string();
            let what = method;
            out.push(Told::Failed { what, why });
            return "";
        }
        match method.as_str() {
            "initialize" if self.opening == Opening::Asked => self.opening = Opening::Answered,
            "session/new" | "session/load" | "session/resume" => {
                self.began(&method, frame.result, out);
            }
            _ => self.ready_if_open(out),
        }
        "done as asked"
    }

    fn notified(
        &mut self,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) -> Option<&'static str> {
        if method == "session/update" {
            self.updated(params, out)
        } else {
            self.extended(method, params, out)
        }
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
        self.interrupting |= method == "session/cancel" && self.turn.is_some();
    }

    fn answered(&mut self, id: &str, result: Option<&RawValue>, out: &mut Vec<Told>) {
        self.has_answered(id, result, out);
    }
}

impl<V: Vendor> Acp<V> {
    fn updated(&mut self, params: Option<&RawValue>, out: &mut Vec<Told>) -> Option<&'static str> {
        let said: Notice<'_> = typed(params)?;
        let update: Update<'_> = typed(Some(said.update))?;
        if self.in_history {
            // the list of commands stands behind what was said before
            self.in_history = &*update.kind != "available_commands_update";
            self.ready_if_open(out);
            return Some("what was said before");
        }
        if self.session.as_deref() != Some(&*said.session_id) {
            return None;
        }
        let is_work = matches!(
            &*update.kind,
            "agent_message_chunk"
                | "agent_thought_chunk"
                | "tool_call"
                | "tool_call_update"
                | "plan"
        );
        if is_work {
            if self.turn.is_none() {
                return Some("it belongs to no turn");
            }
            if self.vendor.tells_work() {
                return Some("told by the CLI's own events");
            }
            self.taken_up(out);
        }
        let mut events = Vec::new();
        let raw = said.update.get();
        let reason = self
            .work
            .updated(&mut self.vendor, &update, raw, &mut events);
        tell(&mut events, out);
        reason
    }

    /// A notification of the vendor's own.
    fn extended(
        &mut self,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) -> Option<&'static str> {
        let mut events = Vec::new();
        let main = self.session.as_deref().unwrap_or_default();
        let heard = self.vendor.extended(main, method, params, &mut events)?;
        if self.turn.is_none() {
            return Some("it belongs to no turn");
        }
        if !events.is_empty() {
            self.taken_up(out);
        }
        self.work.note(&events, heard.refused);
        tell(&mut events, out);
        Some(heard.reason)
    }

    /// The CLI has begun with the prompt.
    fn taken_up(&mut self, out: &mut Vec<Told>) {
        if let Some(turn) = self.turn.as_mut().filter(|turn| !turn.taken_up) {
            turn.taken_up = true;
            let id = turn.message.clone();
            out.push(Told::TakenUp { id });
        }
    }

    /// There is a session.
    fn began(&mut self, method: &str, result: Option<&RawValue>, out: &mut Vec<Told>) {
        let session: Opened<'_> = typed(result).unwrap_or_default();
        let id = session.session_id.as_deref().map(str::to_owned);
        let Some(id) = id.or_else(|| self.session.clone()) else {
            self.phase = Phase::Refused;
            let why = "its answer names no session".to_owned();
            let what = method.to_owned();
            out.push(Told::Failed { what, why });
            return;
        };
        self.in_history = method == "session/load" && V::HISTORY_FOLLOWS;
        self.session = Some(id);
        let model = session.model().or_else(|| self.spec.model.clone());
        self.introduction = Introduction::new(model, self.spec.cwd.clone());
        self.ready_if_open(out);
    }

    /// Prompts are taken when all is set and what was said before is told. Which model it is
    /// follows from what was set.
    fn ready_if_open(&mut self, out: &mut Vec<Told>) {
        let is_set =
            self.opened_with >= V::settings(&self.spec).len() && self.ours.open().next().is_none();
        if self.phase == Phase::Opening
            && is_set
            && !self.in_history
            && let Some(session) = &self.session
        {
            self.phase = Phase::Resting;
            self.introduction.tell(session, out);
            out.push(Told::Ready);
        }
    }
}
