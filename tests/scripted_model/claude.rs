//! The real Claude Code against the scripted model: every feature of a script, seen from the CLI.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use agent_runner::scripted_model::Script;
use serde_json::Value;

use crate::cli::MCP_SERVER;
use crate::server::{LIMIT, Server, copy_files};

/// The CLI, or none where it is not installed and nobody insists.
#[allow(clippy::print_stderr)] // a skipped test must not look like one that passed
fn claude() -> Option<PathBuf> {
    let named = std::env::var_os("AGENT_RUNNER_TEST_CLAUDE").map(PathBuf::from);
    let installed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/tools/node_modules/.bin/claude"
    );
    let path = named.unwrap_or_else(|| PathBuf::from(installed));
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "these tests need claude at {}; scripts/test installs it",
        path.display()
    );
    eprintln!("skipped: needs claude, get it with scripts/test");
    None
}

/// A repo, a home and a scripted model for one test.
struct Bench {
    claude: PathBuf,
    server: Server,
    repo: PathBuf,
    home: PathBuf,
}

/// What one run of the CLI printed.
struct Run {
    code: Option<i32>,
    lines: Vec<Value>,
}

impl Bench {
    async fn new(script: Script) -> Option<Self> {
        let claude = claude()?;
        let server = Server::playing(script).await;
        let (repo, home) = (
            server.folder.path().join("repo"),
            server.folder.path().join("home"),
        );
        std::fs::create_dir(&repo).unwrap();
        std::fs::create_dir(&home).unwrap();
        Some(Self {
            claude,
            server,
            repo,
            home,
        })
    }

    async fn with_features() -> Option<Self> {
        let script = Script::parse("features.toml", include_str!("features.toml")).unwrap();
        Self::new(script).await
    }

    /// One turn; the prompt goes in by stdin.
    async fn run(&self, prompt: &str, arguments: &[&str]) -> Run {
        let mut command = Command::new(&self.claude);
        command
            .args(["-p", "--output-format", "stream-json", "--verbose"])
            .arg("--dangerously-skip-permissions")
            .args(arguments)
            .current_dir(&self.repo)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("ANTHROPIC_BASE_URL", &self.server.url)
            .env("ANTHROPIC_API_KEY", "any")
            .env("IS_SANDBOX", "1")
            .env("CLAUDE_CODE_MAX_RETRIES", "1")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("DISABLE_AUTOUPDATER", "1")
            .env("DISABLE_TELEMETRY", "1")
            .env("DISABLE_ERROR_REPORTING", "1");
        let prompt = prompt.to_owned();
        tokio::task::spawn_blocking(move || run_to_end(command, &prompt))
            .await
            .unwrap()
    }

    /// The bodies of all requests for a message.
    fn asked(&self) -> Vec<Value> {
        let record = self.server.record().into_iter();
        let messages = record.filter(|entry| entry["path"] == "/v1/messages");
        messages.map(|mut entry| entry["body"].take()).collect()
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.repo.join(name)).unwrap()
    }
}

/// Its stdout is a file: on a pipe, Claude Code 2.1.197 leaves before all of a long line is written.
fn run_to_end(mut command: Command, prompt: &str) -> Run {
    let mut output = tempfile::tempfile().unwrap();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(output.try_clone().unwrap())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(prompt.as_bytes()).unwrap();
    drop(stdin);
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    let (sender, receiver) = mpsc::sync_channel(1);
    let waiter = std::thread::spawn(move || {
        sender.send(child.wait().unwrap().code()).unwrap();
    });
    let Ok(code) = receiver.recv_timeout(LIMIT) else {
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        panic!("claude did not end within {LIMIT:?}");
    };
    waiter.join().unwrap();
    let mut text = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut text).unwrap();
    Run {
        code,
        lines: text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    }
}

impl Run {
    fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == kind)
    }

    fn result(&self) -> &Value {
        let last = self.of_type("result").last();
        last.expect("a turn ends with a result")
    }

    fn said(&self) -> &str {
        self.result()["result"].as_str().unwrap()
    }

    /// All content blocks of the messages of one side.
    fn blocks<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        let contents = self.of_type(kind).map(|line| &line["message"]["content"]);
        contents.filter_map(Value::as_array).flatten()
    }

    fn succeeded(&self) -> &Self {
        assert_eq!(self.result()["is_error"], false, "{:?}", self.result());
        assert_eq!(self.code, Some(0));
        self
    }

    fn failed(&self) -> &Self {
        assert_eq!(self.result()["is_error"], true, "{:?}", self.result());
        assert_eq!(self.code, Some(1));
        self
    }
}

