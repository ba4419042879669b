//! Who may die when: the starter, the shim, the CLI.

use std::process::{Command, Stdio};
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::process::{Identity, PidFd, RunGroup};
use agent_runner::sandbox::{self, Attach, Ending};
use agent_runner::spool::control::Stop;
use agent_runner::spool::{Phase, Plan, Status};
use rustix::process::Signal;

use crate::harness::{Harness, control, ended, eventually, exited, fake_agent};

async fn attach(harness: &Harness) -> Attach {
    sandbox::attach(&harness.dir).await.unwrap()
}

/// Set in the process that is to start a run and be killed.
const STARTER: &str = "SHIM_TEST_STARTER";

/// The body of the starter process: starts a run in the folder that the test named, and waits to be
/// killed.
#[tokio::test]
async fn starter_process() {
    let Ok(folder) = std::env::var(STARTER) else {
        return;
    };
    let mut harness = Harness::new("");
    harness.dir = agent_runner::spool::RunDir::new(format!("{folder}/run"));
    let words = ["lines", "1", "mark", "here", "echo", "exit", "6"];
    harness.plan = Plan::new(
        &fake_agent(),
        words.map(str::to_owned).to_vec(),
        folder.as_ref(),
        1 << 20,
    );
    harness.plan.stdin = agent_runner::spool::Stdin::Pipe;
    let _run = harness.start().await;
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_cli_outlives_the_kill_of_its_starter_and_is_found_again() {
    let mut harness = Harness::new("");
    let folder = harness.plan.workspace.clone();
    harness.dir = agent_runner::spool::RunDir::new(folder.join("run"));
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifetime::starter_process"])
        .env(STARTER, &folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    harness.marked("here").await;
    starter.kill().unwrap();
    starter.wait().unwrap();
    let Attach::Running(mut run) = attach(&harness).await else {
        panic!("the run did not survive");
    };
    control(&run).write_stdin(b"still here\n").await.unwrap();
    control(&run).close_stdin().await.unwrap();
    assert_eq!(exited(&mut run).await.exit.code, Some(6));
    assert!(harness.output().ends_with(b"still here\n"));
    harness.assert_nothing_left().await;
    let Attach::Ended(Ending::Exited(stopped)) = attach(&harness).await else {
        panic!("the end is not recorded");
    };
    assert_eq!(stopped.exit.code, Some(6));
}

#[tokio::test]
async fn a_run_for_one_process_alone_ends_with_it_also_where_that_is_gone_before() {
    let lead = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = i32::try_from(lead.id()).unwrap();
    let identity = Identity::of(rustix::process::Pid::from_raw(pid).unwrap()).unwrap();
    for lead in [Some(lead), None] {
        let mut harness = Harness::new("mark here wait");
        harness.plan.ends_with = Some(identity);
        let mut run = harness.start().await;
        if let Some(mut lead) = lead {
            harness.marked("here").await;
            lead.kill().unwrap();
            lead.wait().unwrap();
        }
        let stopped = exited(&mut run).await;
        assert_eq!(stopped.sent.first(), Some(&Signal::INT.as_raw()));
        assert!(!stopped.timed_out);
        harness.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn the_cli_dies_with_its_shim_and_the_run_counts_as_vanished() {
    for directives in ["ignore-term mark here wait", "mark here flood"] {
        let harness = Harness::new(directives).on_a_pipe();
        let mut run = harness.start().await;
        harness.marked("here").await;
        let (shim, agent) = run.identities().unwrap();
        let pidfd = PidFd::open(shim).unwrap().unwrap();
        pidfd.signal(Signal::KILL).unwrap();
        assert_eq!(ended(&mut run).await, Ending::vanished());
        eventually("the CLI is dead", || !agent.is_alive()).await;
        assert!(matches!(
            attach(&harness).await,
            Attach::Ended(ending) if ending == Ending::vanished()
        ));
        eventually("nothing is left", || harness.processes().is_empty()).await;
    }
}

#[tokio::test]
async fn what_the_cli_of_a_killed_shim_had_started_dies_too_with_or_without_a_control_group() {
    for with_group in [true, false] {
        let harness = Harness::new("ignore-term tree 4 3 orphan stopped mark here wait");
        let mut run = harness.start().await;
        harness.marked("here").await;
        eventually("the tree has grown", || harness.processes().len() > 12).await;
        if !with_group {
            let mut status = Status::read(&harness.dir).unwrap().unwrap();
            let group = status.group.take();
            status.write(&harness.dir).unwrap();
            // Out of the group, so that nobody but the kernel knows of it.
            let group = group.map(|path| RunGroup::at(&path));
            for member in group.iter().flat_map(RunGroup::members) {
                let top = group.as_ref().unwrap().path().parent().unwrap();
                std::fs::write(top.join("cgroup.procs"), member.identity.pid.to_string()).unwrap();
            }
            group.iter().for_each(RunGroup::remove);
        }
        let start = Clock.now();
        let (shim, _) = run.identities().unwrap();
        let pidfd = PidFd::open(shim).unwrap().unwrap();
        pidfd.signal(Signal::KILL).unwrap();
        assert_eq!(ended(&mut run).await, Ending::vanished());
        assert_eq!(harness.processes(), [0; 0], "with a group: {with_group}");
        let took = Clock.now().duration_since(start);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test]
async fn a_record_from_before_a_reboot_or_from_another_container_costs_nobody_their_life() {
    let harness = Harness::new("wait");
    std::fs::create_dir_all(harness.dir.path()).unwrap();
    let mut bystander = Command::new("setsid");
    let mut bystander = bystander.args(["sleep", "600"]).spawn().unwrap();
    let own = Identity::own().unwrap();
    let leader = Identity {
        pid: i32::try_from(bystander.id()).unwrap(),
        start: 1,
    };
    let status = Status {
        contract: agent_runner::spool::CONTRACT,
        phase: Phase::Started,
        shim: Some(Identity { start: 1, ..own }),
        agent: Some(leader),
        group: None,
        world: Some("another".to_owned()),
    };
    status.write(&harness.dir).unwrap();
    assert!(matches!(
        attach(&harness).await,
        Attach::Ended(ending) if ending == Ending::vanished()
    ));
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test]
async fn a_shim_whose_folder_was_deleted_ends_with_its_cli() {
    let harness = Harness::new("mark here wait");
    let run = harness.start().await;
    harness.marked("here").await;
    let (shim, agent) = run.identities().unwrap();
    std::fs::remove_dir_all(harness.dir.path()).unwrap();
    let pidfd = PidFd::open(agent).unwrap().unwrap();
    pidfd.signal(Signal::KILL).unwrap();
    eventually("the shim has ended", || !shim.is_alive()).await;
}

#[tokio::test]
async fn a_run_that_never_had_a_shim_is_closed_for_good() {
    let harness = Harness::new("lines 1");
    std::fs::create_dir_all(harness.dir.path()).unwrap();
    assert!(matches!(
        attach(&harness).await,
        Attach::Ended(ending) if ending == Ending::vanished()
    ));
    let status = Status::read(&harness.dir).unwrap().unwrap();
    assert_eq!(status.phase, Phase::Abandoned);
    let error = harness.try_start().await.unwrap_err().to_string();
    assert!(error.contains("started or given up before"), "{error}");
}

#[tokio::test]
async fn without_its_socket_a_run_is_still_watched_and_stopped() {
    let harness = Harness::new("lines 3 mark here wait");
    drop(harness.start().await);
    std::fs::remove_file(harness.dir.path().join("control.sock")).unwrap();
    let Attach::Running(mut run) = attach(&harness).await else {
        panic!("the run is over");
    };
    harness.marked("here").await;
    crate::harness::grown(&mut run, 3 * 30).await;
    // Its SIGTERM makes the shim climb the ladder.
    control(&run).stop(Stop::NOW).await.unwrap();
    let stopped = exited(&mut run).await;
    assert_eq!(stopped.sent, [2]);
    eventually("nothing is left", || harness.processes().is_empty()).await;
}
