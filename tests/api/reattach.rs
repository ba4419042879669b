//! Readers that come and go, and daemons too: every event once, in order.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::place::{Place, Started};
use crate::running::{eventually, limit};
use crate::wire;

/// Answers that the talker gives, one event each.
const ANSWERS: usize = 1_500;

/// A CLI that answers in many pieces, a pause after every few.
const TALKER: &str = r#"#!/bin/sh
cat >/dev/null
id=7d4f8f9e-2f6c-4a56-9d2f-000000000000
echo '{"type":"system","subtype":"init","session_id":"'$id'","cwd":"/","tools":[],"model":"m"}'
i=0
while [ $i -lt ANSWERS ]; do
  echo '{"type":"assistant","session_id":"'$id'","parent_tool_use_id":null,"message":{"id":"m'$i'","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"'$i' "}],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}}}'
  i=$((i + 1))
  [ $((i % 25)) -eq 0 ] && sleep 0.02
done
echo '{"type":"result","subtype":"success","is_error":false,"duration_ms":1,"num_turns":1,"result":"done","session_id":"'$id'","total_cost_usd":0.01,"usage":{"input_tokens":10,"output_tokens":20}}'
"#;

fn talking(place: &Place) -> Started {
    let script = TALKER.replace("ANSWERS", &ANSWERS.to_string());
    let program = place.bench.file("talker", &script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("[agents.claude]\ncommand = {program:?}\n");
    let config = place.bench.file("config.toml", &config);
    let folder = place.folder("here");
    Started::read(&place.start(&folder, &["--config", &config, "Talk."]))
}

/// What every reader must have: each event once, in order, to the turn's end.
fn assert_whole(events: &[Value]) {
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], index + 1, "{event}");
    }
    let of = |kind: &'static str| events.iter().filter(move |event| event["type"] == kind);
    let text: String = of("token")
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    let numbers: Vec<usize> = text
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(numbers.iter().copied().eq(0..ANSWERS), "{numbers:?}");
    assert_eq!(of("end").count(), 1);
    assert_eq!(of("end").next().unwrap()["outcome"], "completed");
}

/// Reads at most `bytes` of the stream after `after`, hangs up, and gives the whole messages.
fn some(place: &Place, session: &str, after: u64, bytes: usize) -> (Vec<Value>, bool) {
    let mut stream = UnixStream::connect(place.bench.path("state/api.sock")).unwrap();
    stream.set_read_timeout(Some(limit())).unwrap();
    write!(
        stream,
        "GET /v1/sessions/{session}/events HTTP/1.1\r\nhost: localhost\r\n\
         accept: text/event-stream\r\nlast-event-id: {after}\r\n\r\n"
    )
    .unwrap();
    let mut read = Vec::new();
    // A stream that follows never ends by itself: it is read until there is enough of it.
    let mut part = vec![0; 4096];
    let mut is_ended = false;
    while read.len() < bytes && !is_ended {
        let count = stream.read(&mut part).unwrap();
        read.extend_from_slice(&part[..count]);
        is_ended = count == 0 || read.windows(12).any(|window| window == b"\"type\":\"end\"");
    }
    read.truncate(if is_ended { read.len() } else { bytes });
    let text = String::from_utf8_lossy(&read);
    // A message counts when its blank line is there; an id comes before its data.
    let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    let lines = whole.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = lines.filter_map(|line| serde_json::from_str(line).ok());
    (events.collect(), is_ended)
}

#[test]
fn a_reader_that_hangs_up_a_hundred_times_has_every_event_once() {
    let place = Place::new();
    let started = talking(&place);
    let mut events: Vec<Value> = Vec::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut hung_up = 0;
    loop {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let bytes = if hung_up < 100 {
            300 + random % 8_000
        } else {
            u64::MAX >> 1
        };
        let after = events
            .last()
            .map_or(0, |event| event["seq"].as_u64().unwrap());
        let bytes = usize::try_from(bytes).unwrap();
        let (more, is_ended) = some(&place, &started.session, after, bytes);
        events.extend(more);
        if is_ended && events.last().is_some_and(|event| event["type"] == "end") {
            break;
        }
        hung_up += 1;
    }
    assert!(hung_up >= 100, "it hung up {hung_up} times");
    assert_whole(&events);
    assert_eq!(events, place_events(&place, &started.session));
    Place::end(started.pid, Signal::SIGTERM);
}

/// All events by the page, small ones.
fn place_events(place: &Place, session: &str) -> Vec<Value> {
    let mut events = Vec::new();
    let mut after = 0;
    loop {
        let path = format!("/v1/sessions/{session}/events?after={after}&limit=97");
        let (status, page) = place.ask("GET", &path, &Value::Null);
        assert_eq!(status, 200, "{page}");
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        after = page["next_after"].as_u64().unwrap();
        if page["last_seq"] == after {
            return events;
        }
    }
}

#[test]
fn followers_outlive_daemons_that_are_killed() {
    let place = Place::new();
    let started = talking(&place);
    let session = started.session.as_str();
    let of_session = |command: &str, words: &[&str]| {
        let words = [&[command, "--session", session], words].concat();
        let mut command = place.bench.command(&words);
        place.bench.start(command.args(["--output", "jsonl"]))
    };
    let events = of_session("events", &["--turn", &started.turn, "--follow"]);
    let whole = of_session("events", &["--follow"]);
    let waiting = of_session("prompt", &["Once more.", "--wait"]);
    let mut pid = started.pid;
    for at in [100, 500, 900] {
        whole.event("a token", |event| event["seq"].as_u64() >= Some(at));
        Place::end(pid, Signal::SIGKILL);
        pid = place.restart().0;
    }
    let of_turn = events.finish();
    assert_eq!(of_turn.code(), 0, "{of_turn:#?}");
    let next = waiting.finish();
    assert_eq!(next.code(), 0, "{next:#?}");
    assert_eq!(wire::events(&next).last().unwrap()["outcome"], "completed");
    let all = place_events(&place, session);
    let last = all.last().unwrap()["seq"].as_u64().unwrap();
    whole.event("the last event", |event| event["seq"] == last);
    // Ctrl-C only lets go.
    whole.signal(Signal::SIGINT);
    let followed = whole.finish();
    assert_eq!(followed.code(), 0, "{followed:#?}");
    assert_eq!(wire::events(&followed), all, "each line once");
    let first: Vec<Value> = all
        .into_iter()
        .filter(|event| event["turn_id"] == started.turn.as_str())
        .collect();
    assert_eq!(wire::events(&of_turn), first);
    let before = first[0]["seq"].as_u64().unwrap() - 1;
    let tokens = first
        .iter()
        .filter(|event| event["type"] == "token")
        .count();
    assert_eq!(tokens, ANSWERS, "after {before} events of the setup");
    eventually("nothing runs", || place.status(session)["state"] == "idle");
    Place::end(pid, Signal::SIGTERM);
}
