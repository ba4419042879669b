//! The ways in which a turn ends otherwise than well: each with its own exit code, none with a
//! process left.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Model};
use crate::participants::Participants;
use crate::running::{Finished, Running, made};

const SLEEP: &str = r#"
[[reply]]
steps = [{ say = "I wait." }, { shell = "touch sleeping; exec sleep 3000" }]
"#;

fn run(bench: &Bench, model: &Model, words: &[&str]) -> Running {
    let mut command = bench.agent(model, &["run", "--output", "jsonl"]);
    bench.start(command.args(words).arg("Do it."))
}

/// The last event, which is the only end of the turn.
fn end(finished: &Finished) -> Value {
    let events = finished.events();
    let ends = events.iter().filter(|event| event["type"] == "end").count();
    assert_eq!(ends, 1, "{events:?}");
    events
        .last()
        .filter(|event| event["type"] == "end")
        .unwrap()
        .clone()
}

#[test]
fn ctrl_c_interrupts_the_cli_and_ends_its_whole_tree() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SLEEP);
    let run = run(&bench, &model, &[]);
    made(&bench.path("here/sleeping"));
    run.signal(Signal::SIGINT);
    let finished = run.finish();
    assert!(finished.fails_with(130).contains("interrupting the agent"));
    assert_eq!(end(&finished)["outcome"], "cancelled");
    bench.assert_no_process_left();
}

/// A CLI that works until it is interrupted, with something that it has started.
const WORKS: &str = "#!/bin/sh\ncat >/dev/null\nsleep 3000 &\ntouch working\nexec sleep 3000\n";

#[test]
fn a_run_whose_terminal_goes_or_that_is_killed_leaves_no_agent_at_work() {
    for (signal, code) in [(Signal::SIGHUP, Some(130)), (Signal::SIGKILL, None)] {
        let bench = Bench::new();
        let config = bench.config_with_cli(WORKS);
        let words = ["run", "--output", "jsonl", "--config", &config, "Do it."];
        let run = bench.start(&mut bench.command(&words));
        made(&bench.path("here/working"));
        run.signal(signal);
        let finished = run.finish();
        assert_eq!(finished.status.code(), code, "{finished:?}");
        bench.assert_no_process_left();
        if code.is_some() {
            assert_eq!(end(&finished)["outcome"], "cancelled");
        }
    }
}

#[test]
fn a_second_ctrl_c_kills_a_cli_that_does_not_listen_to_the_first() {
    let bench = Bench::new();
    let deaf =
        "#!/bin/sh\ntrap '' INT TERM\ncat >/dev/null\ntouch deaf\nwhile :; do sleep 3000; done\n";
    let config = bench.config_with_cli(deaf);
    let words = ["run", "--output", "jsonl", "--config", &config, "Do it."];
    let run = bench.start(&mut bench.command(&words));
    made(&bench.path("here/deaf"));
    run.signal(Signal::SIGINT);
    let told = |line: &str| line.contains("again: kill it at once").then_some(());
    assert!(
        run.err.first(0, told).is_some(),
        "it says what another one does"
    );
    run.signal(Signal::SIGINT);
    let finished = run.finish();
    finished.fails_with(130);
    let end = end(&finished);
    assert_eq!(end["outcome"], "cancelled", "{end}");
    // The first one alone would have waited for longer than this.
    assert!(end["duration_ms"].as_u64() < Some(5_000), "{end}");
    bench.assert_no_process_left();
}

#[test]
fn a_turn_that_takes_too_long_is_ended() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SLEEP);
    let finished = run(&bench, &model, &["--timeout", "2s"]).finish();
    finished.fails_with(4);
    assert_eq!(end(&finished)["outcome"], "timed_out");
    bench.assert_no_process_left();
}

#[test]
fn a_model_that_refuses_the_key_fails_the_turn() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model =
        bench.model("[[reply]]\nfail = { status = 401, type = \"authentication_error\" }\n");
    let finished = run(&bench, &model, &[]).finish();
    finished.fails_with(1);
    let end = end(&finished);
    assert_eq!(end["outcome"], "failed");
    assert_eq!(end["error"]["class"], "auth", "{end}");
    bench.assert_no_process_left();
}

#[test]
fn a_daemon_for_one_task_exits_with_what_became_of_it() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(
        "[[scenario]]\nmatch = \"Do\"\nreply = [{ steps = [{ say = \"Done.\" }] }]\n\
         [[scenario]]\nmatch = \"Fail\"\nreply = [{ fail = { status = 400 } }]\n",
    );
    let hub = bench.hub(None);
    for (task, code) in [("Do it.", 0), ("Fail.", 1)] {
        let Some(mut all) = Participants::start(&bench, &hub, None) else {
            return;
        };
        let session = all.create(&json!({"task": task}));
        let words = [
            "daemon",
            "--once",
            "--output",
            "jsonl",
            "--session",
            &session,
        ];
        let daemon = |words: &[&str]| {
            let mut command = bench.agent(&model, words);
            bench.start(command.args(["--hub", &hub.url])).finish()
        };
        let finished = daemon(&words);
        assert_eq!(finished.code(), code, "{finished:#?}");
        end(&finished);
        all.broadcast("agent_end", 1);
        // The task is done: the next start says so again, and runs nothing.
        let finished = daemon(&words);
        assert_eq!(finished.code(), code, "{finished:#?}");
        assert!(!finished.out.iter().any(|line| line.contains("\"prompt\"")));
    }
    bench.assert_no_process_left();
}
