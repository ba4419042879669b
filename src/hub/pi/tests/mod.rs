//! Events of turns as the frames that viewers get.

#[path = "../../../../tests/support/viewer.rs"]
mod viewer;
mod whatever;

use serde_json::{Value, json};
use uuid::Uuid;

use self::viewer::balanced;
use super::*;
use crate::clock::Timestamp;
use crate::event::{Envelope, Header};
use crate::ids::{EventId, Seq, TurnId};

/// Events of one turn, from JSON; `attempt` and `turn` may be given beside the event's fields.
fn events(lines: &[Value]) -> Vec<Envelope> {
    let turn = |n: u64| TurnId::from_uuid(Uuid::from_u128(u128::from(n) + 100));
    let envelope = |(at, line): (usize, &Value)| {
        let seq = at as u64 + 1;
        let header = Header {
            seq: Seq::new(seq).unwrap(),
            event_id: EventId::derive(Uuid::from_u128(1), seq),
            at: Timestamp::from_millis(1_000 + seq / 3),
            session_id: "s1".parse().unwrap(),
            turn_id: Some(turn(line["turn"].as_u64().unwrap_or(0))),
            attempt: Some(u32::try_from(line["attempt"].as_u64().unwrap_or(1)).unwrap()),
            agent: "claude".into(),
        };
        Envelope {
            header,
            event: serde_json::from_value(line.clone()).unwrap(),
        }
    };
    lines.iter().enumerate().map(envelope).collect()
}

fn map(lines: &[Value]) -> Vec<(String, Value)> {
    let mut mapper = Mapper::new();
    let mut frames = Vec::new();
    for envelope in events(lines) {
        mapper.map(&envelope, &mut frames);
    }
    mapper.flush(&mut frames);
    let parse = |f: &Frame| (f.event.to_owned(), serde_json::from_str(&f.data).unwrap());
    frames.iter().map(parse).collect()
}

fn names(frames: &[(String, Value)]) -> Vec<String> {
    let name = |(event, data): &(String, Value)| match data["message"]["role"].as_str() {
        Some(role) if event.starts_with("message") => format!("{event}:{role}"),
        _ => event.clone(),
    };
    frames.iter().map(name).collect()
}

fn tool_start(call: &str) -> Value {
    json!({"type": "tool_start", "call_id": call, "name": "shell", "native_name": "Bash",
        "input": {"command": "ls"}})
}

fn tool_end(call: &str) -> Value {
    json!({"type": "tool_end", "call_id": call, "name": "shell", "output": "a\nb",
        "is_error": false, "exit_code": 0})
}

fn token(text: &str, message: &str) -> Value {
    json!({"type": "token", "text": text, "message_id": message})
}

fn end(outcome: &str) -> Value {
    json!({"type": "end", "outcome": outcome})
}

#[test]
#[expect(clippy::too_many_lines, reason = "a line for each frame")]
fn a_turn_with_a_tool_has_the_order_that_viewers_rely_on() {
    let frames = map(&[
        json!({"type": "prompt", "text": "fix it"}),
        json!({"type": "session", "id": "c1", "model": "m"}),
        json!({"type": "thinking", "text": "hm", "message_id": "m1"}),
        token("I ", "m1"),
        token("look", "m1"),
        tool_start("t1"),
        json!({"type": "tool_delta", "call_id": "t1", "stream": "output", "text": "a\n"}),
        tool_end("t1"),
        token("Done", "m2"),
        json!({"type": "usage", "input_tokens": 5, "output_tokens": 7, "cache_read_tokens": 2,
            "cache_write_tokens": 1, "cost_usd": 0.5}),
        end("completed"),
    ]);
    assert_eq!(
        names(&frames),
        [
            "before_agent_start",
            "agent_start",
            "turn_start",
            "message_start:user",
            "message_end:user",
            "message_start:assistant",
            "message_update:assistant",
            "message_update:assistant",
            "message_end:assistant",
            "tool_execution_start",
            "tool_call",
            "tool_execution_update",
            "tool_result",
            "tool_execution_end",
            "message_start:toolResult",
            "message_end:toolResult",
            "turn_end",
            "turn_start",
            "message_start:assistant",
            "message_update:assistant",
            "message_end:assistant",
            "turn_end",
            "agent_end",
        ]
    );
    let joined = &frames[7].1["assistantMessageEvent"];
    assert_eq!(
        *joined,
        json!({"type": "text_delta", "contentIndex": 1, "delta": "I look"})
    );
    let asked = &frames[8].1["message"];
    assert_eq!(asked["stopReason"], "toolUse");
    assert_eq!(asked["model"], "m");
    assert_eq!(
        asked["content"],
        json!([
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "I look"},
            {"type": "toolCall", "id": "t1", "name": "bash", "arguments": {"command": "ls"}},
        ])
    );
    assert_eq!(frames[13].1["result"]["content"][0]["text"], "a\nb");
    let last = &frames[20].1["message"];
    assert_eq!(last["usage"]["totalTokens"], 15);
    assert_eq!(last["usage"]["cost"]["total"], 0.5);
    assert_eq!(frames[22].1["messages"].as_array().unwrap().len(), 4);
    balanced(&frames);
}

