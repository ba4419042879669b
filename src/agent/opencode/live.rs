//! OpenCode 1.18.33 in live form: `opencode acp`.
//!
//! The protocol opens sessions, takes prompts, interrupts and asks for consent. The work itself is
//! told by OpenCode's own events, which a plugin of ours says among the frames ([`bus`]): the
//! protocol tells a text that was cut and comes again like any other, and the summary when the
//! context was full; it leaves out requests that are made again, the tokens of all requests but a
//! turn's last, and what sub-agents do. Where the plugin is not there (`--pure`, recordings that
//! were made without it), what the protocol tells is taken.
//!
//! Sub-agents' questions for consent reach nobody: where calls wait for consent there are no
//! sub-agents.

mod bus;
mod files;
mod launch;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::bus::Bus;
use self::files::Files;
use super::log::Stderr;
use super::tools::{self, Permission};
use super::verdict;
use crate::agent::Evidence;
use crate::agent::acp::{self, CallUpdate, Extended, Fault, OpenCall, Request, Stopped, Vendor};
use crate::agent::json::{Text, typed};
use crate::agent::live::{Holds, LiveKind, LiveSpec, Sets, Setting, Since};
use crate::event::{Event, TurnError, Usage};
use crate::exit::Exit;

/// The live form in the registry of agents.
pub(super) const LIVE: LiveKind = LiveKind {
    plan: launch::plan,
    can_steer: false,
    sets: Sets {
        model: Since::NextTurn,
        effort: Since::NextTurn,
        consent: Since::NextProcess,
    },
    can_change_input: false,
    holds: Holds::All,
    richer_than_exec: true,
    open: acp::open::<OpenCodeAcp>,
    restore: acp::restore::<OpenCodeAcp>,
};

/// OpenCode's part of the state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct OpenCodeAcp {
    /// What its own events tell, where our plugin says them.
    bus: Option<Bus>,
    files: Files,
}

/// `rawOutput` of a call that is over.
#[derive(Debug, Default, Deserialize)]
struct Came<'a> {
    #[serde(borrow)]
    output: Option<Text<'a>>,
    #[serde(borrow)]
    error: Option<Text<'a>>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// `usage` of the answer to a prompt: of its last request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    #[serde(rename = "inputTokens")]
    input: u64,
    #[serde(rename = "outputTokens")]
    output: u64,
    #[serde(rename = "thoughtTokens")]
    thought: u64,
    #[serde(rename = "cachedReadTokens")]
    cached_read: u64,
    #[serde(rename = "cachedWriteTokens")]
    cached_write: u64,
}

/// `data` of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorData<'a> {
    #[serde(borrow)]
    error_name: Option<Text<'a>>,
}

impl Vendor for OpenCodeAcp {
    // unlike `session/load` it does not tell again what was said
    const RESUME: &'static str = "session/resume";
    const HISTORY_FOLLOWS: bool = false;
    const STREAMS_OUTPUT: bool = true;
    const TELLS_DENIED: bool = true;

    fn settings(spec: &LiveSpec) -> Vec<Request> {
        let option = |id: &str, value: &Option<String>| {
            let value = value.as_ref()?;
            Some((SET, json!({"configId": id, "value": value})))
        };
        // the efforts are those of the model
        let options = [option("model", &spec.model), option("effort", &spec.effort)];
        options.into_iter().flatten().collect()
    }

    fn change(setting: &Setting) -> Option<Request> {
        let (id, value) = match setting {
            Setting::Model(model) => ("model", model),
            Setting::Effort(effort) => ("effort", effort),
            Setting::Consent(_) => return None,
        };
        Some((SET, json!({"configId": id, "value": value})))
    }

    fn changed_by(method: &str, params: &Value) -> Option<Setting> {
        let text = |name: &str| params.get(name).and_then(Value::as_str);
        let value = text("value").filter(|_| method == SET)?.to_owned();
        match text("configId")? {
            "model" => Some(Setting::Model(value)),
            "effort" => Some(Setting::Effort(value)),
            _ => None,
        }
    }

