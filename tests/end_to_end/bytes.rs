//! What a CLI writes arrives byte for byte, whatever it writes to and however much it is.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::participants::Participants;

/// Recordings with long lines, wide characters, streamed text and failures.
const RECORDINGS: &[&str] = &[
    "unicode_partial",
    "write_file_partial",
    "long_text",
    "http_401",
];

/// The recorded output of one turn of Claude Code.
pub(crate) fn recording(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/claude");
    folder.join(format!("{name}.pipe.jsonl"))
}

/// A CLI that takes its prompt and prints a file.
fn player(file: &Path) -> String {
    format!("#!/bin/sh\ncat >/dev/null\nexec cat '{}'\n", file.display())
}

/// The raw output that the only run of this state dir kept, and its events.
fn run(bench: &Bench, state: &str, words: &[&str]) -> (Vec<u8>, Vec<Value>) {
    let state_dir = bench.text(state);
    let mut command = bench.command(&["run", "--output", "jsonl", "--state-dir", &state_dir]);
    command.env("AGENT_RUNNER_SPOOL_RETAIN", "true");
    let finished = bench.start(command.args(words).arg("play")).finish();
    let files = bench.files(state);
    let mut spools = files.iter().filter(|path| path.ends_with("spool.raw"));
    let spool = fs::read(spools.next().expect("a spool")).unwrap();
    assert!(spools.next().is_none());
    (spool, finished.events())
}

/// Without what no two runs have in common.
fn comparable(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        for name in ["event_id", "at", "session_id", "turn_id", "duration_ms"] {
            event.remove(name);
        }
    }
    events
}

#[test]
fn output_is_the_same_on_a_pty_as_on_a_pipe() {
    for name in RECORDINGS {
        let bench = Bench::new();
        let file = recording(name);
        let config = bench.config_with_cli(&player(&file));
        let (pty, pty_events) = run(&bench, "a", &["--config", &config, "--stdio", "pty"]);
        let (pipe, pipe_events) = run(&bench, "b", &["--config", &config, "--stdio", "pipe"]);
        let printed = fs::read(&file).unwrap();
        assert!(pipe == printed, "{name}: a pipe changed the output");
        assert!(pty == printed, "{name}: a PTY changed the output");
        for (a, b) in comparable(&pty_events)
            .iter()
            .zip(&comparable(&pipe_events))
        {
            assert_eq!(a, b, "{name}");
        }
        assert_eq!(pty_events.len(), pipe_events.len(), "{name}");
        assert!(pty_events.len() > 3, "{name}: {pty_events:?}");
    }
}

const SCRIPT: &str = r#"
[[reply]]
steps = [{ say = "Ünïcode 🚀 \"quoted\"\n" }, { shell = "seq 1 2000" }, { write = "a.txt", content = "one\ntwo\n" }]
[[reply]]
steps = [{ say = "Done." }]
"#;

#[test]
fn the_real_cli_says_the_same_on_a_pty_as_on_a_pipe() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let play = |stdio: &str| {
        let words = ["run", "--output", "jsonl", "--stdio", stdio, "--state-dir"];
        let mut command = bench.agent(&model, &words);
        command.env("AGENT_RUNNER_SPOOL_RETAIN", "true");
        command.arg(bench.path(stdio)).arg("Do it.");
        let finished = bench.start(&mut command).finish();
        assert_eq!(finished.code(), 0, "{finished:?}");
        fs::remove_file(bench.path("here/a.txt")).unwrap();
        let spools = bench.files(stdio);
        let spool = spools.iter().find(|path| path.ends_with("spool.raw"));
        (finished.events(), fs::read(spool.unwrap()).unwrap())
    };
    let ((pty, spool), (pipe, _)) = (play("pty"), play("pipe"));
    let plain = |events: &[Value]| -> Vec<String> {
        let events = comparable(events);
        events.iter().map(|e| without_ids(&e.to_string())).collect()
    };
    assert_eq!(plain(&pty), plain(&pipe));
    assert!(pty.iter().all(|event| event["type"] != "raw"), "{pty:?}");
    // The lines are those of a pipe; behind the last one the CLI puts its terminal in order.
    let end = spool.iter().rposition(|byte| *byte == b'\n').unwrap();
    let (lines, tail) = spool.split_at(end + 1);
    assert!(!lines.contains(&b'\r') && !lines.contains(&0x1b));
    assert!(tail.is_empty() || tail.starts_with(b"\x1b"), "{tail:?}");
    for line in String::from_utf8(lines.to_vec()).unwrap().lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

