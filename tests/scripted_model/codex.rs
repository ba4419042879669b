//! The real Codex against the scripted model, by the Responses API.

use std::path::Path;

use agent_runner::scripted_model::Script;
use serde_json::Value;

use crate::cli::{Bench, MCP_SERVER, Run};
use crate::server::{Server, copy_files};

/// One turn; the prompt goes in by stdin.
async fn turn(bench: &Bench, model: &str, prompt: &str, resume: Option<&str>) -> Run {
    let provider = format!(
        "model_provider = \"scripted\"\ncheck_for_update_on_startup = false\n\
         model_reasoning_summary = \"auto\"\n[analytics]\nenabled = false\n\
         [model_providers.scripted]\nname = \"Scripted\"\nbase_url = \"{}/v1\"\n\
         env_key = \"SCRIPTED_KEY\"\nwire_api = \"responses\"\n\
         request_max_retries = 1\nstream_max_retries = 1\n\
         [mcp_servers.lab]\ncommand = \"node\"\nargs = [{MCP_SERVER:?}]\n",
        bench.server.url
    );
    bench.write_home(".codex/config.toml", &provider);
    let mut command = bench.command();
    command
        .env("SCRIPTED_KEY", "any")
        .args(["exec", "--json", "--skip-git-repo-check", "-m", model])
        .arg("--dangerously-bypass-approvals-and-sandbox");
    if let Some(thread) = resume {
        command.args(["resume", thread]);
    }
    command.arg("-");
    bench.run(command, prompt).await
}

async fn play(bench: &Bench, scenario: &str) -> Run {
    turn(bench, CLASSIC, &format!("scenario: {scenario}"), None).await
}

/// A model of the shell, and one of the code mode.
const CLASSIC: &str = "gpt-5.5";
const CODE_MODE: &str = "gpt-6-astra";

fn items<'a>(run: &'a Run, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let items = run.of_type("item.completed").map(|line| &line["item"]);
    items.filter(move |item| item["type"] == kind)
}

fn said(run: &Run) -> Vec<&str> {
    assert_eq!(run.last()["type"], "turn.completed", "{:?}", run.lines);
    assert_eq!(run.code, Some(0));
    let messages = items(run, "agent_message");
    messages
        .map(|item| item["text"].as_str().unwrap())
        .collect()
}

fn failure(run: &Run) -> &str {
    assert_eq!(run.last()["type"], "turn.failed", "{:?}", run.lines);
    assert_eq!(run.code, Some(1));
    run.last()["error"]["message"].as_str().unwrap()
}

#[tokio::test]
async fn codex_streams_text_reasoning_and_token_counts() {
    let Some(bench) = Bench::of("codex").await else {
        return;
    };
    let run = play(&bench, "thinking").await;
    assert_eq!(said(&run), ["Thought ünïcode 🚀."]);
    let reasoning = items(&run, "reasoning").next().unwrap();
    assert_eq!(reasoning["text"], "Hmm, scripted.");
    let usage = &run.last()["usage"];
    assert_eq!(usage["input_tokens"], 88);
    assert_eq!(usage["cached_input_tokens"], 33);
    assert_eq!(usage["cache_write_input_tokens"], 44);
    assert_eq!(usage["output_tokens"], 22);
    assert_eq!(usage["reasoning_output_tokens"], 5);
    bench.server.stop().await;
}

#[tokio::test]
async fn codex_runs_every_tool_with_a_shell_and_in_code_mode() {
    for model in [CLASSIC, CODE_MODE] {
        let Some(bench) = Bench::of("codex").await else {
            return;
        };
        let run = turn(&bench, model, "scenario: files", None).await;
        assert_eq!(said(&run), ["Files done."], "{model}");
        assert_eq!(bench.file("made/new.txt"), "one\ntwo 🚀\n");
        assert_eq!(bench.file("old.txt"), "after\n");
        assert_eq!(items(&run, "file_change").count(), 3, "{model}");
        assert_eq!(items(&run, "command_execution").count(), 2, "{model}");
        let run = turn(&bench, model, "scenario: part of a line", None).await;
        assert_eq!(said(&run), ["Part done."], "{model}");
        assert_eq!(bench.file("part.txt"), "one\n  say \"Hello\"\nthree\n");
        let run = turn(&bench, model, "scenario: failing tool", None).await;
        assert_eq!(said(&run), ["Both failed."], "{model}");
        let run_mcp = turn(&bench, model, "scenario: mcp", None).await;
        assert_eq!(said(&run_mcp), ["Echoed."], "{model}");
        let echo = items(&run_mcp, "mcp_tool_call").next().unwrap().to_string();
        assert!(echo.contains("echo: hi from /"), "{model} {echo}");
        let commands = items(&run, "command_execution");
        let failed = commands.filter(|item| item["status"] == "failed");
        assert_eq!(failed.count(), 2, "{model}");
        bench.server.stop().await;
    }
}

