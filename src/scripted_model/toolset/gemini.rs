//! Tool calls as Gemini CLI 0.61.0 names them.

use serde_json::json;

use super::{Call, UNPACED};
use crate::scripted_model::script::{Step, Tool};

/// The tool by which a subagent hands back its report; the main agent does not have it.
pub(super) const COMPLETE: &str = "complete_task";

pub(super) fn call(tool: &Tool) -> Option<Call> {
    let (name, input) = match tool {
        Tool::Shell { command } => ("run_shell_command", json!({"command": command})),
        Tool::Read { path } => ("read_file", json!({"file_path": path})),
        Tool::Write { path, content } => {
            ("write_file", json!({"file_path": path, "content": content}))
        }
        Tool::Edit { path, old, new } => (
            "replace",
            json!({
                "file_path": path,
                "instruction": "Replace the text as the script says.",
                "old_string": old,
                "new_string": new,
            }),
        ),
        Tool::Fetch { url, question } => {
            ("web_fetch", json!({"prompt": format!("{question} {url}")}))
        }
        Tool::Agent { prompt, .. } => (
            "invoke_agent",
            json!({"agent_name": "generalist", "prompt": prompt}),
        ),
        Tool::Mcp {
            server,
            tool,
            input,
        } => return Some(Call::json(&format!("mcp_{server}_{tool}"), input.clone())),
        Tool::Native { .. } => return None,
    };
    Some(Call::json(name, input))
}

/// A subagent that only speaks is asked again and again until it calls this tool: what a script has
/// it say in a reply without tools is its report.
pub(super) fn complete(steps: &mut Vec<Step<Call>>) {
    if steps.iter().any(|step| matches!(step, Step::Call(..))) {
        return;
    }
    let said = steps.iter().filter_map(|step| match step {
        Step::Say(text, _) => Some(text.as_str()),
        _ => None,
    });
    let report: Vec<_> = said.collect();
    let input = json!({"result": {"response": report.join("\n")}});
    steps.push(Step::Call(Call::json(COMPLETE, input), UNPACED));
}
