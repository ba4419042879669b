//! Who is served, and within which limits.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use agent_runner::api;
use nix::sys::signal::Signal;

use crate::bench::skip;
use crate::document::hold;
use crate::place::Place;
use crate::running::limit;
use crate::wire::{by_socket, by_tcp, read};

const TOKEN: &str = "token-of-the-test-0123456789";

/// A daemon without sessions that serves TCP as well; its pid and address.
fn over_tcp(place: &Place) -> (i32, String) {
    let token = place.bench.file("token", TOKEN);
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let words = [
        "start",
        "--api-listen",
        "127.0.0.1:0",
        "--api-token-file",
        &token,
    ];
    let (pid, _) = place.restart_with(&mut place.bench.command(&words));
    let log = fs::read_to_string(place.bench.path("state/daemon.log")).unwrap();
    let address = log
        .split("the API listens at http://")
        .nth(1)
        .expect("an address");
    (pid, address.lines().next().unwrap().to_owned())
}

#[test]
fn over_tcp_every_route_but_healthz_wants_the_token() {
    let place = Place::new();
    let (pid, address) = over_tcp(&place);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for (method, path) in api::table() {
        let target = path.replace("{id}", "s1");
        for wrong in ["", "Authorization: Bearer token-of-the-test\r\n"] {
            let answer = by_tcp(&address, method.as_str(), &target, wrong, "");
            let wanted = if path == "/healthz" { 200 } else { 401 };
            assert_eq!(answer.status, wanted, "{method} {path}: {answer:?}");
            hold(&answer, method.as_str(), path);
        }
        let answer = by_tcp(&address, method.as_str(), &target, &right, "");
        assert_ne!(answer.status, 401, "{method} {path}: {answer:?}");
        hold(&answer, method.as_str(), path);
    }
    assert_eq!(by_tcp(&address, "GET", "/nowhere", "", "").status, 401);
    for foreign in [
        "Host: evil.example\r\n".to_owned() + &right,
        "Origin: http://evil.example\r\n".to_owned() + &right,
    ] {
        let answer = by_tcp(&address, "GET", "/healthz", &foreign, "");
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    let token = place.bench.text("token");
    let url = format!("http://{address}");
    let words = ["sessions", "--api", &url, "--api-token-file", &token];
    let listed = place.bench.start(&mut place.bench.command(&words)).finish();
    assert_eq!(listed.code(), 0, "the commands speak it too: {listed:?}");
    Place::end(pid, Signal::SIGTERM);
}

#[test]
fn tcp_without_a_token_is_refused_at_the_start() {
    let place = Place::new();
    let words = ["start", "--api-listen", "127.0.0.1:0"];
    let refused = place.bench.start(&mut place.bench.command(&words)).finish();
    assert!(refused.fails_with(64).contains("--api-token-file"));
}

#[test]
fn another_user_is_not_served_even_where_the_socket_can_be_reached() {
    if !nix::unistd::geteuid().is_root() {
        skip("needs root to be another user");
        return;
    }
    let place = Place::new();
    let (pid, _) = place.restart();
    let state = place.bench.path("state");
    let socket = state.join("api.sock");
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for path in [state.parent().unwrap(), &state, &socket] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = Command::new("python3");
    command
        .args(["-c", "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'GET /healthz HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n'); print(s.recv(9999).decode())"])
        .arg(&socket)
        .current_dir("/")
        .uid(65_534);
    let said = command.output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    Place::end(pid, Signal::SIGTERM);
}

#[test]
fn a_request_has_limits_and_so_have_connections() {
    let place = Place::new();
    let (pid, _) = place.restart();
    let socket = place.bench.path("state/api.sock");
    // More than a task with its images may be.
    let long = "x".repeat(9 * 1024 * 1024);
    let answer = by_socket(&socket, "POST", "/v1/sessions", "", &long);
    assert_eq!(answer.status, 413, "{answer:?}");
    // Slow ones are let go while others are served.
    let begin = |text: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(limit())).unwrap();
        // One that is refused may be answered, and closed, before it has asked.
        stream.write_all(text.as_bytes()).ok();
        stream
    };
    let mut head = begin("GET /healthz HTT");
    let body = begin("POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{");
    assert_eq!(by_socket(&socket, "GET", "/healthz", "", "").status, 200);
    let mut idle: Vec<UnixStream> = (0..254).map(|_| begin("")).collect();
    let refused = read(begin("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["code"], "busy");
    idle.clear();
    crate::running::eventually("there is room again", || {
        by_socket(&socket, "GET", "/healthz", "", "").status == 200
    });
    assert_eq!(read(body).status, 408);
    let mut rest = Vec::new();
    head.read_to_end(&mut rest).unwrap();
    assert!(
        !String::from_utf8_lossy(&rest).contains("200"),
        "it is not waited for"
    );
    Place::end(pid, Signal::SIGTERM);
}
