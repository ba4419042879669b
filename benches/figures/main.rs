//! The figures that this program is held to, measured: one table, and the same as JSON.
//!
//! The shipped binary runs as its users run it. At its far ends stand two programs of this file's:
//! a Hub that acknowledges everything and notes when it came, and (this very program, started by
//! the runner with the CLI's flags) a CLI that writes what a row needs. Clocks are the kernel's
//! monotonic one. Where a bare pipeline could do the same, it does, in turn with ours.
//!
//! `scripts/bench [ROW…]` builds and runs it; `docs/performance.md` says what the rows mean.
// A program for the developers of this project: what goes wrong in it may stop it.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss, // what is measured stays far below 2^52
    missing_docs,
    unreachable_pub
)]

mod agent;
#[path = "../../tests/conformance/agents.rs"]
#[allow(dead_code)] // shared with the conformance suite, which uses more of it
mod agents;
mod bare;
mod clone;
mod crash;
mod flood;
#[path = "../../tests/git_server/mod.rs"]
#[allow(dead_code, clippy::unwrap_used)] // shared with the tests
mod git_server;
mod hub;
mod idle;
mod journal;
mod latency;
mod live;
mod outage;
mod place;
mod report;
mod series;
mod start;
mod talk;

use report::Report;

/// What measures which rows.
const PARTS: [(&str, &[&str]); 10] = [
    ("start", &["P4", "P7", "P8", "P16"]),
    ("flood", &["P1", "P1b", "P2", "P4", "P6"]),
    ("latency", &["P2", "P3"]),
    ("length", &["P5"]),
    ("many", &["P4", "P9"]),
    ("crash", &["P10", "P11"]),
    ("long", &["P14"]),
    ("journal", &["P15"]),
    ("outage", &["P12", "P13"]),
    ("live", &["P17"]),
    ("clone", &["C1", "C2", "C3"]),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("-p") => return agent::play(),
        Some(bare::FLAG) => return bare::run(&arguments[1..]),
        _ => {}
    }
    // cargo says so to every bench
    let wanted: Vec<&String> = arguments.iter().filter(|row| *row != "--bench").collect();
    for row in &wanted {
        let known = PARTS.iter().any(|(_, rows)| rows.contains(&row.as_str()));
        assert!(
            known,
            "no row {row}; there are {:?}",
            PARTS.map(|(_, rows)| rows)
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut report = Report::default();
    runtime.expect("a runtime").block_on(async {
        for (part, rows) in PARTS {
            if wanted.is_empty() || wanted.iter().any(|row| rows.contains(&row.as_str())) {
                measure(part, &mut report).await;
            }
        }
    });
    report.save(&std::env::var("AGENT_RUNNER_BENCH_MACHINE").unwrap_or_default());
}

async fn measure(part: &str, report: &mut Report) {
    match part {
        "start" => {
            start::figures(report).await;
            idle::figures(report).await;
        }
        "flood" => flood::figures(report).await,
        "latency" => latency::figures(report).await,
        "length" => flood::length(report).await,
        "many" => flood::many(report).await,
        "crash" => crash::figures(report).await,
        "outage" => outage::figures(report).await,
        "journal" => journal::figures(report).await,
        "live" => live::figures(report).await,
        // it blocks, and has runtimes of its own
        "clone" => std::thread::scope(|scope| {
            let measured = scope.spawn(|| clone::figures(report)).join();
            measured.expect("clones are measured");
        }),
        _ => latency::long_lines(report).await,
    }
}
