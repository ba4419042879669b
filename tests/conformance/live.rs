//! Sessions in live form with the real CLIs: turns of one process, messages into them, and what
//! becomes of them when somebody dies.

use std::fs;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::agents::{Agent, CLAUDE_LIVE, CODEX, CODEX_LIVE, GEMINI, GEMINI_LIVE, OPENCODE_LIVE};
use crate::bench::Bench;
use crate::gaps;
use crate::kills::holds;
use crate::running::{Running, eventually, made};
use crate::session::Session;
use crate::told;

pub(crate) const HELLO: &str = "Say hello.";
pub(crate) const WAIT: &str = "Wait for me.";
pub(crate) const TALK: &str = "Talk for long.";
pub(crate) const WORK: &str = "Work for long.";
/// It calls, and then says something for long.
const LOOK: &str = "Look, then talk for long.";
/// Its first answer is a call, and nothing else.
const SILENT: &str = "Work in silence.";
pub(crate) const STEER: &str = "And mind the gap.";

/// A session, and all of its events as they come, whichever daemon leads it.
pub(crate) struct Watched {
    pub(crate) session: Session,
    pub(crate) events: Running,
}

impl Watched {
    pub(crate) async fn start(bench: &Bench, task: &str) -> Self {
        let session = Session::start(bench, task).await;
        let events = || {
            let mut command = bench.command(&["events", "--output", "jsonl", "--session"]);
            command.arg(&session.id);
            command
        };
        eventually("the daemon leads the session", || {
            events().output().unwrap().status.success()
        });
        let events = Running::start(events().arg("--follow"));
        Self { session, events }
    }

    /// The end of the `number`-th turn, from 1.
    pub(crate) fn end(&self, number: usize) -> Value {
        let mut ends = 0;
        let found = self.events.out.first(0, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            ends += usize::from(event["type"] == "end");
            (ends == number && event["type"] == "end").then_some(event)
        });
        found.unwrap_or_else(|| panic!("no end of turn {number}")).1
    }

    pub(crate) fn finish(self, bench: &Bench) -> Vec<Value> {
        self.session.stop();
        let parse = |line: &String| serde_json::from_str(line).unwrap();
        let events: Vec<Value> = self.events.out.all().iter().map(parse).collect();
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event["seq"], index + 1, "{event}");
        }
        told::check(bench.agent, &events);
        events
    }
}

pub(crate) fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let fits = |event: &&Value| event["type"] == kind;
    events.iter().filter(fits).collect()
}

/// What was said, by turn.
pub(crate) fn texts(events: &[Value]) -> Vec<String> {
    let mut texts = vec![String::new()];
    for event in events {
        if event["type"] == "token" {
            let text = event["text"].as_str().unwrap();
            texts.last_mut().unwrap().push_str(text);
        } else if event["type"] == "end" {
            texts.push(String::new());
        }
    }
    texts.pop();
    texts
}

pub(crate) fn asked(bench: &Bench, text: &str) -> usize {
    let requests = bench.requests();
    let last = requests
        .iter()
        .map(Value::to_string)
        .max_by_key(String::len);
    last.unwrap_or_default().matches(text).count()
}

async fn twenty_turns(agent: &'static Agent) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, HELLO).await;
    for number in 1..=20 {
        assert_eq!(watched.end(number)["outcome"], "completed");
        if number < 20 {
            watched
                .session
                .prompt(&format!("Hello number {number}."))
                .await;
        }
    }
    let again = replayed(&bench);
    let events = watched.finish(&bench);
    assert_eq!(the_clis(&again), the_clis(&events));
    assert_eq!(texts(&events), vec!["Hello to you."; 20]);
    let sessions = of(&events, "session");
    assert_eq!(sessions.len(), 20, "one a turn: {sessions:#?}");
    let mut took: Vec<u64> = of(&events, "end")
        .iter()
        .skip(1)
        .map(|end| end["duration_ms"].as_u64().unwrap())
        .collect();
    took.sort_unstable();
    println!(
        "{}: a later turn took {} ms",
        agent.name,
        took[took.len() / 2]
    );
    let turns: Vec<&Value> = of(&events, "end")
        .iter()
        .map(|end| &end["turn_id"])
        .collect();
    for (turn, pair) in turns
        .iter()
        .zip(events.split(|event| event["type"] == "end"))
    {
        let foreign = pair
            .iter()
            .find(|event| event["turn_id"].is_string() && event["turn_id"] != **turn);
        assert!(foreign.is_none(), "{foreign:?}");
    }
    assert_eq!(bench.clis().len(), 1, "one process");
    eventually("no stray process", || bench.strays().is_empty());
}

