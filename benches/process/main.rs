//! Whole-process figures: start to Hub session, prompt to CLI, idle memory, size of the binary.
//!
//! The shipped binary is started as its users start it. At its far ends stand two programs of
//! this file's: a Hub that notes when frames come in, and (this very program, started by the
//! runner with the CLI's flags) a CLI that notes when its `main` began. Both clocks are the
//! kernel's monotonic one. `scripts/bench` builds and runs it.
// A program for the developers of this project: what goes wrong in it may stop it.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod agent;
mod hub;
#[allow(dead_code)] // the pipeline's measurements share it
mod place;
mod series;

use std::time::Duration;

use hub::Hub;
use place::{Daemon, Place, now};
use series::Series;

const STARTS: usize = 30;
const PROMPTS: usize = 100;
/// Idle means idle: after whatever a start has left to do.
const SETTLE: Duration = Duration::from_secs(2);

fn main() {
    if std::env::args().nth(1).as_deref() == Some("-p") {
        return agent::play();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(measure());
}

async fn measure() {
    let place = Place::new();
    println!(
        "P16 binary, stripped: {:.1} MB (goal 15)",
        place.stripped_megabytes()
    );
    start_to_session(&place).await;
    prompt_to_agent(&place).await;
}

/// P7: exec of the daemon until the Hub has its `session_start`; P4: what it then weighs.
async fn start_to_session(place: &Place) {
    let mut ready = Series::new("P7  exec to Hub session ready, ms (goal 15)");
    for round in 0..STARTS {
        let mut hub = Hub::start().await;
        let began = now();
        let daemon = Daemon::start(place, &hub, &format!("start{round}"));
        ready.add(began, hub.event("session_start").await);
        if round + 1 == STARTS {
            tokio::time::sleep(SETTLE).await;
            println!(
                "P4  daemon RSS, idle: {:.1} MB (goal 8)",
                daemon.resident_megabytes()
            );
        }
        daemon.stop();
    }
    ready.print();
}

/// P8: a prompt sent to the daemon until it is accepted, until the CLI's `main`, and until its
/// first words are back at the Hub.
async fn prompt_to_agent(place: &Place) {
    let mut accepted = Series::new("P8  prompt sent to accepted, durable, ms");
    let mut main = Series::new("P8  prompt accepted to CLI main(), ms (goal 3)");
    let mut first =
        Series::new("P8  prompt accepted to the CLI's first event at the Hub, ms (goal 5)");
    let mut hub = Hub::start().await;
    let daemon = Daemon::start(place, &hub, "prompts");
    hub.event("session_start").await;
    for _ in 0..PROMPTS {
        let sent = now();
        hub.prompt("go").await;
        let answered = hub.event("rpc_response").await;
        let arrived = hub.event("message_update").await;
        hub.event("agent_end").await;
        accepted.add(sent, answered);
        main.add(answered, place.agent_began());
        first.add(answered, arrived);
    }
    daemon.stop();
    for series in [accepted, main, first] {
        series.print();
    }
}