#[tokio::test]
async fn the_demo_script_repairs_the_demo_repo() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo-data");
    let script = Script::load(&root.join("fix-test.toml")).unwrap();
    let Some(bench) = Bench::new(script).await else {
        return;
    };
    copy_files(&root.join("repo"), &bench.repo);
    let run = bench.run("Make the tests pass.", &[]).await;
    assert!(run.succeeded().said().starts_with("Both tests pass now."));
    let results: Vec<_> = run.blocks("user").map(|block| &block["is_error"]).collect();
    assert_eq!(results[0], true, "the test fails before the fix");
    assert_eq!(results.last().unwrap(), &false, "and passes after it");
    assert!(bench.file("greet.sh").contains("Hello, $name!"));
    assert_eq!(run.result()["total_cost_usd"], 0);
    bench.server.stop().await;
}

#[tokio::test]
async fn the_built_in_script_runs_dry_in_any_folder() {
    let Some(bench) = Bench::new(Script::built_in()).await else {
        return;
    };
    std::fs::write(bench.repo.join("some-file"), "").unwrap();
    let run = bench.run("Do something.", &[]).await;
    let first = run.succeeded().blocks("assistant").next().unwrap();
    assert!(
        first["text"]
            .as_str()
            .unwrap()
            .starts_with("No model is behind this")
    );
    let output = run.blocks("user").next().unwrap()["content"]
        .as_str()
        .unwrap();
    assert!(output.contains("some-file"), "{output}");
    assert_eq!(bench.file("some-file"), "");
    bench.server.stop().await;
}

#[tokio::test]
async fn thinking_text_and_token_counts_arrive() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    let run = bench
        .run("scenario: thinking", &["--include-partial-messages"])
        .await;
    assert_eq!(run.succeeded().said(), "Thought ünïcode 🚀.");
    let thinking = run.blocks("assistant").next().unwrap();
    assert_eq!(thinking["thinking"], "Hmm, scripted.");
    let deltas = run
        .of_type("stream_event")
        .map(|line| &line["event"]["delta"]);
    let text: String = deltas.filter_map(|delta| delta["text"].as_str()).collect();
    assert_eq!(text, "Thought ünïcode 🚀.");
    let usage = &run.result()["usage"];
    assert_eq!(usage["input_tokens"], 11);
    assert_eq!(usage["output_tokens"], 22);
    assert_eq!(usage["cache_read_input_tokens"], 33);
    assert_eq!(usage["cache_creation_input_tokens"], 44);
    bench.server.stop().await;
}

#[tokio::test]
async fn tools_run_also_several_in_one_reply() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    let run = bench.run("scenario: files", &[]).await;
    assert_eq!(run.succeeded().said(), "Files done.");
    assert_eq!(bench.file("made/new.txt"), "one\ntwo 🚀\n");
    assert_eq!(bench.file("old.txt"), "after\n");
    let calls = run
        .blocks("assistant")
        .filter(|block| block["type"] == "tool_use");
    let names: Vec<_> = calls.map(|call| call["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Write", "Write", "Read", "Edit", "Bash"]);
    assert!(run.blocks("user").all(|result| result["is_error"] != true));
    bench.server.stop().await;
}

#[tokio::test]
async fn tools_of_mcp_servers_and_tools_by_their_own_name_run() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    let server = serde_json::json!({"command": "node", "args": [MCP_SERVER]});
    let config = serde_json::json!({"mcpServers": {"lab": server}}).to_string();
    let run = bench.run("scenario: mcp", &["--mcp-config", &config]).await;
    assert_eq!(run.succeeded().said(), "Echoed.");
    let result = run.blocks("user").next().unwrap().to_string();
    assert!(result.contains("echo: hi from /"), "{result}");
    let run = bench.run("scenario: native tool", &[]).await;
    assert_eq!(run.succeeded().said(), "Native done.");
    let call = run.blocks("assistant").next().unwrap();
    assert_eq!(call["input"]["timeout"], 5000);
    bench.server.stop().await;
}

#[tokio::test]
async fn tools_that_fail_are_reported_and_the_script_goes_on() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    let run = bench.run("scenario: failing tool", &[]).await;
    assert_eq!(run.succeeded().said(), "Both failed.");
    let failed = run
        .blocks("user")
        .filter(|result| result["is_error"] == true);
    assert_eq!(failed.count(), 2);
    bench.server.stop().await;
}

