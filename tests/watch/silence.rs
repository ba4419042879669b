//! Silence is judged by what the agent is doing.

use std::time::Duration;

use agent_runner::config::Patience;
use agent_runner::turn::activity::Doing;

use crate::bench::{Bench, Running};
use crate::cli;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn started(script: &str, patience: Patience) -> (Bench, Running) {
    let mut bench = Bench::with_cli(&cli(script)).await;
    bench.patience = patience;
    let running = bench.start().await;
    running.prompt("Make it.").await;
    (bench, running)
}

/// Asserts one hang that was overcome; its crash event.
async fn overcame_a_hang(mut running: Running) -> serde_json::Value {
    let crash = running.event("agent_crashed").await;
    assert_eq!(crash["cause"], "hang", "{crash}");
    assert_eq!(crash["will_resume"], true, "{crash}");
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 2, "{end}");
    assert_eq!(running.all("agent_crashed").len(), 1);
    running.stop().await;
    crash
}

/// Asserts that the first attempt completed.
async fn was_left_alone(mut running: Running) {
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 1, "{end}");
    assert!(running.all("agent_crashed").is_empty());
    running.stop().await;
}

#[tokio::test]
async fn an_agent_that_waits_for_the_model_in_vain_is_ended_and_its_turn_goes_on() {
    let patience = Patience {
        model: Some(ms(600)),
        ..Patience::default()
    };
    let (bench, running) = started("exec sleep 600", patience).await;
    let mut state = running.session.state();
    let is_model = |state: &agent_runner::session::SessionState| {
        matches!(state.doing, Some((Doing::Model, _)))
    };
    tokio::time::timeout(Duration::from_secs(30), state.wait_for(is_model))
        .await
        .expect("the state shows it")
        .unwrap();
    let crash = overcame_a_hang(running).await;
    let message = crash["message"].as_str().unwrap();
    assert!(
        message.contains("for 600ms while it waited for the model: no output, no processor time"),
        "{message}"
    );
    assert!(state.borrow().doing.is_none());
    bench.stop().await;
}

#[tokio::test]
async fn an_agent_that_never_says_a_word_is_ended_too() {
    let script = "#!/bin/sh\n\
        if [ ! -e \"$HOME/first\" ]; then touch \"$HOME/first\"; exec sleep 600; fi\n\
        touch \"$HOME/again\"; exec \"$HOME/cli\"\n";
    let mut bench = Bench::with_cli(script).await;
    let again = bench.path("home/cli");
    std::fs::write(&again, cli("")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&again, executable).unwrap();
    bench.patience.starting = Some(ms(500));
    let running = bench.start().await;
    running.prompt("Make it.").await;
    let crash = overcame_a_hang(running).await;
    let message = crash["message"].as_str().unwrap();
    assert!(message.contains("while it was starting"), "{message}");
    bench.stop().await;
}

#[tokio::test]
async fn a_tool_at_work_may_be_silent_for_longer_than_its_limit() {
    let patience = Patience {
        tool: Some(ms(300)),
        ..Patience::default()
    };
    let (bench, running) = started("tool; sleep 2; tool_end; result", patience).await;
    was_left_alone(running).await;
    bench.stop().await;
}

#[tokio::test]
async fn an_agent_that_computes_may_be_silent_for_longer_than_its_limit() {
    let patience = Patience {
        model: Some(ms(300)),
        ..Patience::default()
    };
    let script = "end=$(($(date +%s)+2)); i=0\n\
        while [ $i -lt 200000 ] || [ $(date +%s) -lt $end ]; do i=$((i+1)); done\n\
        answer m1 Thought.; result";
    let (bench, running) = started(script, patience).await;
    was_left_alone(running).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_tool_without_a_process_hangs_and_the_next_attempt_is_told_of_its_call() {
    let patience = Patience {
        tool: Some(ms(500)),
        ..Patience::default()
    };
    let (bench, running) = started("tool; exec sleep 600", patience).await;
    let crash = overcame_a_hang(running).await;
    let message = crash["message"].as_str().unwrap();
    assert!(message.contains("while it ran a tool (shell)"), "{message}");
    let prompts = bench.lines("home/prompts").join("\n");
    assert!(prompts.contains("shell: make all"), "{prompts}");
    bench.stop().await;
}

#[tokio::test]
async fn an_agent_that_someone_stopped_is_recognised_as_that() {
    let patience = Patience {
        model: Some(ms(800)),
        ..Patience::default()
    };
    let (bench, mut running) = started("kill -STOP $$; exec sleep 600", patience).await;
    let notice = running.event("notice").await;
    assert_eq!(notice["code"], "agent_stopped", "{notice}");
    let crash = overcame_a_hang(running).await;
    let message = crash["message"].as_str().unwrap();
    assert!(
        message.contains("stopped by a signal (SIGSTOP)"),
        "{message}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_process_that_stays_after_its_last_record_is_ended_without_harm_to_its_turn() {
    let patience = Patience {
        linger: Duration::from_millis(300),
        ..Patience::default()
    };
    let (bench, running) = started("answer m1 Hello.; result; exec sleep 600", patience).await;
    was_left_alone(running).await;
    bench.stop().await;
}

#[tokio::test]
async fn background_work_may_bring_more_in_its_own_time_and_no_longer() {
    let patience = Patience {
        linger: Duration::from_millis(200),
        background: Some(ms(10_000)),
        ..Patience::default()
    };
    let begun = "tool; task; tool_goes_on; answer m1 Begun.; result;";
    let goes_on = "sleep 1; task_end; init; answer m2 Finished.; result";
    let (bench, mut running) = started(&format!("{begun} {goes_on}"), patience).await;
    running.event("token").await;
    assert_eq!(running.event("token").await["text"], "Finished.");
    was_left_alone(running).await;
    bench.stop().await;

    let patience = Patience {
        background: Some(ms(500)),
        ..patience
    };
    let (bench, mut running) = started(&format!("{begun} exec sleep 600"), patience).await;
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "incomplete", "{end}");
    running.notice("background_open");
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn the_real_claude_is_ended_when_its_model_never_answers() {
    let script = "[[scenario]]\nmatch = \"Think for ever\"\n\
        reply = [{ delay_ms = 600000, steps = [{ say = \"Never.\" }] }]\n";
    let Some(mut bench) = Bench::with_claude(script).await else {
        return;
    };
    bench.patience.model = Some(ms(2_000));
    let mut running = bench.start().await;
    running.prompt("Think for ever.").await;
    let crash = running.event("agent_crashed").await;
    assert_eq!(crash["cause"], "hang", "{crash}");
    let message = crash["message"].as_str().unwrap();
    assert!(
        message.contains("while it waited for the model"),
        "{message}"
    );
    // In the wait before the next attempt, which would hang as well.
    running.session.abort().await.unwrap();
    assert_eq!(running.event("end").await["outcome"], "cancelled");
    running.stop().await;
    bench.stop().await;
}
