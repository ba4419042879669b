//! What becomes of a request before anybody is asked.
//!
//! A rule that denies counts when it is about any part of a request, and also denies what rules
//! permit; rules that permit count when together they are about all of it. Where it cannot be told
//! whether a rule denies (a script that cannot be read, a link that leads nowhere), nothing is
//! permitted without a person. Beyond looking where links lead, all of this is pure.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::places::{Place, Places};
use super::script::Script;
use crate::agent::live::Asked;
use crate::config::{About, ApprovalConfig, ApprovalRule, Approve, Otherwise};

/// Normalized tools whose input names files in fields that are known.
const FILE_TOOLS: &[&str] = &["read", "write", "edit", "glob", "grep"];

/// Normalized tools that search in a folder: the workspace, where none is named.
const SEARCHES: &[&str] = &["glob", "grep"];

/// Normalized tools that may be a shell command (Codex reads and searches by commands).
const SHELL_TOOLS: &[&str] = &["shell", "read", "glob", "grep"];

/// The fields of inputs that name files; the first three are those of normalized tools.
const PATH_FIELDS: &[&str] = &[
    "file_path",
    "path",
    "move_path",
    "file_paths",
    "paths",
    "filePath",
    "source",
    "destination",
    "grant_root",
];

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It is permitted.
    Allow,
    /// It is not.
    Deny {
        /// What the agent is told.
        message: String,
    },
    /// It waits for somebody's answer.
    Ask,
}

/// Who consents in a session, and to what.
#[derive(Debug, Clone)]
pub struct Approval {
    config: ApprovalConfig,
    /// Who consents now; clones share it.
    mode: Arc<Mutex<Approve>>,
    places: Places,
    /// What is permitted waits for the Hub's word all the same.
    gated: bool,
}

/// What a rule that denies says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    Yes,
    No,
    /// It cannot be told.
    Unsure,
}

/// What rules look at in a request.
struct Subject<'a> {
    tool: &'a str,
    script: Option<Script>,
    paths: Vec<Place>,
    /// The address that a tool is to fetch.
    url: Option<Url>,
    input: &'a Value,
}

impl Approval {
    /// For a session that works in that folder.
    pub fn new(config: &ApprovalConfig, workspace: &Path) -> Self {
        Self {
            config: config.clone(),
            mode: Arc::new(Mutex::new(config.mode)),
            places: Places::new(workspace),
            gated: false,
        }
    }

    /// The same, where what is permitted waits for the Hub's word all the same.
    #[must_use]
    pub fn gated(mut self, gated: bool) -> Self {
        self.gated = gated;
        self
    }

    /// Whether the CLI is to ask before it uses a tool.
    pub fn asks(&self) -> bool {
        self.asks_in(self.mode())
    }

    /// The same, where that mode were set.
    pub fn asks_in(&self, mode: Approve) -> bool {
        self.gated || mode != Approve::Auto
    }

