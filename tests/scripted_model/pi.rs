//! The real Pi against the scripted model, by each wire format that it has a provider for.

use serde_json::{Value, json};

use crate::cli::{Bench, Run};
use crate::server::Server;

/// Pi's names for the formats, and what follows the server's address.
const FORMATS: [(&str, &str); 4] = [
    ("openai-completions", "/v1"),
    ("openai-responses", "/v1"),
    ("anthropic-messages", ""),
    ("google-generative-ai", "/v1beta"),
];

async fn turn(bench: &Bench, format: &str, prompt: &str, arguments: &[&str]) -> Run {
    let providers: serde_json::Map<String, Value> = FORMATS
        .iter()
        .map(|(name, path)| {
            let provider = json!({
                "baseUrl": format!("{}{path}", bench.server.url),
                "api": name,
                "apiKey": "any",
                "models": [{"id": "scripted", "reasoning": true}],
            });
            ((*name).to_owned(), provider)
        })
        .collect();
    let models = json!({"providers": providers}).to_string();
    bench.write_home(".pi/agent/models.json", &models);
    let mut command = bench.command();
    command
        .env("PI_OFFLINE", "1")
        .args(["--mode", "json", "--provider", format])
        .args(["--model", "scripted", "--thinking", "high"])
        .args(arguments)
        .args(["-p", prompt]);
    bench.run(command, "").await
}

async fn play(bench: &Bench, scenario: &str) -> Run {
    let prompt = format!("scenario: {scenario}");
    turn(bench, "openai-completions", &prompt, &[]).await
}

/// The last message of the model.
fn message(run: &Run) -> &Value {
    let ends = run.of_type("message_end").map(|line| &line["message"]);
    let own = ends.filter(|message| message["role"] == "assistant");
    let last = own.last();
    last.unwrap_or_else(|| panic!("no message; stderr: {}", run.stderr))
}

fn said(run: &Run) -> &str {
    let message = message(run);
    assert_eq!(message["stopReason"], "stop", "{message}");
    let mut blocks = message["content"].as_array().unwrap().iter();
    let text = blocks.find(|block| block["type"] == "text").unwrap();
    text["text"].as_str().unwrap()
}

fn failure(run: &Run) -> &str {
    let message = message(run);
    assert_eq!(message["stopReason"], "error", "{message}");
    message["errorMessage"].as_str().unwrap()
}

#[tokio::test]
async fn pi_streams_text_thinking_and_token_counts_in_every_format() {
    let Some(bench) = Bench::of("pi").await else {
        return;
    };
    for (format, _) in FORMATS {
        let run = turn(&bench, format, "scenario: thinking", &[]).await;
        assert_eq!(said(&run), "Thought ünïcode 🚀.", "{format}");
        let thinking = &message(&run)["content"][0];
        assert_eq!(thinking["thinking"], "Hmm, scripted.", "{format}");
        assert_eq!(message(&run)["usage"]["cacheRead"], 33, "{format}");
    }
    bench.server.stop().await;
}

#[tokio::test]
async fn pi_runs_every_tool_in_every_format() {
    for (format, _) in FORMATS {
        let Some(bench) = Bench::of("pi").await else {
            return;
        };
        let run = turn(&bench, format, "scenario: files", &[]).await;
        assert_eq!(said(&run), "Files done.", "{format}");
        assert_eq!(bench.file("made/new.txt"), "one\ntwo 🚀\n");
        assert_eq!(bench.file("old.txt"), "after\n");
        let ends = run.of_type("tool_execution_end");
        let names: Vec<_> = ends
            .map(|line| line["toolName"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["write", "write", "read", "edit", "bash"],
            "{format}"
        );
        bench.server.stop().await;
    }
}

#[tokio::test]
async fn pi_reports_failing_tools_and_tools_that_it_does_not_have() {
    let Some(bench) = Bench::of("pi").await else {
        return;
    };
    let run = play(&bench, "failing tool").await;
    assert_eq!(said(&run), "Both failed.");
    let failed = run.of_type("tool_execution_end");
    assert_eq!(failed.filter(|line| line["isError"] == true).count(), 2);
    let run = play(&bench, "subagent").await;
    assert!(failure(&run).contains("step `agent`, but Pi offers no tool for it"));
    bench.server.stop().await;
}

#[tokio::test]
async fn pi_sees_errors_and_recovers_from_limits_and_cut_streams() {
    let Some(bench) = Bench::of("pi").await else {
        return;
    };
    assert_eq!(
        failure(&play(&bench, "bad key").await),
        "401 invalid x-api-key"
    );
    assert_eq!(said(&play(&bench, "rate limit once").await), "Recovered.");
    let run = play(&bench, "reset once").await;
    let whole = "This text is longer than two chunks of the usual size.";
    assert_eq!(said(&run), whole);
    assert_eq!(run.of_type("auto_retry_start").count(), 1);
    let run = play(&bench, "max tokens").await;
    assert_eq!(message(&run)["stopReason"], "length");
    bench.server.stop().await;
}

#[tokio::test]
async fn pi_goes_on_in_another_process_and_on_another_server() {
    let Some(mut bench) = Bench::of("pi").await else {
        return;
    };
    let run = turn(&bench, "openai-completions", "Start.", &[]).await;
    assert_eq!(said(&run), "First.");
    let started = run.of_type("session").next().unwrap();
    let session = started["id"].as_str().unwrap();
    let other = Server::start().await;
    let first = std::mem::replace(&mut bench.server, other);
    let arguments = ["--session", session];
    let again = turn(&bench, "openai-completions", "Go on.", &arguments).await;
    assert_eq!(said(&again), "Second.");
    first.stop().await;
    bench.server.stop().await;
}
