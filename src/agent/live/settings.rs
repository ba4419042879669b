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
}

impl Settings {
    /// Those that a process is started with.
    pub fn started_with(spec: &LiveSpec) -> Self {
        Self {
            model: spec.model.clone(),
            effort: spec.effort.clone(),
            asks: spec.asks,
            asked: BTreeMap::new(),
        }
    }

    /// Whether that is in effect.
    pub fn has(&self, setting: &Setting) -> bool {
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