    /// Who consents now.
    pub fn mode(&self) -> Approve {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets that be who consents from here on, or with none who the settings say.
    pub fn set_mode(&self, mode: Option<Approve>) {
        let mode = mode.unwrap_or(self.config.mode);
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// How long a request waits before it is denied; none: as long as its turn.
    pub const fn limit(&self) -> Option<Duration> {
        self.config.timeout
    }

    /// What becomes of a request.
    pub fn decide(&self, asked: &Asked) -> Ruling {
        match self.settled(asked) {
            Ruling::Allow if self.gated => Ruling::Ask,
            ruling => ruling,
        }
    }

    /// What the settings say of a request: with [`Ruling::Ask`] it needs a person.
    pub fn settled(&self, asked: &Asked) -> Ruling {
        match self.mode() {
            Approve::Ask => Ruling::Ask,
            Approve::Policy => self.by_rules(asked),
            Approve::Auto if asked.is_question() => deny(NOBODY_ANSWERS),
            Approve::Auto => Ruling::Allow,
        }
    }

    fn by_rules(&self, asked: &Asked) -> Ruling {
        let subject = Subject::of(asked, &self.places);
        let mut unsure = false;
        for rule in &self.config.deny {
            match subject.is_denied_by(rule) {
                Denial::Yes => return deny(rule.message.as_deref().unwrap_or(NOT_PERMITTED)),
                Denial::Unsure => unsure = true,
                Denial::No => {}
            }
        }
        // consent is no answer to a question
        let is_question = asked.is_question();
        if !unsure && !is_question && subject.is_permitted_by(&self.config.allow) {
            return Ruling::Allow;
        }
        match self.config.otherwise {
            Otherwise::Deny if is_question => deny(NOBODY_ANSWERS),
            Otherwise::Deny => deny(NO_RULE),
            Otherwise::Allow if !unsure && !is_question => Ruling::Allow,
            Otherwise::Allow | Otherwise::Ask => Ruling::Ask,
        }
    }
}

const NOT_PERMITTED: &str = "A rule does not permit this. Go on without it.";
const NO_RULE: &str = "No rule permits this, and nobody is asked. Go on without it.";
const NOBODY_ANSWERS: &str =
    "Nobody is there to answer. Decide for yourself, and say what you have assumed.";

fn deny(message: &str) -> Ruling {
    Ruling::Deny {
        message: message.to_owned(),
    }
}

impl<'a> Subject<'a> {
    fn of(asked: &'a Asked, places: &Places) -> Self {
        let (tool, input) = (asked.tool.as_str(), &asked.input);
        let text = |name: &str| input.get(name).and_then(Value::as_str);
        let command = text("command").filter(|_| SHELL_TOOLS.contains(&tool));
        let folder = text("cwd");
        let mut paths: Vec<&str> = PATH_FIELDS
            .iter()
            .filter_map(|field| input.get(field))
            .flat_map(texts)
            .collect();
        if paths.is_empty() && SEARCHES.contains(&tool) {
            paths.push(".");
        }
        let searched = text("pattern").filter(|_| tool == "glob").map(searched);
        let searched = searched.iter().flat_map(|below| {
            let bases = paths.iter().map(move |base| Path::new(base).join(below));
            bases.filter_map(|path| path.to_str().map(str::to_owned))
        });
        let searched: Vec<String> = searched.collect();
        Self {
            tool,
            script: command.map(Script::read),
            paths: paths
                .into_iter()
                .chain(searched.iter().map(String::as_str))
                .map(|path| places.find(path, folder))
                .collect(),
            url: text("url").and_then(|url| Url::parse(url).ok()),
            input,
        }
    }

    /// By its own name, and what is run by a shell also by the shell's.
    fn is_of(&self, rule: &ApprovalRule) -> bool {
        rule.tool.as_ref().is_none_or(|tool| {
            tool.matches(self.tool) || (self.script.is_some() && tool.matches("shell"))
        })
    }

    fn is_permitted_by(&self, rules: &[ApprovalRule]) -> bool {
        let rules = || rules.iter().filter(|rule| self.is_of(rule));
        if rules().any(|rule| matches!(rule.about, About::Tool)) {
            return true;
        }
        let commands = rules().filter_map(|rule| match &rule.about {
            About::Command(patterns) => Some(patterns),
            _ => None,
        });
        if let Some(Script::Commands(parts)) = &self.script {
            let commands: Vec<_> = commands.flatten().collect();
            if parts
                .iter()
                .all(|words| commands.iter().any(|pattern| pattern.matches(words)))
            {
                return true;
            }
        }
        let paths = rules().filter_map(|rule| match &rule.about {
            About::Path(patterns) => Some(patterns),
            _ => None,
        });
        let paths: Vec<_> = paths.flatten().collect();
        if FILE_TOOLS.contains(&self.tool)
            && !self.paths.is_empty()
            && self.paths.iter().all(|place| place.is_within(&paths))
        {
            return true;
        }
        let host = self.url.as_ref().and_then(Url::host_str);
        let mut hosts = rules().filter_map(|rule| match &rule.about {
            About::Host(patterns) => Some(patterns),
            _ => None,
        });
        host.is_some_and(|host| hosts.any(|all| all.iter().any(|one| one.matches(host))))
    }

    fn is_denied_by(&self, rule: &ApprovalRule) -> Denial {
        if !self.is_of(rule) {
            return Denial::No;
        }
        match &rule.about {
            About::Tool => Denial::Yes,
            About::Command(patterns) => {
                let Some(script) = &self.script else {
                    return Denial::No;
                };
                let (commands, doubt) = script.reach();
                let is_denied = |words: &Vec<String>| {
                    let mut patterns = patterns.iter();
                    if doubt {
                        // where it ends is not known either
                        patterns.any(|pattern| pattern.begins(words))
                    } else {
                        patterns.any(|pattern| pattern.matches(words))
                    }
                };
                found(commands.iter().any(is_denied), doubt)
            }
            About::Path(patterns) => {
                let touched = self.paths.iter();
                let touched = touched.flat_map(|place| patterns.iter().map(|p| place.touches(p)));
                let touched: Vec<_> = touched.collect();
                // it writes files, and does not say which in a field that is known
                let is_hidden = self.paths.is_empty() && self.has_files(rule);
                found(
                    touched.contains(&Some(true)),
                    touched.contains(&None) || is_hidden,
                )
            }
            About::Host(patterns) => {
                let hosts = addresses(self.input);
                let is_denied = |host: &String| patterns.iter().any(|one| one.matches(host));
                found(hosts.iter().any(is_denied), false)
            }
        }
    }

    /// Whether it is about files as far as its name or the rule says.
    fn has_files(&self, rule: &ApprovalRule) -> bool {
        let is_file_tool = FILE_TOOLS.contains(&self.tool) || PATCHES.contains(&self.tool);
        is_file_tool || (rule.tool.is_some() && self.script.is_none())
    }
}

/// Tools that change files which their input names within a text.
const PATCHES: &[&str] = &["apply_patch", "patch", "fileChange"];

const fn found(is_denied: bool, doubt: bool) -> Denial {
    match (is_denied, doubt) {
        (true, _) => Denial::Yes,
        (false, true) => Denial::Unsure,
        (false, false) => Denial::No,
    }
}

/// The folder that a pattern for files looks into; one that leads up again stands for itself.
fn searched(pattern: &str) -> &str {
    if pattern.split('/').any(|folder| folder == "..") {
        return pattern;
    }
    let plain = pattern.find(['*', '?', '[', '{']);
    let plain = pattern.get(..plain.unwrap_or(pattern.len()));
    let folder = plain.and_then(|plain| plain.rsplit_once('/'));
    match folder {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => "",
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The hosts of all addresses in an input, however deep they stand and within whatever text.
fn addresses(input: &Value) -> Vec<String> {
    let mut hosts = Vec::new();
    let mut open = vec![input];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => hosts.extend(addresses_in(text)),
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    hosts
}

/// Far more than a host and what may stand before it in an address.
const LONGEST: usize = 1024;

fn addresses_in(text: &str) -> Vec<String> {
    let lower = text.to_ascii_lowercase();
    let schemes = ["http://", "https://"];
    let starts = schemes
        .iter()
        .flat_map(|scheme| lower.match_indices(scheme));
    let host = |(at, scheme): (usize, &str)| {
        let rest = lower.get(at + scheme.len()..)?.chars().take(LONGEST);
        let authority = rest.take_while(|c| !c.is_whitespace() && !"/\\?#\"'<>`".contains(*c));
        let address: String = scheme.chars().chain(authority).collect();
        Some(Url::parse(&address).ok()?.host_str()?.to_owned())
    };
    starts.filter_map(host).collect()
}

#[cfg(test)]
mod tests;
