//! What the agent does in a turn, from the updates about it: text, calls, tokens.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::vendor::Vendor;
use super::wire::{Block, CallUpdate, Update};
use crate::agent::hash;
use crate::agent::json::typed;
use crate::event::{Event, PlanItem, ToolStream};

/// More calls than that are not open at once, unless the output is damaged: state stays small.
const OPEN_LIMIT: usize = 512;

/// The state of the work. All of it is in every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Work {
    /// The turn, as messages are named by it where the CLI does not name them.
    turn: String,
    /// The message that is being written, and how many there were in the turn.
    message: Option<String>,
    messages: u64,
    /// The last that was told is a thought.
    thinks: bool,
    open: Vec<OpenCall>,
    /// The agent said or did anything in this turn.
    pub(super) has_output: bool,
    /// Calls in this turn: with none of them, it was one request to the model.
    pub(super) calls: u64,
    /// The last that happened is a call that was not consented to.
    pub(super) refused: bool,
    /// What the conversation had cost when the turn began, and what it costs now, in USD.
    cost_before: f64,
    cost: f64,
}

/// A call that has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::agent) struct OpenCall {
    pub(in crate::agent) id: String,
    pub(in crate::agent) native: String,
    pub(in crate::agent) name: String,
    pub(in crate::agent) input: Value,
    /// Its start was told.
    told: bool,
    /// How much of its output was told, and a hash of that.
    output: (usize, u64),
}

impl Work {
    pub(super) fn turn_begins(&mut self, turn: String) {
        *self = Self {
            turn,
            cost_before: self.cost,
            cost: self.cost,
            ..Self::default()
        };
    }

    /// What the turn has cost, in USD.
    pub(super) fn cost(&self) -> Option<f64> {
        Some(self.cost - self.cost_before).filter(|cost| *cost > 0.0)
    }

    /// What is open will not end any more.
    pub(super) fn turn_over(&mut self, out: &mut Vec<Event>) {
        let open = self.open.drain(..).filter(|call| call.told);
        out.extend(open.map(OpenCall::cut_off));
    }

    /// What the vendor's own notifications have told.
    pub(super) fn note(&mut self, told: &[Event], refused: bool) {
        for event in told {
            let is_call = matches!(event, Event::ToolStart { .. });
            if is_call || matches!(event, Event::Token { .. }) {
                self.has_output = true;
                self.refused = false;
            }
            self.calls += u64::from(is_call);
            // A turn that was only to make the context shorter.
            let manual = Some("manual");
            self.has_output |=
                matches!(event, Event::Compaction { trigger, .. } if trigger.as_deref() == manual);
        }
        self.refused |= refused;
    }

    /// The open call of that id.
    pub(super) fn call(&self, id: &str) -> Option<&OpenCall> {
        self.open.iter().find(|call| call.id == id)
    }

    /// The reason is for the case that no event comes of it; none for an update that is not known.
    pub(super) fn updated<V: Vendor>(
        &mut self,
        vendor: &mut V,
        update: &Update<'_>,
        raw: &str,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        match &*update.kind {
            "agent_message_chunk" => self.token::<V>(update, out),
            "agent_thought_chunk" => self.thought::<V>(update, out),
            "tool_call" | "tool_call_update" => {
                let call: CallUpdate<'_> = serde_json::from_str(raw).ok()?;
                self.called(vendor, &call, out)
            }
            "plan" => {
                let items = update.entries.as_ref()?.iter().map(|entry| PlanItem {
                    text: entry.content.clone(),
                    status: entry.status.clone(),
                });
                out.push(Event::Plan {
                    items: items.collect(),
                });
                Some("")
            }
            "usage_update" => Some(self.used(update, out)),
            "user_message_chunk" => Some("what the user said"),
            "available_commands_update"
            | "current_mode_update"
            | "config_option_update"
            | "session_info_update" => Some("state of the CLI"),
            _ => None,
        }
    }

    fn token<V: Vendor>(
        &mut self,
        update: &Update<'_>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let block: Block<'_> = typed(update.content)?;
        let text = block.text?;
        if text.is_empty() || V::is_noise(&text) {
            return Some("text that is not the model's");
        }
        self.has_output = true;
        self.refused = false;
        self.thinks = false;
        let message_id = Some(self.message(update));
        out.push(Event::Token {
            text: text.0.into_owned(),
            message_id,
            parent_call_id: None,
        });
        Some("")
    }

    fn thought<V: Vendor>(
        &mut self,
        update: &Update<'_>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let block: Block<'_> = typed(update.content)?;
        let text = block.text?;
        let (text, is_new) = V::thought(&text);
        if text.is_empty() {
            return Some("empty reasoning");
        }
        let apart = if is_new && self.thinks { "\n\n" } else { "" };
        self.thinks = true;
        let message_id = Some(self.message(update));
        out.push(Event::Thinking {
            text: format!("{apart}{text}"),
            message_id,
            parent_call_id: None,
        });
        Some("")
    }

    /// The message that a chunk belongs to. Without a name for it, all chunks between two calls
    /// are one.
    fn message(&mut self, update: &Update<'_>) -> String {
        if let Some(id) = &update.message_id {
            return id.to_string();
        }
        if let Some(id) = &self.message {
            return id.clone();
        }
        let id = format!("{}#{}", self.turn, self.messages);
        self.messages += 1;
        self.message = Some(id.clone());
        id
    }

