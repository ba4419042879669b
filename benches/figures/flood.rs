//! Floods of output: one turn's, turns of growing length, and many sessions at once.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use crate::agent::{Note, Part};
use crate::bare;
use crate::hub::{Hub, Tally};
use crate::place::{Daemon, Place, now};
use crate::report::{Figure, Goal, Report};
use crate::series::Series;

/// The CLI's lines in one turn.
const LINES: usize = 100_000;
const ROUNDS: usize = 3;
/// Turns of growing length.
const LENGTHS: [usize; 3] = [10_000, 100_000, 1_000_000];
/// Sessions at once, and the part of one session's rate that their sum is to reach.
const MANY: [(usize, f64); 2] = [(10, 0.9), (50, 0.8)];
/// Lines of all of them together.
const MANY_LINES: usize = 200_000;

/// One turn, measured from the CLI's first write on.
pub struct Flow {
    pub note: Note,
    pub journal_millis: u64,
    pub hub_nanos: u64,
    /// Milliseconds.
    pub daemon_cpu: u64,
    pub peak_megabytes: f64,
    pub tally: Tally,
}

impl Flow {
    /// Also holds the turn to its promise: nothing lost, nothing repeated.
    pub async fn measure(stdio: &str, part: Part) -> Self {
        const SESSION: &str = "flow";
        let place = Place::new();
        place.plan(part);
        let mut hub = Hub::start();
        let daemon = Daemon::start_with(&place, &hub, SESSION, &["--stdio", stdio]);
        hub.event("session_start").await;
        let before = daemon.cpu_millis();
        hub.prompt(SESSION).await;
        let arrived = hub.event("agent_end").await;
        let daemon_cpu = daemon.cpu_millis() - before;
        let peak_megabytes = daemon.peak_megabytes();
        daemon.stop();
        let note = place.note();
        let stored = place.stored(SESSION);
        assert_eq!(stored.missing(part), 0, "the journal has every event once");
        let tally = hub.tally();
        let (text, results) = part.expected();
        assert_eq!(tally.repeated, 0, "the Hub has no frame twice");
        assert_eq!(
            (tally.text, tally.results),
            (text, results),
            "the Hub has it all"
        );
        Self {
            journal_millis: stored.ended - note.began_wall,
            hub_nanos: arrived - note.began,
            daemon_cpu,
            peak_megabytes,
            note,
            tally,
        }
    }

    fn rate(&self) -> f64 {
        self.note.lines as f64 / self.hub_nanos as f64 * 1e9
    }

    fn journal_rate(&self) -> f64 {
        self.note.lines as f64 / self.journal_millis as f64 * 1e3
    }

    /// Seconds for 100,000 lines.
    fn cpu(&self) -> f64 {
        let millis = self.daemon_cpu + self.note.shim_cpu;
        millis as f64 / 1e3 / self.note.lines as f64 * 1e5
    }
}

/// What the bare pipeline makes of the same.
struct Bare {
    rate: f64,
    /// Seconds for 100,000 lines.
    cpu: f64,
}

impl Bare {
    async fn measure(stdio: &str) -> Self {
        let place = Place::new();
        place.plan(Part::Lines(LINES));
        let mut hub = Hub::start();
        let mut child = Command::new(std::env::current_exe().expect("this program's path"))
            .args([bare::FLAG, stdio, hub.url()])
            .arg(place.home())
            .stdin(Stdio::null())
            .spawn()
            .expect("the reference starts");
        let arrived = hub.event("agent_end").await;
        let ended = child.wait().expect("it is ours");
        assert!(ended.success(), "the reference ended with {ended}");
        let note = place.note();
        let cpu = std::fs::read_to_string(place.home().join(bare::CPU)).expect("its note");
        let cpu: u64 = cpu.parse().expect("a number");
        Self {
            rate: note.lines as f64 / (arrived - note.began) as f64 * 1e9,
            cpu: cpu as f64 / 1e3 / note.lines as f64 * 1e5,
        }
    }
}

/// Ours and the bare pipeline in turn, so that other work on the machine meets both.
async fn rounds(stdio: &str) -> (Vec<Flow>, Vec<Bare>) {
    let (mut flows, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bares.push(Bare::measure(stdio).await);
        flows.push(Flow::measure(stdio, Part::Lines(LINES)).await);
    }
    (flows, bares)
}

fn series<T>(items: &[T], value: impl Fn(&T) -> f64) -> Series {
    let mut series = Series::default();
    for item in items {
        series.push(value(item));
    }
    series
}

