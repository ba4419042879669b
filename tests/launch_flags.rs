//! Every flag that a launch plan uses is one that the installed CLI's own help names.
//!
//! The CLIs are those of `tests/tools`; an agent that is not installed there is left out.

#![allow(clippy::unwrap_used)] // a test's helpers may panic

use std::path::{Path, PathBuf};
use std::process::Command;

use agent_runner::agent::{AGENTS, AgentKind, AgentSession, TurnSpec};
use uuid::Uuid;

/// An effort that most CLIs know.
const EFFORT: &str = "low";

/// Flags that work, but stand in no help: Claude Code 2.1.197.
const HIDDEN: &[&str] = &["--append-system-prompt-file"];

#[allow(clippy::print_stderr)] // what was left out must not look like what passed
fn installed(agent: &AgentKind) -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/node_modules/.bin");
    let program = tools.join(agent.command);
    if program.exists() {
        return Some(program);
    }
    eprintln!("left out: {} is not in tests/tools", agent.name);
    None
}

fn spec(agent_session: AgentSession) -> TurnSpec {
    TurnSpec {
        agent_session,
        model: Some("m".to_owned()),
        effort: Some(EFFORT.to_owned()),
        system_prompt_file: Some("/system.md".into()),
        system_prompt: Some("be brief".to_owned()),
        mcp_config: None,
        mcp_servers: None,
        settings: None,
        variables: Vec::new(),
        allowed_tools: vec!["tool".to_owned()],
        extra_args: Vec::new(),
        home: "/home/agent".into(),
        is_root: false,
        workspace: "/workspace".into(),
        files: "/files".into(),
    }
}

fn help(program: &Path) -> String {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .arg("--help")
        .env("HOME", home.path())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_flag_of_a_launch_plan_is_in_the_clis_own_help() {
    for agent in AGENTS {
        let Some(program) = installed(agent) else {
            continue;
        };
        let help = help(&program);
        let named: Vec<&str> = help
            .split(|c: char| c.is_whitespace() || "=,|[]<>()".contains(c))
            .collect();
        for session in [
            AgentSession::New(Uuid::from_u128(7)),
            AgentSession::Resume("an-id".to_owned()),
        ] {
            let plan = (agent.plan)(&spec(session)).unwrap();
            for argument in &plan.args {
                let argument = argument.to_str().unwrap();
                let flag = argument.split('=').next().unwrap_or_default();
                if flag.starts_with('-') && !HIDDEN.contains(&flag) {
                    assert!(named.contains(&flag), "{}: {flag}", agent.name);
                }
            }
        }
    }
}
