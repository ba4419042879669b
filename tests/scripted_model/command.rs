//! `agent-runner scripted-model` as a process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
    command.arg("scripted-model").args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command that ends by itself.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    line
}

#[test]
fn it_says_where_it_listens_and_what_it_is_and_ends_on_either_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut child = command(&[]).spawn().unwrap();
        let line = first_line(&mut child);
        let address = line.strip_prefix("listening http://").unwrap().trim_end();
        std::net::TcpStream::connect(address).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(
            said,
            "no model is behind this: it plays the built-in script\n"
        );
    }
}

#[test]
fn a_wrong_script_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, "[[reply]]\nstesp = []\n").unwrap();
    let path = path.to_str().unwrap();
    let (code, error) = refused(&["--script", path]);
    assert_eq!(code, Some(64));
    let expected = format!("{path}:2: unknown key `stesp` in a reply; did you mean `steps`?");
    assert!(error.contains(&expected), "{error}");
    let (code, error) = refused(&["--script", "/nonexistent.toml"]);
    assert_eq!(code, Some(64));
    assert!(error.contains("/nonexistent.toml"), "{error}");
}

#[test]
fn it_listens_on_loopback_only() {
    let (code, error) = refused(&["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(64));
    assert!(error.contains("loopback only"), "{error}");
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, error) = refused(&["--listen", &address]);
    assert_eq!(code, Some(64));
    assert!(
        error.contains(&address) && error.contains("port 0"),
        "{error}"
    );
}

#[test]
fn a_record_that_cannot_be_written_is_an_error_before_anything_is_served() {
    let (code, error) = refused(&["--record", "/nonexistent/record.jsonl"]);
    assert_eq!(code, Some(64));
    assert!(error.contains("/nonexistent/record.jsonl"), "{error}");
}
