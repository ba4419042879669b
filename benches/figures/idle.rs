//! What a daemon weighs that has nothing to do.

use std::time::Duration;

use crate::hub::Hub;
use crate::place::{Daemon, Place};
use crate::report::{Figure, Goal, Report};

/// Idle means idle: after whatever a start has left to do.
const SETTLE: Duration = Duration::from_secs(2);

pub async fn figures(report: &mut Report) {
    let place = Place::new();
    let mut hub = Hub::start();
    let daemon = Daemon::start(&place, &hub, "idle");
    hub.event("session_start").await;
    tokio::time::sleep(SETTLE).await;
    let (all, own) = daemon.resident_megabytes();
    daemon.stop();
    report.add(Figure::new(
        "P4",
        "daemon idle, RSS, MB",
        Goal::AtMost(8.0),
        all,
    ));
    report.add(Figure::new(
        "P4",
        "daemon idle, RSS without pages of files, MB",
        Goal::None,
        own,
    ));
}