/// What `replay` gives of the run's folder.
fn replayed(bench: &Bench) -> Vec<Value> {
    let folder = bench.run_folder();
    let words = ["replay", "--agent", bench.agent.name, "--dialog"];
    let replay = Running::start(bench.command(&words).arg(folder)).finish();
    assert_eq!(replay.code(), 0, "{replay:#?}");
    replay.events()
}

/// What the CLI said of itself, in order, without what only a session has.
fn the_clis(events: &[Value]) -> Vec<Value> {
    let own = [
        "session",
        "token",
        "thinking",
        "tool_start",
        "tool_delta",
        "tool_end",
        "usage",
        "context",
    ];
    let is_own = |event: &&Value| own.iter().any(|kind| event["type"] == *kind);
    let bare = |event: &Value| {
        let mut event = event.as_object().unwrap().clone();
        for name in [
            "seq",
            "at",
            "event_id",
            "session_id",
            "turn_id",
            "attempt",
            "agent",
        ] {
            event.remove(name);
        }
        Value::Object(event)
    };
    events.iter().filter(is_own).map(bare).collect()
}

async fn steered(agent: &'static Agent) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, WAIT).await;
    made(&bench.path("here/begun"));
    watched.session.steer(STEER).await;
    watched
        .events
        .event("message", |event| event["text"] == STEER);
    let is_interrupted = gaps::has(agent.key, "steer");
    if !is_interrupted {
        fs::write(bench.path("here/go"), "").unwrap();
    }
    assert_eq!(watched.end(1)["outcome"], "completed");
    let again = replayed(&bench);
    let events = watched.finish(&bench);
    assert_eq!(the_clis(&again), the_clis(&events));
    assert_eq!(of(&events, "end").len(), 1, "one turn: {events:#?}");
    let ended = of(&events, "tool_end");
    assert_eq!(ended[0]["is_error"], is_interrupted, "{ended:?}");
    assert_eq!(asked(&bench, STEER), 1, "said once");
    assert_eq!(bench.clis().len(), 1, "one process");
}

/// An interrupt ends the turn and what its tool runs, and not the process.
async fn interrupted(agent: &'static Agent, prompt: &str) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, prompt).await;
    in_the_middle(&bench, &watched, prompt);
    watched.session.abort().await;
    assert_eq!(watched.end(1)["outcome"], "cancelled");
    let sleeps = |bench: &Bench| bench.strays().contains(&"sleep".to_owned());
    assert!(!sleeps(&bench), "{:?}", bench.strays());
    watched.session.prompt(HELLO).await;
    assert_eq!(watched.end(2)["outcome"], "completed");
    drop(watched.finish(&bench));
    assert_eq!(bench.clis().len(), 1, "one process");
    eventually("no stray process", || bench.strays().is_empty());
}

pub(crate) fn in_the_middle(bench: &Bench, watched: &Watched, prompt: &str) {
    if prompt == WORK {
        made(&bench.path("here/begun"));
        watched
            .events
            .event("call", |event| event["type"] == "tool_start");
    } else {
        watched
            .events
            .event("text", |event| event["type"] == "token");
    }
}

/// Waits until the CLI has written that down: only then can it go on with it.
pub(crate) fn stored(bench: &Bench, prompt: &str) {
    let conversations = bench.path("home").join(bench.agent.conversations);
    eventually("the conversation is stored", || {
        holds(&conversations, prompt.as_bytes())
    });
}

/// Codex tells of a call some 150 ms after it began: what is cut off before that is not asked for
/// again all the same.
async fn cut_off_in_a_call_that_is_not_told(mode: &'static str, steer: Option<&str>) {
    let Some(bench) = Bench::playing(&CODEX, mode, include_str!("live.toml")) else {
        return;
    };
    let mut watched = Watched::start(&bench, SILENT).await;
    made(&bench.path("here/begun"));
    match steer {
        Some(message) => watched.session.steer(message).await,
        None => bench.signal(Signal::SIGKILL),
    }
    assert_eq!(watched.end(1)["outcome"], "completed");
    let events = watched.finish(&bench);
    let is_shown = |event: &&Value| event["type"] == "tool_start" || event["code"] == "taken_up";
    assert_eq!(events.iter().filter(is_shown).count(), 1, "{events:#?}");
    let said = if steer.is_some() {
        "Minded."
    } else {
        "Gone on with."
    };
    assert_eq!(texts(&events), [said]);
    assert_eq!(asked(&bench, SILENT), 1, "asked once");
    assert_eq!(bench.clis().len(), 2);
    eventually("no stray process", || bench.strays().is_empty());
}

#[tokio::test]
async fn codex_that_is_killed_in_a_call_that_it_has_not_told_is_not_asked_again() {
    cut_off_in_a_call_that_is_not_told("exec", None).await;
}

#[tokio::test]
async fn codex_live_that_is_killed_in_a_call_that_it_has_not_told_is_not_asked_again() {
    cut_off_in_a_call_that_is_not_told("live", None).await;
}

