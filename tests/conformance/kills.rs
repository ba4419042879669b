//! The CLI is killed in the middle of its work: the turn goes on in the CLI's own conversation and
//! completes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::agents::{Agent, OPENCODE};
use crate::bench::Bench;
use crate::gaps;
use crate::live::{HELLO, Watched};
use crate::running::{Running, eventually, made};

/// What the agent was asked, and shows nobody before it is done with it where its CLI prints no
/// pieces.
const TALK: &str = "Talk for long.";
const WORK: &str = "Work for long.";
/// How the runner begins when it goes on with work that was cut off.
const CUT_OFF: &str = "Your previous turn was cut off";

/// SIGKILL while it says something.
pub(crate) fn in_a_text(agent: &'static Agent) {
    let Some(bench) = Bench::with(agent) else {
        return;
    };
    let running = Running::start(&mut bench.agent_command(&["run", TALK], false));
    let mut shows = !gaps::has(agent.key, "pieces");
    if shows {
        running.event("text", |event| event["type"] == "token");
    } else {
        let session = running.event("session", |event| event["type"] == "session");
        shows = session["at_work"] == true;
        eventually("the model talks", || {
            let asked = bench.requests();
            asked.iter().any(|body| body.to_string().contains(TALK))
        });
    }
    let (asked, _) = killed(&bench, running, TALK);
    // What nobody saw the agent take up is asked again; what it took up is not.
    let last = asked.last().unwrap();
    assert_eq!(last.contains(CUT_OFF), shows, "{last}");
}

/// SIGKILL while a command runs.
pub(crate) fn in_a_tool(agent: &'static Agent) {
    let Some(bench) = Bench::with(agent) else {
        return;
    };
    let running = Running::start(&mut bench.agent_command(&["run", WORK], false));
    made(&bench.path("here/begun"));
    running.event("text", |event| event["type"] == "token");
    let call_shows = !gaps::has(agent.key, "call-start");
    if call_shows {
        running.event("call", |event| event["type"] == "tool_start");
    }
    let (asked, goes_on) = killed(&bench, running, WORK);
    let last = asked.last().unwrap();
    assert!(last.contains(CUT_OFF), "{last}");
    assert_eq!(last.contains("- shell: touch begun"), call_shows, "{last}");
    let mentions = last.matches(WORK).count();
    if goes_on {
        assert_eq!(mentions, 1, "asked once, long before: {last}");
    }
}

/// Kills the CLI, once it has stored the conversation, and waits for the end of the turn; what the
/// model was asked for, in order, and whether that was in one conversation.
fn killed(bench: &Bench, running: Running, prompt: &str) -> (Vec<String>, bool) {
    let stores = !gaps::has(bench.agent.key, "early-storage") || prompt == WORK;
    if stores {
        let conversations = bench.path("home").join(bench.agent.conversations);
        eventually("the conversation is stored", || {
            holds(&conversations, prompt.as_bytes())
        });
    }
    kill(bench.cli(), Signal::SIGKILL).unwrap();
    let events = running.finish().events();
    let of = |kind: &str| -> Vec<&Value> {
        let fits = |event: &&Value| event["type"] == kind;
        events.iter().filter(fits).collect()
    };
    let (crashes, ends) = (of("agent_crashed"), of("end"));
    assert_eq!((crashes.len(), ends.len()), (1, 1), "{events:#?}");
    assert_eq!(crashes[0]["signal"], 9, "{crashes:#?}");
    assert_eq!(crashes[0]["will_resume"], true, "{crashes:#?}");
    assert_eq!(ends[0]["outcome"], "completed", "{events:#?}");
    assert_eq!(of("prompt").len(), 1, "{events:#?}");
    let sessions = of("session");
    let is_first = |event: &&Value| event["id"] == sessions[0]["id"];
    let goes_on = sessions.iter().all(is_first);
    assert_eq!(goes_on, stores, "one conversation: {sessions:#?}");
    // One attempt more finds out that the conversation is not there.
    let attempts = if goes_on { 2 } else { 3 };
    assert_eq!(ends[0]["attempt"], attempts, "{ends:#?}");
    let last = sessions.last().unwrap();
    assert_eq!(last["attempt"], attempts, "{sessions:#?}");
    for event in of("tool_end") {
        assert_eq!(event["is_error"], true, "the call was cut off: {event}");
    }
    let asked = bench.requests().iter().map(Value::to_string).collect();
    (asked, goes_on)
}

/// Whether any file below `folder` holds those bytes.
pub(crate) fn holds(folder: &Path, text: &[u8]) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return holds(&path, text);
        }
        // It may be gone by now: some are written anew under another name.
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text)
    })
}

/// OpenCode that is killed leaves its locks. One that looks as if its owner still gave signs of life
/// keeps nobody waiting, where that owner is gone.
#[tokio::test]
async fn what_a_killed_opencode_has_locked_is_free_for_the_next_one() {
    let Some(bench) = Bench::live(&OPENCODE) else {
        return;
    };
    let folder = bench.path("home/.local/state/opencode/locks");
    let mut watched = Watched::start(&bench, HELLO).await;
    let mut lock = None;
    eventually("a lock", || {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let mut names = entries.map(|entry| entry.unwrap().path());
        lock = names.find(|path| path.extension().is_some_and(|end| end == "lock"));
        lock.is_some()
    });
    assert_eq!(watched.end(1)["outcome"], "completed");
    eventually("it is free again", || !lock.as_ref().unwrap().exists());
    let owner = bench.cli();
    bench.signal(Signal::SIGSTOP);
    let lock = lock.unwrap();
    fs::create_dir(&lock).unwrap();
    // OpenCode lets a lock be for a minute after its last sign of life: here, for an hour more.
    fs::write(lock.join("heartbeat"), "").unwrap();
    let heartbeat = fs::OpenOptions::new()
        .write(true)
        .open(lock.join("heartbeat"))
        .unwrap();
    let now = heartbeat.metadata().unwrap().modified().unwrap();
    heartbeat
        .set_modified(now + Duration::from_hours(1))
        .unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let meta = json!({"token": "t", "pid": owner.as_raw(), "hostname": host.trim()});
    fs::write(lock.join("meta.json"), meta.to_string()).unwrap();
    bench.signal(Signal::SIGKILL);
    watched.session.prompt(HELLO).await;
    assert_eq!(watched.end(2)["outcome"], "completed");
    watched.finish(&bench);
}
