//! A session in a container: real CLI, scripted model, embedded Hub.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use agent_runner::clock::Clock;
use serde_json::{Value, json};

use crate::engine::{Container, Lines, RUNNER, docker, image};

const MODEL_KEY: &str = "sk-ant-test-0123456789abcdefghijklmnop";
const HUB_KEY: &str = "hub-key-0123456789abcdef";

/// Asks for a command that ends at once, or that only a file ends.
const SCRIPT: &str = r#"
[[reply]]
steps = [{ say = "I begin." }, { shell = "id -un; [ -e go ] || touch begun; while [ ! -e go ]; do sleep 0.05; done" }]
[[reply]]
steps = [{ say = "I am done." }]
"#;

/// Hub and model, on this machine's loopback, which the containers share.
struct Bench {
    dir: tempfile::TempDir,
    hub: String,
    model: String,
    _running: [Lines; 2],
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("script.toml"), SCRIPT).unwrap();
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

    fn create_session(&self, task: &str) -> String {
        let body = json!({"task": task}).to_string();
        let address = format!("{}/api/hub/session", self.hub);
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--json", &body, &address])
            .args(["--header", &format!("Authorization: Bearer {HUB_KEY}")])
            .output();
        let answer: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        answer["sessionId"].as_str().unwrap().to_owned()
    }

    fn start(&self, image: &str, session: &str, command: &[&str]) -> Container {
        let settings = [
            format!("AGENTUITY_CODER_URL={}", self.hub),
            format!("AGENTUITY_SDK_KEY={HUB_KEY}"),
            format!("AGENT_RUNNER_SESSION={session}"),
            "AGENT_RUNNER_OUTPUT=jsonl".to_owned(),
            format!("ANTHROPIC_BASE_URL={}", self.model),
            format!("ANTHROPIC_API_KEY={MODEL_KEY}"),
        ];
        let options: Vec<&str> = settings.iter().flat_map(|value| ["--env", value]).collect();
        Container::start(image, &options, command)
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

#[test]
fn an_agent_in_a_container_does_its_sessions_task() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new();
    let session = bench.create_session("Go on.");
    let container = bench.start(&image, &session, &["--once"]);
    let events = container.follow();
    let begin = events.event(|event| event["type"] == "tool_start");
    assert!(begin.is_some(), "no tool; {}", container.errors());
    container.exec(&["touch", "/workspace/go"]);
    let output = events.event(|event| event["type"] == "tool_end").unwrap();
    let text = output["output"].as_str().unwrap();
    assert_eq!(text.trim(), "agent", "the agent is not root");
    let end = events.event(is_end).unwrap();
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(docker(&["wait", container.id()]), "0");
}

#[test]
fn a_stop_pauses_the_session_in_time_and_a_start_wakes_it() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new();
    let session = bench.create_session("Go on.");
    let container = bench.start(&image, &session, &["--once"]);
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
