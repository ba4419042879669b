//! `[approval]`: its settings, and the rules in `[[approval.allow]]` and `[[approval.deny]]`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::config::approval::{
    About, ApprovalRule, CommandPattern, HostPattern, PathPattern, WordPattern,
};
use crate::config::layers::quoted;
use crate::config::setting::{self, Setting};

/// The CLIs' own names for tools that have a normalized one: a rule for one of them would never
/// match.
const NATIVE: &[(&str, &[&str])] = &[
    ("shell", &["bash", "run_shell_command"]),
    ("read", &["read_file", "notebookread"]),
    ("write", &["write_file"]),
    ("edit", &["replace", "multiedit", "notebookedit"]),
    ("grep", &["grep_search", "search_file_content"]),
    ("glob", &[]),
    ("task", &["agent", "invoke_agent"]),
];

/// What a rule looks at; it has one of them at most.
const ABOUT: [&str; 3] = ["path", "command", "host"];

impl Reader<'_> {
    pub(super) fn approval(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some(table) = self.table(setting::APPROVAL, value) else {
            return;
        };
        self.settings.rules.origin = Some(self.origin(value.span()));
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "timeout" => self.approval_text(&setting::APPROVAL_TIMEOUT, value),
                "otherwise" => self.approval_text(&setting::APPROVAL_OTHERWISE, value),
                "allow" => self.settings.rules.allow = self.rules("allow", value),
                "deny" => self.settings.rules.deny = self.rules("deny", value),
                other => {
                    let known = ["timeout", "otherwise", "allow", "deny"];
                    self.unknown(key.span(), other, known);
                }
            }
        }
    }

    fn approval_text(&mut self, setting: &Setting, value: &Spanned<DeValue<'_>>) {
        if let Some(raw) = self.text(setting.key, value) {
            self.settings.values.insert(setting.key, raw);
        }
    }

    fn rules(&mut self, list: &str, value: &Spanned<DeValue<'_>>) -> Vec<ApprovalRule> {
        let Some(items) = value.get_ref().as_array() else {
            let wanted = format!("rules, each under its own [[approval.{list}]]");
            self.wrong_type(list, value, &wanted);
            return Vec::new();
        };
        let rules = items.iter().filter_map(|item| self.rule(list, item));
        rules.collect()
    }

    fn rule(&mut self, list: &str, value: &Spanned<DeValue<'_>>) -> Option<ApprovalRule> {
        let table = self.table(list, value)?;
        let faults = self.faults.len();
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !["tool", "message"].contains(&name) && !ABOUT.contains(&name) {
                self.unknown(
                    key.span(),
                    name,
                    ABOUT.into_iter().chain(["tool", "message"]),
                );
            }
        }
        let tool = self.tool(table);
        let about = self.about(list, table, value);
        let message = table.get("message").and_then(|value| {
            if list == "allow" {
                let message = "`message` is for rules that deny: the agent is told it";
                self.fault(value.span(), message.to_owned());
            }
            let raw = self.text("message", value)?;
            raw.values.into_iter().next()
        });
        if tool.is_none() && matches!(about, About::Tool) {
            let message = format!(
                "a rule says which `tool`, `path`, `command` or `host` it is about, as \
                 [[approval.{list}]] tool = \"read\""
            );
            self.fault(value.span(), message);
        }
        (self.faults.len() == faults).then(|| ApprovalRule {
            tool,
            about,
            message,
            text: shown(table),
        })
    }

    fn tool(&mut self, table: &DeTable<'_>) -> Option<WordPattern> {
        let value = table.get("tool")?;
        let raw = self.text("tool", value)?;
        let name = raw.values.first()?;
        let lower = name.to_lowercase();
        let ours = NATIVE
            .iter()
            .find(|(ours, theirs)| theirs.contains(&lower.as_str()) || (*ours == lower));
        if let Some((ours, _)) = ours.filter(|(ours, _)| ours != name) {
            let message = format!(
                "`{name}` is an agent's own name for a tool that is called `{ours}` for all of \
                 them; write tool = \"{ours}\""
            );
            self.fault(value.span(), message);
        }
        self.read(value, name, WordPattern::parse)
    }

    fn about(&mut self, list: &str, table: &DeTable<'_>, rule: &Spanned<DeValue<'_>>) -> About {
        let mut given = ABOUT.into_iter().filter(|key| table.contains_key(*key));
        let (Some(key), more) = (given.next(), given.next()) else {
            return About::Tool;
        };
        if let Some(more) = more {
            let message = format!(
                "a rule is about one thing: `{key}` and `{more}` go into [[approval.{list}]] each"
            );
            self.fault(rule.span(), message);
        }
        match key {
            "path" => About::Path(self.patterns(key, table, PathPattern::parse)),
            "command" => About::Command(self.patterns(key, table, CommandPattern::parse)),
            _ => About::Host(self.patterns(key, table, HostPattern::parse)),
        }
    }

    /// One pattern, or a list of them.
    fn patterns<T>(
        &mut self,
        key: &str,
        table: &DeTable<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = table.get(key) else {
            return Vec::new();
        };
        let raw = match value.get_ref() {
            DeValue::Array(_) => self.list(key, value),
            _ => self.text(key, value),
        };
        let texts = raw.map(|raw| raw.values).unwrap_or_default();
        if texts.is_empty() {
            self.fault(value.span(), format!("`{key}` holds no pattern"));
        }
        let patterns = texts
            .iter()
            .filter_map(|text| self.read(value, text, &parse));
        patterns.collect()
    }

    fn read<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        text: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let read = match text.trim() {
            "" => Err("the pattern is empty".to_owned()),
            text => parse(text),
        };
        read.map_err(|message| self.fault(value.span(), message))
            .ok()
    }
}

/// A rule on one line.
fn shown(table: &DeTable<'_>) -> String {
    let text = |value: &DeValue<'_>| quoted(value.as_str().unwrap_or_default());
    let pairs = table.iter().map(|(key, value)| {
        let value = match value.get_ref() {
            DeValue::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| text(item.get_ref())).collect();
                format!("[{}]", items.join(", "))
            }
            value => text(value),
        };
        format!("{} = {value}", key.get_ref())
    });
    let pairs: Vec<String> = pairs.collect();
    format!("{{ {} }}", pairs.join(", "))
}
