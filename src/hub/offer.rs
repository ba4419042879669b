//! What a Hub offers a lead besides the session: tools of its own, and agents to delegate to.
//!
//! Pure. What cannot be used is left out and named, so that it can be told; nothing else is lost.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::protocol::Init;

/// The most tools and agents that are taken.
const MAX_TOOLS: usize = 128;
const MAX_AGENTS: usize = 32;
/// The longest name, in bytes: CLIs put more before it and take 64 at most.
const MAX_NAME: usize = 48;
/// The longest description and system prompt, in bytes: all agents have to fit one argument of a
/// process, which ends at 128 KiB.
const MAX_DESCRIPTION: usize = 8 * 1024;
const MAX_PROMPT: usize = 16 * 1024;
const MAX_PROMPTS: usize = 64 * 1024;
/// A tool's time where the Hub says nothing, and the most that it may ask for.
const TOOL_TIME: Duration = Duration::from_secs(30);
const MAX_TOOL_TIME: Duration = Duration::from_mins(10);

/// What a Hub offers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Tools that the Hub runs.
    #[serde(default)]
    pub tools: Vec<HubTool>,
    /// Agents that tasks can be delegated to.
    #[serde(default)]
    pub agents: Vec<HubAgent>,
}

/// A tool that the Hub runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubTool {
    /// What it is called.
    pub name: String,
    /// What a person reads in its place.
    #[serde(default)]
    pub label: String,
    /// What it does, for the model.
    pub description: String,
    /// Its arguments, as a JSON schema.
    pub parameters: Map<String, Value>,
    /// When to use it, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt_snippet: Option<Value>,
    /// How to use it, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt_guidelines: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

impl HubTool {
    /// All that the model is told of it.
    pub fn told(&self) -> String {
        let mut parts = vec![self.description.trim().to_owned()];
        for more in [&self.prompt_snippet, &self.prompt_guidelines] {
            parts.extend(texts(more.as_ref()));
        }
        cut(parts.join("\n\n"), MAX_DESCRIPTION)
    }

    /// How long it may take.
    pub fn limit(&self) -> Duration {
        let wanted = self.timeout_ms.filter(|ms| *ms > 0);
        wanted.map_or(TOOL_TIME, |ms| Duration::from_millis(ms).min(MAX_TOOL_TIME))
    }
}

/// An agent that tasks can be delegated to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubAgent {
    /// What it is called.
    pub name: String,
    /// What it is good for.
    pub description: String,
    /// What it is told.
    pub system_prompt: String,
    /// The model that it wants, often with its vendor before a `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The tools that it is to have, in Pi's names; empty: it is not said.
    #[serde(default)]
    pub tools: Vec<String>,
    /// It changes nothing.
    #[serde(default)]
    pub read_only: bool,
}

impl Offer {
    /// What an `init` offers, and the names of what cannot be used.
    pub fn read(init: &Init) -> (Self, Vec<String>) {
        let list = |name: &str| match init.rest.get(name) {
            Some(Value::Array(list)) => list.clone(),
            _ => Vec::new(),
        };
        let mut left_out = Vec::new();
        let mut offer = Self::default();
        let agents = list("agents");
        // A CLI's sub-agents see the tools that it sees itself.
        let of_agents = agents.iter().filter_map(|agent| agent.get("hubTools"));
        let of_agents = of_agents.filter_map(Value::as_array).flatten().cloned();
        for value in list("tools").into_iter().chain(of_agents) {
            offer.take_tool(value, &mut left_out);
        }
        let mut prompts = 0;
        for value in agents {
            offer.take_agent(value, &mut prompts, &mut left_out);
        }
        (offer, left_out)
    }

    fn take_tool(&mut self, value: Value, left_out: &mut Vec<String>) {
        let name = named(&value);
        match serde_json::from_value::<HubTool>(value) {
            Ok(tool) if self.tools.iter().any(|known| known.name == tool.name) => {}
            Ok(tool) if is_name(&tool.name) && self.tools.len() < MAX_TOOLS => {
                self.tools.push(tool);
            }
            Ok(_) | Err(_) => left_out.push(format!("the tool `{name}`")),
        }
    }

