//! What the CLI reads: a file, nothing, or a pipe fed over the control socket.

use std::time::Duration;

use agent_runner::spool::{Status, Stdin, read_inputs};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Harness, control, exited, grown};

fn hash(text: &[u8]) -> String {
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:x}")
}

#[tokio::test]
async fn a_prompt_of_a_mebibyte_arrives_intact_and_is_in_no_argument_list() {
    let mut harness = Harness::new("mark here stdin");
    harness.prompt = "needle-9f2c \n\"'$(x) 🦀 \x03\x04\r\n"
        .repeat(40_000)
        .into_bytes();
    assert!(harness.prompt.len() > 1 << 20);
    let mut run = harness.start().await;
    for pid in crate::harness::pids() {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(memchr::memmem::find(&arguments, b"needle-9f2c").is_none());
    }
    exited(&mut run).await;
    let report: serde_json::Value = serde_json::from_slice(&harness.output()).unwrap();
    assert_eq!(report["length"], harness.prompt.len());
    assert_eq!(report["hash"], hash(&harness.prompt));
}

#[tokio::test]
async fn frames_reach_a_pipe_in_order_and_are_recorded_with_their_place() {
    let mut harness = Harness::new("echo exit 4");
    harness.plan.stdin = Stdin::Pipe;
    let mut run = harness.start().await;
    let control = control(&run);
    control.write_stdin(b"{\"a\":1}\n").await.unwrap();
    grown(&mut run, 8).await;
    let large = [vec![b'y'; 1 << 20], b"\n".to_vec()].concat();
    control.write_stdin(&large).await.unwrap();
    control.close_stdin().await.unwrap();
    assert!(control.write_stdin(b"late").await.is_err());
    let stopped = exited(&mut run).await;
    assert_eq!(stopped.exit.code, Some(4));
    let expected = [b"{\"a\":1}\n".to_vec(), large.clone()].concat();
    assert!(harness.output() == expected);
    let inputs = read_inputs(&std::fs::read(harness.dir.input()).unwrap());
    assert_eq!(inputs.len(), 2);
    assert_eq!((inputs[0].at.get(), inputs[1].at.get()), (0, 8));
    assert!(inputs[1].frame == large);
}

#[tokio::test]
async fn an_answer_that_nobody_waited_for_is_not_taken_for_the_next_commands() {
    let mut harness = Harness::new("echo exit 0");
    harness.plan.stdin = Stdin::Pipe;
    let mut run = harness.start().await;
    let control = control(&run);
    control.stat().await.unwrap();
    let shim = Status::read(&harness.dir).unwrap().unwrap().shim.unwrap();
    let shim = Pid::from_raw(shim.pid).unwrap();
    kill_process(shim, Signal::STOP).unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(50), control.stat());
    assert!(
        given_up.await.is_err(),
        "a shim that is stopped does not answer"
    );
    kill_process(shim, Signal::CONT).unwrap();
    let sent = control.write_stdin(b"one\n").await.unwrap();
    assert_eq!(sent.at.get(), 0);
    control.close_stdin().await.unwrap();
    exited(&mut run).await;
    assert_eq!(harness.output(), b"one\n");
}

#[tokio::test]
async fn a_frame_for_a_stdin_that_is_no_pipe_is_refused() {
    let harness = Harness::new("wait");
    let mut run = harness.start().await;
    let error = control(&run).write_stdin(b"x").await.unwrap_err();
    assert!(error.to_string().contains("not a pipe"), "{error}");
    control(&run)
        .stop(agent_runner::spool::control::Stop::NOW)
        .await
        .unwrap();
    exited(&mut run).await;
}
