//! The shipped program on a disk that fills, on one that fails, and stopped for a while.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::journal::Journal;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::{Bench, Hub};
use crate::full::{FailingDisk, SmallDisk, may_mount};
use crate::running::{Finished, Running, eventually};

/// Writes numbered messages until a file `stop` is there. Its ledger says which.
const SCRIPT: &str = r#"#!/bin/sh
cat >/dev/null
pad=$(head -c SIZE /dev/zero | tr '\0' x)
say() {
    printf '{"type":"assistant","message":{"id":"m%s","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"number %s %s"}],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}},"parent_tool_use_id":null,"session_id":"11111111-1111-4111-8111-111111111111"}\n' "$1" "$1" "$pad"
}
echo '{"type":"system","subtype":"init","session_id":"11111111-1111-4111-8111-111111111111","model":"m","cwd":"/","tools":[]}'
n=0
while [ ! -e LEDGER.stop ]; do
    n=$((n + 1))
    echo $n >LEDGER.new && mv LEDGER.new LEDGER
    say $n
    PACE
done
echo '{"type":"result","subtype":"success","is_error":false,"duration_ms":1,"num_turns":1,"result":"done","session_id":"11111111-1111-4111-8111-111111111111","total_cost_usd":0,"usage":{"input_tokens":1,"output_tokens":1}}'
"#;

/// A daemon whose agent writes until it is told to stop.
struct Flood {
    bench: Bench,
    hub: Hub,
    daemon: Running,
}

impl Flood {
    fn start(bench: Bench, pace: &str, prefix: &[&str]) -> Self {
        Self::of(bench, 3_000, pace, prefix)
    }

    /// Of messages of that many bytes.
    fn of(bench: Bench, size: u32, pace: &str, prefix: &[&str]) -> Self {
        let hub = bench.hub(None);
        let script = SCRIPT.replace("LEDGER", &bench.text("ledger"));
        let script = script.replace("SIZE", &size.to_string());
        let config = bench.config_with_cli(&script.replace("PACE", pace));
        let mut command = command(&bench, &hub, &config);
        if let [first, rest @ ..] = prefix {
            command = under(first, rest, &command);
        }
        let daemon = bench.start(&mut command);
        Self { bench, hub, daemon }
    }

    /// Waits until the daemon has ended; how, and the next one.
    fn next_daemon(self, between: impl FnOnce(&Bench)) -> (Finished, Self) {
        let Self { bench, hub, daemon } = self;
        let finished = daemon.finish();
        between(&bench);
        let config = bench.text("config.toml");
        let daemon = bench.start(&mut command(&bench, &hub, &config));
        (finished, Self { bench, hub, daemon })
    }

    /// How far the agent says that it is.
    fn written(&self) -> u64 {
        let text = fs::read_to_string(self.bench.path("ledger"));
        text.map_or(0, |text| text.trim().parse().unwrap())
    }

    fn wait_for(&self, more: u64) {
        let goal = self.written() + more;
        eventually("the agent writes on", || self.written() >= goal);
    }

    /// Waits until the agent stands still.
    fn wait_for_hold(&self) {
        let mut last = (0, Clock.now());
        eventually("the agent is held", || {
            let written = self.written();
            if written != last.0 {
                last = (written, Clock.now());
            }
            last.1.elapsed() > Duration::from_millis(500)
        });
    }

    fn agent_lives(&self) -> bool {
        let runs_it = |process: &crate::bench::Process| process.arguments.contains("/cli");
        self.bench.descendants().iter().any(runs_it)
    }

    /// Lets the agent end; everything that it wrote was told once.
    fn assert_all_told(self) -> Vec<Value> {
        self.assert_told(|_, state| stored(state))
    }

    fn assert_told(self, events: impl FnOnce(&Finished, &Path) -> Vec<Value>) -> Vec<Value> {
        fs::write(self.bench.path("ledger.stop"), "").unwrap();
        let finished = self.daemon.finish();
        assert_eq!(finished.code(), 0, "{}", finished.err);
        self.bench.assert_no_process_left();
        let state = self.bench.path("state");
        let events = events(&finished, &state);
        assert_eq!(integrity(&state), "ok");
        let written = fs::read_to_string(self.bench.path("ledger")).unwrap();
        let written: u64 = written.trim().parse().unwrap();
        let mut told: Vec<u64> = events.iter().filter_map(number).collect();
        told.dedup();
        let last = told.last().copied().unwrap_or(0);
        // An agent that was ended may have died in its last write.
        let was_paused = events.iter().any(|event| event["attempt"] == 2);
        let is_whole = last == written || (was_paused && last + 1 == written);
        assert!(is_whole, "{last} of {written}");
        assert_eq!(told, (1..=last).collect::<Vec<_>>());
        let of_type = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
        assert_eq!((of_type("end"), of_type("agent_crashed")), (1, 0));
        let ids: std::collections::HashSet<_> = events
            .iter()
            .map(|event| event["event_id"].to_string())
            .collect();
        assert_eq!(ids.len(), events.len());
        events
    }
}