/// Ids are long runs of hexadecimal digits.
fn without_ids(text: &str) -> String {
    let is_id = |c: char| c.is_ascii_hexdigit() || c == '-';
    let mut plain = String::new();
    let mut rest = text;
    while let Some(from) = rest.find(is_id) {
        let (before, found) = rest.split_at(from);
        let end = found.find(|c| !is_id(c)).unwrap_or(found.len());
        plain.push_str(before);
        plain.push_str(if end < 30 { &found[..end] } else { "ID" });
        rest = &found[end..];
    }
    plain + rest
}

#[test]
fn a_tool_record_of_one_mebibyte_is_whole_here_and_cut_with_a_marker_on_the_hub() {
    let bench = Bench::new();
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let output = "0123456789abcde\n".repeat(1 << 16);
    let text = fs::read_to_string(recording("shell")).unwrap();
    let escaped = json!(output).to_string();
    let small = "\"content\":\"out\\nerr\\n/workspace/repo\"";
    assert!(text.contains(small));
    let text = text.replace(small, &format!("\"content\":{escaped}"));
    let file = bench.file("recording", &text);
    let config = bench.config_with_cli(&player(Path::new(&file)));
    let session = all.create(&json!({"task": "play"}));
    let mut command = bench.lead(&config, &hub, &session);
    command.args(["--once", "--output", "jsonl"]);
    let finished = bench.start(&mut command).finish();
    assert_eq!(finished.code(), 0, "{}", finished.err);

    let whole = |event: &Value| event["type"] == "tool_end" && event["output"] == output;
    assert!(finished.events().iter().any(whole), "whole on stdout");
    let stored = journal(&bench, &session);
    assert!(stored.iter().any(whole), "whole in the journal");
    assert_eq!(stored.len(), finished.out.len());

    all.broadcast("agent_end", 1);
    let frames = all.broadcasts("observer");
    let mut results = frames
        .iter()
        .filter(|frame| frame["event"] == "tool_execution_end");
    let shown = results.next().unwrap()["data"]["result"]["content"][0]["text"].clone();
    let shown = shown.as_str().unwrap();
    let (head, marker) = shown.split_once("…[+").expect("a marker");
    assert!(
        output.starts_with(head) && head.len() > 10_000,
        "{}",
        head.len()
    );
    assert_eq!(marker, format!("{} bytes]", output.len() - head.len()));
    for frame in &frames {
        assert!(
            frame["data"].to_string().len() <= 256 * 1024,
            "{}",
            frame["event"]
        );
    }
}

/// A session's events as the journal has them.
pub(crate) fn journal(bench: &Bench, session: &str) -> Vec<Value> {
    let db = rusqlite::Connection::open(bench.path("state/journal.db")).unwrap();
    let query = "SELECT body FROM event_batch WHERE session_id = ? ORDER BY first_seq";
    let mut query = db.prepare(query).unwrap();
    let bodies = query.query_map([session], |row| row.get::<_, Vec<u8>>(0));
    let mut events = Vec::new();
    for body in bodies.unwrap() {
        let body = String::from_utf8(body.unwrap()).unwrap();
        events.extend(
            body.lines()
                .map(|l| serde_json::from_str::<Value>(l).unwrap()),
        );
    }
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], index + 1, "{event}");
    }
    events
}
