//! A session in a container: real CLI, scripted model, embedded Hub.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use agent_runner::clock::Clock;
use serde_json::{Value, json};

use crate::engine::{Container, Lines, RUNNER, docker, image, try_docker};

/// An agent's way to the scripted model, which is at `$URL`.
struct Agent {
    name: &'static str,
    env: &'static [(&'static str, &'static str)],
}

const CLAUDE: Agent = Agent {
    name: "claude",
    env: &[("ANTHROPIC_BASE_URL", "$URL"), ("ANTHROPIC_API_KEY", "any")],
};

const CODEX: Agent = Agent {
    name: "codex",
    env: &[
        ("OPENAI_API_KEY", "any"),
        ("AGENT_RUNNER_MODEL", "gpt-5.5"),
        (
            "AGENT_RUNNER_AGENT_ARG",
            "-c\nmodel_provider=scripted\n-c\nmodel_providers.scripted={name=\"Scripted\",base_url=\"$URL/v1\",env_key=\"OPENAI_API_KEY\",wire_api=\"responses\"}",
        ),
    ],
};

const OPENCODE: Agent = Agent {
    name: "opencode",
    env: &[
        ("AGENT_RUNNER_MODEL", "scripted/scripted"),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        // It looks for plugins at each start; there is no registry at this port.
        ("npm_config_registry", "http://127.0.0.1:9/"),
        ("AGENT_RUNNER_PASS_ENV", "npm_config_registry"),
        ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        (
            "OPENCODE_CONFIG_CONTENT",
            r#"{"small_model": "scripted/scripted", "enabled_providers": ["scripted"],
            "provider": {"scripted": {"npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": "$URL/v1", "apiKey": "any"},
            "models": {"scripted": {"tool_call": true}}}}}"#,
        ),
    ],
};

const GEMINI: Agent = Agent {
    name: "gemini",
    env: &[
        ("AGENT_RUNNER_MODEL", "gemini-3.8-flash"),
        ("GOOGLE_GEMINI_BASE_URL", "$URL"),
        ("GEMINI_API_KEY", "any"),
    ],
};

const HUB_KEY: &str = "hub-key-0123456789abcdef";

/// A command between two texts; `$COMMAND` stands for it.
const SCRIPT: &str = r#"
[[reply]]
steps = [{ say = "I begin." }, { shell = "$COMMAND" }]
[[reply]]
steps = [{ say = "I am done." }]
"#;

/// Ends when the command has begun.
const BEGUN: &str = "until [ -e /workspace/begun ]; do sleep 0.05; done";

/// Hub and model, on this machine's loopback, which the containers share.
struct Bench {
    dir: tempfile::TempDir,
    hub: String,
    model: String,
    _running: [Lines; 2],
}

impl Bench {
    fn new(command: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = SCRIPT.replace("$COMMAND", command);
        fs::write(dir.path().join("script.toml"), script).unwrap();
        let (hub, hub_process) = server(dir.path(), &["hub"]);
        let words = [
            "scripted-model",
            "--script",
            "script.toml",
            "--record",
            "requests.jsonl",
        ];
        let (model, model_process) = server(dir.path(), &words);
        Self {
            dir,
            hub,
            model,
            _running: [hub_process, model_process],
        }
    }

    fn create_session(&self, body: &Value) -> String {
        let body = body.to_string();
        let address = format!("{}/api/hub/session", self.hub);
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--json", &body, &address])
            .args(["--header", &format!("Authorization: Bearer {HUB_KEY}")])
            .output();
        let answer: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        answer["sessionId"].as_str().unwrap().to_owned()
    }

    /// A container that leads `session` until its task is done.
    fn start(&self, image: &str, session: &str, agent: &Agent) -> Container {
        let session = format!("AGENT_RUNNER_SESSION={session}");
        self.start_with(image, agent, &["--env", &session])
    }

    fn start_with(&self, image: &str, agent: &Agent, more: &[&str]) -> Container {
        let mut settings = vec![
            format!("AGENTUITY_CODER_URL={}", self.hub),
            format!("AGENTUITY_SDK_KEY={HUB_KEY}"),
            "AGENT_RUNNER_OUTPUT=jsonl".to_owned(),
        ];
        settings.extend(agent.env.iter().map(|(name, value)| {
            let value = value.replace("$URL", &self.model);
            format!("{name}={value}")
        }));
        let options = settings.iter().flat_map(|value| ["--env", value]);
        let options: Vec<&str> = options.chain(more.iter().copied()).collect();
        Container::start(image, &options, &["--once"])
    }

