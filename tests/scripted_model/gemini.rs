//! The real Gemini CLI against the scripted model.

use serde_json::{Value, json};

use crate::cli::{Bench, MCP_SERVER, Run};
use crate::server::Server;

async fn turn(bench: &Bench, prompt: &str, arguments: &[&str]) -> Run {
    let settings = json!({
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": false},
        "general": {"enableAutoUpdate": false, "maxAttempts": 2},
        "mcpServers": {"lab": {"command": "node", "args": [MCP_SERVER]}},
    });
    bench.write_home(".gemini/settings.json", &settings.to_string());
    let mut command = bench.command();
    command
        .env("GEMINI_API_KEY", "any")
        .env("GOOGLE_GEMINI_BASE_URL", &bench.server.url)
        .env("GEMINI_CLI_TRUST_WORKSPACE", "true")
        .env("GEMINI_CLI_NO_RELAUNCH", "1")
        .env("GEMINI_TELEMETRY_ENABLED", "false")
        .arg(format!("--prompt={prompt}"))
        .args(["--output-format", "stream-json", "--yolo"])
        .args(arguments);
    bench.run(command, "").await
}

/// With a model by name; without one the CLI asks first which to take.
async fn play(bench: &Bench, scenario: &str) -> Run {
    let prompt = format!("scenario: {scenario}");
    turn(bench, &prompt, &["-m", "gemini-3.8-flash"]).await
}

fn said(run: &Run) -> String {
    assert_eq!(run.last()["status"], "success", "{:?}", run.last());
    assert_eq!(run.code, Some(0));
    let messages = run.of_type("message");
    let own = messages.filter(|line| line["role"] == "assistant");
    own.map(|line| line["content"].as_str().unwrap()).collect()
}

fn failure(run: &Run) -> &str {
    assert_eq!(run.last()["status"], "error", "{:?}", run.last());
    run.last()["error"]["message"].as_str().unwrap()
}

#[tokio::test]
async fn gemini_chooses_a_model_and_streams_text_and_token_counts() {
    let Some(bench) = Bench::of("gemini").await else {
        return;
    };
    let run = turn(&bench, "scenario: thinking", &[]).await;
    assert_eq!(said(&run), "Thought ünïcode 🚀.");
    let stats = &run.last()["stats"];
    assert_eq!(stats["input_tokens"], 88);
    assert_eq!(stats["cached"], 33);
    assert_eq!(stats["output_tokens"], 17);
    assert_eq!(stats["total_tokens"], 110);
    assert_eq!(bench.requests(":generateContent"), 1);
    assert_eq!(bench.requests(":streamGenerateContent"), 1);
    bench.server.stop().await;
}

#[tokio::test]
async fn gemini_runs_every_tool_also_several_in_one_reply_and_failing_ones() {
    let Some(bench) = Bench::of("gemini").await else {
        return;
    };
    let run = play(&bench, "files").await;
    assert_eq!(said(&run), "Files done.");
    assert_eq!(bench.file("made/new.txt"), "one\ntwo 🚀\n");
    assert_eq!(bench.file("old.txt"), "after\n");
    let calls = run.of_type("tool_use");
    let names: Vec<_> = calls
        .map(|line| line["tool_name"].as_str().unwrap())
        .collect();
    let wanted = [
        "write_file",
        "write_file",
        "read_file",
        "replace",
        "run_shell_command",
    ];
    assert_eq!(names, wanted);
    assert!(
        run.of_type("tool_result")
            .all(|line| line["status"] == "success")
    );
    let run = play(&bench, "part of a line").await;
    assert_eq!(said(&run), "Part done.");
    assert_eq!(bench.file("part.txt"), "one\n  say \"Hello\"\nthree\n");
    let run = play(&bench, "failing tool").await;
    assert_eq!(said(&run), "Both failed.");
    let echo = play(&bench, "mcp").await;
    assert_eq!(said(&echo), "Echoed.");
    let results: String = echo.of_type("tool_result").map(Value::to_string).collect();
    assert!(results.contains("echo: hi from /"), "{results}");
    // The CLI does not tell a command's exit code, so only the missing file counts as failed.
    let failed = run
        .of_type("tool_result")
        .filter(|line| line["status"] == "error");
    assert_eq!(failed.count(), 1);
    bench.server.stop().await;
}

#[tokio::test]
async fn gemini_s_subagents_hand_in_their_reports() {
    let Some(bench) = Bench::of("gemini").await else {
        return;
    };
    let run = play(&bench, "subagent").await;
    assert_eq!(said(&run), "The subagents are done.");
    let record: Vec<Value> = bench.server.record();
    let last = record.last().unwrap()["body"]["contents"].to_string();
    assert!(last.contains("Subagent report."), "{last}");
    assert!(last.contains("No scenario of features.toml"), "{last}");
    // Two replies of the one that is scripted, one of the other, two of the main agent.
    assert_eq!(bench.requests(":streamGenerateContent"), 5);
    bench.server.stop().await;
}

#[tokio::test]
async fn gemini_sees_the_errors_of_the_vendor() {
    let Some(bench) = Bench::of("gemini").await else {
        return;
    };
    let run = play(&bench, "bad key").await;
    assert!(failure(&run).contains("UNAUTHENTICATED"));
    assert_eq!(run.code, Some(401 % 256));
    let run = play(&bench, "too long").await;
    assert!(failure(&run).contains("exceeds the maximum number of tokens"));
    let run = play(&bench, "no money").await;
    assert!(failure(&run).contains("exhausted your daily quota"));
    let run = play(&bench, "no such model").await;
    assert!(failure(&run).contains("models/gemini-3.8-flash is not found"));
    bench.server.stop().await;
}

#[tokio::test]
async fn gemini_recovers_from_limits_and_cut_streams() {
    let Some(bench) = Bench::of("gemini").await else {
        return;
    };
    let run = play(&bench, "rate limit once").await;
    assert_eq!(said(&run), "Recovered.");
    assert!(run.stderr.contains("Attempt 1 failed"), "{}", run.stderr);
    for scenario in ["reset once", "end once", "stream error once"] {
        let run = play(&bench, scenario).await;
        // The CLI takes nothing back of what it has printed.
        let whole = "This text is longer than two chunks of the usual size.";
        assert_eq!(
            said(&run),
            format!("This text is longer {whole}"),
            "{scenario}"
        );
    }
    assert_eq!(said(&play(&bench, "max tokens").await), "Half an ans");
    bench.server.stop().await;
}

#[tokio::test]
async fn gemini_goes_on_in_another_process_and_on_another_server() {
    let Some(mut bench) = Bench::of("gemini").await else {
        return;
    };
    let run = turn(&bench, "Start.", &["-m", "gemini-3.8-flash"]).await;
    assert_eq!(said(&run), "First.");
    let started = run.of_type("init").next().unwrap();
    let session = started["session_id"].as_str().unwrap();
    let other = Server::start().await;
    let first = std::mem::replace(&mut bench.server, other);
    let arguments = ["-m", "gemini-3.8-flash", "--resume", session];
    let again = turn(&bench, "Go on.", &arguments).await;
    assert_eq!(said(&again), "Second.");
    first.stop().await;
    bench.server.stop().await;
}
