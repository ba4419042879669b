//! Recordings of the real CLI, replayed: the right events, however the bytes were chunked, and
//! from every snapshot on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test's helpers may panic

#[path = "replay/corpus.rs"]
mod corpus;
#[path = "replay/dialogs.rs"]
mod dialogs;
#[path = "replay/frames.rs"]
mod frames;
#[path = "support/viewer.rs"]
mod viewer;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use agent_runner::agent::{self, AGENTS, OutputReader};
use agent_runner::event::{Event, Outcome};
use agent_runner::ids::SpoolOffset;
use agent_runner::redact::Redactor;
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use corpus::{Capture, capture, captures, captures_of, events, events_in_chunks};

#[test]
fn every_recording_gives_its_events() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for agent in AGENTS {
        settings.set_snapshot_path(format!("corpus/{}/events", agent.name));
        settings.bind(|| {
            for capture in captures_of(agent.name) {
                let lines: Vec<String> = events(&capture).iter().map(corpus::abbreviated).collect();
                insta::assert_snapshot!(capture.name.clone(), lines.join("\n"));
            }
        });
    }
}

#[test]
fn every_recording_ends_once_with_its_calls_paired() {
    for capture in captures() {
        let events = events(&capture);
        let name = capture.to_string();
        let ends = events
            .iter()
            .filter(|e| matches!(e, Event::End { .. }))
            .count();
        assert_eq!(ends, 1, "{name}");
        assert!(matches!(events.last(), Some(Event::End { .. })), "{name}");
        let mut open = Vec::new();
        for event in &events {
            match event {
                Event::ToolStart { call_id, .. } => open.push(call_id.clone()),
                Event::ToolEnd { call_id, .. } => {
                    let at = open.iter().position(|id| id == call_id);
                    open.remove(at.unwrap_or_else(|| panic!("{name}: {call_id} never began")));
                }
                _ => {}
            }
        }
        assert!(open.is_empty(), "{name}: {open:?}");
    }
}

/// The text of a completed turn of Claude Code is what its last `result` says.
#[test]
fn the_text_of_the_events_is_the_text_of_the_result() {
    for capture in captures_of("claude") {
        let Some(result) = capture.last_record("result") else {
            continue;
        };
        let Some(expected) = result["result"]
            .as_str()
            .filter(|_| result["is_error"] == false)
        else {
            continue;
        };
        let text = corpus::main_text(&events(&capture));
        assert!(
            text.ends_with(expected),
            "{}: {text:?} does not end in {expected:?}",
            capture.name
        );
    }
}

#[test]
fn a_recording_without_exit_status_is_judged_by_its_bytes_alone() {
    for (agent, name, expected) in [
        ("claude", "plain_text.pipe", Outcome::Completed),
        ("claude", "signal_sigint_mid_text.pipe", Outcome::Cancelled),
        ("claude", "http_401.pipe", Outcome::Failed),
        ("claude", "crash_sigkill_mid_tool.pipe", Outcome::Unknown),
        ("codex", "plain.pipe", Outcome::Completed),
        ("codex", "http401.pipe", Outcome::Failed),
        ("codex", "kill_tool_sigkill_native.pipe", Outcome::Unknown),
        ("opencode", "plain.pipe", Outcome::Completed),
        ("opencode", "http401.pipe", Outcome::Failed),
        ("opencode", "kill_tool_sigkill.pipe", Outcome::Unknown),
        ("gemini", "plain_text.pipe", Outcome::Completed),
        ("gemini", "http_401.pipe", Outcome::Failed),
        ("gemini", "crash_sigkill_mid_tool.pipe", Outcome::Unknown),
    ] {
        let capture = Capture {
            exit: None,
            ..capture(agent, name)
        };
        let events = events(&capture);
        let Some(Event::End { outcome, .. }) = events.last() else {
            panic!("{name}")
        };
        assert_eq!(*outcome, expected, "{name}");
    }
}

#[test]
fn a_pty_and_a_pipe_give_the_same_events() {
    for (agent, expected) in [
        ("claude", 8),
        ("codex", 6),
        ("opencode", 5),
        ("gemini", 4),
        ("pi", 3),
    ] {
        let all = captures_of(agent);
        let mut compared = 0;
        for pty in &all {
            let Some(scenario) = pty.name.strip_suffix(".pty80") else {
                continue;
            };
            let name = format!("{scenario}.pipe");
            let Some(pipe) = all.iter().find(|capture| capture.name == name) else {
                continue; // Ctrl-C needs a terminal
            };
            let pty_events = corpus::comparable(pty);
            assert_eq!(pty_events, corpus::comparable(pipe), "{pty}");
            compared += 1;
        }
        assert_eq!(compared, expected, "{agent}");
    }
}

