use serde_json::json;

use super::*;
use crate::event::Header;
use crate::hub::pi::Mapper;
use crate::ids::{EventId, TurnId};

fn envelope(seq: u64, event: &Value) -> Envelope {
    Envelope {
        header: Header {
            seq: Seq::new(seq).unwrap(),
            event_id: EventId::derive(Uuid::from_u128(7), seq),
            at: crate::clock::Timestamp::from_millis(1_795_220_000_000 + seq),
            session_id: "s1".parse().unwrap(),
            turn_id: Some(TurnId::from_uuid(Uuid::from_u128(9))),
            attempt: Some(1),
            agent: "claude".into(),
        },
        event: serde_json::from_value(event.clone()).unwrap(),
    }
}

fn turn() -> Vec<Value> {
    vec![
        json!({"type": "prompt", "text": "fix it"}),
        json!({"type": "session", "id": "c1", "model": "m"}),
        json!({"type": "token", "text": "I look.", "message_id": "m1"}),
        json!({"type": "tool_start", "call_id": "t1", "name": "shell", "native_name": "Bash",
            "input": {"command": "ls"}}),
        json!({"type": "tool_end", "call_id": "t1", "name": "shell",
            "output": "x".repeat(100_000), "is_error": true, "exit_code": 2}),
        json!({"type": "token", "text": "Done.", "message_id": "m2"}),
        json!({"type": "end", "outcome": "completed"}),
    ]
}

/// Records a turn whose first event has the place after `before`; the lines that it gave.
fn record(file: &mut SessionFile, before: u64) -> Vec<Value> {
    let mut mapper = Mapper::new();
    let mut lines = Vec::new();
    for (seq, event) in (before + 1..).zip(&turn()) {
        let (envelope, mut frames) = (envelope(seq, event), Vec::new());
        mapper.map(&envelope, &mut frames);
        lines.extend(file.record(&envelope, &frames, "/w").lines);
    }
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn open(dir: &Path) -> SessionFile {
    SessionFile::open(dir, &"s1".parse().unwrap()).unwrap()
}

#[test]
fn a_turn_becomes_a_chain_of_whole_messages_under_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let lines = record(&mut open(dir.path()), 0);
    assert_eq!(lines[0]["type"], "session");
    assert_eq!(
        (&lines[0]["version"], &lines[0]["cwd"]),
        (&json!(3), &json!("/w"))
    );
    let kinds: Vec<_> = lines[1..]
        .iter()
        .map(|line| {
            let role = line["message"]["role"].as_str();
            role.unwrap_or_else(|| line["type"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "custom",
            "user",
            "custom",
            "model_change",
            "assistant",
            "toolResult",
            "assistant"
        ]
    );
    assert_eq!(lines[3]["data"]["agentSession"], "c1");
    let mut parent = Value::Null;
    for line in &lines[1..] {
        assert_eq!(line["parentId"], parent, "{line}");
        assert_eq!(line["id"].as_str().unwrap().len(), 8);
        assert!(line.to_string().len() < 20_000);
        parent = line["id"].clone();
    }
    assert_eq!(lines[5]["message"]["usage"]["cost"]["total"], json!(0.0));
}

#[test]
fn a_journal_read_again_adds_nothing_and_a_file_opened_again_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = open(dir.path());
    let first = record(&mut file, 0);
    assert!(record(&mut file, 0).is_empty());
    let mut file = open(dir.path());
    assert!(record(&mut file, 0).is_empty());
    let more = record(&mut file, 20);
    assert_eq!(more[0]["parentId"], first.last().unwrap()["id"]);
    assert_eq!(
        more[0]["message"]["role"], "user",
        "nobody else wrote meanwhile"
    );
    let driver = file.driver().unwrap();
    assert_eq!(driver.agent_session.as_deref(), Some("c1"));
    let mut beyond = 0;
    file.each_beyond(Seq::new(20), |_| beyond += 1).unwrap();
    assert_eq!(beyond, more.len());
}

#[test]
fn another_state_dir_goes_on_with_the_file_and_recalls_what_was_before() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    record(&mut open(a.path()), 0);
    let content = std::fs::read_to_string(a.path().join("s1.jsonl")).unwrap();
    let folder = folder(b.path());
    let mut file = open(&folder);
    assert!(file.is_empty());
    assert!(
        file.adopt("/a/s1.jsonl".into(), &content)
            .unwrap()
            .is_empty()
    );
    assert_eq!(file.path(), "/a/s1.jsonl");
    assert_eq!(file.driver().unwrap().agent, "claude");
    // The places of its own journal begin anew.
    let more = record(&mut file, 0);
    let ids: HashSet<&str> = content
        .lines()
        .filter_map(|l| l.split('"').nth(7))
        .collect();
    assert_eq!(more[0]["customType"], CUSTOM);
    assert_eq!(more[1]["message"]["role"], "user");
    assert!(
        more.iter()
            .all(|line| !ids.contains(line["id"].as_str().unwrap()))
    );
    let mut told = Vec::new();
    earlier(b.path(), &"s1".parse().unwrap(), |event| {
        told.push(event.clone());
    })
    .unwrap();
    assert!(matches!(&told[0], Event::Prompt { text, .. } if text == "fix it"));
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(matches!(&told[2], Event::ToolStart { name, .. } if name == "shell"));
    assert!(matches!(
        &told[3],
        Event::ToolEnd {
            exit_code: Some(2),
            is_error: true,
            ..
        }
    ));
    // The first one comes back: what the other wrote is kept, and so is what it did not have.
    let mut first = open(a.path());
    record(&mut first, 20);
    let theirs = std::fs::read_to_string(folder.join("s1.jsonl")).unwrap();
    let missing = first.adopt("/a/s1.jsonl".into(), &theirs).unwrap();
    assert_eq!(missing.len(), 5, "who writes, and what they did not have");
    assert!(record(&mut open(a.path()), 20).is_empty());
    let merged = std::fs::read_to_string(a.path().join("s1.jsonl")).unwrap();
    assert!(merged.starts_with(&theirs));
    let mut parent = Value::Null;
    for line in merged.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["parentId"], parent, "one chain");
        parent = line["id"].clone();
    }
}

#[test]
fn a_line_that_a_crash_cut_off_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    record(&mut open(dir.path()), 0);
    let path = dir.path().join("s1.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.get(..whole.len() - 10).unwrap()).unwrap();
    let again = record(&mut open(dir.path()), 0);
    assert_eq!(again.len(), 1);
    assert_eq!(whole.lines().last().unwrap(), again[0].to_string());
}
