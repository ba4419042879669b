//! The config file: TOML into raw values, each with its line and column.
//!
//! Read against the table of settings by hand and not by serde, which would stop at the first
//! fault; here all are found.

mod approval;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::agent_env::is_ours;
use super::approval::Rules;
use super::choice::AgentName;
use super::fault::{Fault, Origin};
use super::layers::Raw;
use super::nearest::nearest;
use super::setting::{self, Shape};

/// A config file's values.
#[derive(Debug, Default)]
pub(super) struct FileSettings {
    /// By key.
    pub(super) values: BTreeMap<&'static str, Raw>,
    /// By agent.
    pub(super) agents: BTreeMap<&'static str, AgentTable>,
    /// Of approval.
    pub(super) rules: Rules,
}

/// `[agents.<name>]`
#[derive(Debug, Default)]
pub(super) struct AgentTable {
    pub(super) command: Option<Raw>,
    pub(super) env: BTreeMap<String, Raw>,
}

/// Reads the text of the file at `path`.
pub(super) fn read(path: &Path, text: &str, agents: &[&'static str]) -> (FileSettings, Vec<Fault>) {
    let mut reader = Reader {
        path,
        text,
        agents,
        settings: FileSettings::default(),
        faults: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        reader.root(table.get_ref());
    } else {
        // What a broken file means is a guess: its syntax is all that is reported.
        for error in errors {
            reader.fault(error.span().unwrap_or_default(), error.message().to_owned());
        }
    }
    (reader.settings, reader.faults)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    /// The agents that there are.
    agents: &'a [&'static str],
    settings: FileSettings,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn root(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if name == setting::AGENTS {
                self.agents(value);
            } else if name == setting::APPROVAL {
                self.approval(value);
            } else if setting::TABLES.contains(&name) {
                for (key, value) in self.table(name, value).into_iter().flatten() {
                    self.setting(&format!("{name}.{}", key.get_ref()), key.span(), value);
                }
            } else {
                self.setting(name, key.span(), value);
            }
        }
    }

    fn setting(&mut self, name: &str, at: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let known = setting::ALL.iter().find(|setting| setting.key == name);
        match known {
            Some(setting) if setting.in_file => {
                let raw = match (setting.shape, value.get_ref()) {
                    (Shape::Text, _) | (Shape::Lines, DeValue::String(_)) => self.text(name, value),
                    (Shape::List | Shape::Lines, _) => self.list(name, value),
                    (Shape::Switch, _) => self.switch(name, value),
                    (Shape::Number, _) => self.number(name, value),
                };
                if let Some(raw) = raw {
                    self.settings.values.insert(setting.key, raw);
                }
            }
            Some(setting) => self.fault(
                at,
                format!(
                    "`{name}` does not belong in a config file; use {}",
                    setting.variables.first().unwrap_or(&setting.flag)
                ),
            ),
            None => self.unknown(at, name, setting::file_keys()),
        }
    }

    fn agents(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some(agents) = self.table(setting::AGENTS, value) else {
            return;
        };
        for (key, value) in agents {
            let name = key.get_ref().as_ref();
            let Ok(agent) = AgentName::parse(name, self.agents) else {
                self.unknown(key.span(), name, self.agents.iter().copied());
                continue;
            };
            let Some(table) = self.table(name, value) else {
                continue;
            };
            let mut read = AgentTable::default();
            for (key, value) in table {
                match key.get_ref().as_ref() {
                    "command" => read.command = self.text("command", value),
                    "env" => read.env = self.environment(value),
                    other => self.unknown(key.span(), other, ["command", "env"]),
                }
            }
            self.settings.agents.insert(agent.as_str(), read);
        }
    }

    fn environment(&mut self, value: &Spanned<DeValue<'_>>) -> BTreeMap<String, Raw> {
        let mut variables = BTreeMap::new();
        let Some(table) = self.table("env", value) else {
            return variables;
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if name.is_empty() || name.contains(['=', '\0']) {
                self.fault(key.span(), format!("`{name}` is no variable name"));
            } else if is_ours(name.as_ref()) {
                let message =
                    format!("`{name}` never reaches an agent: such names are the runner's own");
                self.fault(key.span(), message);
            } else if let Some(raw) = self.text(name, value) {
                variables.insert(name.to_owned(), raw);
            }
        }
        variables
    }

    fn table<'v, 'i>(
        &mut self,
        key: &str,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, "a table");
        }
        table
    }

    fn text(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Raw> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "a string in quotes");
            return None;
        };
        Some(self.raw(value.span(), vec![text.to_owned()]))
    }

    fn switch(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Raw> {
        let Some(on) = value.get_ref().as_bool() else {
            self.wrong_type(key, value, "true or false");
            return None;
        };
        Some(self.raw(value.span(), vec![on.to_string()]))
    }

    fn number(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Raw> {
        let text = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::String(text) => text.to_string(),
            _ => {
                self.wrong_type(key, value, "a number, or a word in quotes");
                return None;
            }
        };
        Some(self.raw(value.span(), vec![text]))
    }

    fn list(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Raw> {
        let wanted = "a list of strings, as [\"a\", \"b\"]";
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, value, wanted);
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref().as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.wrong_type(key, item, wanted),
            }
        }
        (texts.len() == items.len()).then(|| self.raw(value.span(), texts))
    }

    fn raw(&self, span: Range<usize>, values: Vec<String>) -> Raw {
        Raw {
            values,
            origin: self.origin(span),
            base: self.path.parent().map(PathBuf::from).unwrap_or_default(),
        }
    }

    fn wrong_type(&mut self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        let message = format!("`{key}` must be {wanted}, and this is of type {found}");
        self.fault(value.span(), message);
    }

    fn unknown<'k>(
        &mut self,
        at: Range<usize>,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let hint = match nearest(name, known) {
            Some(word) => format!("; did you mean `{word}`?"),
            None => String::from("; see docs/configuration.md for the keys"),
        };
        self.fault(at, format!("unknown key `{name}`{hint}"));
    }

    fn fault(&mut self, span: Range<usize>, message: String) {
        let origin = self.origin(span);
        self.faults.push(Fault { origin, message });
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Origin::File {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
        }
    }
}