#[test]
fn a_crash_in_the_middle_of_a_tool_closes_it_and_a_resumed_attempt_goes_on() {
    let frames = map(&[
        json!({"type": "prompt", "text": "p"}),
        token("x", "m1"),
        tool_start("t1"),
        json!({"type": "agent_crashed", "message": "killed by signal 9", "cause": "signal",
            "signal": 9, "output": "", "will_resume": true}),
        json!({"type": "token", "text": "again", "message_id": "m2", "attempt": 2}),
        json!({"type": "end", "outcome": "completed", "attempt": 2}),
    ]);
    balanced(&frames);
    let closed = frames.iter().find(|(e, _)| e == "tool_execution_end");
    assert_eq!(closed.unwrap().1["isError"], true);
    let errors: Vec<_> = frames
        .iter()
        .filter(|(e, _)| e == "session_error")
        .collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].1["willResume"], true);
    let said = frames.iter().filter(|(e, d)| {
        e == "message_end" && d["message"]["errorMessage"] == "killed by signal 9"
    });
    assert_eq!(said.count(), 1);
    assert_eq!(names(&frames).last().unwrap(), "agent_end");
}

#[test]
fn a_failed_turn_says_why_once() {
    let frames = map(&[
        json!({"type": "prompt", "text": "p"}),
        json!({"type": "end", "outcome": "failed",
            "error": {"class": "auth", "message": "no key"}}),
    ]);
    balanced(&frames);
    assert_eq!(
        names(&frames)[5..],
        [
            "message_start:assistant",
            "message_end:assistant",
            "turn_end",
            "agent_end",
            "session_error"
        ]
    );
    assert_eq!(frames[7].1["message"]["errorMessage"], "no key");
    assert_eq!(frames[9].1["class"], "auth");
}

