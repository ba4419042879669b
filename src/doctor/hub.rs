//! What the Hub's answer means.

use serde_json::Value;

use super::check::{Check, Fatal, Status};

/// What was found of the Hub.
#[derive(Debug, Clone)]
pub(super) struct HubFacts {
    /// The address of the settings, without its query.
    pub(super) address: Option<String>,
    /// There is a key.
    pub(super) key: bool,
    pub(super) answer: HubAnswer,
}

/// What the Hub said.
#[derive(Debug, Clone)]
pub(super) enum HubAnswer {
    /// Nobody asked: neither an address nor a key is set.
    NotConfigured,
    /// It takes us.
    Reached { address: String },
    /// It says no.
    Refused(String),
    /// It says nothing.
    Unreachable(String),
    /// It cannot even be asked.
    Settings(String),
}

/// The Hub's check. What is set must work: a daemon would end with the same code.
pub(super) fn judge(facts: &HubFacts) -> Check {
    let key = if facts.key {
        "with a key"
    } else {
        "without a key"
    };
    let (status, text, mend) = match &facts.answer {
        HubAnswer::NotConfigured => (
            Status::Info,
            "none configured; `run` brings its own".to_owned(),
            Some("for `daemon`: --hub URL, or set AGENTUITY_SDK_KEY"),
        ),
        HubAnswer::Reached { address } => (Status::Ok, format!("{address} answers ({key})"), None),
        HubAnswer::Refused(why) => (
            Status::Error(Fatal::HubRefused),
            format!("{why} ({key})"),
            Some("give the right key: --hub-key-file FILE, or AGENTUITY_SDK_KEY"),
        ),
        HubAnswer::Unreachable(why) => (
            Status::Error(Fatal::HubUnreachable),
            why.clone(),
            Some("start the Hub, or correct --hub; see `proxy`"),
        ),
        HubAnswer::Settings(why) => (
            Status::Error(Fatal::Settings),
            why.clone(),
            Some("correct the setting (--print-config shows where each comes from)"),
        ),
    };
    let reached = match &facts.answer {
        HubAnswer::Reached { address } => Some(address.clone()),
        _ => None,
    };
    let refused = matches!(facts.answer, HubAnswer::Refused(_));
    let configured = !matches!(facts.answer, HubAnswer::NotConfigured);
    let mut check = Check::new("hub", status, text)
        .fact("configured", configured)
        .fact("address", reached.clone().or_else(|| facts.address.clone()))
        .fact("key_present", facts.key)
        .fact("reachable", Value::Bool(reached.is_some() || refused))
        .fact("refused", refused);
    check.mend = mend.map(str::to_owned);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(answer: HubAnswer) -> Check {
        let address = None;
        judge(&HubFacts {
            address,
            key: true,
            answer,
        })
    }

    #[test]
    fn a_hub_that_is_set_must_answer_and_one_that_is_not_is_not_missed() {
        assert_eq!(judged(HubAnswer::NotConfigured).status, Status::Info);
        let reached = HubAnswer::Reached {
            address: "wss://h/api/ws".to_owned(),
        };
        assert_eq!(judged(reached).status, Status::Ok);
        let refused = judged(HubAnswer::Refused("401".to_owned()));
        assert_eq!(refused.status, Status::Error(Fatal::HubRefused));
        assert_eq!(refused.facts["reachable"], true);
        let absent = judged(HubAnswer::Unreachable("no".to_owned()));
        assert_eq!(absent.status, Status::Error(Fatal::HubUnreachable));
        assert_eq!(absent.facts["reachable"], false);
        assert!(absent.mend.is_some());
    }
}
