//! What the Hub offers the session's agent: its tools as an MCP server of the CLI, its agents as the
//! CLI's own or as roles in its system prompt.
//!
//! What was offered is kept beside the session, for a daemon that goes on with it before its Hub is
//! there. What cannot be given to the CLI is told; nothing is left out without a word.

use std::io;
use std::os::unix::fs::lchown;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Lead;
use crate::agent::{Subagent, TurnSpec};
use crate::config::SandboxKind;
use crate::daemon::hub::tools::{self, HUB_TOOLS, HubTools, SERVER, TIMEOUT};
use crate::daemon::{DaemonError, Setup};
use crate::event::NoticeLevel;
use crate::files;
use crate::hub::{HubAgent, Offer};
use crate::process::Reach;
use crate::sandbox::docker;

/// What was offered, as it is kept.
const KEPT: &str = "offer.json";
/// The list of servers, as the CLI gets it.
const SERVERS: &str = "mcp.json";

/// What became of the offer.
#[derive(Default)]
pub(super) struct Taken {
    /// Serves the tools.
    pub(super) tools: Option<HubTools>,
    /// An earlier daemon may have served some.
    pub(super) is_known: bool,
    /// What people should know of it.
    pub(super) notices: Vec<(NoticeLevel, &'static str, String)>,
}

impl Taken {
    fn warn(&mut self, text: String) {
        let code = "hub_offer_left_out";
        self.notices.push((NoticeLevel::Warning, code, text));
    }
}

impl Lead {
    /// Takes what the Hub offers into what every turn is started with.
    pub(super) fn take_offer(
        &self,
        setup: &Setup<'_>,
        spec: &mut TurnSpec,
        reach: &mut Option<Reach>,
        asks: bool,
    ) -> Result<Taken, DaemonError> {
        let folder = tools::folder(&setup.config.state_dir, &self.session);
        let kept = folder.join(KEPT);
        let before = read(&kept);
        let mut taken = Taken {
            is_known: before.is_some(),
            ..Taken::default()
        };
        let offer = match self.link.joined() {
            Some(joined) => {
                let (offer, left_out) = Offer::read(&joined.init);
                if !left_out.is_empty() {
                    let names = left_out.join(", ");
                    taken.warn(format!(
                        "the Hub offers what cannot be used (no legal name or form, or too much): {names}"
                    ));
                }
                offer
            }
            None => before.clone().unwrap_or_default(),
        };
        if offer.is_empty() && before.is_none() {
            return Ok(taken);
        }
        let is_other = self.chosen.other_user().is_some();
        tools::make_folder(setup.state_root, &folder, is_other)
            .map_err(|error| fault(&folder, &error))?;
        let text = serde_json::to_vec(&offer).map_err(|error| fault(&kept, &error.into()))?;
        files::replace_durably(&kept, &text).map_err(|error| fault(&kept, &error))?;
        if before.as_ref() != Some(&offer) && !offer.is_empty() {
            let text = told(&offer);
            taken.notices.push((NoticeLevel::Info, "hub_offer", text));
        }
        self.take_agents(&offer.agents, spec, asks, &mut taken);
        if !offer.tools.is_empty() {
            self.take_tools(setup, &folder, offer, spec, reach, &mut taken)?;
        }
        Ok(taken)
    }

    /// Agents become those of the CLI, where it has such; else they are described to it.
    fn take_agents(&self, agents: &[HubAgent], spec: &mut TurnSpec, asks: bool, taken: &mut Taken) {
        if agents.is_empty() {
            return;
        }
        let is_native = (self.chosen.kind.takes_subagents)(spec, asks);
        let subagents: Vec<Subagent> = agents.iter().map(subagent).collect();
        if is_native {
            spec.subagents = subagents;
        } else if let Some(text) = unbound(self.chosen.kind.name, &subagents) {
            let code = "hub_agents_unbound";
            taken.notices.push((NoticeLevel::Warning, code, text));
        }
        self.briefings.describe(Some(roles(agents, is_native)));
    }

