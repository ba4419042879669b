//! The real `OpenCode` against the scripted model: by Chat Completions, by Responses with a model
//! that patches files, and by Anthropic's Messages.
//!
//! A start takes it seconds, so few runs check many things each.

use serde_json::{Value, json};

use crate::cli::{Bench, MCP_SERVER, Run};
use crate::server::Server;

/// One turn; the prompt goes in by stdin, as it would be put in quotes from an argument.
async fn turn(bench: &Bench, model: &str, prompt: &str, arguments: &[&str]) -> Run {
    let options = json!({"baseURL": format!("{}/v1", bench.server.url), "apiKey": "any"});
    let config = json!({
        "autoupdate": false,
        "share": "disabled",
        "small_model": CHAT,
        "mcp": {"lab": {"type": "local", "command": ["node", MCP_SERVER], "enabled": true}},
        "enabled_providers": ["scripted", "openai", "anthropic"],
        "provider": {
            "scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "options": options,
                "models": {"scripted": {
                    "reasoning": true,
                    "tool_call": true,
                    "limit": {"context": 200_000, "output": 32_000},
                }},
            },
            "openai": {"options": options, "models": {"gpt-5.5": {"reasoning": true}}},
            "anthropic": {"options": options, "models": {"claude-scripted": {}}},
        },
    });
    let mut command = bench.command();
    command
        .env("OPENCODE_CONFIG_CONTENT", config.to_string())
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
        .env("OPENCODE_DISABLE_LSP_DOWNLOAD", "1")
        .env("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1")
        // It looks for plugins at each start; there is no registry at this port.
        .env("npm_config_registry", "http://127.0.0.1:9/")
        .args([
            "run",
            "--format",
            "json",
            "--thinking",
            "--auto",
            "-m",
            model,
        ])
        .args(arguments);
    bench.run(command, prompt).await
}

const CHAT: &str = "scripted/scripted";
const RESPONSES: &str = "openai/gpt-5.5";
const MESSAGES: &str = "anthropic/claude-scripted";

fn parts<'a>(run: &'a Run, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    run.of_type(kind).map(|line| &line["part"])
}

fn said(run: &Run) -> String {
    let ended = &run.last()["part"]["reason"];
    assert_eq!(ended, "stop", "{:?} {}", run.lines, run.stderr);
    assert_eq!(run.code, Some(0));
    let texts = parts(run, "text");
    texts.map(|part| part["text"].as_str().unwrap()).collect()
}

fn tools(run: &Run) -> Vec<(&str, &Value)> {
    let calls = parts(run, "tool_use");
    calls
        .map(|part| (part["tool"].as_str().unwrap(), &part["state"]))
        .collect()
}

#[tokio::test]
async fn opencode_streams_text_reasoning_and_token_counts_in_three_formats() {
    let Some(bench) = Bench::of("opencode").await else {
        return;
    };
    for (model, path) in [
        (CHAT, "/v1/chat/completions"),
        (RESPONSES, "/v1/responses"),
        (MESSAGES, "/v1/messages"),
    ] {
        let run = turn(&bench, model, "scenario: thinking", &[]).await;
        assert_eq!(said(&run), "Thought ünïcode 🚀.", "{model}");
        let reasoning = parts(&run, "reasoning").next().unwrap();
        assert_eq!(reasoning["text"], "Hmm, scripted.", "{model}");
        let tokens = &run.last()["part"]["tokens"];
        assert_eq!(tokens["cache"]["read"], 33, "{model}");
        assert!(bench.requests(path) > 0, "{model}");
    }
    bench.server.stop().await;
}

#[tokio::test]
async fn opencode_runs_every_tool_with_edits_and_with_patches() {
    for (model, wanted) in [
        (CHAT, ["bash", "edit", "read", "write", "write"]),
        (
            RESPONSES,
            ["apply_patch", "apply_patch", "apply_patch", "bash", "read"],
        ),
    ] {
        let Some(bench) = Bench::of("opencode").await else {
            return;
        };
        let run = turn(&bench, model, "scenario: files", &[]).await;
        assert_eq!(said(&run), "Files done.", "{model}");
        assert_eq!(bench.file("made/new.txt"), "one\ntwo 🚀\n");
        assert_eq!(bench.file("old.txt"), "after\n");
        let mut names: Vec<_> = tools(&run).iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert_eq!(names, wanted, "{model}");
        let run = turn(&bench, model, "scenario: part of a line", &[]).await;
        assert_eq!(said(&run), "Part done.", "{model}");
        assert_eq!(bench.file("part.txt"), "one\n  say \"Hello\"\nthree\n");
        bench.server.stop().await;
    }
}

#[tokio::test]
async fn opencode_reports_failing_tools_and_runs_subagents_and_mcp_tools() {
    let Some(bench) = Bench::of("opencode").await else {
        return;
    };
    let run = turn(&bench, CHAT, "scenario: failing tool", &[]).await;
    assert_eq!(said(&run), "Both failed.");
    for (name, state) in tools(&run) {
        match name {
            "bash" => assert_eq!(state["metadata"]["exit"], 3),
            _ => assert_eq!(state["status"], "error"),
        }
    }
    let run = turn(&bench, CHAT, "scenario: subagent", &[]).await;
    assert_eq!(said(&run), "The subagents are done.");
    let reports: String = tools(&run)
        .iter()
        .map(|(_, state)| state.to_string())
        .collect();
    assert!(reports.contains("Subagent report."), "{reports}");
    assert!(
        reports.contains("No scenario of features.toml"),
        "{reports}"
    );
    let run = turn(&bench, CHAT, "scenario: mcp", &[]).await;
    assert_eq!(said(&run), "Echoed.");
    let (name, state) = tools(&run)[0];
    assert_eq!(name, "lab_echo");
    let output = state["output"].as_str().unwrap();
    assert!(output.starts_with("echo: hi from /"), "{output}");
    bench.server.stop().await;
}

#[tokio::test]
async fn opencode_sees_errors_and_recovers_from_limits_and_cut_streams() {
    let Some(bench) = Bench::of("opencode").await else {
        return;
    };
    let run = turn(&bench, CHAT, "scenario: bad key", &[]).await;
    let error = &run.of_type("error").next().unwrap()["error"];
    assert_eq!(error["name"], "APIError");
    assert_eq!(error["data"]["statusCode"], 401);
    let run = turn(&bench, RESPONSES, "scenario: too long", &[]).await;
    let error = &run.of_type("error").next().unwrap()["error"];
    assert_eq!(error["name"], "ContextOverflowError");
    let run = turn(&bench, CHAT, "scenario: rate limit once", &[]).await;
    assert_eq!(said(&run), "Recovered.");
    let run = turn(&bench, CHAT, "scenario: reset once", &[]).await;
    let whole = "This text is longer than two chunks of the usual size.";
    assert!(said(&run).ends_with(whole));
    bench.server.stop().await;
}

#[tokio::test]
async fn opencode_goes_on_in_another_process_and_on_another_server() {
    let Some(mut bench) = Bench::of("opencode").await else {
        return;
    };
    let run = turn(&bench, CHAT, "Start.", &[]).await;
    assert_eq!(said(&run), "First.");
    let session = run.last()["sessionID"].as_str().unwrap();
    let other = Server::start().await;
    let first = std::mem::replace(&mut bench.server, other);
    let again = turn(&bench, CHAT, "Go on.", &["-s", session]).await;
    assert_eq!(said(&again), "Second.");
    first.stop().await;
    bench.server.stop().await;
}