    fn begun(&self, native: Option<&str>, call: &CallUpdate<'_>) -> acp::Begun {
        let title = call.title.as_deref();
        // it is announced by the tool's name; then the title is the call's own
        let tool = match title {
            Some("invalid") => "invalid",
            title => native.or(title).unwrap_or("unknown"),
        };
        let paths = call.locations.iter().flatten();
        let exists = paths.into_iter().any(|file| self.files.knows(&file.path));
        let begun = tools::begun(tool, call.raw_input, exists);
        let mut input = begun.input;
        if let Value::Object(fields) = &mut input {
            // of its own making: the model did not say it
            fields.remove("cwd");
        }
        acp::Begun {
            name: tools::name(&begun.native).to_owned(),
            native: begun.native,
            input,
        }
    }

    fn ended(&mut self, open: &OpenCall, call: &CallUpdate<'_>, out: &mut Vec<Event>) -> bool {
        let told: Came<'_> = typed(call.raw_output).unwrap_or_default();
        let text = call.text();
        let is_failed = call.status.as_deref() == Some("failed");
        let (output, error) = (told.output.as_deref(), told.error.as_deref());
        let begun = tools::resumed(&open.native, &open.input);
        let done = tools::Done {
            is_failed,
            title: call.title.as_deref(),
            output: output.or(text.as_deref().filter(|_| !is_failed)),
            error: error.or(text.as_deref().filter(|_| is_failed)),
            metadata: tools::metadata(&open.native, told.metadata),
            duration_ms: None,
        };
        let permission = tools::ended(&open.id, &begun, done, out);
        self.files.saw(&open.input, is_failed);
        permission == Permission::Rejected
    }

    fn extended(
        &mut self,
        main: &str,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Event>,
    ) -> Option<Extended> {
        let what = method.strip_prefix(bus::PREFIX)?;
        let bus = self.bus.get_or_insert_default();
        if what == bus::HERE {
            return Some("the plugin is there".into());
        }
        bus.heard(main, what, params, out)
    }

    fn tells_work(&self) -> bool {
        self.bus.is_some()
    }

    fn call(&self, id: &str) -> Option<&OpenCall> {
        self.bus.as_ref()?.call(id)
    }

    fn told_failure(&self) -> Option<&TurnError> {
        self.bus.as_ref()?.failed()
    }

    fn turn_begins(&mut self) {
        if let Some(bus) = &mut self.bus {
            bus.turn_begins();
        }
    }

    fn turn_over(&mut self, out: &mut Vec<Event>) {
        if let Some(bus) = &mut self.bus {
            bus.turn_over(out);
        }
    }

    fn failed(fault: &Fault<'_>) -> TurnError {
        let data: ErrorData<'_> = typed(fault.data).unwrap_or_default();
        let message = fault.message.strip_prefix("Internal error: ");
        verdict::live_error(
            data.error_name.as_deref(),
            message.unwrap_or(&fault.message),
        )
    }

    fn unopened(exit: Option<Exit>, stderr: &[u8]) -> Evidence {
        let text = String::from_utf8_lossy(stderr);
        verdict::of_stderr(exit, &Stderr::read(&text), false)
    }

    fn stopped(reason: &str, how: Stopped) -> Option<TurnError> {
        let reason = match (reason, how) {
            ("end_turn", Stopped::AtRefusal) => "tool-calls",
            ("max_tokens", _) => "length",
            ("refusal", _) => "content-filter",
            _ => return None,
        };
        match verdict::of_reason(reason, how == Stopped::AtRefusal) {
            Evidence::Failed(error) => Some(error),
            _ => None,
        }
    }

    fn usage(usage: Option<&RawValue>, _meta: Option<&RawValue>, single: bool) -> Usage {
        let Some(tokens) = typed::<Tokens>(usage).filter(|_| single) else {
            return Usage::default();
        };
        Usage {
            input_tokens: tokens.input,
            output_tokens: tokens.output.saturating_add(tokens.thought),
            cache_read_tokens: tokens.cached_read,
            cache_write_tokens: tokens.cached_write,
            cost_usd: None,
        }
    }
}

/// How an option of a session is set.
const SET: &str = "session/set_config_option";
