//! Starts: the daemon's, and a turn's.

use crate::agent::Part;
use crate::hub::Hub;
use crate::place::{Daemon, Place, now};
use crate::report::{Figure, Goal, Report};
use crate::series::Series;

const STARTS: usize = 30;
const PROMPTS: usize = 100;

pub async fn figures(report: &mut Report) {
    let place = Place::new();
    report.add(Figure::new(
        "P16",
        "binary, stripped, MB",
        Goal::AtMost(15.0),
        place.stripped_megabytes(),
    ));
    start_to_session(&place, report).await;
    prompt_to_agent(&place, report).await;
}

/// Exec of the daemon until the Hub has its `session_start`.
async fn start_to_session(place: &Place, report: &mut Report) {
    let mut ready = Series::default();
    for round in 0..STARTS {
        let mut hub = Hub::start();
        let began = now();
        let daemon = Daemon::start(place, &hub, &format!("start{round}"));
        ready.add(began, hub.event("session_start").await);
        daemon.stop();
    }
    let figure = Figure::new(
        "P7",
        "exec to Hub session ready, p50 ms",
        Goal::AtMost(15.0),
        ready.median(),
    );
    report.add(figure.of(ready.len()));
}

/// A prompt sent to the daemon until it is accepted, until the CLI's `main`, and until its first
/// words are back at the Hub.
async fn prompt_to_agent(place: &Place, report: &mut Report) {
    const SESSION: &str = "prompts";
    let (mut main, mut first) = (Series::default(), Series::default());
    place.plan(Part::Say);
    let mut hub = Hub::start();
    let daemon = Daemon::start(place, &hub, SESSION);
    hub.event("session_start").await;
    for _ in 0..PROMPTS {
        hub.prompt(SESSION).await;
        let accepted = hub.event("rpc_response").await;
        let arrived = hub.event("message_update").await;
        hub.event("agent_end").await;
        main.add(accepted, place.agent_began().0);
        first.add(accepted, arrived);
    }
    daemon.stop();
    for (what, goal, series) in [
        ("prompt accepted to CLI's main(), p50 ms", 3.0, main),
        (
            "prompt accepted to first event at the Hub, p50 ms",
            5.0,
            first,
        ),
    ] {
        let figure = Figure::new("P8", what, Goal::AtMost(goal), series.median());
        report.add(figure.of(series.len()));
    }
}
