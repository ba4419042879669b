//! How a CLI ends, and that the record says so.

use std::time::{Duration, Instant};

use agent_runner::clock::Clock;
use agent_runner::process::PidFd;
use agent_runner::spool::control::Stop;

use crate::harness::{Harness, control, exited};

fn since(start: Instant) -> Duration {
    Clock.now().duration_since(start)
}

#[tokio::test]
async fn exit_codes_and_signals_are_recorded() {
    for code in [0, 1, 42, 255] {
        let (stopped, _) = Harness::new(&format!("exit {code}")).run().await;
        assert_eq!((stopped.exit.code, stopped.exit.signal), (Some(code), None));
    }
    for signal in [6, 9, 11, 15] {
        let (stopped, _) = Harness::new(&format!("lines 1 die {signal}")).run().await;
        assert_eq!(
            (stopped.exit.code, stopped.exit.signal),
            (None, Some(signal))
        );
        assert!(stopped.sent.is_empty() && !stopped.exit.oom);
    }
}

#[tokio::test]
async fn a_killed_cli_is_noticed_at_once() {
    let harness = Harness::new("mark here wait");
    let mut run = harness.start().await;
    harness.marked("here").await;
    let (_, agent) = run.identities().unwrap();
    let pidfd = PidFd::open(agent).unwrap().unwrap();
    let start = Clock.now();
    pidfd.signal(rustix::process::Signal::KILL).unwrap();
    let stopped = exited(&mut run).await;
    assert_eq!(stopped.exit.signal, Some(9));
    assert!(
        since(start) < Duration::from_secs(1),
        "after {:?}",
        since(start)
    );
}

#[tokio::test]
async fn a_cli_that_dies_is_noticed_at_once_even_when_others_hold_its_output() {
    for directives in ["lines 3 holder mark here wait", "writer mark here wait"] {
        let harness = Harness::new(directives);
        let mut run = harness.start().await;
        harness.marked("here").await;
        let (_, agent) = run.identities().unwrap();
        let pidfd = PidFd::open(agent).unwrap().unwrap();
        let start = Clock.now();
        pidfd.signal(rustix::process::Signal::ABORT).unwrap();
        let stopped = exited(&mut run).await;
        assert_eq!(stopped.exit.signal, Some(6));
        assert!(
            since(start) < Duration::from_secs(1),
            "after {:?}",
            since(start)
        );
        harness.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn a_stop_climbs_the_ladder_rung_by_rung() {
    let harness = Harness::new("ignore-term mark here wait");
    let mut run = harness.start().await;
    harness.marked("here").await;
    let start = Clock.now();
    let how = Stop {
        interrupt_grace_ms: 100,
        term_grace_ms: 100,
    };
    control(&run).stop(how).await.unwrap();
    let stopped = exited(&mut run).await;
    assert_eq!(stopped.sent, [2, 15, 9]);
    assert_eq!(stopped.exit.signal, Some(9));
    let took = since(start);
    assert!((200..2_000).contains(&took.as_millis()), "{took:?}");
    harness.assert_nothing_left().await;
}

#[tokio::test]
async fn a_cli_that_heeds_an_interrupt_gets_no_further_signal() {
    let harness = Harness::new("mark here wait");
    let mut run = harness.start().await;
    harness.marked("here").await;
    let commands = control(&run);
    commands.stop(Stop::ORDERLY).await.unwrap();
    let stopped = exited(&mut run).await;
    assert_eq!((stopped.exit.signal, stopped.sent), (Some(2), vec![2]));
    harness.assert_nothing_left().await;
    commands.stop(Stop::NOW).await.unwrap();
}

#[tokio::test]
async fn a_run_over_its_time_is_stopped_and_says_so() {
    let mut harness = Harness::new("wait");
    harness.plan.timeout_ms = Some(50);
    let (stopped, _) = harness.run().await;
    assert!(stopped.timed_out);
    assert_eq!(stopped.exit.signal, Some(2));
}

#[tokio::test]
async fn a_stopped_cli_can_be_ended() {
    let harness = Harness::new("mark here stop wait");
    let mut run = harness.start().await;
    harness.marked("here").await;
    control(&run).stop(Stop::ORDERLY).await.unwrap();
    let stopped = exited(&mut run).await;
    assert_eq!(stopped.exit.signal, Some(2));
}
