//! How hard the model thinks: Pi's levels and what each agent's CLI calls them.

use serde_json::json;

use super::{Answer, Commands, said};
use crate::turn::choices::Choice;

/// Pi's levels, the least first.
const LEVELS: [&str; 6] = ["off", "minimal", "low", "medium", "high", "xhigh"];

/// What a CLI calls a level; none where it has no such one.
fn effort_of(agent: &str, level: &str) -> Option<&'static str> {
    let level = LEVELS.into_iter().find(|known| *known == level)?;
    match (agent, level) {
        ("codex", "off") => Some("none"),
        ("claude" | "gemini" | "opencode", "off") | ("claude", "minimal") | ("gemini", "xhigh") => {
            None
        }
        _ => Some(level),
    }
}

/// The level that a CLI's word stands for. Without one the CLI decides, which Pi has no word for:
/// the middle is what the CLIs' own defaults are nearest to.
pub(super) fn level_of(effort: Option<&str>) -> &'static str {
    match effort {
        Some("none") => "off",
        Some("max" | "ultra") => "xhigh",
        effort => {
            let level = LEVELS.into_iter().find(|level| Some(*level) == effort);
            level.unwrap_or("medium")
        }
    }
}

/// The levels that an agent's CLI has.
fn levels(agent: &str) -> Vec<&'static str> {
    let known = |level: &&str| effort_of(agent, level).is_some();
    LEVELS.into_iter().filter(known).collect()
}

impl Commands {
    pub(super) async fn set_thinking(&self, level: &str) -> Answer {
        let agent = self.context.agent;
        let Some(effort) = effort_of(agent.name, level) else {
            let known = levels(agent.name).join(", ");
            return Err(format!(
                "{} has no level `{level}`; known: {known}",
                agent.name
            ));
        };
        said(self.session.choose(Choice::Effort(effort.to_owned())).await)
    }

    pub(super) async fn cycle_thinking(&self) -> Answer {
        let effort = {
            let state = self.session.state();
            let chosen = state.borrow().choices.effort.clone();
            chosen.or(self.context.spec.effort.clone())
        };
        let levels = levels(self.context.agent.name);
        let now = level_of(effort.as_deref());
        let at = levels.iter().position(|level| *level == now);
        let next = levels.get(at.map_or(0, |at| (at + 1) % levels.len()));
        let Some(next) = next else {
            return Ok(None);
        };
        self.set_thinking(next).await?;
        Ok(Some(json!({"level": next})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{AGENTS, TurnSpec};

    #[test]
    fn each_level_that_an_agent_has_is_taken_by_its_plan() {
        for agent in AGENTS {
            for level in levels(agent.name) {
                let effort = effort_of(agent.name, level).unwrap();
                assert_eq!(level_of(Some(effort)), level);
                let spec = TurnSpec {
                    model: Some("m".to_owned()),
                    effort: Some(effort.to_owned()),
                    ..TurnSpec::plain()
                };
                let plan = (agent.plan)(&spec);
                assert!(plan.is_ok(), "{} {level}: {plan:?}", agent.name);
            }
        }
    }
}