    /// The bodies of what the agent asked the model, without its questions on its own account.
    fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("requests.jsonl")).unwrap();
        let bodies = text.lines().map(|line| {
            let request: Value = serde_json::from_str(line).unwrap();
            request["body"].clone()
        });
        let has_tools = |body: &Value| {
            body["tools"]
                .as_array()
                .is_some_and(|list| !list.is_empty())
        };
        bodies.filter(has_tools).collect()
    }
}

/// Starts a server of this program; its address.
fn server(dir: &Path, words: &[&str]) -> (String, Lines) {
    let mut command = Command::new(RUNNER);
    command
        .args(words)
        .args(["--listen", "127.0.0.1:0"])
        .current_dir(dir)
        .env_clear()
        .env("AGENT_RUNNER_STATE_DIR", dir.join("hub"))
        .stdin(Stdio::null());
    if words == ["hub"] {
        command.env("AGENT_RUNNER_API_KEY", HUB_KEY);
    }
    let lines = Lines::of(&mut command);
    let first = lines.next().expect("a server says its address");
    (first.strip_prefix("listening ").unwrap().to_owned(), lines)
}

fn is_end(event: &Value) -> bool {
    event["type"] == "end"
}

fn does_its_task(agent: &Agent) {
    let Some(image) = image(agent.name) else {
        return;
    };
    let bench = Bench::new("id -un");
    let session = bench.create_session(&json!({"task": "Go on."}));
    let container = bench.start(&image, &session, agent);
    let events = container.follow();
    let output = events.event(|event| event["type"] == "tool_end");
    let output = output.unwrap_or_else(|| panic!("no tool ran; {}", container.errors()));
    let text = output["output"].as_str().unwrap();
    let is_agent = text.lines().any(|line| line == "agent");
    assert!(is_agent, "the agent is not root: {text}");
    let end = events.event(is_end).unwrap();
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(docker(&["wait", container.id()]), "0");
}

#[test]
fn claude_does_its_sessions_task_in_a_container() {
    does_its_task(&CLAUDE);
}

#[test]
fn codex_does_its_sessions_task_in_a_container() {
    does_its_task(&CODEX);
}

#[test]
fn opencode_does_its_sessions_task_in_a_container() {
    does_its_task(&OPENCODE);
}

#[test]
fn gemini_does_its_sessions_task_in_a_container() {
    does_its_task(&GEMINI);
}

#[test]
fn a_stop_pauses_the_session_in_time_and_a_start_wakes_it() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("sleep 300");
    let session = bench.create_session(&json!({"task": "Go on."}));
    let container = bench.start(&image, &session, &CLAUDE);
    let events = container.follow();
    let native = events.event(|event| event["type"] == "session");
    let native = native.unwrap_or_else(|| panic!("no session; {}", container.errors()));
    events.event(|event| event["type"] == "tool_start").unwrap();
    let start = Clock.now();
    docker(&["stop", container.id()]);
    let took = Clock.now().duration_since(start);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(container.state("ExitCode"), "143", "{}", container.errors());
    drop(events);
    docker(&["start", container.id()]);
    let events = container.follow();
    let end = events.event(is_end);
    let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["session_id"], native["session_id"], "the same session");
    assert_eq!(docker(&["wait", container.id()]), "0");
    let again = container.follow();
    let mut natives = Vec::new();
    let mut seqs = Vec::new();
    while let Some(event) = again.event(|event| event["seq"].is_u64()) {
        seqs.push(event["seq"].as_u64().unwrap());
        if event["type"] == "session" {
            natives.push(event["id"].clone());
        }
    }
    assert!(natives.len() >= 2, "{natives:?}");
    assert!(natives.iter().all(|id| *id == native["id"]), "{natives:?}");
    let expected: Vec<u64> = (1..).take(seqs.len()).collect();
    assert_eq!(seqs, expected, "each event once, in order");
    let last = bench.requests().last().unwrap().to_string();
    assert!(
        last.contains("Go on.") && last.contains("I begin."),
        "{last}"
    );
}

