//! Who consents to what the agent does: the settings, and the rules of the config file.
//!
//! What a rule means for a request is decided in `turn::approval`.

mod pattern;

use std::time::Duration;

use super::choice::{Approve, Otherwise};
use super::duration::{parse_duration, show_duration};
use super::fault::Origin;
use super::layers::{Layers, quoted};
use super::setting;

pub use pattern::{CommandPattern, HostPattern, PathPattern, WordPattern};

/// How long a request waits by default: a person who looks after their agents comes by within it.
const TIMEOUT: Duration = Duration::from_mins(10);

/// Who consents to what the agent does.
#[derive(Debug, Clone)]
pub struct ApprovalConfig {
    /// Nobody, a person, or the rules.
    pub mode: Approve,
    /// What becomes of a request that no rule decides.
    pub otherwise: Otherwise,
    /// How long a request waits before it is denied; none: as long as its turn.
    pub timeout: Option<Duration>,
    /// What is permitted.
    pub allow: Vec<ApprovalRule>,
    /// What is not, whatever else permits it.
    pub deny: Vec<ApprovalRule>,
}

/// A rule: which requests it is about.
#[derive(Debug, Clone)]
pub struct ApprovalRule {
    /// Of which tools, by their normalized names; none: of each that has what `about` asks for.
    pub tool: Option<WordPattern>,
    /// What of the request's input.
    pub about: About,
    /// What the agent is told that is denied by it.
    pub message: Option<String>,
    /// As it is written.
    pub text: String,
}

/// What a rule looks at in a request's input.
#[derive(Debug, Clone)]
pub enum About {
    /// Nothing: the tool is enough.
    Tool,
    /// The files that it names.
    Path(Vec<PathPattern>),
    /// The commands that it would run.
    Command(Vec<CommandPattern>),
    /// The hosts that it would ask.
    Host(Vec<HostPattern>),
}

/// The rules of a config file, and where they stand.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) allow: Vec<ApprovalRule>,
    pub(super) deny: Vec<ApprovalRule>,
    pub(super) origin: Option<Origin>,
}

/// The setting, its rules included.
pub(super) fn approval(layers: &mut Layers<'_>) -> ApprovalConfig {
    let rules = std::mem::take(&mut layers.file.rules);
    let config = ApprovalConfig {
        mode: layers.value_or(&setting::APPROVE, Approve::Auto, Approve::parse),
        otherwise: layers.value_or(
            &setting::APPROVAL_OTHERWISE,
            Otherwise::Ask,
            Otherwise::parse,
        ),
        timeout: timeout(layers),
        allow: rules.allow,
        deny: rules.deny,
    };
    if let Some(origin) = rules.origin {
        for (key, rules) in [("allow", &config.allow), ("deny", &config.deny)] {
            let texts: Vec<&str> = rules.iter().map(|rule| rule.text.as_str()).collect();
            let value = format!("[{}]", texts.join(", "));
            layers.show(format!("approval.{key}"), value, origin.clone());
        }
    } else if config.mode == Approve::Policy {
        let warning = "approve = \"policy\" without rules: nothing is decided by them; write them \
                       as [[approval.allow]] and [[approval.deny]] into the config file";
        layers.warnings.push(warning.to_owned());
    }
    config
}

fn timeout(layers: &mut Layers<'_>) -> Option<Duration> {
    let read = |text: &str| match text {
        "none" | "0" => Ok(None),
        _ => parse_duration(text).map(Some),
    };
    layers
        .value(&setting::APPROVAL_TIMEOUT, read)
        .unwrap_or_else(|| {
            let value = quoted(&show_duration(TIMEOUT));
            layers.show(setting::APPROVAL_TIMEOUT.key, value, Origin::Default);
            Some(TIMEOUT)
        })
}