    fn take_tools(
        &self,
        setup: &Setup<'_>,
        folder: &Path,
        offer: Offer,
        spec: &mut TurnSpec,
        reach: &mut Option<Reach>,
        taken: &mut Taken,
    ) -> Result<(), DaemonError> {
        let at = |error: io::Error| fault(folder, &error);
        let program = match setup.config.sandbox.kind {
            SandboxKind::Local => std::env::current_exe().map_err(at)?,
            SandboxKind::Docker => docker::PROGRAM.into(),
        };
        let list = match with_server(spec.mcp_servers.as_deref(), &program, folder) {
            Ok(list) => list,
            Err(why) => {
                taken.warn(format!("the Hub's tools are not offered: {why}"));
                return Ok(());
            }
        };
        let file = folder.join(SERVERS);
        let mut wanted = spec.clone();
        wanted.mcp_servers = Some(list.clone());
        wanted.mcp_config = Some(file.clone());
        // Not every CLI has MCP.
        if let Err(error) = (self.chosen.kind.plan)(&wanted) {
            taken.warn(format!("the Hub's tools are not offered: {error}"));
            return Ok(());
        }
        let user = self.chosen.other_user();
        files::replace_durably(&file, list.as_bytes()).map_err(at)?;
        if let Some(user) = &user {
            lchown(&file, Some(user.uid), Some(user.gid)).map_err(at)?;
        }
        *spec = wanted;
        if let Some(reach) = reach {
            reach.read.extend([program, folder.to_owned()]);
        }
        let uid = user.map_or_else(|| rustix::process::getuid().as_raw(), |user| user.uid);
        let link = Arc::clone(&self.link);
        let tools = HubTools::open(folder, offer.tools, link, setup.clock, uid).map_err(at)?;
        taken.tools = Some(tools);
        Ok(())
    }
}

fn read(kept: &Path) -> Option<Offer> {
    let text = std::fs::read(kept).ok()?;
    let offer = serde_json::from_slice(&text);
    let unreadable = |error: &serde_json::Error| {
        tracing::warn!(%error, file = %kept.display(), "what the Hub offered is not known any more");
    };
    offer.inspect_err(unreadable).ok()
}

fn fault(at: &Path, error: &io::Error) -> DaemonError {
    let at = at.display();
    DaemonError::Workspace(format!("the Hub's tools cannot be served at {at}: {error}"))
}

/// The user's list of servers, and the Hub's behind it.
fn with_server(list: Option<&str>, program: &Path, folder: &Path) -> Result<String, String> {
    let mut list: Value = match list {
        Some(list) => serde_json::from_str(list)
            .map_err(|error| format!("the file of --mcp-config is no JSON: {error}"))?,
        None => json!({}),
    };
    let no_list = || "the file of --mcp-config has no object `mcpServers`".to_owned();
    let fields = list.as_object_mut().ok_or_else(no_list)?;
    let servers = fields.entry("mcpServers").or_insert_with(|| json!({}));
    let servers = servers.as_object_mut().ok_or_else(no_list)?;
    if servers.contains_key(SERVER) {
        return Err(format!(
            "--mcp-config has a server `{SERVER}` already; rename it"
        ));
    }
    let (program, folder) = (program.to_string_lossy(), folder.to_string_lossy());
    let millis = u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    let server = json!({"command": program, "args": [HUB_TOOLS, folder], "timeout": millis});
    servers.insert(SERVER.to_owned(), server);
    Ok(list.to_string())
}

fn subagent(agent: &HubAgent) -> Subagent {
    Subagent {
        name: agent.name.clone(),
        description: agent.description.clone(),
        prompt: agent.system_prompt.clone(),
        model: agent.model.clone(),
        tools: agent.tools.clone(),
        read_only: agent.read_only,
    }
}

/// Which of them nothing keeps from what they are not to do: in a role the agent has all its tools.
fn unbound(agent: &str, roles: &[Subagent]) -> Option<String> {
    let restricted = roles.iter().filter(|role| role.is_restricted());
    let names: Vec<&str> = restricted.map(|role| role.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "the Hub's agents are roles of {agent} here, which has all its tools in each of them: what \
             `readOnly` and `tools` say of these is asked of it, and nothing enforces it: {}",
            names.join(", ")
        )
    })
}

/// What the agent is told of the others: that they are there, or who they are.
fn roles(agents: &[HubAgent], is_native: bool) -> String {
    if is_native {
        let names: Vec<String> = agents
            .iter()
            .map(|agent| format!("`{}`", agent.name))
            .collect();
        return format!(
            "A message that begins with `@NAME` is for your sub-agent of that name ({}): delegate it \
             to that one, and answer with what it says.",
            names.join(", ")
        );
    }
    let mut text =
        "You work in several roles. A message that begins with `@NAME` is for that role; \
                    take one up as well where its description fits a task. In a role, follow its \
                    instructions until the task is done."
            .to_owned();
    for agent in agents {
        let HubAgent {
            name,
            description,
            system_prompt,
            ..
        } = agent;
        text.extend([
            "\n\n## Role `",
            name,
            "`: ",
            description,
            "\n\n",
            system_prompt,
        ]);
        if agent.read_only {
            text.push_str("\n\nIn this role you change nothing.");
        }
    }
    text
}

fn told(offer: &Offer) -> String {
    let names = |names: Vec<&str>| match names.len() {
        0 => "none".to_owned(),
        _ => names.join(", "),
    };
    let tools = offer.tools.iter().map(|tool| tool.name.as_str()).collect();
    let agents = offer
        .agents
        .iter()
        .map(|agent| agent.name.as_str())
        .collect();
    format!(
        "the Hub offers the agent tools of its own ({}) and agents ({})",
        names(tools),
        names(agents)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_that_nothing_binds_are_named() {
        let agent = |name: &str, read_only, tools: &[&str]| Subagent {
            name: name.to_owned(),
            description: String::new(),
            prompt: String::new(),
            model: None,
            tools: tools.iter().map(|&tool| tool.to_owned()).collect(),
            read_only,
        };
        let free = agent("free", false, &[]);
        assert_eq!(unbound("codex", std::slice::from_ref(&free)), None);
        let all = [
            free,
            agent("scout", true, &[]),
            agent("reader", false, &["read"]),
        ];
        let text = unbound("codex", &all).unwrap();
        assert!(text.ends_with("scout, reader"), "{text}");
    }

    #[test]
    fn the_hubs_server_stands_behind_the_users_own() {
        let (program, folder) = (Path::new("/bin/agent-runner"), Path::new("/s/hub-tools/x"));
        let own = r#"{"mcpServers":{"a":{"command":"b"}},"other":1}"#;
        let list = with_server(Some(own), program, folder).unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list["mcpServers"]["a"]["command"], "b");
        assert_eq!(
            list["mcpServers"][SERVER]["args"],
            json!(["hub-tools", "/s/hub-tools/x"])
        );
        assert!(with_server(None, program, folder).is_ok());
        let taken = format!(r#"{{"mcpServers":{{"{SERVER}":{{}}}}}}"#);
        let why = with_server(Some(&taken), program, folder).unwrap_err();
        assert!(why.contains("rename it"), "{why}");
        for broken in ["[]", "x", r#"{"mcpServers":[]}"#] {
            assert!(
                with_server(Some(broken), program, folder).is_err(),
                "{broken}"
            );
        }
    }
}
