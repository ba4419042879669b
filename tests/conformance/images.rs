//! Images that go with prompts reach the model once, whoever dies in between, and stand in no event.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::agents::{Agent, CLAUDE_LIVE, CODEX_LIVE, GEMINI_LIVE};
use crate::bench::Bench;
use crate::live::{HELLO, WAIT, Watched, of};
use crate::running::{Running, made};

/// A PNG image of one pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=";

/// How often the image is in the longest of the requests to the model.
fn shown(bench: &Bench) -> usize {
    let requests = bench.requests();
    let texts = requests.iter().map(ToString::to_string);
    let longest = texts.max_by_key(String::len).unwrap_or_default();
    longest.matches(PIXEL).count()
}

/// The session is over: one turn with the image, which no event has in it.
fn assert_shown_once(bench: &Bench, watched: Watched, turns: usize) {
    let events = watched.finish(bench);
    assert_eq!(of(&events, "end").len(), turns, "{events:#?}");
    let with_image: Vec<_> = of(&events, "prompt")
        .into_iter()
        .filter(|event| !event["images"].is_null())
        .collect();
    let [prompt] = with_image.as_slice() else {
        panic!("one prompt with an image, not {with_image:#?}");
    };
    assert_eq!(prompt["images"][0]["media_type"], "image/png");
    assert_eq!(prompt["images"][0]["bytes"], 68);
    let texts: String = events.iter().map(ToString::to_string).collect();
    assert!(!texts.contains(PIXEL), "no event has the bytes");
    assert_eq!(shown(bench), 1, "shown once");
}

/// The daemon dies at that place on the way of a prompt with an image.
async fn daemon_killed(agent: &'static Agent, at: &'static str) {
    let Some(mut bench) = Bench::live(agent) else {
        return;
    };
    bench.crash = Some(at);
    let mut watched = Watched::start(&bench, HELLO).await;
    watched.end(1);
    watched.session.show("prompt", HELLO, PIXEL).await;
    made(&bench.path("crash.crashed"));
    watched.session.start_daemon(&bench);
    assert_eq!(watched.end(2)["outcome"], "completed");
    assert_shown_once(&bench, watched, 2);
}

/// `agent-runner prompt` hands the prompt to the next daemon again, as the same one.
#[tokio::test]
async fn claude_is_shown_an_image_once_whose_prompt_was_just_accepted() {
    let Some(mut bench) = Bench::live(&CLAUDE_LIVE) else {
        return;
    };
    bench.crash = Some("session.prompt_stored:2");
    let mut watched = Watched::start(&bench, HELLO).await;
    watched.end(1);
    let file = bench.path("pixel.png");
    fs::write(&file, STANDARD.decode(PIXEL).unwrap()).unwrap();
    let mut command = bench.command(&["prompt", HELLO, "--session", &watched.session.id]);
    let prompt = Running::start(command.arg("--image").arg(&file));
    made(&bench.path("crash.crashed"));
    watched.session.start_daemon(&bench);
    let handed = prompt.finish();
    assert_eq!(handed.code(), 0, "{handed:?}");
    assert_eq!(watched.end(2)["outcome"], "completed");
    assert_shown_once(&bench, watched, 2);
}

#[tokio::test]
async fn codex_is_shown_an_image_once_that_was_about_to_be_sent() {
    daemon_killed(&CODEX_LIVE, "live.before_command:2").await;
}

#[tokio::test]
async fn gemini_is_shown_an_image_once_whose_turn_has_begun() {
    daemon_killed(&GEMINI_LIVE, "live.begun:2").await;
}

#[tokio::test]
async fn claude_is_shown_an_image_of_a_message_into_its_turn_once() {
    let Some(bench) = Bench::live(&CLAUDE_LIVE) else {
        return;
    };
    let mut watched = Watched::start(&bench, WAIT).await;
    made(&bench.path("here/begun"));
    watched.session.show("steer", "Like this.", PIXEL).await;
    watched
        .events
        .event("message", |event| event["text"] == "Like this.");
    watched.session.kill_daemon(&bench);
    fs::write(bench.path("here/go"), "").unwrap();
    assert_eq!(watched.end(1)["outcome"], "completed");
    assert_shown_once(&bench, watched, 1);
}

/// A command for an agent that is shown the pixel with its task; `auto` as a user has it.
fn with_pixel(bench: &Bench, command: &str) -> Running {
    let file = bench.path("pixel.png");
    fs::write(&file, STANDARD.decode(PIXEL).unwrap()).unwrap();
    let mut command = bench.agent_command(&[command, HELLO], false);
    command.env("AGENT_RUNNER_MODE", "auto");
    Running::start(command.arg("--image").arg(&file))
}

fn assert_in_one_prompt(events: &[serde_json::Value]) {
    let prompts = of(events, "prompt");
    assert_eq!(prompts.len(), 1, "{events:#?}");
    assert_eq!(prompts[0]["images"][0]["bytes"], 68, "{prompts:?}");
    assert_eq!(of(events, "end")[0]["outcome"], "completed", "{events:#?}");
}

#[test]
fn claude_is_shown_an_image_that_goes_with_the_task_of_a_run() {
    let Some(bench) = Bench::live(&CLAUDE_LIVE) else {
        return;
    };
    let finished = with_pixel(&bench, "run").finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    assert_in_one_prompt(&finished.events());
    assert_eq!(shown(&bench), 1);
}

/// Whose exec form, which it has by itself, takes none.
#[test]
fn gemini_is_shown_an_image_that_goes_with_the_task_of_a_session_in_the_background() {
    let Some(bench) = Bench::live(&GEMINI_LIVE) else {
        return;
    };
    let finished = with_pixel(&bench, "start").finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    let answer: serde_json::Value = serde_json::from_str(&finished.out[0]).unwrap();
    let output = answer["output_file"].as_str().unwrap();
    let daemon = i32::try_from(answer["pid"].as_i64().unwrap()).unwrap();
    let mut events = Vec::new();
    crate::running::eventually("the turn's end", || {
        let text = fs::read_to_string(output).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        events = lines.collect();
        !of(&events, "end").is_empty()
    });
    let daemon = nix::unistd::Pid::from_raw(daemon);
    nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_in_one_prompt(&events);
    assert_eq!(shown(&bench), 1);
}