#[test]
fn one_byte_at_a_time_changes_nothing() {
    for capture in captures() {
        let whole = events(&capture);
        let bytes: Vec<&[u8]> = capture.stdout.chunks(1).collect();
        assert_eq!(events_in_chunks(&capture, &bytes), whole, "{capture}");
    }
}

/// Framing alone decides what a chunk border can change, so lines are compared, not events:
/// every border of every recording up to 32 KiB.
#[test]
fn every_split_in_two_changes_nothing() {
    for capture in captures()
        .iter()
        .filter(|capture| capture.stdout.len() <= 32 * 1024)
    {
        let whole = corpus::lines(&[&capture.stdout]);
        for at in 0..=capture.stdout.len() {
            let (head, tail) = capture.stdout.split_at(at);
            assert_eq!(corpus::lines(&[head, tail]), whole, "{capture} at {at}");
        }
    }
}

/// A snapshot at the end of any line goes on to the same events.
#[test]
fn every_snapshot_goes_on_to_the_same_events() {
    for capture in captures()
        .iter()
        .filter(|capture| capture.stdout.len() <= 64 * 1024)
    {
        let whole = events(capture);
        let kind = capture.agent;
        let mut made = Vec::new();
        let redactor = || Arc::new(Redactor::none());
        let mut reader = OutputReader::new(kind, redactor());
        let mut at = 0;
        for line in capture.stdout.split_inclusive(|byte| *byte == b'\n') {
            reader.push(line, &mut |read| made.append(read.events));
            at += line.len() as u64;
            if line.ends_with(b"\n") {
                let snapshot = reader.snapshot();
                let at = SpoolOffset::new(at);
                reader = OutputReader::restore(kind, redactor(), &snapshot, at).unwrap();
            }
        }
        let mut last = Vec::new();
        reader.finish(
            capture.exit,
            &capture.stderr,
            &mut |read| made.append(read.events),
            &mut last,
        );
        made.append(&mut last);
        let closing = whole.len() - made.len();
        assert!((1..=2).contains(&closing), "{capture}");
        assert_eq!(made[..], whole[..made.len()], "{capture}");
    }
}

/// The model streams it in pieces of a dozen characters, and the CLI says it whole twice more.
#[test]
fn a_secret_reaches_no_event_however_it_is_streamed() {
    let secret = "sentence three, which";
    let redactor = Redactor::new(&[SecretString::from(secret)]).unwrap();
    let capture = capture("claude", "streamed_text_partial.pipe");
    let mut reader = OutputReader::new(capture.agent, Arc::new(redactor));
    let mut made = Vec::new();
    reader.push(&capture.stdout, &mut |read| made.append(read.events));
    let plain = corpus::main_text(&events(&capture));
    assert!(plain.contains(secret));
    assert_eq!(corpus::main_text(&made), plain.replace(secret, "***"));
    assert!(!serde_json::to_string(&made).unwrap().contains(secret));
}

#[test]
fn a_reader_without_a_snapshot_goes_on_with_what_it_can_know() {
    let capture = capture("claude", "edit_file.pipe");
    let from = corpus::lines(&[&capture.stdout])[2].0;
    let at = SpoolOffset::new(from);
    let mut reader = OutputReader::resync(capture.agent, Arc::new(Redactor::none()), at);
    let mut made = Vec::new();
    let rest = &capture.stdout[usize::try_from(from).unwrap()..];
    reader.push(rest, &mut |read| made.append(read.events));
    assert!(
        matches!(&made[0], Event::ToolEnd { name, is_error: false, .. } if name == "unknown"),
        "{made:?}"
    );
    let evidence = reader.finish(capture.exit, b"", &mut |_| {}, &mut Vec::new());
    assert_eq!(evidence, agent::Evidence::Completed);
}