    fn take_agent(&mut self, value: Value, prompts: &mut usize, left_out: &mut Vec<String>) {
        let name = named(&value);
        match serde_json::from_value::<HubAgent>(value) {
            // That is who leads.
            Ok(agent) if agent.name == "lead" => {}
            Ok(mut agent)
                if is_name(&agent.name)
                    && self.agents.len() < MAX_AGENTS
                    && self.agents.iter().all(|known| known.name != agent.name)
                    && *prompts < MAX_PROMPTS =>
            {
                agent.system_prompt = cut(agent.system_prompt, MAX_PROMPT);
                agent.description = cut(agent.description, MAX_PROMPT / 16);
                *prompts += agent.system_prompt.len() + agent.description.len();
                self.agents.push(agent);
            }
            Ok(_) | Err(_) => left_out.push(format!("the agent `{name}`")),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty() && self.agents.is_empty()
    }
}

/// The name of what may make no sense otherwise, for people.
fn named(value: &Value) -> String {
    let name = value.get("name").and_then(Value::as_str).unwrap_or("?");
    name.chars().take(MAX_NAME).collect()
}

/// Letters, digits, `-` and `_`: what every CLI takes in a name.
fn is_name(name: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_legal)
}

/// A text, or a list of texts: the official lead takes both.
fn texts(value: Option<&Value>) -> Vec<String> {
    let list = match value {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(value) => vec![value],
        None => Vec::new(),
    };
    let texts = list.into_iter().filter_map(Value::as_str);
    let texts = texts.map(str::trim).filter(|text| !text.is_empty());
    texts.map(str::to_owned).collect()
}

fn cut(mut text: String, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(init: Value) -> (Offer, Vec<String>) {
        let mut init = init;
        init["role"] = json!("lead");
        Offer::read(&serde_json::from_value(init).unwrap())
    }

    #[test]
    fn tools_and_agents_are_read_with_what_the_model_is_to_know() {
        let tool = |name: &str| {
            json!({"name": name, "label": "L", "description": "Recalls.",
                "parameters": {"type": "object"}, "promptSnippet": "Use it first.",
                "promptGuidelines": ["Be short.", " "], "timeoutMs": 5000})
        };
        let (offer, left_out) = read(json!({
            "tools": [tool("memory_recall")],
            "agents": [
                {"name": "scout", "description": "Looks.", "systemPrompt": "Look.",
                    "model": "anthropic/claude-haiku-4-5", "readOnly": true,
                    "hubTools": [tool("memory_recall"), tool("context7_search")]},
                {"name": "lead", "description": "d", "systemPrompt": "s"},
            ],
        }));
        assert!(left_out.is_empty());
        let names: Vec<_> = offer.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["memory_recall", "context7_search"]);
        assert_eq!(
            offer.tools[0].told(),
            "Recalls.\n\nUse it first.\n\nBe short."
        );
        assert_eq!(offer.tools[0].limit(), Duration::from_secs(5));
        assert_eq!(offer.agents.len(), 1);
        let kept = serde_json::to_string(&offer).unwrap();
        assert_eq!(serde_json::from_str::<Offer>(&kept).unwrap(), offer);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (offer, left_out) = read(json!({
            "tools": [
                {"name": "a b", "description": "d", "parameters": {}},
                {"name": "no_parameters", "description": "d"},
                7,
            ],
            "agents": [{"name": "mute", "description": "d"}],
        }));
        assert!(offer.is_empty());
        assert_eq!(
            left_out,
            [
                "the tool `a b`",
                "the tool `no_parameters`",
                "the tool `?`",
                "the agent `mute`",
            ]
        );
        assert!(read(json!({"tools": "x"})).1.is_empty());
    }
}
