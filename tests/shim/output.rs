//! Every byte of the CLI arrives, in order and unchanged.

use agent_runner::sandbox::{Change, attach};

use crate::harness::{Harness, control, exited, grown, read_all};

#[tokio::test]
async fn output_on_a_pty_is_byte_identical_to_output_on_a_pipe() {
    let directives = "lines 200 bytes 00ff1b5b306d0d0a030411137f0a line 30000 lines 3";
    let (stopped, pty) = Harness::new(directives).run().await;
    assert_eq!(stopped.exit.code, Some(0), "{stopped:?}");
    let (_, pipe) = Harness::new(directives).on_a_pipe().run().await;
    assert!(pty.len() > 36_000, "{} bytes, {stopped:?}", pty.len());
    assert!(
        pty == pipe,
        "{} bytes on the PTY, {} on the pipe",
        pty.len(),
        pipe.len()
    );
}

#[tokio::test]
async fn the_tail_before_an_exit_is_read_whole_a_hundred_times() {
    for round in 0..100 {
        let harness = Harness::new("line 65536 exit 3");
        let mut run = harness.start().await;
        let stopped = exited(&mut run).await;
        assert_eq!(stopped.exit.code, Some(3));
        assert_eq!(stopped.spool_bytes, 65_536, "round {round}");
        assert_eq!(harness.output().len(), 65_536, "round {round}");
    }
}

#[tokio::test]
async fn a_line_of_a_hundred_megabytes_arrives() {
    let (stopped, output) = Harness::new("line 100000000").run().await;
    assert_eq!(stopped.spool_bytes, 100_000_000);
    assert!(output.ends_with(b"xx\"}\n"));
}

#[tokio::test]
async fn stderr_is_kept_apart_and_only_its_end_is_kept() {
    let harness = Harness::new("lines 1 stderr 5000000 lines 1");
    let (stopped, output) = harness.run().await;
    assert_eq!(memchr::memchr_iter(b'\n', &output).count(), 2);
    assert_eq!(stopped.stderr_bytes, 5_000_000);
    assert!(stopped.stderr_truncated);
    let mut kept = std::fs::metadata(harness.dir.stderr()).unwrap().len();
    kept += std::fs::metadata(harness.dir.path().join("stderr.log.1"))
        .unwrap()
        .len();
    assert!(
        (1 << 20..=(2 << 20) + (16 << 10)).contains(&kept),
        "{kept} bytes kept"
    );
}

#[tokio::test]
async fn over_its_quota_a_cli_is_held_and_goes_on_with_a_larger_one() {
    let mut harness = Harness::new("lines 20000 exit 5");
    harness.plan.spool_quota = 100_000;
    let mut run = harness.start().await;
    grown(&mut run, 100_000).await;
    let state = control(&run).stat().await.unwrap();
    assert!(state.held);
    assert_eq!(state.spool_bytes, 100_000);
    assert_eq!(harness.output().len(), 100_000);
    control(&run).set_quota(10_000_000).await.unwrap();
    let stopped = exited(&mut run).await;
    assert_eq!(stopped.exit.code, Some(5));
    assert!(!stopped.spool_truncated);
    let last = read_all(&run);
    assert!(
        String::from_utf8_lossy(&last)
            .lines()
            .last()
            .unwrap()
            .contains("\"line\":19999,")
    );
}

#[tokio::test]
async fn a_watcher_that_does_not_read_holds_nothing_up() {
    let harness = Harness::new("lines 50000");
    let mut idle = harness.start().await;
    // Never read from: its notices are joined into one.
    let mut run = match attach(&harness.dir).await.unwrap() {
        agent_runner::sandbox::Attach::Running(run) => run,
        other @ agent_runner::sandbox::Attach::Ended(_) => panic!("{other:?}"),
    };
    let stopped = exited(&mut run).await;
    let mut notices = 0;
    let end = loop {
        match idle.changed().await.unwrap() {
            Change::Spool { bytes, .. } => {
                assert!(bytes <= stopped.spool_bytes);
                notices += 1;
            }
            ended @ Change::Ended(_) => break ended,
        }
    };
    assert!(notices > 0);
    assert_eq!(
        end,
        Change::Ended(agent_runner::sandbox::Ending::Exited(stopped))
    );
}
