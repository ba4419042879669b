//! Turns that go on: the real Claude Code killed in the middle of its work, conversations that are
//! lost or refused, a CLI that always dies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic

#[path = "support/appears.rs"]
mod appears;
#[path = "resume/bench.rs"]
mod bench;

use std::process::Command;

use bench::{Bench, Running};
use serde_json::Value;

const SCRIPT: &str = r##"
[[scenario]]
match = "# End of the recap"
reply = [{ steps = [{ say = "I know it from the recap." }] }]

[[scenario]]
match = "was cut off"
reply = [{ steps = [{ say = "Finished after all." }] }]

[[scenario]]
match = "Talk for long"
reply = [{ steps = [{ say = "This takes its time. And more, and more, and more.", chunk = 4, pause_ms = 2000 }] }]

[[scenario]]
match = "Think for long"
reply = [{ delay_ms = 3000, steps = [{ say = "Thought." }] }]

[[scenario]]
match = "Work for long"
[[scenario.reply]]
steps = [{ shell = "touch started; exec sleep 3011" }]

[[scenario]]
match = "First task"
[[scenario.reply]]
steps = [{ say = "I list." }, { shell = "echo listed" }, { write = "made.txt", content = "x" }]
[[scenario.reply]]
steps = [{ say = "All is made." }]

[[scenario]]
match = "Second task"
reply = [{ fail = { status = 400, message = "messages: something is wrong" } }]

[[scenario]]
match = "Third task"
reply = [{ steps = [{ say = "Third." }] }]
"##;

/// A CLI that says its session id and dies.
const DIES: &str = r#"#!/bin/sh
cat >>"$HOME/prompts"
echo >>"$HOME/prompts"
echo '{"type":"system","subtype":"init","session_id":"7d4f8f9e-2f6c-4a56-9d2f-000000000000","cwd":"/","tools":[],"model":"m"}'
echo 'the last words' >&2
kill -9 $$
"#;

fn assert_one_conversation(running: &Running, attempts: u64) {
    let sessions = running.all("session");
    let ids: Vec<&Value> = sessions.iter().map(|event| &event["id"]).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(sessions.last().unwrap()["attempt"], attempts);
}