#[tokio::test]
async fn a_subagent_plays_its_own_scenario() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    let run = bench.run("scenario: subagent", &[]).await;
    assert_eq!(run.succeeded().said(), "The subagents are done.");
    let results = run.blocks("user").map(Value::to_string);
    let results: String = results.collect();
    assert!(results.contains("Subagent report."), "{results}");
    assert!(results.contains("from the subagent"), "{results}");
    assert!(
        results.contains("No scenario of features.toml matches"),
        "{results}"
    );
    bench.server.stop().await;
}

#[tokio::test]
async fn http_errors_are_retried_or_end_the_turn() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    for (prompt, status) in [("overloaded once", 529), ("rate limit once", 429)] {
        let run = bench.run(&format!("scenario: {prompt}"), &[]).await;
        assert_eq!(run.succeeded().said(), "Recovered.");
        let retry = run
            .of_type("system")
            .find(|line| line["subtype"] == "api_retry");
        assert_eq!(retry.unwrap()["error_status"], status);
    }
    for (prompt, status) in [("server error", 500), ("bad key", 401)] {
        let run = bench.run(&format!("scenario: {prompt}"), &[]).await;
        assert_eq!(run.failed().result()["api_error_status"], status);
    }
    bench.server.stop().await;
}

#[tokio::test]
async fn after_a_cut_stream_the_cli_asks_again_for_a_whole_message() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    for prompt in ["reset once", "end once", "stream error once"] {
        let before = bench.asked().len();
        let arguments = ["--include-partial-messages"];
        let run = bench.run(&format!("scenario: {prompt}"), &arguments).await;
        let whole = "This text is longer than two chunks of the usual size.";
        assert_eq!(run.succeeded().said(), whole, "{prompt}");
        let streams: Vec<_> = bench.asked().split_off(before);
        let streams: Vec<_> = streams.iter().map(|body| body["stream"] == true).collect();
        assert_eq!(streams, [true, false], "{prompt}");
        let partial = run.of_type("stream_event").next().unwrap();
        let id = &run.of_type("assistant").last().unwrap()["message"]["id"];
        assert_ne!(&partial["event"]["message"]["id"], id, "{prompt}");
    }
    bench.run("scenario: reset always", &[]).await.failed();
    bench.server.stop().await;
}

#[tokio::test]
async fn stop_reasons_reach_the_cli() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    let run = bench.run("scenario: max tokens", &[]).await;
    assert_eq!(run.succeeded().said(), "wer, now whole.");
    assert_eq!(bench.asked().len(), 2);
    let run = bench.run("scenario: refusal", &[]).await;
    assert_eq!(run.failed().result()["stop_reason"], "refusal");
    bench.server.stop().await;
}

#[tokio::test]
async fn a_conversation_goes_on_in_another_process_and_on_another_server() {
    let Some(mut bench) = Bench::with_features().await else {
        return;
    };
    let run = bench.run("Start.", &[]).await;
    assert_eq!(run.succeeded().said(), "First.");
    let session = run.result()["session_id"].as_str().unwrap().to_owned();
    let other = Server::start().await;
    let first = std::mem::replace(&mut bench.server, other);
    let run = bench.run("Go on.", &["--resume", &session]).await;
    assert_eq!(run.succeeded().said(), "Second.");
    first.stop().await;
    bench.server.stop().await;
}

#[tokio::test]
async fn a_prompt_of_a_megabyte_reaches_the_model_and_comes_back_intact() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    let prompt = format!(
        "scenario: echo\n{}",
        "\"quotes\" 'n' ünï 🚀\n".repeat(50_000)
    );
    assert!(prompt.len() > 1024 * 1024);
    let run = bench.run(&prompt, &[]).await;
    assert!(run.succeeded().said() == prompt);
    let asked = bench.asked();
    let content = asked[0]["messages"][0]["content"].as_array().unwrap();
    assert!(content.last().unwrap()["text"] == prompt.as_str());
    bench.server.stop().await;
}

#[tokio::test]
async fn an_agent_without_tools_plays_and_one_without_a_working_directory_is_told_so() {
    let Some(bench) = Bench::with_features().await else {
        return;
    };
    let run = bench.run("Hello.", &["--tools", ""]).await;
    assert_eq!(run.succeeded().said(), "First.");
    let run = bench
        .run("scenario: files", &["--system-prompt", "Be brief."])
        .await;
    // A prompt of the user's own leaves out the working directory, which {{cwd}} needs.
    let said = run.failed().said();
    assert!(said.contains("{{cwd}}"), "{said}");
    bench.server.stop().await;
}