#[tokio::test]
async fn a_message_into_a_call_that_codex_has_not_told_is_said_alone() {
    cut_off_in_a_call_that_is_not_told("exec", Some(STEER)).await;
}

/// Gemini CLI that is cut off while its model is asked what follows on a call takes the whole turn out
/// of its conversation: the agent is told of it all the same, once.
async fn cut_off_while_the_model_is_asked(mode: &'static str, is_cancelled: bool) {
    let Some(bench) = Bench::playing(&GEMINI, mode, include_str!("live.toml")) else {
        return;
    };
    let mut watched = Watched::start(&bench, LOOK).await;
    let is_second = |event: &Value| {
        let text = event["text"].as_str().unwrap_or_default();
        event["type"] == "token" && text.contains("This")
    };
    watched.events.event("the second answer", is_second);
    let turns = if is_cancelled {
        watched.session.abort().await;
        assert_eq!(watched.end(1)["outcome"], "cancelled");
        watched.session.prompt(STEER).await;
        2
    } else {
        watched.session.steer(STEER).await;
        1
    };
    assert_eq!(watched.end(turns)["outcome"], "completed");
    let is_told = |text: &str| {
        let requests = bench.requests();
        let last = requests
            .iter()
            .map(Value::to_string)
            .rfind(|request| request.contains(STEER));
        last.unwrap().contains(text)
    };
    assert!(is_told("echo seen"), "{:#?}", bench.requests().last());
    let events = watched.finish(&bench);
    assert!(
        texts(&events).last().unwrap().ends_with("Minded."),
        "{events:#?}"
    );
    assert_eq!(asked(&bench, LOOK), 1, "told once");
    assert_eq!(asked(&bench, STEER), 1, "told once");
    let forgotten = |event: &&Value| event["code"] == "turn_forgotten";
    // A process that is ended by a signal has no time to forget.
    let forgot = usize::from(mode == "live");
    assert_eq!(
        events.iter().filter(forgotten).count(),
        forgot,
        "{events:#?}"
    );
    eventually("no stray process", || bench.strays().is_empty());
}

#[tokio::test]
async fn a_message_to_gemini_while_its_model_is_asked_comes_with_what_it_forgot() {
    cut_off_while_the_model_is_asked("live", false).await;
}

#[tokio::test]
async fn a_prompt_to_gemini_after_a_cancelled_turn_comes_with_what_it_forgot() {
    cut_off_while_the_model_is_asked("live", true).await;
}

#[tokio::test]
async fn a_message_to_gemini_in_exec_form_reaches_one_that_has_forgotten_nothing() {
    cut_off_while_the_model_is_asked("exec", false).await;
}

/// One that dies at rest is replaced, one that nobody talks to is ended; the next turn goes on.
async fn at_rest(agent: &'static Agent) {
    let Some(mut bench) = Bench::live(agent) else {
        return;
    };
    bench.idle = "2s";
    let mut watched = Watched::start(&bench, HELLO).await;
    watched.end(1);
    stored(&bench, HELLO);
    kill(bench.cli(), Signal::SIGKILL).unwrap();
    let replaced = |event: &Value| event["code"] == "agent_restarted";
    watched.events.event("word of the death", replaced);
    eventually("a new process", || bench.clis().len() == 2);
    eventually("it is ended", || bench.strays().is_empty());
    watched.session.prompt(HELLO).await;
    assert_eq!(watched.end(2)["outcome"], "completed");
    let events = watched.finish(&bench);
    assert!(of(&events, "agent_crashed").is_empty(), "{events:#?}");
    assert_eq!(bench.clis().len(), 3);
    let sessions = of(&events, "session");
    let other = sessions
        .iter()
        .find(|event| event["id"] != sessions[0]["id"]);
    assert!(other.is_none(), "one conversation: {sessions:#?}");
}

macro_rules! live {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn twenty_turns_in_one_process() {
                twenty_turns(&$agent).await;
            }

            #[tokio::test]
            async fn a_message_reaches_the_running_turn() {
                steered(&$agent).await;
            }

            #[tokio::test]
            async fn an_interrupt_in_a_text_ends_the_turn_and_not_the_process() {
                interrupted(&$agent, TALK).await;
            }

            #[tokio::test]
            async fn an_interrupt_in_a_command_ends_it_and_not_the_process() {
                interrupted(&$agent, WORK).await;
            }

            #[tokio::test]
            async fn a_process_at_rest_is_replaced_or_ended_and_the_conversation_goes_on() {
                at_rest(&$agent).await;
            }
        }
    )*};
}

live! {
    claude: CLAUDE_LIVE,
    codex: CODEX_LIVE,
    opencode: OPENCODE_LIVE,
    gemini: GEMINI_LIVE,
}