#[test]
fn a_snapshot_of_another_version_is_refused() {
    for kind in AGENTS {
        let Err(error) = (kind.restore)(br#"{"version":99,"state":[]}"#) else {
            panic!("{} took it", kind.name)
        };
        assert_eq!(
            error.to_string(),
            "snapshot of version 99, but this program knows version 1"
        );
        assert!((kind.restore)(b"").is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_splits_of_large_recordings_change_nothing(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        for (agent, name) in [
            ("claude", "big_output_many_lines.pty80"),
            ("claude", "grep.pipe"),
            ("claude", "subagent.pipe"),
            ("codex", "big.pty80"),
            ("gemini", "big_output_one_line.pipe"),
        ] {
            let capture = capture(agent, name);
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(capture.stdout.len())).collect();
            at.sort_unstable();
            at.insert(0, 0);
            at.push(capture.stdout.len());
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &capture.stdout[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events_in_chunks(&capture, &chunks), events(&capture));
        }
    }

    #[test]
    fn damaged_recordings_never_panic_and_always_end(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
    ) {
        let all = captures();
        let mut capture = all[which.index(all.len())].clone();
        if capture.stdout.len() > 40_000 || capture.stdout.is_empty() { return Ok(()); }
        for (at, byte, how) in damage {
            let at = at.index(capture.stdout.len());
            match how {
                0 => capture.stdout[at] = byte,
                1 => { capture.stdout.remove(at); }
                2 => capture.stdout.insert(at, b'\n'),
                _ => capture.stdout.truncate(at.max(1)),
            }
            if capture.stdout.is_empty() { capture.stdout.push(b'{'); }
        }
        let made = events(&capture);
        let ends = made.iter().filter(|event| matches!(event, Event::End { .. })).count();
        prop_assert_eq!(ends, 1);
        let bytes: Vec<&[u8]> = capture.stdout.chunks(7).collect();
        prop_assert_eq!(events_in_chunks(&capture, &bytes), made);
    }
}

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_agent-runner"))
}

#[test]
fn the_command_prints_what_the_library_gives() {
    let capture = capture("claude", "write_file_partial.pipe");
    let output = command()
        .args(["replay", "--agent", "claude", "--exit-code", "0"])
        .arg(corpus::path("claude", "write_file_partial.pipe.jsonl"))
        .output()
        .unwrap();
    assert!(output.status.success());
    let printed: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    for (index, (printed, event)) in printed.iter().zip(events(&capture)).enumerate() {
        let mut expected = serde_json::to_value(event).unwrap();
        expected["seq"] = json!(index + 1);
        assert_eq!(*printed, expected);
    }
    assert_eq!(printed.len(), events(&capture).len());
}

#[test]
fn the_command_reads_stdin_and_explains_what_it_ignores() {
    let mut child = command()
        .args(["replay", "--agent", "claude", "--signal", "9", "--explain"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(&capture("claude", "crash_sigkill_mid_text.pipe").stdout)
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains(r#""type":"agent_crashed","message":"the agent's process was killed by signal 9 (SIGKILL)"#), "{stdout}");
    assert!(
        stdout.contains(r#""cause":"signal","signal":9"#),
        "{stdout}"
    );
    assert!(
        stdout.trim_end().ends_with('}') && stdout.contains(r#""outcome":"crashed""#),
        "{stdout}"
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with(r#"line 2: status: {"type":"system","subtype":"status""#),
        "{stderr}"
    );
}

#[test]
fn the_command_counts_a_conversation_on_from_the_recordings_before() {
    let resumed = corpus::path("codex", "resume_ok.pipe.jsonl");
    let before = corpus::path("codex", "stdin_prompt.pipe.jsonl");
    let used = |after: &[&Path]| {
        let mut command = command();
        command.args(["replay", "--agent", "codex"]).arg(&resumed);
        for file in after {
            command.arg("--after").arg(file);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let events: Vec<Value> = lines.flat_map(serde_json::from_slice).collect();
        let usage = events.iter().rfind(|event| event["type"] == "usage");
        let usage = usage.unwrap();
        let count = |name: &str| usage[name].as_u64().unwrap();
        [
            count("input_tokens"),
            count("cache_read_tokens"),
            count("output_tokens"),
        ]
    };
    assert_eq!(used(&[]), [12, 8, 10]);
    assert_eq!(used(&[&before]), [6, 4, 5]);
    // of another conversation: nothing to go on from
    let other = corpus::path("codex", "plain.pipe.jsonl");
    assert_eq!(used(&[&other]), [12, 8, 10]);
}

#[test]
fn bad_input_to_the_command_is_an_error_that_says_what_to_do() {
    let failed = |args: &[&str]| {
        let output = command()
            .arg("replay")
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(failed(&["--agent", "clod"]).contains("unknown agent `clod`; known: claude, "));
    assert!(failed(&["--agent", "claude", "/no/such"]).contains("cannot open /no/such"));
    failed(&["--agent", "claude", "--exit-code", "1", "--signal", "2"]);
    assert!(failed(&["--agent", "claude", "--exit-code", "256"]).contains("is not in 0..=255"));
    assert!(failed(&["--agent", "claude", "--signal", "0"]).contains("is not in 1..=64"));
}