#[tokio::test]
async fn codex_repairs_the_demo_repo_with_the_script_that_claude_plays() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo-data");
    let script = Script::load(&root.join("fix-test.toml")).unwrap();
    let Some(bench) = Bench::playing("codex", script).await else {
        return;
    };
    copy_files(&root.join("repo"), &bench.repo);
    let run = turn(&bench, CLASSIC, "Make the tests pass.", None).await;
    assert!(
        said(&run)
            .last()
            .unwrap()
            .starts_with("Both tests pass now.")
    );
    assert!(bench.file("greet.sh").contains("Hello, $name!"));
    bench.server.stop().await;
}

#[tokio::test]
async fn codex_waits_for_all_of_its_subagents() {
    let Some(bench) = Bench::of("codex").await else {
        return;
    };
    let run = play(&bench, "subagent").await;
    assert_eq!(said(&run), ["The subagents are done."]);
    let waits = items(&run, "collab_tool_call").filter(|item| item["tool"] == "wait");
    let reports: String = waits.map(Value::to_string).collect();
    assert!(reports.contains("Subagent report."), "{reports}");
    assert!(
        reports.contains("No scenario of features.toml"),
        "{reports}"
    );
    bench.server.stop().await;
}

#[tokio::test]
async fn codex_sees_the_errors_of_the_vendor() {
    let Some(bench) = Bench::of("codex").await else {
        return;
    };
    let run = play(&bench, "bad key").await;
    assert!(failure(&run).contains("401 Unauthorized: invalid x-api-key"));
    let run = play(&bench, "too long").await;
    assert!(failure(&run).contains("ran out of room in the model's context window"));
    let run = play(&bench, "no money").await;
    assert!(failure(&run).starts_with("Quota exceeded."));
    let run = play(&bench, "no such model").await;
    assert!(failure(&run).contains("`gpt-5.5` does not exist"));
    let run = play(&bench, "max tokens").await;
    assert!(failure(&run).contains("max_output_tokens"));
    let run = play(&bench, "refusal").await;
    assert!(failure(&run).contains("content_filter"));
    bench.server.stop().await;
}

#[tokio::test]
async fn codex_recovers_from_limits_and_cut_streams() {
    let Some(bench) = Bench::of("codex").await else {
        return;
    };
    for scenario in ["rate limit once", "overloaded once"] {
        let run = play(&bench, scenario).await;
        assert_eq!(said(&run), ["Recovered."], "{scenario}");
    }
    for scenario in ["reset once", "end once", "stream error once"] {
        let run = play(&bench, scenario).await;
        let whole = "This text is longer than two chunks of the usual size.";
        assert_eq!(said(&run), [whole], "{scenario}");
        let reconnecting = run.of_type("error").next().unwrap();
        let message = reconnecting["message"].as_str().unwrap();
        assert!(message.contains("stream disconnected"), "{message}");
    }
    bench.server.stop().await;
}

#[tokio::test]
async fn codex_goes_on_in_another_process_and_on_another_server() {
    let Some(mut bench) = Bench::of("codex").await else {
        return;
    };
    let run = turn(&bench, CLASSIC, "Start.", None).await;
    assert_eq!(said(&run), ["First."]);
    let started = run.of_type("thread.started").next().unwrap();
    let thread = started["thread_id"].as_str().unwrap();
    let other = Server::start().await;
    let first = std::mem::replace(&mut bench.server, other);
    let again = turn(&bench, CLASSIC, "Go on.", Some(thread)).await;
    assert_eq!(said(&again), ["Second."]);
    first.stop().await;
    bench.server.stop().await;
}
