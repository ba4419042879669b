//! Whatever events come, in whatever order: everything is closed, and frames follow from the events.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[expect(clippy::too_many_lines, reason = "a line for each event")]
fn any_event() -> impl Strategy<Value = Value> {
    let call = prop::sample::select(vec!["a", "b", "c"]);
    let message = prop::option::of(prop::sample::select(vec!["m1", "m2"]));
    let parent = prop::option::weighted(0.3, prop::sample::select(vec!["a", "b"]));
    let name = prop::sample::select(vec!["shell", "task", "Other"]);
    let kind = prop::sample::select(vec![
        "token",
        "thinking",
        "tool_start",
        "tool_end",
        "tool_delta",
        "agent_crashed",
        "end",
        "prompt",
        "usage",
        "text_retracted",
        "notice",
        "raw",
        "session",
    ]);
    // A new attempt or turn closes everything: rarely, or nothing would stay open for long.
    let attempt = prop_oneof![12 => Just(1u64), 1 => Just(2)];
    let turn = prop_oneof![20 => Just(0u64), 1 => Just(1)];
    (
        kind,
        call,
        message,
        parent,
        name,
        any::<bool>(),
        attempt,
        turn,
    )
        .prop_map(|(kind, call, message, parent, name, flag, attempt, turn)| {
            let mut event = match kind {
                "token" | "thinking" => json!({"text": "x"}),
                "tool_start" => {
                    json!({"call_id": call, "name": name, "native_name": name, "input": {}})
                }
                "tool_end" => json!({"call_id": call, "name": name, "is_error": flag}),
                "tool_delta" => json!({"call_id": call, "stream": "output", "text": "o"}),
                "agent_crashed" => json!({"message": "m", "cause": "exit", "exit_code": 1,
                    "output": "", "will_resume": flag}),
                "end" => json!({"outcome": if flag { "completed" } else { "crashed" }}),
                "prompt" => json!({"text": "p"}),
                "usage" => json!({"input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 0,
                    "cache_write_tokens": 0}),
                "text_retracted" => json!({"message_id": "m1"}),
                "notice" => json!({"level": "info", "code": "c", "text": "t"}),
                "raw" => json!({"stream": "stdout", "text": "t"}),
                _ => json!({"id": "c1"}),
            };
            event["type"] = kind.into();
            event["attempt"] = attempt.into();
            event["turn"] = turn.into();
            if matches!(kind, "token" | "thinking")
                && let Some(message) = message
            {
                event["message_id"] = message.into();
            }
            if matches!(kind, "token" | "thinking" | "tool_start")
                && let Some(parent) = parent
            {
                event["parent_call_id"] = parent.into();
            }
            event
        })
}

proptest! {
    // As many as all three tests together run in less than 5 s unoptimized; `PROPTEST_CASES` asks
    // for more.
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_everything_is_closed(lines in prop::collection::vec(any_event(), 0..40)) {
        // The first and the last turn's begin and end are the daemon's own.
        let mut all = vec![json!({"type": "prompt", "text": "p"})];
        all.extend(lines);
        let turn = all.last().map_or(Value::Null, |l| l["turn"].clone());
        let mut over = end("cancelled");
        over["turn"] = turn;
        all.push(over);
        balanced(&map(&all));
    }

    #[test]
    fn state_frames_do_not_depend_on_when_deltas_are_flushed(
        lines in prop::collection::vec((any_event(), any::<bool>()), 0..40)
    ) {
        let (lines, flushes): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
        let all = events(&lines);
        let state = |flush: &dyn Fn(usize) -> bool| {
            let mut mapper = Mapper::new();
            let mut frames = Vec::new();
            for (at, envelope) in all.iter().enumerate() {
                mapper.map(envelope, &mut frames);
                if flush(at) {
                    mapper.flush(&mut frames);
                }
            }
            mapper.flush(&mut frames);
            let mut ids = HashSet::new();
            assert!(frames.iter().all(|f| ids.insert(f.id.clone())), "an id came twice");
            frames.retain(|f| f.class == Class::State);
            frames
        };
        prop_assert_eq!(state(&|_| false), state(&|at| flushes[at]));
    }

    #[test]
    fn a_turn_mapped_again_from_its_first_event_has_the_same_frames(
        before in prop::collection::vec(any_event(), 0..20),
        lines in prop::collection::vec(any_event(), 0..20)
    ) {
        let turn = |number: u64, lines: Vec<Value>| {
            let begin = [json!({"type": "prompt", "text": "p"})];
            let all = begin.into_iter().chain(lines).chain([end("completed")]);
            all.map(move |mut line| {
                line["turn"] = number.into();
                line
            })
        };
        let first = before.len() + 2;
        let all: Vec<Value> = turn(0, before).chain(turn(1, lines)).collect();
        let all = events(&all);
        let (mut going_on, mut fresh) = (Mapper::new(), Mapper::new());
        for envelope in &all[..first] {
            going_on.map(envelope, &mut Vec::new());
        }
        let (mut expected, mut again) = (Vec::new(), Vec::new());
        for envelope in &all[first..] {
            going_on.map(envelope, &mut expected);
            fresh.map(envelope, &mut again);
        }
        prop_assert_eq!(again, expected);
    }
}
