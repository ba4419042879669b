//! The control socket as a stranger meets it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use agent_runner::spool::control::{Stop, address};

use crate::harness::{Harness, control, exited, lacks};

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason_and_harm_nothing() {
    let harness = Harness::new("mark here wait");
    let mut run = harness.start().await;
    harness.marked("here").await;
    let folder = harness.dir.open().unwrap();
    let mut stream = UnixStream::connect(address(&folder)).unwrap();
    stream
        .write_all(
            b"nonsense\n{\"id\":4,\"command\":\"hello\",\"contract\":99}\n\
              {\"id\":5,\"command\":\"signal\",\"number\":999}\n{\"id\":6,\"command\":\"stat\"}\n",
        )
        .unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!((next()["notice"]).as_str(), Some("refused"));
    let wrong_contract = next();
    assert_eq!(wrong_contract["id"], 4);
    assert!(
        wrong_contract["reason"]
            .as_str()
            .unwrap()
            .contains("contract 99")
    );
    assert_eq!(next()["id"], 5);
    assert_eq!(next()["notice"], "state");
    control(&run).stop(Stop::NOW).await.unwrap();
    assert_eq!(exited(&mut run).await.sent, [9]);
}

#[tokio::test]
async fn another_user_is_not_heard() {
    if !rustix::process::geteuid().is_root() {
        lacks("becoming another user needs root");
        return;
    }
    // The shim itself runs as root here, so that its socket is opened to all by hand.
    let harness = Harness::new("mark here wait");
    let mut run = harness.start().await;
    harness.marked("here").await;
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let socket = harness.dir.path().join("control.sock");
    open(harness.root.path(), 0o777);
    open(harness.dir.path().parent().unwrap(), 0o777);
    open(harness.dir.path(), 0o777);
    open(&socket, 0o777);
    let stranger = std::thread::spawn(move || answer_to_a_stranger(&socket));
    assert_eq!(stranger.join().unwrap(), "");
    control(&run).stop(Stop::NOW).await.unwrap();
    exited(&mut run).await;
}

/// What another user is answered. Of Linux's threads each has a user of its own, and the shim sees
/// that of the one that connects: no program need be open to that user.
fn answer_to_a_stranger(socket: &Path) -> String {
    rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
    let mut stream = UnixStream::connect(socket).unwrap();
    // The shim may have closed it before the write.
    drop(stream.write_all(b"{\"id\":6,\"command\":\"stat\"}\n"));
    let mut answer = String::new();
    drop(std::io::Read::read_to_string(&mut stream, &mut answer));
    answer
}