#[test]
fn a_sub_agent_has_its_task_and_its_progress() {
    let below = |mut event: Value| {
        event["parent_call_id"] = "t1".into();
        event
    };
    let frames = map(&[
        json!({"type": "prompt", "text": "p"}),
        json!({"type": "tool_start", "call_id": "t1", "name": "task", "native_name": "Task",
            "input": {"description": "d", "prompt": "look", "subagent_type": "Explore"}}),
        below(token("a", "n1")),
        below(token("b", "n1")),
        below(tool_start("t2")),
        tool_end("t2"),
        json!({"type": "tool_end", "call_id": "t1", "name": "task", "output": "found",
            "is_error": false}),
        end("completed"),
    ]);
    balanced(&frames);
    let below: Vec<_> = frames
        .iter()
        .filter(|(_, d)| d.get("taskId").is_some())
        .collect();
    let told: Vec<_> = below
        .iter()
        .map(|(e, d)| (e.as_str(), d["status"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("task_start", None),
            ("agent_progress", Some("text_delta")),
            ("agent_progress", Some("tool_start")),
            ("agent_progress", Some("tool_end")),
            ("task_complete", None)
        ]
    );
    assert_eq!(below[1].1["delta"], "ab");
    assert_eq!(below[1].1["agentName"], "Explore");
    assert_eq!(below[4].1["result"], "found");
}

#[test]
fn parallel_tools_stay_in_one_model_turn() {
    let frames = map(&[
        json!({"type": "prompt", "text": "p"}),
        token("x", "m1"),
        tool_start("t1"),
        tool_start("t2"),
        tool_end("t2"),
        tool_end("t1"),
        token("done", "m2"),
        end("completed"),
    ]);
    balanced(&frames);
    let turns = frames.iter().filter(|(e, _)| e == "turn_start").count();
    assert_eq!(turns, 2);
}

/// A run whose call `c` ends while a message is open, and the number of its model turns.
fn said_during_a_call(tokens: [Value; 2]) -> (Vec<(String, Value)>, usize) {
    let [during, after] = tokens;
    let lines = [
        json!({"type": "prompt", "text": "p"}),
        tool_start("c"),
        during,
        tool_end("c"),
        after,
        end("completed"),
    ];
    let frames = map(&lines);
    balanced(&frames);
    let turns = frames.iter().filter(|(e, _)| e == "turn_start").count();
    (frames, turns)
}

#[test]
fn what_is_said_while_a_tool_runs_ends_before_its_result() {
    let (frames, turns) = said_during_a_call([token("wait", "m1"), token("done", "m2")]);
    assert_eq!(
        names(&frames)[9..],
        [
            "message_start:assistant",
            "message_update:assistant",
            "message_end:assistant",
            "tool_result",
            "tool_execution_end",
            "message_start:toolResult",
            "message_end:toolResult",
            "turn_end",
            "turn_start",
            "message_start:assistant",
            "message_update:assistant",
            "message_end:assistant",
            "turn_end",
            "agent_end",
        ]
    );
    assert_eq!(turns, 2);
    let results = &frames[16].1["toolResults"];
    assert_eq!(results[0]["toolCallId"], "c");
    assert_eq!(frames[21].1["toolResults"], json!([]));
    let said = |at: usize| frames[at].1["message"]["content"][0]["text"].clone();
    assert_eq!((said(11), said(20)), (json!("wait"), json!("done")));
}

#[test]
fn a_message_that_a_tool_result_breaks_off_goes_on_in_the_same_model_turn() {
    let (frames, turns) = said_during_a_call([token("one", "m1"), token("two", "m1")]);
    assert_eq!(turns, 1);
    let said: Vec<_> = frames
        .iter()
        .filter(|(e, d)| e == "message_end" && d["message"]["responseId"] == "m1")
        .map(|(_, d)| d["message"]["content"].clone())
        .collect();
    assert_eq!(
        said,
        [
            json!([{"type": "text", "text": "one"}]),
            json!([{"type": "text", "text": "two"}])
        ]
    );
}

#[test]
fn text_without_a_message_id_after_a_tool_result_is_a_new_answer() {
    let nameless = |text: &str| json!({"type": "token", "text": text});
    let (_, turns) = said_during_a_call([nameless("one"), nameless("two")]);
    assert_eq!(turns, 2);
}

#[test]
fn a_run_that_ends_while_a_tool_and_a_message_are_open_closes_the_message_first() {
    let frames = map(&[
        json!({"type": "prompt", "text": "p"}),
        tool_start("c"),
        token("x", "m1"),
        end("cancelled"),
    ]);
    balanced(&frames);
    assert_eq!(
        names(&frames)[11..],
        [
            "message_end:assistant",
            "tool_result",
            "tool_execution_end",
            "message_start:toolResult",
            "message_end:toolResult",
            "turn_end",
            "agent_end",
        ]
    );
    assert_eq!(frames[11].1["message"]["stopReason"], "aborted");
}

#[test]
fn an_abort_is_said_by_a_message_whatever_was_open() {
    let interrupted = json!({"type": "tool_end", "call_id": "c", "name": "shell",
        "is_error": true});
    for last in [tool_start("c"), interrupted, token("x", "m1")] {
        let mut lines = vec![json!({"type": "prompt", "text": "p"}), token("a", "m0")];
        if last["type"] == "tool_end" {
            lines.push(tool_start("c"));
        }
        lines.extend([last.clone(), end("cancelled")]);
        let frames = map(&lines);
        balanced(&frames);
        let stops: Vec<&Value> = frames
            .iter()
            .filter(|(event, data)| {
                event == "message_end" && data["message"]["role"] == "assistant"
            })
            .map(|(_, data)| &data["message"]["stopReason"])
            .collect();
        assert_eq!(stops.last(), Some(&&json!("aborted")), "{last}");
        let aborted = stops.iter().filter(|stop| **stop == "aborted").count();
        assert_eq!(aborted, 1, "{last}: {stops:?}");
    }
}

#[test]
fn a_retracted_draft_is_not_in_the_message() {
    let frames = map(&[
        json!({"type": "prompt", "text": "p"}),
        token("draft", "m1"),
        json!({"type": "text_retracted", "message_id": "m1"}),
        token("final", "m1"),
        end("completed"),
    ]);
    balanced(&frames);
    let last = frames
        .iter()
        .rev()
        .find(|(e, _)| e == "message_end")
        .unwrap();
    assert_eq!(
        last.1["message"]["content"],
        json!([{"type": "text", "text": "final"}])
    );
}

#[test]
fn a_steer_is_a_user_message_within_the_run() {
    let frames = map(&[
        json!({"type": "prompt", "text": "p"}),
        token("x", "m1"),
        json!({"type": "prompt", "text": "rather this", "attempt": 2}),
        json!({"type": "token", "text": "y", "attempt": 2}),
        json!({"type": "end", "outcome": "completed", "attempt": 2}),
    ]);
    balanced(&frames);
    let count = |name: &str| frames.iter().filter(|(e, _)| e == name).count();
    assert_eq!((count("agent_start"), count("agent_end")), (1, 1));
    let user = names(&frames)
        .iter()
        .filter(|n| *n == "message_end:user")
        .count();
    assert_eq!(user, 2);
}

#[test]
fn a_message_into_a_live_turn_interrupts_no_call() {
    let frames = map(&[
        json!({"type": "prompt", "text": "p"}),
        token("x", "m1"),
        tool_start("t"),
        json!({"type": "prompt", "text": "rather this"}),
        tool_end("t"),
        token("y", "m2"),
        json!({"type": "end", "outcome": "completed"}),
    ]);
    balanced(&frames);
    let ends: Vec<_> = frames
        .iter()
        .filter(|(event, _)| event == "tool_execution_end")
        .map(|(_, data)| data["isError"].clone())
        .collect();
    assert_eq!(ends, [json!(false)]);
    let prompts = names(&frames)
        .iter()
        .filter(|name| *name == "message_end:user")
        .count();
    assert_eq!(prompts, 2);
}

#[test]
fn a_long_answer_costs_linear_bytes_and_every_frame_fits() {
    let mut mapper = Mapper::new();
    let mut frames = Vec::new();
    let piece = "word ".repeat(20);
    let mut lines = vec![json!({"type": "prompt", "text": "p"})];
    lines.extend((0..20_000).map(|_| token(&piece, "m1")));
    lines.push(tool_start("t"));
    lines.push(json!({"type": "tool_end", "call_id": "t", "name": "shell",
        "output": "y".repeat(3 << 20), "is_error": false}));
    lines.push(end("completed"));
    for envelope in events(&lines) {
        mapper.map(&envelope, &mut frames);
    }
    let total: usize = frames.iter().map(|f| f.data.len()).sum();
    assert!(total < 16 << 20, "{total} bytes for 2 MB of text");
    for frame in &frames {
        assert!(
            frame.data.len() <= MAX_DATA,
            "{} {}",
            frame.event,
            frame.data.len()
        );
    }
    let cut = |event: &str, place: &str, left: usize| {
        let frame = frames.iter().rfind(|f| f.event == event).unwrap();
        let data: Value = serde_json::from_str(&frame.data).unwrap();
        let text = data.pointer(place).and_then(Value::as_str).unwrap();
        let marker = format!("y…[+{} bytes]", (3 << 20) - left);
        assert!(
            text.ends_with(&marker),
            "{event}: …{}",
            &text[text.len() - 40..]
        );
    };
    cut("tool_execution_end", "/result/content/0/text", 200_000);
    cut("tool_result", "/content/0/text", 8 * 1024);
    cut("message_end", "/message/content/0/text", 8 * 1024);
    cut("turn_end", "/toolResults/0/content/0/text", 256);
}