#[expect(clippy::too_many_lines, reason = "a row for each figure")]
pub async fn figures(report: &mut Report) {
    let (flows, bares) = rounds("pty").await;
    let bare = series(&bares, |bare| bare.rate).median();
    let rate = series(&flows, Flow::rate).median();
    let journal = series(&flows, Flow::journal_rate).median();
    let mut add = |row, what: &str, goal, got, reference: Option<f64>| {
        let figure = Figure::new(row, what, goal, got).of(ROUNDS);
        report.add(match reference {
            Some(reference) => figure.beside(reference),
            None => figure,
        });
    };
    let goal = Goal::AtLeast(1e5);
    add(
        "P1",
        "PTY to the journal, lines/s",
        goal,
        journal,
        Some(bare),
    );
    add(
        "P1",
        "PTY to the Hub, none lost or repeated, lines/s",
        goal,
        rate,
        Some(bare),
    );
    add(
        "P1",
        "the same as a multiple of the bare pipeline",
        Goal::AtLeast(1.2),
        rate / bare,
        None,
    );
    let cpu = series(&flows, Flow::cpu).median();
    let bare_cpu = series(&bares, |bare| bare.cpu).median();
    add(
        "P2",
        "CPU s per 100,000 lines, shim and daemon, full speed",
        Goal::AtMost(1.2),
        cpu,
        Some(bare_cpu),
    );
    let peak = series(&flows, |flow| flow.peak_megabytes).max();
    add(
        "P4",
        "daemon's peak RSS in that, MB",
        Goal::AtMost(24.0),
        peak,
        None,
    );
    let shim = series(&flows, |flow| flow.note.shim_kilobytes as f64 * 1.024e-3).max();
    add(
        "P4",
        "shim's RSS at the end of that, MB",
        Goal::AtMost(4.0),
        shim,
        None,
    );
    let factor = series(&flows, |flow| {
        flow.tally.bytes as f64 / flow.note.bytes as f64
    });
    add(
        "P6",
        "bytes to the Hub per CLI byte",
        Goal::AtMost(1.05),
        factor.median(),
        None,
    );
    let (flows, bares) = rounds("pipe").await;
    let bare = series(&bares, |bare| bare.rate).median();
    let journal = series(&flows, Flow::journal_rate).median();
    let rate = series(&flows, Flow::rate).median();
    let goal = Goal::AtLeast(1.5e5);
    add(
        "P1b",
        "pipe to the journal, lines/s",
        goal,
        journal,
        Some(bare),
    );
    add(
        "P1b",
        "pipe to the Hub, none lost or repeated, lines/s",
        goal,
        rate,
        Some(bare),
    );
}

pub async fn length(report: &mut Report) {
    let (mut cpu, mut peak) = (Series::default(), Series::default());
    for lines in LENGTHS {
        let mut turns = Vec::new();
        // The kernel counts CPU time in steps of 10 ms, a tenth of what the shortest turn takes.
        for _ in 0..(LINES / lines).max(1) {
            turns.push(Flow::measure("pty", Part::Lines(lines)).await);
        }
        let mean = turns.iter().map(Flow::cpu).sum::<f64>() / turns.len() as f64;
        let what = format!("{lines} lines in one turn: CPU s per 100,000");
        report.add(Figure::new("P5", what, Goal::None, mean).of(turns.len()));
        cpu.push(mean);
        peak.push(series(&turns, |flow| flow.peak_megabytes).max());
    }
    let spread = (cpu.max() / cpu.at(0) - 1.0) * 100.0;
    for (what, goal, got) in [
        (
            "CPU per line, from the cheapest to the dearest, %",
            15.0,
            spread,
        ),
        (
            "peak RSS, from the least to the most, MB",
            4.0,
            peak.max() - peak.at(0),
        ),
    ] {
        report.add(Figure::new("P5", what, Goal::AtMost(goal), got).of(LENGTHS.len()));
    }
}

/// Sessions of one daemon at full speed beside each other.
pub async fn many(report: &mut Report) {
    let alone = Flow::measure("pty", Part::Lines(LINES)).await.rate();
    for (count, share) in MANY {
        let crowd = Crowd::measure(count, MANY_LINES / count).await;
        let what = format!("{count} sessions at full speed, sum, lines/s");
        let figure = Figure::new("P9", what, Goal::AtLeast(share * alone), crowd.rate);
        report.add(figure.beside(alone));
        let what = format!("{count} sessions: the slowest as a multiple of the median");
        let slowest = crowd.times.max() / crowd.times.median();
        report.add(Figure::new("P9", what, Goal::AtMost(2.0), slowest).of(count));
        let goal = if count == 50 {
            Goal::AtMost(64.0)
        } else {
            Goal::None
        };
        let what = format!("{count} sessions at full speed, daemon's peak RSS, MB");
        report.add(Figure::new("P4", what, goal, crowd.megabytes));
    }
}

struct Crowd {
    rate: f64,
    /// Of each session, from its turn's begin to its end at the Hub, in milliseconds.
    times: Series,
    megabytes: f64,
}

impl Crowd {
    async fn measure(count: usize, lines: usize) -> Self {
        let place = Place::new();
        place.plan(Part::Say);
        let mut hub = Hub::start();
        let daemon = Daemon::start(&place, &hub, "host");
        hub.event("session_start").await;
        let mut sessions = Vec::new();
        for _ in 0..count {
            sessions.push(place.create("host"));
            hub.event("agent_end").await;
        }
        hub.tally();
        let part = Part::Lines(lines);
        place.plan(part);
        let began = now();
        for session in &sessions {
            hub.prompt(session).await;
        }
        let mut starts: HashMap<String, u64> = HashMap::new();
        let (mut times, mut last) = (Series::default(), began);
        while times.len() < count {
            let seen = hub.next().await;
            match seen.event.as_str() {
                "agent_start" => drop(starts.insert(seen.session, seen.at)),
                "agent_end" => {
                    times.add(starts[&seen.session], seen.at);
                    last = seen.at;
                }
                _ => {}
            }
        }
        let megabytes = daemon.peak_megabytes();
        daemon.stop();
        let tally = hub.tally();
        let (text, results) = part.expected();
        let expected = (count as u64 * text, count as u64 * results);
        assert_eq!((tally.text, tally.results), expected, "the Hub has it all");
        Self {
            rate: (count * lines) as f64 / (last - began) as f64 * 1e9,
            times,
            megabytes,
        }
    }
}
