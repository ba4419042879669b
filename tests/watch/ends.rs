//! What is to end ends, whoever is there to see it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::ids::SessionId;
use agent_runner::journal::{Journal, TurnState};
use agent_runner::session::Prompt;
use agent_runner::spool::{RunDir, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::Bench;
use crate::{cli, skip};

/// Neither an interrupt nor SIGTERM ends it.
const DEAF: &str = "trap '' INT TERM; tool; touch \"$HOME/deaf\"; while :; do sleep 600; done";

/// The one run's status record.
fn status(bench: &Bench) -> Status {
    let mut runs = fs::read_dir(bench.path("state/runs")).unwrap();
    let run = runs.next().unwrap().unwrap();
    Status::read(&RunDir::new(run.path())).unwrap().unwrap()
}

#[test]
fn a_turn_that_was_cancelled_is_not_gone_on_with_when_its_daemon_dies_first() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (first, second) = (runtime(), runtime());
    let bench = second.block_on(Bench::with_cli(&cli(DEAF)));
    first.block_on(async {
        let running = bench.start().await;
        running.prompt("Make it.").await;
        bench.made("home/deaf").await;
        running.session.cancel(false).await;
        let session: SessionId = "s1".parse().unwrap();
        let journal = Journal::open(&bench.path("journal")).unwrap();
        let cancelling = async {
            loop {
                let turns = journal.turns(&session).await.unwrap();
                if turns[0].state == TurnState::Cancelling {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, cancelling).await.unwrap();
    });
    first.shutdown_background();
    second.block_on(async {
        let mut running = bench.start().await;
        let end = running.event("end").await;
        assert_eq!(end["outcome"], "cancelled", "{end}");
        assert_eq!(bench.lines("home/pids").len(), 1, "it ran again");
        running.stop().await;
        bench.stop().await;
    });
}

#[tokio::test]
async fn a_shim_that_does_not_do_as_it_is_told_is_ended_with_its_cli() {
    let mut bench = Bench::with_cli(&cli(DEAF)).await;
    bench.patience.stopping = Duration::from_millis(500);
    let mut running = bench.start().await;
    running.prompt("Make it.").await;
    bench.made("home/deaf").await;
    let status = status(&bench);
    let shim = Pid::from_raw(status.shim.unwrap().pid);
    kill(shim, Signal::SIGSTOP).unwrap();
    let start = Clock.now();
    running.session.cancel(true).await;
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "cancelled", "{end}");
    let took = Clock.now().duration_since(start);
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(!status.agent.unwrap().is_alive(), "the CLI is left");
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn the_same_message_twice_is_heard_once() {
    let script = "answer m1 Hello.; touch \"$HOME/said\"; exec sleep 600";
    let bench = Bench::with_cli(&cli(script)).await;
    let mut running = bench.start().await;
    running.prompt("Make it.").await;
    running.event("token").await;
    let message = Prompt {
        text: "Use tabs.".to_owned(),
        author: None,
        images: Vec::new(),
        command_id: Some("message-1".to_owned()),
        is_task: false,
    };
    let (one, two) = tokio::join!(
        running.session.steer(message.clone()),
        running.session.steer(message)
    );
    one.unwrap();
    two.unwrap();
    assert_eq!(running.event("end").await["outcome"], "completed");
    assert_eq!(running.all("prompt").len(), 2);
    let prompts = bench.lines("home/prompts").join("\n");
    assert_eq!(prompts.matches("Use tabs.").count(), 1, "{prompts}");
    running.stop().await;
    bench.stop().await;
}

/// A control group; emptied of its limits and removed in the end.
struct Group(PathBuf);

impl Group {
    fn make(hierarchy: &str) -> Option<Self> {
        let name = format!("agent-runner-watch-{hierarchy}-{}", std::process::id());
        let path = PathBuf::from("/sys/fs/cgroup").join(hierarchy).join(name);
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    fn set(&self, file: &str, value: &str) -> bool {
        let path = self.0.join(file);
        path.exists() && fs::write(path, value).is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.set("freezer.state", "THAWED");
        let limit = Clock.now() + Duration::from_secs(5);
        while fs::remove_dir(&self.0).is_err() && Clock.now() < limit {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn a_turn_that_runs_out_of_memory_is_tried_once_more_and_no_further() {
    let limits = [("memory", "memory.limit_in_bytes"), ("", "memory.max")];
    let limited = limits.into_iter().find_map(|(hierarchy, file)| {
        let group = Group::make(hierarchy)?;
        group.set(file, "100663296").then_some(group)
    });
    let Some(group) = limited else {
        return skip("no control group with a memory limit can be made here");
    };
    // A string that doubles until there is no more room for it.
    let hog = "rm \"$HOME/again\"; tool; x=0123456789; while :; do x=$x$x; done";
    let mut bench = Bench::with_cli(&cli(hog)).await;
    let runner = bench.path("born-in-the-group");
    let script = format!(
        "#!/bin/sh\necho $$ >{}/cgroup.procs\nexec {} \"$@\"\n",
        group.0.display(),
        bench.runner.display()
    );
    fs::write(&runner, script).unwrap();
    fs::set_permissions(&runner, fs::Permissions::from_mode(0o755)).unwrap();
    bench.runner = runner;
    let mut running = bench.start().await;
    running.prompt("Make it.").await;
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "crashed", "{end}");
    let crashes = running.all("agent_crashed");
    assert_eq!(crashes.len(), 2, "{crashes:?}");
    for crash in &crashes {
        assert_eq!(crash["cause"], "oom", "{crash}");
    }
    assert_eq!(bench.lines("home/pids").len(), 2);
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_turn_whose_cli_no_signal_ends_is_unkillable_and_says_which_process_it_is() {
    let Some(group) = Group::make("freezer") else {
        return skip("no freezer of control groups version 1 here: nothing else resists SIGKILL");
    };
    let bench = Bench::with_cli(&cli("tool; touch \"$HOME/here\"; exec sleep 600")).await;
    let mut running = bench.start().await;
    running.prompt("Make it.").await;
    bench.made("home/here").await;
    let cli = bench.lines("home/pids")[0].clone();
    assert!(group.set("cgroup.procs", &cli) && group.set("freezer.state", "FROZEN"));
    running.session.cancel(true).await;
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "unkillable", "{end}");
    let leaked = running.notice("leaked_processes");
    assert!(leaked.contains(&cli), "{leaked}");
    drop(group);
    running.stop().await;
    bench.stop().await;
}
