//! What slow, greedy and hostile clients cannot do to others.

use std::process::Command;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::delivery::flood;
use crate::support::{HubProcess, hub_command};

/// Sends `head` and reads what comes until the Hub hangs up or has answered.
async fn answer(hub: &HubProcess, head: &[u8]) -> String {
    let mut stream = TcpStream::connect(&hub.address).await.unwrap();
    // A Hub that has heard enough may hang up before all is written.
    drop(stream.write_all(head).await);
    let mut answer = vec![0; 256];
    let count = stream.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test]
async fn floods_of_headers_are_refused_and_the_hub_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let many = "x: y\r\n".repeat(5_000);
    let long = format!("x: {}\r\n", "y".repeat(4 * 1_024 * 1_024));
    for headers in [many, long] {
        let head = format!(
            "GET /api/hub/sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        );
        let answer = answer(&hub, head.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    let nonsense = answer(
        &hub,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    )
    .await;
    assert!(
        nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400"),
        "{nonsense}"
    );
    assert_eq!(hub.call("GET", "/api/hub/sessions", None).await.0, 200);
}

#[tokio::test]
async fn connections_above_the_limit_are_sent_away_and_places_come_back() {
    let state = tempfile::tempdir().unwrap();
    // 32 places: what is left of 80 descriptors.
    let plain = hub_command(state.path());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 80; exec \"$0\" \"$@\""]);
    command.arg(plain.get_program()).args(plain.get_args());
    for name in ["AGENT_RUNNER_API_KEY", "AGENT_RUNNER_API_KEY_FILE"] {
        command.env_remove(name);
    }
    let hub = HubProcess::start_with(command);
    let session = hub.session().await;
    let mut viewers = Vec::new();
    for _ in 0..31 {
        viewers.push(hub.viewer(&session, "observer").await);
    }
    let mut last = hub.viewer(&session, "observer").await;
    let sent_away = answer(&hub, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(sent_away.starts_with("HTTP/1.1 503"), "{sent_away:?}");
    // Whoever is there is not disturbed, and who leaves makes room.
    last.send(json!({"type": "ping", "timestamp": 1})).await;
    last.until(|frame| frame["type"] == "pong").await;
    drop(viewers);
    let left = |frame: &serde_json::Value| frame["event"] == "session_leave";
    for _ in 0..31 {
        last.until(left).await;
    }
    let (status, sessions) = hub.call("GET", "/api/hub/sessions", None).await;
    assert_eq!(status, 200, "{sessions}");
}

#[tokio::test]
async fn an_event_stream_that_is_not_read_holds_nobody_up_and_misses_nothing() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut stream = TcpStream::connect(&hub.address).await.unwrap();
    let head = format!(
        "GET /api/hub/session/{session}/events?subscribe=* HTTP/1.1\r\nHost: localhost\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !contains(&text, b"event: hydration") {
        stream.read_buf(&mut text).await.unwrap();
    }
    let mut lead = hub.lead(&session, "d1").await;
    flood(&mut lead, 2_000, 16 * 1_024).await;
    lead.event("end", "agent_end", json!({"messages": []}))
        .await;
    lead.until(|frame| frame["id"] == "end").await;
    while !contains(
        &text[text.len().saturating_sub(4_096)..],
        b"\"event\":\"agent_end\"",
    ) {
        let count = stream.read_buf(&mut text).await.unwrap();
        assert_ne!(count, 0, "the stream ended early");
    }
    let text = String::from_utf8_lossy(&text);
    let numbers: Vec<u64> = text
        .split("\"data\":{\"n\":")
        .skip(1)
        .map(|rest| rest.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn every_route_wants_the_key() {
    let source = include_str!("../../src/local_hub/server.rs");
    let routes: Vec<&str> = source
        .split('"')
        .filter(|text| text.starts_with("/api/"))
        .collect();
    assert!(routes.len() > 25, "{routes:?}");
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start_with_key(state.path(), "agc_secret");
    let wrong = [("Authorization", "Bearer agc_secre")];
    for route in routes.into_iter().chain(["/", "/api", "/nothing"]) {
        let path = route.replace("{id}", "codesess_x");
        for method in ["GET", "POST", "PATCH", "DELETE", "PUT"] {
            for headers in [&[][..], &wrong] {
                let body = Some(json!({"task": "t"}));
                let (status, answer) = hub.request(method, &path, headers, body).await;
                // The WebSocket takes its key in the first frame too, and says no by a close code.
                let expected: &[u16] = match path.as_str() {
                    "/api/ws" => &[400, 401, 405],
                    _ => &[401],
                };
                assert!(
                    expected.contains(&status),
                    "{method} {path}: {status} {answer}"
                );
            }
        }
    }
    let sessions = hub
        .request(
            "GET",
            "/api/hub/sessions",
            &[("Authorization", "Bearer agc_secret")],
            None,
        )
        .await;
    assert!(sessions.1.contains("\"total\":0"), "{sessions:?}");
}
