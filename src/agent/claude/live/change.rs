//! Other settings while the CLI runs: the requests for them, and what they are read back as.
//!
//! The model has a request of its own. The effort and our hook for consent go into the settings
//! that the CLI was given by arguments (`apply_flag_settings`), beside what the user has put there.
//! An effort that is unknown, or that the model does not take, is passed over in silence: what
//! counts is what `get_settings` says of it then.
//!
//! The hook is a command that says `ask`. Hooks that are called over stdin can only be registered
//! at the start.

use serde_json::{Value, json};

use crate::agent::live::Setting;

/// What the effort is checked by.
pub(super) const CHECK: &str = "get_settings";

/// Changes settings that were given by arguments.
pub(super) const APPLY: &str = "apply_flag_settings";

/// What the hook prints: the call is to be asked for, whatever the CLI thinks of it.
const ASK: &str =
    r#"echo '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"ask"}}'"#;

/// The request for a change. `allowed` are tools that need no consent.
pub(super) fn request(setting: &Setting, allowed: &[String]) -> Value {
    match setting {
        Setting::Model(model) => json!({"subtype": "set_model", "model": model}),
        Setting::Effort(effort) => self::effort(Some(effort)),
        Setting::Consent(true) => {
            let hook = json!({"type": "command", "command": ASK});
            let hooks = json!({"PreToolUse": [{"matcher": others(allowed), "hooks": [hook]}]});
            // a project must not switch it off
            let settings = json!({"hooks": hooks, "disableAllHooks": false});
            json!({"subtype": APPLY, "settings": settings})
        }
        Setting::Consent(false) => json!({"subtype": APPLY, "settings": {"hooks": null}}),
    }
}

/// The request for an effort; none: the CLI's own.
pub(super) fn effort(effort: Option<&str>) -> Value {
    json!({"subtype": APPLY, "settings": {"effortLevel": effort}})
}

/// What a request changes, the other way round.
pub(super) fn changed_by(request: &Value) -> Option<Setting> {
    let text = |at: &str| request.pointer(at).and_then(Value::as_str);
    match text("/subtype")? {
        "set_model" => Some(Setting::Model(text("/model")?.to_owned())),
        APPLY => {
            let hooks = request.pointer("/settings/hooks");
            let effort = || Some(Setting::Effort(text("/settings/effortLevel")?.to_owned()));
            hooks
                .map(|hooks| Setting::Consent(!hooks.is_null()))
                .or_else(effort)
        }
        _ => None,
    }
}

/// A pattern of all tools but these. A name with a rule in it is none: such calls are asked for.
fn others(allowed: &[String]) -> String {
    let is_plain = |name: &&String| {
        let mut bytes = name.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    let names: Vec<&str> = allowed
        .iter()
        .filter(is_plain)
        .map(String::as_str)
        .collect();
    if names.is_empty() {
        return "*".to_owned();
    }
    format!("^(?!(?:{})$)", names.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_read_back_from_its_request() {
        for setting in [
            Setting::Model("opus".to_owned()),
            Setting::Effort("max".to_owned()),
            Setting::Consent(true),
            Setting::Consent(false),
        ] {
            assert_eq!(changed_by(&request(&setting, &[])), Some(setting));
        }
        assert_eq!(changed_by(&effort(None)), None);
        assert_eq!(changed_by(&json!({"subtype": "interrupt"})), None);
    }

    #[test]
    fn tools_that_need_no_consent_are_not_the_hooks() {
        let allowed = ["Edit", "Bash(git *)", "mcp__lab__echo"].map(str::to_owned);
        assert_eq!(others(&allowed), "^(?!(?:Edit|mcp__lab__echo)$)");
        assert_eq!(others(&allowed[1..2]), "*");
    }
}
