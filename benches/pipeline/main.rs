//! A flood of output: from the CLI's first write until the turn's end is in the journal, and until
//! the Hub has it.
//!
//! The shipped binary runs as its users run it, a shim and a PTY (then a pipe) between it and the
//! CLI, which is this very program. The Hub of `benches/process` acknowledges everything; it shares
//! the machine. `scripts/bench` runs this; `cargo bench --bench pipeline -- 1000000` sets another
//! number of lines.
// A program for the developers of this project: what goes wrong in it may stop it.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod agent;
#[path = "../process/hub.rs"]
mod hub;
#[allow(dead_code)] // the measurements of single processes share it
#[path = "../process/place.rs"]
mod place;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use hub::Hub;
use place::{Daemon, Place, now};

/// The CLI's lines in one turn.
const LINES: usize = 100_000;
/// How many lines the CLI of a run has to write.
const COUNT: &str = "lines";
const ROUNDS: usize = 3;

fn main() {
    let first = std::env::args().nth(1).unwrap_or_default();
    if first == "-p" {
        let text = std::fs::read_to_string(home().join(COUNT)).expect("the bench wrote it");
        return agent::play(text.parse().expect("a number"));
    }
    let lines = first.parse().unwrap_or(LINES);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for stdio in ["pty", "pipe"] {
        for round in 0..ROUNDS {
            runtime.block_on(flood(stdio, lines, &format!("{stdio}{round}")));
        }
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
async fn flood(stdio: &str, lines: usize, session: &str) {
    let place = Place::new();
    place.write(COUNT, &lines.to_string());
    let mut hub = Hub::start().await;
    let daemon = Daemon::start_with(&place, &hub, session, &["--stdio", stdio]);
    hub.event("session_start").await;
    let before = daemon.cpu_millis();
    hub.prompt("go").await;
    hub.event("agent_end").await;
    let arrived = now();
    let cpu = daemon.cpu_millis() - before;
    let peak = daemon.peak_megabytes();
    daemon.stop();
    let note: agent::Note =
        serde_json::from_str(&place.read(agent::NOTE)).expect("the CLI wrote it");
    let journal = place.state(session).join("journal.db");
    let ended = ended_at(&journal) - note.began_wall;
    let rate = |millis: u64| note.lines as f64 / millis.max(1) as f64;
    let arrived = (arrived - note.began) / 1_000_000;
    let per = 100_000.0 / note.lines as f64 / 1000.0;
    println!(
        "P1  {stdio}, {} lines, {:.0} MB: journal {:.0}k lines/s, Hub {:.0}k lines/s; \
         P2 CPU s per 100k: shim {:.2}, daemon {:.2}; P4 peak RSS {peak:.0} MB",
        note.lines,
        note.bytes as f64 / 1e6,
        rate(ended),
        rate(arrived),
        note.shim_cpu as f64 * per,
        cpu as f64 * per,
    );
}

fn home() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").expect("the runner sets HOME"))
}

/// When the turn's end was written, by the wall clock.
fn ended_at(journal: &Path) -> u64 {
    let journal = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let (at, outcome): (i64, String) = journal
        .and_then(|journal| {
            journal.query_row("SELECT ended_at, outcome FROM turn", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        })
        .expect("one turn that has ended");
    assert_eq!(outcome, "completed");
    u64::try_from(at).expect("time is positive")
}
