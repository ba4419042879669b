//! Deaths: the CLI's, and the daemon's.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Part, ROUND};
use crate::hub::Hub;
use crate::place::{Daemon, Place, now};
use crate::report::{Figure, Goal, Report};
use crate::series::Series;

/// Each waits for the pause before a resume: two seconds.
const KILLS: usize = 15;
const RESTARTS: usize = 5;
/// Enough lines for a start in the midst of them.
const LINES: usize = 3000;
const A_SECOND: u64 = 2000;

pub async fn figures(report: &mut Report) {
    cli_killed(report).await;
    daemon_killed(report).await;
}

async fn cli_killed(report: &mut Report) {
    const SESSION: &str = "killed";
    let mut told = Series::default();
    let place = Place::new();
    place.plan(Part::Hang);
    let mut hub = Hub::start();
    let daemon = Daemon::start(&place, &hub, SESSION);
    hub.event("session_start").await;
    for _ in 0..KILLS {
        hub.prompt(SESSION).await;
        hub.event("message_update").await;
        let (_, pid) = place.agent_began();
        let killed = now();
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it lives");
        let report = hub.frame("session_error").await;
        assert_eq!(report.signal, Some(9), "the Hub is told of the signal");
        told.add(killed, report.at);
        // the resumed CLI completes the turn
        hub.event("agent_end").await;
    }
    daemon.stop();
    let what = "CLI's SIGKILL to the Hub told of it, p99 ms";
    let figure = Figure::new("P10", what, Goal::AtMost(10.0), told.at(99));
    report.add(figure.of(told.len()));
}

async fn daemon_killed(report: &mut Report) {
    const SESSION: &str = "taken";
    let mut live = Series::default();
    let mut lost = 0.0;
    for _ in 0..RESTARTS {
        let place = Place::new();
        let part = Part::Paced(LINES, A_SECOND);
        place.plan(part);
        let mut hub = Hub::start();
        let daemon = Daemon::start(&place, &hub, SESSION);
        hub.event("session_start").await;
        hub.prompt(SESSION).await;
        for _ in 0..LINES / ROUND / 4 {
            hub.event("tool_result").await;
        }
        let (_, agent) = place.agent_began();
        daemon.kill();
        let began = now();
        let daemon = Daemon::start(&place, &hub, SESSION);
        hub.event("session_start").await;
        live.add(began, hub.event("message_end").await);
        hub.event("agent_end").await;
        assert_eq!(place.agent_began().1, agent, "the CLI was not disturbed");
        daemon.stop();
        let lines = place.stored(SESSION);
        lost += lines.missing(part) as f64;
    }
    let what = "daemon's kill -9 and exec to live again, max ms";
    let figure = Figure::new("P11", what, Goal::AtMost(100.0), live.max());
    report.add(figure.of(live.len()));
    let what = "events lost or repeated in that";
    report.add(Figure::new("P11", what, Goal::AtMost(0.0), lost).of(RESTARTS));
}
