//! OpenCode itself: it takes the configuration that a turn brings, and a turn counts as completed
//! only when its own database agrees.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test's helpers may panic
#![allow(clippy::print_stdout)] // says what was skipped

#[path = "support/model.rs"]
mod model;

use std::fmt::Write as _;
use std::fs;
use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use agent_runner::agent::{self, AgentSession, LaunchPlan, TurnSpec};
use model::Model;
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
        subagents: Vec::new(),
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
    fs::create_dir(home.join("launch")).unwrap();
    for (name, content) in &plan.files {
        fs::write(home.join("launch").join(name), content).unwrap();
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

const RECORDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/corpus/opencode/plain.pipe.jsonl"
);
const ANSWERED: &str = r#"{"role":"assistant","time":{"created":1,"completed":2},"finish":"stop"}"#;
const CUT: &str = r#"{"role":"assistant","time":{"created":1}}"#;
const FAILED: &str = r#"{"role":"assistant","time":{"created":1,"completed":2},
    "error":{"name":"APIError","data":{"message":"invalid api key","statusCode":401}}}"#;

/// A turn in a place of its own, with `cli` as the CLI; its events.
fn turn(dir: &Path, cli: &str, env: &[(&str, String)]) -> Vec<Value> {
    let wrapper = dir.join("cli");
    fs::write(&wrapper, format!("#!/bin/sh\n{cli}\n")).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let text = |value: &str| toml::Value::from(value).to_string();
    let mut config = format!(
        "[agents.opencode]\ncommand = {}\n[agents.opencode.env]\n",
        text(wrapper.to_str().unwrap())
    );
    for (name, value) in env {
        writeln!(config, "{name} = {}", text(value)).unwrap();
    }
    fs::write(dir.join("config.toml"), config).unwrap();
    fs::create_dir_all(dir.join("here")).unwrap();
    let mcp = dir.join("mcp.json");
    let output = Command::new(env!("CARGO_BIN_EXE_agent-runner"))
        .args([
            "run",
            "Say hello.",
            "--agent",
            "opencode",
            "--output",
            "jsonl",
        ])
        .args(["--model", "scripted/scripted", "--agent-home", "user"])
        .args(["--mode", "exec", "--log-level", "error"])
        .args(["--timeout", "2m", "--config"])
        .arg(dir.join("config.toml"))
        .args(
            mcp.exists()
                .then(|| format!("--mcp-config={}", mcp.display())),
        )
        .current_dir(dir.join("here"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir.join("home"))
        .env("AGENT_RUNNER_STATE_DIR", dir.join("state"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let lines = output.stdout.lines();
    let events: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!events.is_empty(), "{stderr}");
    events
}

/// A turn that prints a whole answer and ends in `end`, with that last message in the database.
fn recorded(end: &str, stored: Option<&str>) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("home/.local/share/opencode");
    fs::create_dir_all(&data).unwrap();
    if let Some(stored) = stored {
        let database = rusqlite::Connection::open(data.join("opencode.db")).unwrap();
        let table = "CREATE TABLE message (id, session_id, time_created, data)";
        database.execute_batch(table).unwrap();
        let session = recorded_session();
        let row = "INSERT INTO message VALUES ('m', ?1, 1, ?2)";
        database.execute(row, [session.as_str(), stored]).unwrap();
    }
    turn(dir.path(), &format!("cat '{RECORDING}'; {end}"), &[])
}

fn recorded_session() -> String {
    let text = fs::read_to_string(RECORDING).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    first["sessionID"].as_str().unwrap().to_owned()
}

fn has_notice(events: &[Value], code: &str) -> bool {
    events.iter().any(|event| event["code"] == code)
}

#[test]
fn a_success_that_the_database_denies_is_none() {
    let events = recorded("exit 0", Some(CUT));
    assert_eq!(events.last().unwrap()["outcome"], "incomplete");
    assert!(has_notice(&events, "store_contradicts"), "{events:?}");
    let events = recorded("exit 0", Some(FAILED));
    let end = events.last().unwrap();
    assert_eq!(end["outcome"], "failed");
    assert_eq!(end["error"]["class"], "auth");
    assert_eq!(end["error"]["message"], "invalid api key");
}

#[test]
fn a_success_stands_where_the_database_agrees_or_says_nothing() {
    for stored in [Some(ANSWERED), Some("of another version"), None] {
        let events = recorded("exit 0", stored);
        assert_eq!(events.last().unwrap()["outcome"], "completed", "{stored:?}");
        assert!(!has_notice(&events, "store_contradicts"));
    }
    // ended by a signal after its last record, as one that stayed is
    let events = recorded("kill -TERM $$", Some(ANSWERED));
    assert_eq!(events.last().unwrap()["outcome"], "completed");
}

#[test]
fn keys_within_settings_are_masked() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = ["provider-k3y-0123", "stored-k3y-4567", "mcp-t0ken-89ab"];
    let mcp = json!({"mcpServers": {"web": {
        "type": "http", "url": "http://127.0.0.1:9/mcp",
        "headers": {"Authorization": format!("Bearer {}", secrets[2])},
    }}});
    fs::write(dir.path().join("mcp.json"), mcp.to_string()).unwrap();
    let config = json!({"provider": {"a": {"options": {"apiKey": secrets[0]}}}});
    let login = json!({"a": {"type": "api", "key": secrets[1]}});
    let env = [
        ("OPENCODE_CONFIG_CONTENT", config.to_string()),
        ("OPENCODE_AUTH_CONTENT", login.to_string()),
    ];
    let show = "env >&2; cat \"$OPENCODE_CONFIG\" >&2";
    let events = turn(dir.path(), &format!("cat '{RECORDING}'; {show}"), &env);
    let shown = Value::from(events).to_string();
    assert!(shown.contains("Bearer ***") && shown.contains("OPENCODE_AUTH_CONTENT"));
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    // the run's own folder, which goes when the turn is delivered, holds what the CLI was given
    let mut command = Command::new("grep");
    command.args(["-rlF", "--exclude=stderr.log", "--exclude=opencode.json"]);
    command.args(secrets.map(|secret| format!("-e{secret}")));
    let found = command.arg(dir.path().join("state")).output().unwrap();
    assert!(found.stdout.is_empty(), "{found:?}");
}

const SCRIPT: &str = "[[reply]]\nsteps = [{ say = \"Hello.\" }]\n";

#[test]
fn the_real_database_vouches_for_an_answer_whose_process_was_ended() {
    let Some(cli) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = Model::start(dir.path(), SCRIPT);
    let provider = json!({
        "enabled_providers": ["scripted"],
        "provider": {"scripted": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": format!("{}/v1", model.url), "apiKey": "any"},
            "models": {"scripted": {"tool_call": true}},
        }},
    });
    let set = |name, value: &str| (name, value.to_owned());
    let env = [
        set("OPENCODE_CONFIG_CONTENT", &provider.to_string()),
        set("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        set("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        set("npm_config_registry", "http://127.0.0.1:9/"),
    ];
    let run = format!("'{}' \"$@\"; kill -TERM $$", cli.display());
    let events = turn(dir.path(), &run, &env);
    let crashed = events.iter().any(|event| event["type"] == "agent_crashed");
    assert!(!crashed, "{events:?}");
    assert_eq!(events.last().unwrap()["outcome"], "completed", "{events:?}");
}