#[tokio::test]
async fn a_cli_killed_in_its_answer_goes_on_in_the_same_conversation() {
    let Some(bench) = Bench::with_claude(SCRIPT).await else {
        return;
    };
    let mut running = bench.start().await;
    running.prompt("Talk for long.").await;
    running.event("token").await;
    bench.stored("Talk for long.").await;
    bench.kill_cli();
    let crash = running.event("agent_crashed").await;
    assert_eq!(crash["cause"], "signal", "{crash}");
    assert_eq!(crash["signal"], 9, "{crash}");
    assert_eq!(crash["will_resume"], true, "{crash}");
    assert!(
        crash["output"].as_str().unwrap().contains("text_delta"),
        "{crash}"
    );
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 2);
    assert_one_conversation(&running, 2);
    assert_eq!(running.all("prompt").len(), 1);
    let asked = bench.asked();
    assert_eq!(asked.matches("Talk for long.").count(), 1, "{asked}");
    assert!(asked.contains("Your previous turn was cut off"), "{asked}");
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_cli_killed_in_a_tool_goes_on_and_is_told_which_call_was_cut_off() {
    let Some(bench) = Bench::with_claude(SCRIPT).await else {
        return;
    };
    let mut running = bench.start().await;
    running.prompt("Work for long.").await;
    bench.made("workspace/started").await;
    bench.stored("Work for long.").await;
    bench.kill_cli();
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_one_conversation(&running, 2);
    let crashes = running.all("agent_crashed");
    assert_eq!(crashes.len(), 1, "{crashes:?}");
    let calls = running.all("tool_end");
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0]["is_error"], true);
    assert_eq!(calls[0]["attempt"], 1);
    let asked = bench.asked();
    assert!(
        asked.contains("- shell: touch started; exec sleep 3011"),
        "{asked}"
    );
    assert_eq!(asked.matches("Work for long.").count(), 1, "{asked}");
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_cli_killed_before_it_did_anything_gets_its_prompt_again() {
    let Some(bench) = Bench::with_claude(SCRIPT).await else {
        return;
    };
    let mut running = bench.start().await;
    running.prompt("Think for long.").await;
    running.event("session").await;
    bench.kill_cli();
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(running.all("agent_crashed").len(), 1);
    let asked = bench.asked();
    assert!(asked.contains("Think for long."), "{asked}");
    assert!(!asked.contains("was cut off"), "{asked}");
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_conversation_that_was_deleted_is_told_again_as_a_recap() {
    let Some(bench) = Bench::with_claude(SCRIPT).await else {
        return;
    };
    let mut running = bench.start().await;
    running.prompt("First task.").await;
    assert_eq!(running.event("end").await["outcome"], "completed");
    assert!(bench.forget_conversations() > 0);
    running.prompt("Third task.").await;
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 1, "nothing was tried in vain");
    let notice = running.notice("resume_lost");
    assert!(notice.contains("no record of its conversation"), "{notice}");
    let asked = bench.asked();
    for part in [
        "written by agent-runner",
        "First task.",
        "I list.",
        "- tool shell: echo listed → done [output omitted]",
        "made.txt (created)",
        "All is made.",
        "Third task.",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    // The next turn goes on with the new conversation.
    running.prompt("Third task.").await;
    assert_eq!(running.event("end").await["outcome"], "completed");
    running.notice("resume_lost");
    let sessions = running.all("session");
    assert_ne!(sessions[0]["id"], sessions[1]["id"]);
    assert_eq!(sessions[1]["id"], sessions[2]["id"]);
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_conversation_whose_history_is_refused_is_left_for_a_fresh_one() {
    let Some(bench) = Bench::with_claude(SCRIPT).await else {
        return;
    };
    let mut running = bench.start().await;
    running.prompt("First task.").await;
    assert_eq!(running.event("end").await["outcome"], "completed");
    running.prompt("Second task.").await;
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 2);
    let notice = running.notice("resume_lost");
    assert!(notice.contains("messages: something is wrong"), "{notice}");
    assert!(running.all("agent_crashed").is_empty());
    let asked = bench.asked();
    assert!(
        asked.contains("All is made.") && asked.contains("Second task."),
        "{asked}"
    );
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_cancel_is_heard_while_the_turn_waits_for_its_next_attempt() {
    let bench = Bench::with_cli(DIES).await;
    let mut running = bench.start().await;
    running.prompt("Go.").await;
    assert_eq!(running.event("agent_crashed").await["will_resume"], true);
    running.session.abort().await.unwrap();
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "cancelled", "{end}");
    assert_eq!(bench.lines("home/prompts"), ["Go."]);
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_message_during_the_wait_is_told_with_the_next_attempt() {
    let bench = Bench::with_cli(DIES).await;
    let mut running = bench.start().await;
    running.prompt("Go.").await;
    running.event("agent_crashed").await;
    running.steer("Use tabs.").await;
    running.event("agent_crashed").await;
    running.session.abort().await.unwrap();
    assert_eq!(running.event("end").await["outcome"], "cancelled");
    assert_eq!(running.all("prompt").len(), 2);
    let told = ["Go.", "Go.", "", "Use tabs."];
    assert_eq!(bench.lines("home/prompts"), told);
    running.stop().await;
    bench.stop().await;
}

#[test]
fn a_turn_whose_daemon_and_cli_died_goes_on_with_what_was_seen_before() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (first, second) = (runtime(), runtime());
    let Some(bench) = second.block_on(Bench::with_claude(SCRIPT)) else {
        return;
    };
    first.block_on(async {
        let running = bench.start().await;
        running.prompt("Work for long.").await;
        bench.made("workspace/started").await;
        bench.stored("Work for long.").await;
    });
    // All of its tasks end where they are.
    drop(first);
    second.block_on(async {
        bench.kill_cli();
        let mut running = bench.start().await;
        let crash = running.event("agent_crashed").await;
        assert_eq!(
            (&crash["attempt"], &crash["will_resume"]),
            (&1.into(), &true.into())
        );
        let end = running.event("end").await;
        assert_eq!(end["outcome"], "completed", "{end}");
        assert_eq!(end["attempt"], 2, "{end}");
        assert!(running.all("prompt").is_empty());
        let asked = bench.asked();
        assert!(
            asked.contains("- shell: touch started; exec sleep 3011"),
            "{asked}"
        );
        assert_eq!(asked.matches("Work for long.").count(), 1, "{asked}");
        running.stop().await;
        bench.stop().await;
    });
}

#[tokio::test]
async fn a_pause_between_two_attempts_repeats_nothing_of_the_first() {
    let bench = Bench::with_cli(DIES).await;
    let mut first = bench.start().await;
    first.prompt("Go.").await;
    first.event("agent_crashed").await;
    assert!(first.session.pause(false).await, "the turn is open");
    first.stop().await;
    let mut second = bench.start().await;
    let crash = second.event("agent_crashed").await;
    assert_eq!(
        (&crash["attempt"], &crash["will_resume"]),
        (&2.into(), &true.into())
    );
    let crash = second.event("agent_crashed").await;
    assert_eq!(
        (&crash["attempt"], &crash["will_resume"]),
        (&3.into(), &false.into())
    );
    assert_eq!(second.event("end").await["outcome"], "crashed");
    assert_eq!(second.all("agent_crashed").len(), 2);
    assert_eq!(bench.lines("home/prompts"), ["Go.", "Go.", "Go."]);
    second.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_cli_that_always_dies_ends_the_run_after_three_attempts() {
    let bench = Bench::with_cli(DIES).await;
    let config = bench.path("config.toml");
    let text = format!("[agents.claude]\ncommand = {:?}\n", bench.path("cli"));
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
    command
        .args([
            "run",
            "--output",
            "jsonl",
            "--agent-home",
            "user",
            "--config",
        ])
        .arg(&config)
        .arg("Go.")
        .current_dir(bench.path("workspace"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", bench.path("home"))
        .env("AGENT_RUNNER_MODE", "exec")
        .env("AGENT_RUNNER_STATE_DIR", bench.path("state"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let events: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let crashes = events
        .iter()
        .filter(|event| event["type"] == "agent_crashed");
    let crashes: Vec<_> = crashes
        .map(|event| {
            let output = event["output"].as_str().unwrap();
            assert!(
                output.contains("--- stderr ---\nthe last words"),
                "{output}"
            );
            (event["attempt"].as_u64(), event["will_resume"].as_bool())
        })
        .collect();
    let expected = [(1, true), (2, true), (3, false)];
    assert_eq!(crashes, expected.map(|(n, again)| (Some(n), Some(again))));
    let ends: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "end")
        .collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(events.last().unwrap()["outcome"], "crashed");
    let prompts = events.iter().filter(|event| event["type"] == "prompt");
    assert_eq!(prompts.count(), 1);
    assert_eq!(bench.lines("home/prompts"), ["Go.", "Go.", "Go."]);
    bench.stop().await;
}
