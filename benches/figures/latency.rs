//! How long a line takes from the CLI's write to the Hub: alone, and beside a line without end.

use crate::agent::Part;
use crate::flood::Flow;
use crate::hub::Hub;
use crate::place::{Daemon, Place};
use crate::report::{Figure, Goal, Report};
use crate::series::Series;

/// Lines with a moment in them: what a viewer must see at once. Streamed text is joined for 40 ms
/// on purpose and not measured here.
const TICKS: usize = 1000;
const A_SECOND: u64 = 100;
const PACED: usize = 10_000;
const PACED_A_SECOND: u64 = 2000;
/// One line of so many megabytes and its limit in milliseconds; the daemon keeps 4 MiB of a string.
const LONG: [(usize, f64); 2] = [(20, 500.0), (100, 2000.0)];
/// Enough ticks to last longer than the longest line.
const TICKS_BESIDE: usize = 200;

pub async fn figures(report: &mut Report) {
    let mut ticks = Ticks::start(TICKS).await;
    let series = ticks.finish().await;
    for (percent, goal) in [(50, 0.5), (99, 2.0), (100, 10.0)] {
        let name = if percent == 100 {
            "max".to_owned()
        } else {
            format!("p{percent}")
        };
        let what = format!("CLI's write to the Hub at {A_SECOND} lines/s, {name} ms");
        let figure = Figure::new("P3", what, Goal::AtMost(goal), series.at(percent));
        report.add(figure.of(series.len()));
    }
    let flow = Flow::measure("pty", Part::Paced(PACED, PACED_A_SECOND)).await;
    let per = 1e5 / flow.note.lines as f64 / 1000.0;
    report.add(Figure::new(
        "P2",
        format!("CPU s per 100,000 lines, shim and daemon, at {PACED_A_SECOND} lines/s"),
        Goal::AtMost(4.0),
        (flow.daemon_cpu + flow.note.shim_cpu) as f64 * per,
    ));
}

pub async fn long_lines(report: &mut Report) {
    for (megabytes, limit) in LONG {
        let mut beside = Ticks::start(TICKS_BESIDE).await;
        let flow = Flow::measure("pty", Part::Line(megabytes * 1_000_000)).await;
        let ticks = beside.finish().await;
        report.add(Figure::new(
            "P14",
            format!("one line of {megabytes} MB, to the Hub, ms"),
            Goal::AtMost(limit),
            flow.hub_nanos as f64 / 1e6,
        ));
        report.add(Figure::new(
            "P14",
            format!("one line of {megabytes} MB, peak RSS, MB"),
            Goal::AtMost(32.0),
            flow.peak_megabytes,
        ));
        let what = format!("another session beside that line of {megabytes} MB, p99 ms");
        let figure = Figure::new("P14", what, Goal::AtMost(10.0), ticks.at(99));
        report.add(figure.of(ticks.len()));
    }
}

/// A session whose CLI writes at a steady rate.
struct Ticks {
    hub: Hub,
    daemon: Option<Daemon>,
    _place: Place,
    first: Series,
}

impl Ticks {
    /// Starts it and waits until its lines come.
    async fn start(count: usize) -> Self {
        const SESSION: &str = "ticks";
        let place = Place::new();
        place.plan(Part::Ticks(count, A_SECOND));
        let mut hub = Hub::start();
        let daemon = Some(Daemon::start(&place, &hub, SESSION));
        hub.event("session_start").await;
        hub.prompt(SESSION).await;
        hub.event("tool_execution_start").await;
        let first = Series::default();
        Self {
            hub,
            daemon,
            _place: place,
            first,
        }
    }

    /// From each line's write to its first frame.
    async fn finish(&mut self) -> Series {
        let mut series = std::mem::take(&mut self.first);
        loop {
            let seen = self.hub.next().await;
            match (seen.event.as_str(), seen.stamp) {
                ("tool_execution_start" | "tool_result", Some(written)) => {
                    series.add(written, seen.at);
                }
                ("agent_end", _) => break,
                _ => {}
            }
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.stop();
        }
        series
    }
}
