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

use agent::Part;
use hub::Hub;
use place::{Daemon, Place, now};

/// The CLI's lines in one turn.
const LINES: usize = 100_000;
/// One line of so many bytes; the daemon keeps 4 MiB of a string.
const LONG: [usize; 2] = [20_000_000, 100_000_000];
/// What the CLI of a run has to write.
const PART: &str = "part";
const ROUNDS: usize = 3;

fn main() {
    let first = std::env::args().nth(1).unwrap_or_default();
    if first == "-p" {
        let text = std::fs::read(home().join(PART)).expect("the bench wrote it");
        return agent::play(serde_json::from_slice(&text).expect("a part"));
    }
    let lines = first.parse().unwrap_or(LINES);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for stdio in ["pty", "pipe"] {
        for _ in 0..ROUNDS {
            runtime.block_on(flood(stdio, lines));
        }
    }
    for bytes in LONG {
        runtime.block_on(long_line(bytes));
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
async fn flood(stdio: &str, lines: usize) {
    let flow = Flow::measure(stdio, Part::Lines(lines)).await;
    let note = &flow.note;
    let rate = |millis: u64| note.lines as f64 / millis.max(1) as f64;
    let per = 100.0 / note.lines as f64;
    println!(
        "P1  {stdio}, {} lines, {:.0} MB: to the journal {:.0}k lines/s, to the Hub {:.0}k (goal \
         100 pty, 150 pipe); P2 CPU s per 100k: shim {:.2} + daemon {:.2} (goal 1.2); P4 peak \
         RSS {:.0} MB (goal 24)",
        note.lines,
        note.bytes as f64 / 1e6,
        rate(flow.journal_millis),
        rate(flow.hub_millis),
        note.shim_cpu as f64 * per,
        flow.daemon_cpu as f64 * per,
        flow.peak_megabytes,
    );
}

async fn long_line(bytes: usize) {
    let flow = Flow::measure("pty", Part::Line(bytes)).await;
    println!(
        "P14 one line of {} MB: to the journal {} ms, to the Hub {} ms (goal 500 for 20 MB, 2000 \
         for 100); peak RSS {:.0} MB (goal 32)",
        bytes / 1_000_000,
        flow.journal_millis,
        flow.hub_millis,
        flow.peak_megabytes,
    );
}

/// One turn, measured from the CLI's first write on.
struct Flow {
    note: agent::Note,
    journal_millis: u64,
    hub_millis: u64,
    /// Milliseconds.
    daemon_cpu: u64,
    peak_megabytes: f64,
}

impl Flow {
    async fn measure(stdio: &str, part: Part) -> Self {
        const SESSION: &str = "flow";
        let place = Place::new();
        place.write(PART, &serde_json::to_string(&part).expect("a part is JSON"));
        let mut hub = Hub::start().await;
        let daemon = Daemon::start_with(&place, &hub, SESSION, &["--stdio", stdio]);
        hub.event("session_start").await;
        let before = daemon.cpu_millis();
        hub.prompt("go").await;
        hub.event("agent_end").await;
        let arrived = now();
        let daemon_cpu = daemon.cpu_millis() - before;
        let peak_megabytes = daemon.peak_megabytes();
        daemon.stop();
        let note: agent::Note =
            serde_json::from_str(&place.read(agent::NOTE)).expect("the CLI wrote it");
        let ended = ended_at(&place.state(SESSION).join("journal.db"));
        Self {
            journal_millis: ended - note.began_wall,
            hub_millis: (arrived - note.began) / 1_000_000,
            daemon_cpu,
            peak_megabytes,
            note,
        }
    }
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
