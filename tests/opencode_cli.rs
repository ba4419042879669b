//! The launch plan for OpenCode against the CLI that it is for: it knows every flag, and takes the
//! configuration that a turn brings.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test's helpers may panic
#![allow(clippy::print_stdout)] // says what was skipped

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use agent_runner::agent::{self, AgentSession, LaunchPlan, TurnSpec};
use serde_json::{Value, json};

const CLI: &str = "tests/tools/node_modules/opencode-linux-x64/bin/opencode";

const SERVERS: &str = r#"{"mcpServers": {
    "files": {"command": "srv", "args": ["${MCP_TOKEN}"], "env": {"TOKEN": "${MCP_TOKEN}"}, "disabled": true},
    "web": {"type": "http", "url": "http://127.0.0.1:9/mcp", "headers": {"X": "y"}, "disabled": true}
}}"#;

/// A turn with every option.
fn plan(home: &Path, session: AgentSession) -> LaunchPlan {
    let spec = TurnSpec {
        settings: None,
        variables: Vec::new(),
        agent_session: session,
        model: Some("anthropic/claude-opus".to_owned()),
        effort: Some("high".to_owned()),
        system_prompt_file: Some(home.join("system.md")),
        system_prompt: Some("Be brief.".to_owned()),
        mcp_config: Some(home.join("mcp.json")),
        mcp_servers: Some(SERVERS.to_owned()),
        allowed_tools: vec!["bash(git *)".to_owned(), "read".to_owned()],
        extra_args: Vec::new(),
        home: home.to_owned(),
        is_root: false,
        workspace: home.to_owned(),
        files: home.join("launch"),
    };
    (agent::by_name("opencode").unwrap().plan)(&spec).unwrap()
}

/// The pinned CLI; none where it is not installed, which CI does not accept.
fn program() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CLI);
    if path.exists() {
        return Some(path);
    }
    let needs = format!("needs {CLI}, get it with scripts/install-test-tools");
    assert!(std::env::var_os("CI").is_none(), "{needs}");
    println!("skipped: {needs}");
    None
}

fn opencode(program: &Path, home: &Path, env: &LaunchPlan, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .current_dir(home)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
        .env("MCP_TOKEN", "t-1")
        // its installation of plugin types in the background needs no network to fail
        .env("npm_config_registry", "http://127.0.0.1:9/")
        .envs(env.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn the_cli_takes_the_configuration_of_the_plan() {
    let Some(cli) = program() else { return };
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let plan = plan(home, AgentSession::New(uuid::Uuid::nil()));
    std::fs::create_dir(home.join("launch")).unwrap();
    for (name, content) in &plan.files {
        std::fs::write(home.join("launch").join(name), content).unwrap();
    }
    let output = opencode(&cli, home, &plan, &["debug", "config"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let config: Value = serde_json::from_slice(&output.stdout).unwrap();
    // it masks what may be a secret
    assert_eq!(
        config["mcp"],
        json!({
            "files": {"type": "local", "command": ["srv", "t-1"],
                "environment": {"TOKEN": "***"}, "enabled": false},
            "web": {"type": "remote", "url": "http://127.0.0.1:9/mcp",
                "headers": {"X": "***"}, "enabled": false},
        })
    );
    assert_eq!(config["permission"]["bash"]["git *"], "allow");
    assert_eq!(config["instructions"], json!([home.join("system.md")]));
    let sessions = home.join(".local/share/opencode");
    assert!(sessions.is_dir(), "its folders are not in the home");
}
