//! Which model the agent works with, and which others are known.
//!
//! No CLI lists its models without its vendor being asked, so the known ones are those of the
//! settings, those that were chosen, and those that have spoken.

use serde_json::{Value, json};

use super::told::Told;
use super::{Answer, Commands, said};
use crate::hub::pi::{model, vendor};
use crate::hub::protocol::Init;
use crate::turn::choices::Choice;

/// Vendors whose models one CLI alone runs.
const VENDORS: [&str; 3] = ["anthropic", "openai", "google"];

impl Commands {
    /// The one that works, or works next.
    fn model_name(&self, told: &Told) -> Option<String> {
        let chosen = self.session.state().borrow().choices.model.clone();
        let configured = || self.context.spec.model.clone();
        let spoke = || told.history().models().last().cloned();
        chosen.or_else(configured).or_else(spoke)
    }

    pub(super) fn model(&self, told: &Told) -> Option<Value> {
        Some(self.object(&self.model_name(told)?, told))
    }

    pub(super) fn models(&self, told: &Told) -> Vec<Value> {
        let names = self.known(told);
        names.iter().map(|name| self.object(name, told)).collect()
    }

    fn known(&self, told: &Told) -> Vec<String> {
        let mut names: Vec<String> = self.context.spec.model.iter().cloned().collect();
        names.extend(told.history().models().iter().cloned());
        names.extend(self.session.state().borrow().choices.model.clone());
        let mut known = Vec::new();
        for name in names {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        known
    }

    /// In Pi's form; what a CLI does not say of its model is zero.
    fn object(&self, name: &str, told: &Told) -> Value {
        let (api, provider, id) = model(self.context.agent.name, name);
        let window = told.history().context().and_then(|(_, window)| window);
        json!({
            "id": id, "name": name, "api": api, "provider": provider, "baseUrl": "",
            "reasoning": true, "input": ["text"],
            "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
            "contextWindow": window.unwrap_or(0), "maxTokens": 0,
        })
    }

    /// Begins as the Hub's first `init` says, where neither the settings nor a participant say
    /// otherwise; what of it cannot be done.
    pub(in crate::daemon) async fn begin_as(&self, init: &Init) -> Vec<String> {
        let mut refused = Vec::new();
        let chosen = self.session.state().borrow().choices.clone();
        let spec = &self.context.spec;
        let text = |name: &str| init.rest.get("model")?.get(name)?.as_str();
        if let Some(model) = text("id").filter(|_| chosen.model.is_none() && spec.model.is_none()) {
            let told = Told::default();
            let set = self.set_model(text("provider"), model.to_owned(), &told);
            refused.extend(set.await.err());
        }
        let level = init.thinking_level.as_deref();
        if let Some(level) = level.filter(|_| chosen.effort.is_none() && spec.effort.is_none()) {
            refused.extend(self.set_thinking(level).await.err());
        }
        refused
    }

    pub(super) async fn set_model(
        &self,
        provider: Option<&str>,
        model: String,
        told: &Told,
    ) -> Answer {
        let agent = self.context.agent;
        let (_, own) = vendor(agent.name);
        let foreign = |provider: &&str| VENDORS.contains(provider) && own != *provider;
        if let Some(provider) = provider.filter(foreign)
            && VENDORS.contains(&own)
        {
            return Err(format!(
                "{} runs models of {own}, not of {provider}; start a session with another agent",
                agent.name
            ));
        }
        // CLIs that run many vendors' models name them with the vendor.
        let model = match provider {
            Some(provider) if own == "unknown" && provider != own => {
                let named = format!("{provider}/");
                if model.starts_with(&named) {
                    model
                } else {
                    named + &model
                }
            }
            _ => model,
        };
        said(self.session.choose(Choice::Model(model.clone())).await)?;
        Ok(Some(self.object(&model, told)))
    }

    pub(super) async fn cycle_model(&self, told: &Told) -> Answer {
        let known = self.known(told);
        let now = self.model_name(told);
        let at = known.iter().position(|name| Some(name) == now.as_ref());
        let next = known.get(at.map_or(0, |at| (at + 1) % known.len()));
        let Some(next) = next.filter(|next| known.len() > 1 && Some(*next) != now.as_ref()) else {
            return Ok(Some(Value::Null));
        };
        let model = self.set_model(None, next.clone(), told).await?;
        let state = self.session.state();
        let effort = state.borrow().choices.effort.clone();
        let effort = effort.or(self.context.spec.effort.clone());
        Ok(Some(json!({
            "model": model, "isScoped": false,
            "thinkingLevel": super::thinking::level_of(effort.as_deref()),
        })))
    }
}
