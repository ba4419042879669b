//! Turns over one process of a real CLI, with a model that answers at once: ours beside the bare
//! client's, in turn. And what a live session weighs that has nothing to do.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::agents::{AGENTS, Agent};
use crate::hub::Hub;
use crate::place::{BINARY, Daemon, Place, megabytes, now, resident};
use crate::report::{Figure, Goal, Report};
use crate::series::Series;
use crate::talk::Talk;

/// So many that the median of what is compared, some milliseconds, hardly moves from run to run:
/// with 20 the ratio moved by a tenth.
const TURNS: usize = 200;
const INTERRUPTS: usize = 5;
/// What a turn may cost beside the bare client's.
const RATIO: f64 = 1.2;
/// What an interrupt may cost more than the bare client's, in milliseconds.
const SHARE: f64 = 20.0;
/// What an idle live session may weigh beside its CLI, in MB (5 MiB).
const IDLE: f64 = 5.242_88;
/// Idle means idle: after whatever a turn has left to do.
const SETTLE: Duration = Duration::from_secs(2);
const SESSION: &str = "live";
const SLOW: &str = "Take your time.";

const SCRIPT: &str = r#"
[[scenario]]
match = "Take your time."
[[scenario.reply]]
steps = [{ say = "One word after the other, for as long as nobody minds, and then some more of them, until there are no words left to say.", chunk = 2, pause_ms = 200 }]

[[scenario]]
[[scenario.reply]]
steps = [{ say = "Done." }]
"#;

pub async fn figures(report: &mut Report) {
    for agent in AGENTS {
        let kind = agent_runner::agent::by_name(agent.name).expect("it is known");
        if kind.live.is_none() {
            continue;
        }
        match agent.installed() {
            Some(program) => of(agent, &program, report).await,
            None => println!("P17  {} is not installed", agent.name),
        }
    }
}

async fn of(agent: &Agent, program: &Path, report: &mut Report) {
    let model = Model::start();
    let home = agent.place(&model.url, false);
    let place = Place::of_agent(agent.name, agent.model, program, &home);
    let mut hub = Hub::start();
    let daemon = Daemon::start(&place, &hub, SESSION);
    hub.event("session_start").await;
    let mut bare = Talk::start(agent.name, program, agent.model, &home);
    // the first turn of each is another matter
    bare.turn("go");
    turn(&mut hub).await;
    turns(agent, &mut hub, &mut bare, report).await;
    interrupts(agent, &mut hub, &mut bare, report).await;
    drop(bare);
    idle(agent, &place, &mut hub, &daemon, report).await;
    daemon.stop();
}

async fn turns(agent: &Agent, hub: &mut Hub, bare: &mut Talk, report: &mut Report) {
    let (mut ours, mut theirs) = (Series::default(), Series::default());
    for _ in 0..TURNS {
        let (began, ended) = bare.turn("go");
        theirs.add(began, ended);
        let (began, ended) = turn(hub).await;
        ours.add(began, ended);
    }
    let reference = theirs.median();
    let figure = Figure::new(
        "P17",
        format!("{}: later turn, accepted to end, p50 ms", agent.name),
        Goal::AtMost(reference * RATIO),
        ours.median(),
    );
    report.add(figure.of(ours.len()).beside(reference));
}

/// A turn at the daemon: when its prompt was accepted, and when the Hub had its end.
async fn turn(hub: &mut Hub) -> (u64, u64) {
    hub.prompt(SESSION).await;
    let accepted = hub.event("rpc_response").await;
    (accepted, hub.event("agent_end").await)
}

async fn interrupts(agent: &Agent, hub: &mut Hub, bare: &mut Talk, report: &mut Report) {
    let (mut ours, mut theirs) = (Series::default(), Series::default());
    for _ in 0..INTERRUPTS {
        let (began, ended) = bare.interrupted(SLOW);
        theirs.add(began, ended);
        let prompt = json!({"type": "prompt", "id": "p", "message": SLOW});
        hub.order(SESSION, prompt).await;
        hub.event("message_update").await;
        let began = now();
        hub.order(SESSION, json!({"type": "abort", "id": "a"}))
            .await;
        ours.add(began, hub.event("agent_end").await);
    }
    let reference = theirs.median();
    let figure = Figure::new(
        "P17",
        format!("{}: interrupt to end, p50 ms", agent.name),
        Goal::AtMost(reference + SHARE),
        ours.median(),
    );
    report.add(figure.of(ours.len()).beside(reference));
}

/// One session more, after its first turn: what daemon and shims weigh more by it.
async fn idle(agent: &Agent, place: &Place, hub: &mut Hub, daemon: &Daemon, report: &mut Report) {
    tokio::time::sleep(SETTLE).await;
    let before = weight(daemon);
    place.create(SESSION);
    hub.event("agent_end").await;
    tokio::time::sleep(SETTLE).await;
    let figure = Figure::new(
        "P17",
        format!(
            "{}: an idle live session, beside its CLI, RSS, MB",
            agent.name
        ),
        Goal::AtMost(IDLE),
        weight(daemon) - before,
    );
    report.add(figure);
}

/// The memory of a daemon and its shims, in MB.
fn weight(daemon: &Daemon) -> f64 {
    let binary = Path::new(BINARY).canonicalize().expect("it is built");
    let entries = std::fs::read_dir("/proc").expect("Linux");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |pid: &i32| {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|exe| exe == binary) && descends(*pid, daemon.pid())
    };
    let bytes = pids.filter(is_ours).map(|pid| resident(pid, "VmRSS:"));
    megabytes(bytes.sum())
}

fn descends(pid: i32, from: i32) -> bool {
    let mut pid = pid;
    while pid > 1 {
        if pid == from {
            return true;
        }
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return false;
        };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| {
            let mut fields = rest.split_whitespace();
            fields.nth(1)?.parse().ok()
        });
        pid = parent.unwrap_or(0);
    }
    false
}

/// A model that answers at once.
struct Model {
    child: Child,
    url: String,
    _script: tempfile::TempDir,
}

impl Model {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let script: PathBuf = dir.path().join("script.toml");
        std::fs::write(&script, SCRIPT).expect("writable");
        let mut child = Command::new(BINARY)
            .args(["scripted-model", "--script"])
            .arg(&script)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the model starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("it speaks");
        let url = line.trim().strip_prefix("listening ").expect("an address");
        Self {
            url: url.to_owned(),
            child,
            _script: dir,
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
