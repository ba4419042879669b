//! Tool calls as Codex 0.169.0 names them. It has a shell, patches, subagents and MCP; it reads
//! files and the web by command line.
//!
//! For the models of "code mode" there is one tool, `exec`, that runs JavaScript; the other tools
//! are functions there.

use serde_json::{Value, json};

use super::{Call, Input, Toolset, download, patch, quoted};
use crate::scripted_model::script::Tool;

pub(super) fn call(tool: &Tool, toolset: &Toolset) -> Option<Call> {
    let code_mode = toolset.offers("exec") && !toolset.offers("exec_command");
    if !code_mode {
        return classic(tool, toolset);
    }
    match tool {
        // Its subagents have other tools, and their own.
        Tool::Agent { .. } => None,
        _ => classic(tool, toolset).map(|call| in_code_mode(&call)),
    }
}

fn classic(tool: &Tool, toolset: &Toolset) -> Option<Call> {
    Some(match tool {
        Tool::Shell { command } => shell(command),
        Tool::Read { path } => shell(&format!("cat {}", quoted(path))),
        Tool::Fetch { url, .. } => shell(&download(url)),
        Tool::Write { path, content } => Call::text("apply_patch", patch::add(path, content)),
        Tool::Edit { path, old, new } => {
            let patch = patch::update(path, old, new, &toolset.results);
            Call::text("apply_patch", patch)
        }
        Tool::Agent { prompt, .. } => {
            Call::json("spawn_agent", json!({"message": prompt})).within(AGENTS.to_owned())
        }
        Tool::Mcp {
            server,
            tool,
            input,
        } => Call::json(tool, input.clone()).within(format!("mcp__{server}")),
        Tool::Native { .. } => return None,
    })
}

/// Waits for the subagents of these ids: spawning one does not.
pub(in crate::scripted_model) fn wait(agents: &[String]) -> Call {
    let input = json!({"targets": agents, "timeout_ms": WAIT_MS});
    Call::json(WAIT, input).within(AGENTS.to_owned())
}

/// The tool that waits for subagents.
pub(in crate::scripted_model) const WAIT: &str = "wait_agent";

const AGENTS: &str = "multi_agent_v1";

/// As long as the tool allows.
const WAIT_MS: u32 = 3_600_000;

/// A command that outlives its yield time goes on in the background, which no script expects; this
/// is the longest that Codex takes.
const YIELD_MS: u32 = 30_000;

fn shell(command: &str) -> Call {
    let input = json!({"cmd": command, "yield_time_ms": YIELD_MS});
    Call::json("exec_command", input)
}

fn in_code_mode(call: &Call) -> Call {
    let argument = match &call.input {
        Input::Json(input) => input.clone(),
        Input::Text(text) => Value::from(text.as_str()),
    };
    let function = match &call.namespace {
        Some(namespace) => format!("{namespace}__{}", call.name),
        None => call.name.clone(),
    };
    // What a command printed stands in its result, which would else arrive as escaped JSON.
    let script = format!(
        "const result = await tools.{function}({argument});\ntext(result?.output ?? result);"
    );
    Call::text("exec", script)
}
