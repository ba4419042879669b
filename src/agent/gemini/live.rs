//! Gemini CLI 0.61.0 in live form: `gemini --acp`.
//!
//! What the protocol is not told by the CLI cannot be given: the input of a call beyond its title
//! and its files, what a command printed, the exit code, tokens of the cache. An answer that the
//! model did not finish ends the turn as a finished one does. So this is not the form that is
//! taken by itself; it is there for consent and for its thinking, which exec form does not have.

mod launch;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{tools, verdict};
use crate::agent::acp::{self, Begun, CallUpdate, Fault, OpenCall, Request, Stopped, Vendor};
use crate::agent::json::typed;
use crate::agent::live::{Holds, LiveKind, LiveSpec, Sets, Setting, Since};
use crate::agent::{Evidence, diff};
use crate::event::{Event, FileChangeKind, TurnError, Usage};
use crate::exit::Exit;

/// The live form in the registry of agents.
pub(super) const LIVE: LiveKind = LiveKind {
    plan: launch::plan,
    can_steer: false,
    sets: Sets {
        model: Since::NextTurn,
        effort: Since::NextProcess,
        consent: Since::NextProcess,
    },
    can_change_input: false,
    holds: Holds::All,
    richer_than_exec: false,
    open: acp::open::<GeminiAcp>,
    restore: acp::restore::<GeminiAcp>,
};

/// Another model for the session.
const SET_MODEL: &str = "session/set_model";

/// What a command that was ended is told with; its status says that it completed.
const CANCELLED: &str = "Command cancelled by user.";

/// Gemini CLI's part of the state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct GeminiAcp {
    files: BTreeSet<u64>,
}

/// `_meta` of the answer to a prompt: of all its requests.
#[derive(Debug, Deserialize)]
struct Meta {
    quota: Quota,
}

#[derive(Debug, Deserialize)]
struct Quota {
    token_count: Tokens,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
}

impl Vendor for GeminiAcp {
    const RESUME: &'static str = "session/load";
    const HISTORY_FOLLOWS: bool = true;
    const STREAMS_OUTPUT: bool = false;
    const TELLS_DENIED: bool = false;

    fn settings(_spec: &LiveSpec) -> Vec<Request> {
        Vec::new()
    }

    fn change(setting: &Setting) -> Option<Request> {
        match setting {
            Setting::Model(model) => Some((SET_MODEL, json!({"modelId": model}))),
            Setting::Effort(_) | Setting::Consent(_) => None,
        }
    }

    fn changed_by(method: &str, params: &Value) -> Option<Setting> {
        let model = params.get("modelId").filter(|_| method == SET_MODEL)?;
        Some(Setting::Model(model.as_str()?.to_owned()))
    }

    /// It says so itself when its mode is changed.
    fn is_noise(text: &str) -> bool {
        text.starts_with("[MODE_UPDATE] ")
    }

    /// `**subject**`, a line's end and what was thought. What has no subject goes on with the
    /// thought before it.
    fn thought(text: &str) -> (&str, bool) {
        let rest = text.strip_prefix("****\n");
        (rest.unwrap_or(text), rest.is_none())
    }

    fn begun(&self, _native: Option<&str>, call: &CallUpdate<'_>) -> Begun {
        let id = call.tool_call_id.as_deref().unwrap_or_default();
        // `<tool>__<the model's id>`
        let native = id.split_once("__").map_or(id, |(native, _)| native);
        let name = tools::name(native);
        Begun {
            native: native.to_owned(),
            name: name.to_owned(),
            input: self.input(name, call),
        }
    }

    fn ended(&mut self, open: &OpenCall, call: &CallUpdate<'_>, out: &mut Vec<Event>) -> bool {
        let text = call.text();
        let is_error = call.status.as_deref() == Some("failed")
            || (open.name == "shell" && text.as_deref() == Some(CANCELLED))
            || tools::was_blocked(&open.native, text.as_deref());
        if !is_error {
            self.changed(open, call, out);
        }
        out.push(Event::ToolEnd {
            call_id: open.id.clone(),
            name: open.name.clone(),
            output: text,
            is_error,
            exit_code: None,
            duration_ms: None,
        });
        false
    }