/// All events of the one session that the journal holds, without holes.
fn stored(state: &Path) -> Vec<Value> {
    let events = stored_with_gaps(state);
    let places = events.iter().map(|event| event["seq"].as_u64().unwrap());
    assert!(places.eq(1..=events.len() as u64), "without holes");
    events
}

#[tokio::main(flavor = "current_thread")]
async fn stored_with_gaps(state: &Path) -> Vec<Value> {
    let journal = Journal::open(&state.join("journal.db")).unwrap();
    let sessions = journal.sessions().await.unwrap();
    let mut tail = journal.tail(&sessions[0].id, 0);
    let mut events = Vec::new();
    while let Some(batch) = tail.try_next().await.unwrap() {
        let parse = |line| serde_json::from_slice::<Value>(line).unwrap();
        events.extend(batch.lines().map(parse));
    }
    drop(tail);
    journal.close().await;
    events
}

fn number(event: &Value) -> Option<u64> {
    let text = event["text"].as_str()?.strip_prefix("number ")?;
    text.split(' ').next()?.parse().ok()
}

/// The command of a daemon for one task.
fn command(bench: &Bench, hub: &Hub, config: &str) -> Command {
    let words = ["daemon", "--once", "--output", "jsonl", "--config", config];
    let mut command = bench.command(&words);
    command.args(["--hub", &hub.url, "--repo", &bench.text("repo")]);
    command.env("AGENT_RUNNER_TASK", "Write.");
    command
}

/// The same command, started by another program.
fn under(program: &str, words: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(words).arg(command.get_program());
    outer.args(command.get_args()).env_clear();
    outer.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    if let Some(dir) = command.get_current_dir() {
        outer.current_dir(dir);
    }
    outer
}

/// The room that the daemon says there is.
fn room(bench: &Bench) -> String {
    let mut command = bench.command(&["status", "--json"]);
    let said = command.output().unwrap().stdout;
    let status: Value = serde_json::from_slice(&said).unwrap_or_default();
    status["daemon"]["room"].as_str().unwrap_or("?").to_owned()
}

fn integrity(state: &Path) -> String {
    let journal = rusqlite::Connection::open(state.join("journal.db")).unwrap();
    journal
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_full_disk_holds_the_agent_and_lets_it_go_on_when_there_is_room() {
    if !may_mount("whole_way::a_full_disk_holds_the_agent_and_lets_it_go_on_when_there_is_room") {
        return;
    }
    let bench = Bench::new();
    let state = bench.path("state");
    fs::create_dir(&state).unwrap();
    let disk = SmallDisk::mount(&state, 96);
    let flood = Flood::start(bench, "", &[]);
    for _ in 0..2 {
        flood.wait_for(300);
        disk.fill();
        flood.wait_for_hold();
        assert!(flood.agent_lives(), "held, not killed");
        let freed = Clock.now();
        disk.empty();
        flood.wait_for(200);
        assert!(
            freed.elapsed() < Duration::from_secs(30),
            "{:?}",
            freed.elapsed()
        );
    }
    let events = flood.assert_all_told();
    // By the journal, or where only the raw output met the full disk, by the turn.
    let told = |event: &&Value| event["code"] == "disk_full" || event["code"] == "output_held";
    assert!(events.iter().filter(told).count() >= 2, "each time");
}

#[test]
fn a_write_that_fails_ends_the_daemon_with_70_and_the_next_one_goes_on() {
    // The kernel refuses to let the log of writes grow beyond this; the signal that comes with it
    // is ignored, as it is for a disk's own errors, of which it is the nearest that a test can have.
    let limited = ["-c", "trap '' XFSZ; ulimit -f 1536; exec \"$0\" \"$@\""];
    let flood = Flood::start(Bench::new(), "sleep 0.002", &["sh", limited[0], limited[1]]);
    let (finished, flood) = flood.next_daemon(|_| {});
    let said = finished.fails_with(70);
    assert!(said.contains("journal"), "{said}");
    flood.wait_for(50);
    flood.assert_all_told();
}

#[test]
fn a_disk_that_fails_ends_the_daemon_with_70_holds_the_agent_and_no_place_is_given_twice() {
    let bench = Bench::new();
    let state = bench.path("state");
    fs::create_dir(&state).unwrap();
    let Some(disk) = FailingDisk::mount(&state) else {
        return;
    };
    let flood = Flood::start(bench, "sleep 0.002", &[]);
    flood.wait_for(300);
    disk.fail();
    flood.wait_for_hold();
    assert!(flood.agent_lives(), "held, not killed");
    let (finished, flood) = flood.next_daemon(|bench| {
        // As whoever mends the disk has to.
        for process in bench.descendants() {
            let pid = nix::unistd::Pid::from_raw(process.pid);
            nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
        }
        bench.assert_no_process_left();
        disk.mend();
        assert_eq!(integrity(&bench.path("state")), "ok");
        fs::write(bench.path("ledger.stop"), "").unwrap();
    });
    let said = finished.fails_with(70);
    assert!(
        said.contains("state/journal.db cannot be written") && said.contains("mend the disk"),
        "{said}"
    );
    let second = flood.daemon.finish();
    assert_eq!(second.code(), 0, "{}", second.err);
    // No place is given twice: what was told and is lost is in a gap.
    let parse = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let told = finished.out.iter().chain(&second.out).map(parse);
    let mut by_place = std::collections::HashMap::new();
    let kept = stored_with_gaps(&state);
    for event in told.chain(kept.iter().cloned()) {
        let (seq, id) = (event["seq"].as_u64(), event["event_id"].clone());
        let known = by_place.entry(seq).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "place {seq:?} is two events");
    }
    let gaps = kept.iter().filter(|event| event["type"] == "gap").count();
    assert_eq!(gaps, 1);
    drop(disk);
}

