//! What a live CLI works with, by what was sent to it and what it said to that: nothing is assumed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LiveSpec, Told};

/// A setting, and what it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// The model, as the CLI calls it.
    Model(String),
    /// How hard the model thinks, as the CLI calls it.
    Effort(String),
    /// Whether every tool call waits for consent.
    Consent(bool),
}

impl Setting {
    fn is_of_the_kind_of(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// What a CLI works with, as far as it was told and has said so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The model; none: the CLI's own choice.
    pub model: Option<String>,
    /// How hard it thinks; none: the CLI's own choice.
    pub effort: Option<String>,
    /// Whether every tool call that can be held is asked for.
    pub asks: bool,
    /// Changes that the CLI has not answered, by the ids of their requests.
    asked: BTreeMap<String, Setting>,
    /// Changes that were sent and whose outcome is not known, in order: an earlier daemon may have
    /// sent one, and died.
    #[serde(default)]
    open: Vec<Setting>,
}

impl Settings {
    /// Those that a process is started with.
    pub fn started_with(spec: &LiveSpec) -> Self {
        Self {
            model: spec.model.clone(),
            effort: spec.effort.clone(),
            asks: spec.asks,
            asked: BTreeMap::new(),
            open: Vec::new(),
        }
    }

    /// Whether that is in effect, and no other value of it on its way to the CLI.
    pub fn has(&self, setting: &Setting) -> bool {
        let is_other = |open: &Setting| open.is_of_the_kind_of(setting) && open != setting;
        if self.open.iter().any(is_other) {
            return false;
        }
        match setting {
            Setting::Model(model) => self.model.as_ref() == Some(model),
            Setting::Effort(effort) => self.effort.as_ref() == Some(effort),
            Setting::Consent(asks) => self.asks == *asks,
        }
    }

    /// Whether the CLI has still to answer a change of the model.
    pub(in crate::agent) fn is_changing_model(&self) -> bool {
        let mut asked = self.asked.values();
        asked.any(|setting| matches!(setting, Setting::Model(_)))
    }

    /// The request with that id asks the CLI for a change.
    pub(in crate::agent) fn ask(&mut self, request: &str, setting: Setting) {
        self.open.push(setting.clone());
        self.asked.insert(request.to_owned(), setting);
    }

    /// What the request with that id asks for, if it is one for a change: it is answered now.
    pub(in crate::agent) fn take(&mut self, request: &str) -> Option<Setting> {
        self.asked.remove(request)
    }

    /// The CLI's word on a change.
    pub(in crate::agent) fn settle(
        &mut self,
        setting: Setting,
        refused: Option<String>,
        out: &mut Vec<Told>,
    ) {
        // The CLI takes them in order: those before this one are over as well.
        if let Some(at) = self.open.iter().position(|open| *open == setting) {
            let mut index = 0;
            self.open.retain(|open| {
                let is_over = index <= at && open.is_of_the_kind_of(&setting);
                index += 1;
                !is_over
            });
        }
        if refused.is_none() {
            match &setting {
                Setting::Model(model) => self.model = Some(model.clone()),
                Setting::Effort(effort) => self.effort = Some(effort.clone()),
                Setting::Consent(asks) => self.asks = *asks,
            }
        }
        out.push(Told::Setting { setting, refused });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effort(effort: &str) -> Setting {
        Setting::Effort(effort.to_owned())
    }

    #[test]
    fn a_value_is_not_in_effect_while_another_is_on_its_way() {
        let mut settings = Settings::default();
        let mut out = Vec::new();
        settings.ask("1", effort("low"));
        settings.settle(effort("low"), None, &mut out);
        assert!(settings.has(&effort("low")));
        settings.ask("2", effort("high"));
        assert!(!settings.has(&effort("low")) && !settings.has(&effort("high")));
        assert!(settings.has(&Setting::Consent(false)), "another setting");
        // Set back before it is known what became of that.
        settings.ask("3", effort("low"));
        settings.settle(effort("high"), None, &mut out);
        assert!(!settings.has(&effort("high")));
        settings.settle(effort("low"), None, &mut out);
        assert!(settings.has(&effort("low")));
    }

    #[test]
    fn the_word_on_a_change_is_one_on_those_before_it() {
        let mut settings = Settings::default();
        let mut out = Vec::new();
        settings.ask("1", effort("high"));
        settings.ask("2", effort("low"));
        settings.settle(effort("low"), None, &mut out);
        assert!(settings.has(&effort("low")));
        settings.ask("3", effort("huge"));
        settings.settle(effort("huge"), Some("no such effort".to_owned()), &mut out);
        assert!(settings.has(&effort("low")));
    }
}
