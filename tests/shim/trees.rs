//! Nothing of a tree outlives its run.

use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::spool::control::Stop;

use crate::harness::{Harness, control, eventually, exited};

#[tokio::test]
async fn a_deaf_daemon_in_its_own_session_that_holds_the_tty_is_swept() {
    let harness = Harness::new("lines 1 holder stopped lines 1 exit 7");
    let start = Clock.now();
    let (stopped, output) = harness.run().await;
    assert_eq!(stopped.exit.code, Some(7));
    assert!(stopped.leaked.is_empty());
    assert_eq!(memchr::memchr_iter(b'\n', &output).count(), 2);
    assert!(Clock.now().duration_since(start) < Duration::from_secs(5));
}

#[tokio::test]
async fn a_stop_ends_a_deep_tree_of_sessions_that_ignore_sigterm() {
    let harness = Harness::new("ignore-term tree 50 20 wait");
    let mut run = harness.start().await;
    eventually("the tree has grown", || harness.processes().len() > 50 * 20).await;
    let start = Clock.now();
    control(&run).stop(Stop::NOW).await.unwrap();
    let stopped = exited(&mut run).await;
    assert!(stopped.leaked.is_empty(), "{stopped:?}");
    harness.assert_nothing_left().await;
    let took = Clock.now().duration_since(start);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_cli_that_dies_alone_takes_its_tree_with_it() {
    let harness = Harness::new("tree 5 4 exit 0");
    let (stopped, _) = harness.on_a_pipe().run().await;
    assert_eq!(stopped.exit.code, Some(0));
    assert!(stopped.leaked.is_empty());
}
