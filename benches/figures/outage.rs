//! A Hub that is away, and one that reads nothing: what waits in the journal is told when it is
//! there again, and the daemon does not grow meanwhile.

use std::time::Duration;

use crate::agent::Part;
use crate::hub::{Hub, Mood, Seen};
use crate::place::{Daemon, Place, megabytes, resident};
use crate::report::{Figure, Goal, Report};

/// The Hub's absence, and the CLI's pace in it.
const AWAY: Duration = Duration::from_mins(1);
const A_SECOND: u64 = 1000;
/// How long a Hub reads nothing, and what the CLI writes at full speed in that time: more of it
/// would only be more on the disk.
const DEAF: Duration = Duration::from_secs(30);
const LINES: usize = 400_000;
/// The link's longest pause, and the catching up.
const LIMIT: Duration = Duration::from_mins(3);

pub async fn figures(report: &mut Report) {
    away(report).await;
    deaf(report).await;
}

async fn away(report: &mut Report) {
    let lines = usize::try_from(AWAY.as_secs() * A_SECOND).expect("a small number");
    let part = Part::Paced(lines, A_SECOND);
    let mut turn = Turn::start(part).await;
    let before = turn.resident();
    turn.hub.set_mood(Mood::Away);
    tokio::time::sleep(AWAY).await;
    let grown = turn.resident() - before;
    turn.hub.set_mood(Mood::Serving);
    let (first, last) = turn.finish(part).await;
    let times = AWAY.as_secs_f64() / ((last - first) as f64 / 1e9);
    report.add(Figure::new(
        "P12",
        format!(
            "Hub away {} s at {A_SECOND} lines/s: catching up, times real time",
            AWAY.as_secs()
        ),
        Goal::AtLeast(20.0),
        times,
    ));
    report.add(Figure::new(
        "P12",
        "the daemon's RSS in that time, MB more",
        Goal::AtMost(8.0),
        grown,
    ));
}

async fn deaf(report: &mut Report) {
    let part = Part::Lines(LINES);
    let mut turn = Turn::start(part).await;
    turn.hub.set_mood(Mood::Deaf);
    tokio::time::sleep(DEAF).await;
    turn.hub.set_mood(Mood::Serving);
    let daemon = turn.daemon.as_ref().expect("it runs");
    let peak = daemon.peak_megabytes();
    turn.finish(part).await;
    report.add(Figure::new(
        "P13",
        format!(
            "Hub that reads nothing for {} s at full speed: peak RSS, MB",
            DEAF.as_secs()
        ),
        Goal::AtMost(24.0),
        peak,
    ));
}

/// A turn whose begin the Hub has seen.
struct Turn {
    hub: Hub,
    daemon: Option<Daemon>,
    place: Place,
}

const SESSION: &str = "outage";

impl Turn {
    async fn start(part: Part) -> Self {
        let place = Place::new();
        place.plan(part);
        let mut hub = Hub::start();
        let daemon = Some(Daemon::start(&place, &hub, SESSION));
        hub.event("session_start").await;
        hub.prompt(SESSION).await;
        hub.event("agent_start").await;
        Self { hub, daemon, place }
    }

    fn resident(&self) -> f64 {
        let daemon = self.daemon.as_ref().expect("it runs");
        megabytes(resident(daemon.pid(), "VmRSS:"))
    }

    /// When the next frame came and when the turn's last; nothing may be missing.
    async fn finish(&mut self, part: Part) -> (u64, u64) {
        while self.hub.waiting().is_some() {}
        let first = self.next().await.at;
        let last = loop {
            let seen = self.next().await;
            if seen.event == "agent_end" {
                break seen.at;
            }
        };
        if let Some(daemon) = self.daemon.take() {
            daemon.stop();
        }
        let (_, results) = part.expected();
        let stored = self.place.stored(SESSION);
        assert_eq!(stored.missing(part), 0, "the journal has every event once");
        assert_eq!(
            self.hub.tally().results,
            results,
            "the Hub has every result"
        );
        (first, last)
    }

    async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(LIMIT, self.hub.arrival()).await;
        next.expect("the link comes back")
    }
}
