//! Work that goes on in the background when the agent has answered, with the real CLIs: it belongs
//! to the turn that began it.

use std::fs;

use serde_json::Value;

use crate::agents::{Agent, CLAUDE, CODEX};
use crate::bench::Bench;
use crate::live::{HELLO, Watched, of};
use crate::running::{eventually, made};

const COMMAND: &str = "Leave it running.";
const CHILD: &str = "Have it looked at.";

/// The events of each turn, by the turns' order.
fn by_turn(events: &[Value]) -> Vec<Vec<&Value>> {
    let ends = of(events, "end");
    let of_turn = |end: &&Value| {
        let turn = end["turn_id"].clone();
        let own = events.iter().filter(move |event| event["turn_id"] == turn);
        own.collect()
    };
    ends.iter().map(of_turn).collect()
}

/// The agent has answered, and what it began goes on.
fn in_the_background(bench: &Bench, watched: &Watched, says: &str) {
    made(&bench.path("here/begun"));
    let mut said = String::new();
    let answered = watched.events.out.first(0, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        said.push_str(event["text"].as_str().unwrap_or_default());
        said.contains(says).then_some(())
    });
    assert!(answered.is_some(), "the agent has said: {said}");
}

/// A prompt that comes while the work goes on waits for its end, and the work is its turn's.
async fn belongs_to_its_turn(agent: &'static Agent, prompt: &str, says: &str) {
    let Some(bench) = Bench::background(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, prompt).await;
    in_the_background(&bench, &watched, says);
    watched.session.prompt(HELLO).await;
    fs::write(bench.path("here/go"), "").unwrap();
    assert_eq!(watched.end(1)["outcome"], "completed");
    assert_eq!(watched.end(2)["outcome"], "completed");
    let events = watched.finish(&bench);
    let turns = by_turn(&events);
    assert_eq!(turns.len(), 2, "{events:#?}");
    let calls = |turn: usize, kind: &str| {
        let of_kind = turns[turn].iter().filter(|event| event["type"] == kind);
        of_kind.count()
    };
    assert!(calls(0, "tool_start") > 0, "{events:#?}");
    assert_eq!(calls(0, "tool_start"), calls(0, "tool_end"), "{events:#?}");
    assert_eq!(
        calls(1, "tool_start") + calls(1, "tool_end"),
        0,
        "{events:#?}"
    );
    let said: String = turns[1]
        .iter()
        .filter(|event| event["type"] == "token")
        .filter_map(|event| event["text"].as_str())
        .collect();
    assert_eq!(said, "Hello to you.");
    assert_eq!(bench.clis().len(), 1, "one process");
    eventually("no stray process", || bench.strays().is_empty());
}

/// A cancel ends the work too, and leaves the process.
async fn is_cancelled_with_its_turn(agent: &'static Agent) {
    let Some(bench) = Bench::background(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, COMMAND).await;
    in_the_background(&bench, &watched, "It goes on.");
    watched.session.abort().await;
    assert_eq!(watched.end(1)["outcome"], "cancelled");
    let sleeps = |bench: &Bench| bench.strays().contains(&"sleep".to_owned());
    assert!(!sleeps(&bench), "{:?}", bench.strays());
    watched.session.prompt(HELLO).await;
    assert_eq!(watched.end(2)["outcome"], "completed");
    let events = watched.finish(&bench);
    let starts = of(&events, "tool_start").len();
    assert_eq!(starts, of(&events, "tool_end").len(), "{events:#?}");
    assert_eq!(bench.clis().len(), 1, "one process");
    eventually("no stray process", || bench.strays().is_empty());
}

/// The daemon dies while the work goes on: the next one waits for it.
async fn survives_the_daemon(agent: &'static Agent) {
    let Some(bench) = Bench::background(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, COMMAND).await;
    in_the_background(&bench, &watched, "It goes on.");
    watched.session.kill_daemon(&bench);
    fs::write(bench.path("here/go"), "").unwrap();
    assert_eq!(watched.end(1)["outcome"], "completed");
    let events = watched.finish(&bench);
    let ends = of(&events, "tool_end");
    assert_eq!(ends.len(), of(&events, "tool_start").len(), "{events:#?}");
    assert_eq!(of(&events, "prompt").len(), 1);
    assert_eq!(bench.clis().len(), 1, "one process");
    eventually("no stray process", || bench.strays().is_empty());
}

macro_rules! background {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn a_command_in_the_background_belongs_to_the_turn_that_began_it() {
                belongs_to_its_turn(&$agent, COMMAND, "It goes on.").await;
            }

            #[tokio::test]
            async fn a_sub_agent_in_the_background_belongs_to_the_turn_that_began_it() {
                belongs_to_its_turn(&$agent, CHILD, "They are on their way.").await;
            }

            #[tokio::test]
            async fn a_cancel_ends_what_goes_on_in_the_background() {
                is_cancelled_with_its_turn(&$agent).await;
            }

            #[tokio::test]
            async fn work_in_the_background_survives_the_daemon() {
                survives_the_daemon(&$agent).await;
            }
        }
    )*};
}

background! {
    claude: CLAUDE,
    codex: CODEX,
}