    fn failed(fault: &Fault<'_>) -> TurnError {
        #[derive(Deserialize)]
        struct Outer {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            message: String,
        }
        // the model server's own words stand in it as they came
        let inner: Option<Outer> = serde_json::from_str(&fault.message).ok();
        let shown = inner.map(|outer| outer.error.message);
        let status = u16::try_from(fault.code).ok();
        let mut error = verdict::live_error(status, &fault.message);
        error.message = shown.unwrap_or(error.message);
        error
    }

    fn unopened(exit: Option<Exit>, stderr: &[u8]) -> Evidence {
        verdict::of_silence(exit, stderr)
    }

    fn stopped(reason: &str, _how: Stopped) -> Option<TurnError> {
        verdict::of_stop(reason)
    }

    fn usage(_usage: Option<&RawValue>, meta: Option<&RawValue>, _single: bool) -> Usage {
        let tokens = typed::<Meta>(meta).map(|meta| meta.quota.token_count);
        tokens.map_or_else(Usage::default, |tokens| Usage {
            input_tokens: tokens.input_tokens,
            output_tokens: tokens.output_tokens,
            ..Usage::default()
        })
    }
}

impl GeminiAcp {
    /// As much of the input as the update shows.
    fn input(&self, name: &str, call: &CallUpdate<'_>) -> Value {
        let mut input = Map::new();
        let mut set = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                input.insert(key.to_owned(), value.into());
            }
        };
        let title = call.title.as_deref();
        let mut files = call.locations.iter().flatten();
        let file = files.next().map(|file| file.path.as_str());
        let change = call.diff();
        match name {
            "shell" => {
                set("command", title);
                let about = call.text().and_then(|text| described(&text));
                set("description", about.as_deref());
            }
            "read" => set("file_path", file),
            "write" | "edit" => {
                set("file_path", file);
                let known = file.is_some_and(|file| self.files.contains(&tools::file_key(file)));
                if name == "write" {
                    set("kind", Some(if known { "overwrite" } else { "create" }));
                    set("content", change.and_then(|diff| diff.new_text.as_deref()));
                } else if let Some(change) = change {
                    set("old_text", change.old_text.as_deref());
                    set("new_text", change.new_text.as_deref());
                }
            }
            "glob" | "grep" => {
                let quoted = title.and_then(|title| title.strip_prefix('\'')?.split_once('\''));
                set("pattern", quoted.map(|(pattern, _)| pattern));
            }
            _ => {
                // of an MCP server: the whole input, as long as it is short
                let told = call
                    .text()
                    .and_then(|text| serde_json::from_str(&text).ok());
                if let Some(Value::Object(told)) = told {
                    return Value::Object(told);
                }
                set("title", title);
            }
        }
        Value::Object(input)
    }

    fn changed(&mut self, open: &OpenCall, call: &CallUpdate<'_>, out: &mut Vec<Event>) {
        let Some(change) = call.diff() else {
            return;
        };
        let Some(path) = change.path.as_deref() else {
            return;
        };
        let (old, new) = (change.old_text.as_deref(), change.new_text.as_deref());
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        if self.files.len() < super::FILES_REMEMBERED {
            self.files.insert(tools::file_key(path));
        }
        let shown = path.trim_start_matches('/');
        out.push(Event::FileChange {
            path: path.to_owned(),
            kind: if old.is_empty() {
                FileChangeKind::Create
            } else {
                FileChangeKind::Edit
            },
            diff: Some(diff::between(shown, old, new)),
            call_id: Some(open.id.clone()),
        });
    }
}

/// `[current working directory /x] (what it is for)`
fn described(text: &str) -> Option<String> {
    let (_, about) = text.rsplit_once("] (")?;
    Some(about.strip_suffix(')')?.to_owned())
}