    fn used(&mut self, update: &Update<'_>, out: &mut Vec<Event>) -> &'static str {
        if let Some(cost) = update.cost.as_ref().filter(|cost| cost.currency == "USD") {
            self.cost = cost.amount;
        }
        if let Some(used_tokens) = update.used.filter(|used| *used > 0) {
            out.push(Event::Context {
                used_tokens,
                max_tokens: update.size,
            });
        }
        "an empty context"
    }

    fn called<V: Vendor>(
        &mut self,
        vendor: &mut V,
        call: &CallUpdate<'_>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let id = call.tool_call_id.as_deref()?;
        let status = call.status.as_deref().unwrap_or("in_progress");
        self.message = None;
        self.thinks = false;
        let at = self.open(vendor, id, call)?;
        if status == "pending" {
            return Some("its input is not known yet");
        }
        self.begin(vendor, at, call, out);
        let open = self.open.get_mut(at)?;
        if matches!(status, "completed" | "failed") {
            let open = self.open.remove(at);
            self.refused = vendor.ended(&open, call, out);
        } else if V::STREAMS_OUTPUT {
            open.grow(call.text().as_deref(), out);
        }
        Some("nothing new")
    }

    /// Somebody is to consent to a call: it is told before they are asked, since they may want to
    /// know what they are asked about, and since Gemini CLI says nothing of it before it has run.
    pub(super) fn asked_for<V: Vendor>(
        &mut self,
        vendor: &V,
        call: &CallUpdate<'_>,
        out: &mut Vec<Event>,
    ) {
        self.message = None;
        self.thinks = false;
        let Some(id) = call.tool_call_id.as_deref() else {
            return;
        };
        // Then it is told by those.
        if vendor.tells_work() {
            return;
        }
        if let Some(at) = self.open(vendor, id, call) {
            self.begin(vendor, at, call, out);
        }
    }

    /// Nobody consented to a call, and the CLI will say no more of it.
    pub(super) fn denied(&mut self, id: &str, out: &mut Vec<Event>) {
        if let Some(at) = self.open.iter().position(|open| open.id == id) {
            let open = self.open.remove(at);
            out.extend(Some(open).filter(|open| open.told).map(OpenCall::cut_off));
        }
    }

    /// Where the call of that id is among the open ones; none where there are too many.
    fn open<V: Vendor>(&mut self, vendor: &V, id: &str, call: &CallUpdate<'_>) -> Option<usize> {
        if let Some(at) = self.open.iter().position(|open| open.id == id) {
            return Some(at);
        }
        if self.open.len() >= OPEN_LIMIT {
            return None;
        }
        let begun = vendor.begun(None, call);
        let call = OpenCall::new(id, begun.native, begun.name, begun.input);
        self.open.push(call);
        Some(self.open.len() - 1)
    }

    /// Tells the call's start, once.
    fn begin<V: Vendor>(
        &mut self,
        vendor: &V,
        at: usize,
        call: &CallUpdate<'_>,
        out: &mut Vec<Event>,
    ) {
        let Some(open) = self.open.get_mut(at).filter(|open| !open.told) else {
            return;
        };
        self.calls += 1;
        self.has_output = true;
        self.refused = false;
        open.complete(vendor, call);
        open.start(None, out);
    }
}

impl OpenCall {
    /// One that is not told yet.
    pub(in crate::agent) fn new(id: &str, native: String, name: String, input: Value) -> Self {
        Self {
            id: id.to_owned(),
            native,
            name,
            input,
            told: false,
            output: (0, hash::EMPTY),
        }
    }

    /// It will not end any more.
    pub(in crate::agent) fn cut_off(self) -> Event {
        Event::ToolEnd {
            call_id: self.id,
            name: self.name,
            output: None,
            is_error: true,
            exit_code: None,
            duration_ms: None,
        }
    }

    /// Whether its start was told: then its name and input are what they will stay.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// It was announced; now what it does is known.
    fn complete<V: Vendor>(&mut self, vendor: &V, call: &CallUpdate<'_>) {
        let begun = vendor.begun(Some(&self.native), call);
        self.native = begun.native;
        self.name = begun.name;
        self.input = begun.input;
    }

    /// Tells its start, within the call `parent` of a sub-agent.
    pub(in crate::agent) fn start(&mut self, parent: Option<&str>, out: &mut Vec<Event>) {
        self.told = true;
        out.push(Event::ToolStart {
            call_id: self.id.clone(),
            name: self.name.clone(),
            native_name: self.native.clone(),
            input: self.input.clone(),
            parent_call_id: parent.map(str::to_owned),
        });
    }

    /// Each update of a running call has all of its output so far, as long as that is not much.
    pub(in crate::agent) fn grow(&mut self, output: Option<&str>, out: &mut Vec<Event>) {
        let Some(text) = output.filter(|_| self.name == "shell") else {
            return;
        };
        let (told, known) = self.output;
        let (Some(before), Some(more)) = (text.get(..told), text.get(told..)) else {
            return;
        };
        if more.is_empty() || hash::more(hash::EMPTY, before) != known {
            return;
        }
        out.push(Event::ToolDelta {
            call_id: self.id.clone(),
            stream: ToolStream::Output,
            text: more.to_owned(),
        });
        self.output = (text.len(), hash::more(hash::EMPTY, text));
    }
}