/// What the image's health check finds.
fn is_healthy(image: &str, container: &Container) -> bool {
    let format = "{{index .Config.Healthcheck.Test 1}}";
    let check = docker(&["image", "inspect", "--format", format, image]);
    let words = ["exec", container.id(), "sh", "-c", &check];
    try_docker(&words).status.success()
}

#[test]
fn the_health_check_asks_the_daemon() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("sleep 300");
    let session = bench.create_session(&json!({"task": "Go on."}));
    let container = bench.start(&image, &session, &CLAUDE);
    let events = container.follow();
    let begin = events.event(|event| event["type"] == "tool_start");
    assert!(begin.is_some(), "no tool; {}", container.errors());
    assert!(is_healthy(&image, &container), "{}", container.errors());
    let idle = Container::start(&image, &[], &["--exec", "sleep", "300"]);
    assert!(!is_healthy(&image, &idle), "there is no daemon in it");
}

#[test]
fn a_killed_daemon_is_started_again_and_the_turn_goes_on() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("while [ ! -e go ]; do sleep 0.05; done");
    let session = bench.create_session(&json!({"task": "Go on."}));
    let container = bench.start(&image, &session, &CLAUDE);
    let events = container.follow();
    let begin = events.event(|event| event["type"] == "tool_start");
    assert!(begin.is_some(), "no tool; {}", container.errors());
    let kill = "kill -9 $(grep -lzx '[d]aemon' /proc/[0-9]*/cmdline | cut -d/ -f3)";
    container.exec(&["sh", "-c", kill]);
    // By root, whose files the agent may see in its folder.
    container.exec(&["touch", "/workspace/go"]);
    let end = events.event(is_end);
    let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 1, "the CLI was not disturbed: {end}");
    assert_eq!(docker(&["wait", container.id()]), "0");
    let said = container.errors();
    assert!(said.contains("(signal 9), starting it again"), "{said}");
}

#[test]
fn a_killed_container_goes_on_when_it_is_started() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("[ -e begun ] || { touch begun; sleep 300; }");
    let session = bench.create_session(&json!({"task": "Go on."}));
    let container = bench.start(&image, &session, &CLAUDE);
    let events = container.follow();
    let begin = events.event(|event| event["type"] == "tool_start");
    assert!(begin.is_some(), "no tool; {}", container.errors());
    // The call is told before its command runs, and a command that was not begun runs again.
    container.exec(&["timeout", "30", "sh", "-c", BEGUN]);
    docker(&["kill", container.id()]);
    assert_eq!(container.state("ExitCode"), "137");
    docker(&["start", container.id()]);
    let again = container.follow();
    let end = again.event(is_end);
    let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(docker(&["wait", container.id()]), "0");
}

#[test]
fn a_task_and_a_repository_make_a_session_that_a_start_wakes() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("[ -e begun ] || { touch begun; sleep 300; }");
    let repo = bench.dir.path().join("repo");
    let git = |words: &[&str]| {
        let author = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
        let command = Command::new("git")
            .arg("-C")
            .arg(&repo)
            .args(author)
            .args(words)
            .status();
        assert!(command.unwrap().success(), "git {words:?}");
    };
    fs::create_dir(&repo).unwrap();
    fs::write(repo.join("README.md"), "A sample.\n").unwrap();
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "one"]);
    let mount = format!("{}:/repo:ro", repo.display());
    let more = [
        "--volume",
        &mount,
        "--env",
        "AGENT_RUNNER_REPO=/repo",
        "--env",
        "AGENT_RUNNER_TASK=Go on.",
    ];
    let container = bench.start_with(&image, &CLAUDE, &more);
    let events = container.follow();
    let begin = events.event(|event| event["type"] == "tool_start");
    let begin = begin.unwrap_or_else(|| panic!("no tool; {}", container.errors()));
    container.exec(&["timeout", "30", "sh", "-c", BEGUN]);
    assert_eq!(
        container.exec(&["cat", "/workspace/README.md"]),
        "A sample."
    );
    docker(&["stop", container.id()]);
    assert_eq!(container.state("ExitCode"), "143", "{}", container.errors());
    docker(&["start", container.id()]);
    let end = container.follow().event(is_end);
    let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["session_id"], begin["session_id"], "the same session");
    assert_eq!(docker(&["wait", container.id()]), "0");
}