#[test]
fn a_daemon_is_stopped_in_time_on_a_full_disk_and_the_next_one_goes_on() {
    if !may_mount("whole_way::a_daemon_is_stopped_in_time_on_a_full_disk_and_the_next_one_goes_on")
    {
        return;
    }
    let bench = Bench::new();
    let state = bench.path("state");
    fs::create_dir(&state).unwrap();
    let disk = SmallDisk::mount(&state, 96);
    let flood = Flood::start(bench, "", &[]);
    flood.wait_for(300);
    disk.fill();
    flood.wait_for_hold();
    let asked = Clock.now();
    flood.daemon.signal(Signal::SIGTERM);
    let (finished, flood) = flood.next_daemon(|bench| {
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(8), "{took:?}");
        fs::write(bench.path("ledger.stop"), "").unwrap();
        disk.empty();
    });
    assert_eq!(finished.code(), 143, "{}", finished.err);
    let events = flood.assert_all_told();
    assert!(
        events.iter().any(|event| event["attempt"] == 2),
        "paused, and gone on with"
    );
}

#[test]
fn while_the_hub_is_away_the_journal_keeps_to_its_quota_and_says_so() {
    let quota = ["env", "AGENT_RUNNER_JOURNAL_QUOTA=64MiB"];
    let mut flood = Flood::of(Bench::new(), 60_000, "", &quota);
    flood.wait_for(20);
    assert_eq!(room(&flood.bench), "enough");
    let address = flood.hub.kill();
    let journal = flood.bench.path("state/journal.db");
    let is_reached = || room(&flood.bench) == "quota_reached";
    eventually("the quota is reached", is_reached);
    assert!(journal.metadata().unwrap().len() <= 64 << 20);
    fs::write(flood.bench.path("ledger.stop"), "").unwrap();
    flood.hub = flood.bench.hub_at(&address, None);
    // The journal has let go of what the Hub has by now; it was shown before.
    flood.assert_told(|finished, _| finished.events());
}

#[test]
fn a_daemon_that_was_stopped_for_a_while_tells_everything_and_is_quiet() {
    let flood = Flood::start(Bench::new(), "sleep 0.01", &[]);
    flood.wait_for(50);
    let pid = flood.daemon.pid();
    flood.daemon.signal(Signal::SIGSTOP);
    // The agent is not stopped with it.
    flood.wait_for(150);
    let before = cpu(pid);
    flood.daemon.signal(Signal::SIGCONT);
    flood.wait_for(50);
    let spent = cpu(pid).saturating_sub(before);
    assert!(
        spent < Duration::from_secs(2),
        "{spent:?} of CPU: a storm of timers"
    );
    flood.assert_all_told();
}

/// What a process has used of the CPU.
fn cpu(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
    let ticks: u64 = fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
