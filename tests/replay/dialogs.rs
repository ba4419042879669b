//! Recorded dialogs with live agents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use agent_runner::agent::live::recording::{self, Recording};
use agent_runner::agent::live::{Heard, LiveKind, LiveReader, LiveSpec, Since, Told};
use agent_runner::agent::{self, Evidence};
use agent_runner::event::{Event, Outcome};
use agent_runner::ids::SpoolOffset;
use agent_runner::redact::Redactor;
use secrecy::SecretString;
use serde_json::Value;

use super::frames::over;

/// The agents with a live form.
const LIVE: [&str; 4] = ["claude", "codex", "opencode", "gemini"];

/// All dialogs of an agent, by name.
fn dialogs(agent: &str) -> Vec<(String, PathBuf, Recording)> {
    let folder = super::corpus::path(agent, "live");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let name = name.split('.').next().unwrap().to_owned();
        let recording = recording::read(&fs::read(&path).unwrap()).unwrap();
        (name, path, recording)
    };
    paths.into_iter().map(read).collect()
}

fn reader(agent: &str, redactor: Redactor) -> LiveReader {
    let live = agent::by_name(agent).unwrap().live.as_ref().unwrap();
    LiveReader::new(live, &LiveSpec::default(), Arc::new(redactor))
}

/// What a dialog tells when its output comes in chunks of that many bytes.
fn told(agent: &str, recording: &Recording, chunk: usize) -> Vec<Told> {
    told_by(reader(agent, Redactor::none()), recording, chunk)
}

fn told_by(mut reader: LiveReader, recording: &Recording, chunk: usize) -> Vec<Told> {
    let mut all = Vec::new();
    let mut frames = recording.input.iter();
    let mut next = frames.next();
    let mut read = 0;
    for bytes in recording.output.chunks(chunk) {
        // frames come to be known as in a talk that is read while it happens: at their place
        while let Some((at, frame)) = next.filter(|(at, _)| at.get() < read + bytes.len() as u64) {
            reader.sent(*at, frame.clone(), &mut |heard: Heard<'_>| {
                all.append(heard.told);
            });
            next = frames.next();
        }
        reader.push(bytes, &mut |heard: Heard<'_>| all.append(heard.told));
        read += bytes.len() as u64;
    }
    for (at, frame) in next.into_iter().chain(frames) {
        reader.sent(*at, frame.clone(), &mut |heard: Heard<'_>| {
            all.append(heard.told);
        });
    }
    let mut last = Vec::new();
    let evidence = reader.finish(
        None,
        b"",
        &mut |heard: Heard<'_>| all.append(heard.told),
        &mut last,
    );
    all.append(&mut last);
    if let Some(evidence) = evidence {
        all.push(Told::TurnOver {
            evidence,
            background: false,
        });
    }
    all
}

/// All dialogs: agent, name, and the events of each of its turns.
pub(crate) fn turns() -> Vec<(&'static str, String, Vec<Vec<Event>>)> {
    let mut all = Vec::new();
    for agent in LIVE {
        for (name, _, recording) in dialogs(agent) {
            let mut turns = vec![Vec::new()];
            for told in told(agent, &recording, usize::MAX) {
                match told {
                    Told::Event(event) => turns.last_mut().unwrap().push(event),
                    Told::TurnOver {
                        evidence,
                        background: false,
                    } => {
                        let outcome = match evidence {
                            Evidence::Completed => Outcome::Completed,
                            Evidence::Interrupted => Outcome::Cancelled,
                            _ => Outcome::Failed,
                        };
                        turns.last_mut().unwrap().push(over(outcome));
                        turns.push(Vec::new());
                    }
                    _ => {}
                }
            }
            turns.last_mut().unwrap().push(over(Outcome::Unknown));
            all.push((agent, name, turns));
        }
    }
    all
}

#[test]
fn every_dialog_gives_its_events() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for agent in LIVE {
        settings.set_snapshot_path(format!("../corpus/{agent}/live/events"));
        settings.bind(|| {
            for (name, _, recording) in dialogs(agent) {
                let told = told(agent, &recording, usize::MAX);
                let lines: Vec<String> = told.iter().map(shown).collect();
                insta::assert_snapshot!(name, lines.join("\n"));
            }
        });
    }
}

fn shown(told: &Told) -> String {
    match told {
        Told::Event(event) => super::corpus::abbreviated(event),
        other => format!("# {other:?}"),
    }
}

#[test]
fn a_dialog_tells_the_same_however_its_bytes_are_chunked() {
    for agent in LIVE {
        for (name, _, recording) in dialogs(agent) {
            let whole = told(agent, &recording, usize::MAX);
            let sizes: &[usize] = if recording.output.len() > 200_000 {
                &[4096]
            } else {
                &[1, 7, 4096]
            };
            for size in sizes {
                assert!(told(agent, &recording, *size) == whole, "{name} by {size}");
            }
        }
    }
}

#[test]
fn a_dialog_goes_on_from_every_snapshot() {
    for agent in LIVE {
        let live = agent::by_name(agent).unwrap().live.as_ref().unwrap();
        for (name, _, recording) in dialogs(agent) {
            let whole = told(agent, &recording, usize::MAX);
            let mut reader = reader(agent, Redactor::none());
            let mut all = Vec::new();
            let mut at = 0;
            for line in recording
                .output
                .split_inclusive(|byte| *byte == b'\n')
                .take(300)
            {
                let sent = usize::try_from(reader.frames()).unwrap();
                let until = |frame: &&(SpoolOffset, Vec<u8>)| frame.0.get() <= at;
                for (at, frame) in recording.input[sent..].iter().take_while(until) {
                    reader.sent(*at, frame.clone(), &mut |heard: Heard<'_>| {
                        all.append(heard.told);
                    });
                }
                reader.push(line, &mut |heard: Heard<'_>| all.append(heard.told));
                at += line.len() as u64;
                let snapshot = reader.snapshot();
                let none = Arc::new(Redactor::none());
                let place = SpoolOffset::new(at);
                reader = LiveReader::restore(live, none, &snapshot, place).unwrap();
                assert_eq!(reader.snapshot(), snapshot, "{name}");
            }
            assert!(whole.starts_with(&all), "{agent}/{name}");
        }
    }
}

/// A secret that the model says in two pieces is in neither of them, nor in both together.
#[test]
fn a_secret_that_is_spread_over_pieces_is_masked() {
    for agent in LIVE {
        let mut spread = 0;
        for (name, _, recording) in dialogs(agent) {
            let whole = told(agent, &recording, usize::MAX);
            let pieces: Vec<(&str, &str)> = whole.iter().filter_map(piece).collect();
            let pair = pieces.windows(2).find(|pair| {
                let long = pair
                    .iter()
                    .all(|(_, text)| text.is_ascii() && text.len() >= 4);
                long && pair[0].0 == pair[1].0
                    // a secret ends where its words do
                    && !pair[0].1[pair[0].1.len() - 4..].starts_with(' ')
                    && !pair[1].1[..4].ends_with(' ')
            });
            let Some([(_, one), (_, other)]) = pair else {
                continue;
            };
            let secret = [&one[one.len() - 4..], &other[..4]].concat();
            let redactor = Redactor::new(&[SecretString::from(secret.clone())]).unwrap();
            let masked = told_by(reader(agent, redactor), &recording, usize::MAX);
            let mut messages: BTreeMap<&str, String> = BTreeMap::new();
            for (id, text) in masked.iter().filter_map(piece) {
                messages.entry(id).or_default().push_str(text);
            }
            let has = |what: &str| messages.values().any(|text| text.contains(what));
            assert!(!has(&secret), "{agent}/{name}: {secret:?} {messages:?}");
            assert!(has("***"), "{agent}/{name}");
            spread += 1;
        }
        assert!(spread > 0, "{agent}");
    }
}

/// A piece of text, with the message that it belongs to.
fn piece(told: &Told) -> Option<(&str, &str)> {
    match told {
        Told::Event(Event::Token {
            text, message_id, ..
        }) => Some((message_id.as_deref()?, text)),
        _ => None,
    }
}

/// Each call ends once, each turn once, each request is answered or withdrawn.
#[test]
fn what_begins_in_a_dialog_ends() {
    for agent in LIVE {
        for (name, _, recording) in dialogs(agent) {
            let (mut calls, mut requests) = (Vec::new(), Vec::new());
            for told in told(agent, &recording, usize::MAX) {
                match told {
                    Told::Event(Event::ToolStart { call_id, .. }) => calls.push(call_id),
                    Told::Event(Event::ToolEnd { call_id, .. }) => {
                        let at = calls.iter().position(|open| *open == call_id);
                        calls.remove(at.unwrap_or_else(|| panic!("{name}: {call_id}")));
                    }
                    Told::Event(Event::PermissionRequest { request_id, .. }) => {
                        requests.push(request_id);
                    }
                    Told::Answered { request_id, .. } | Told::Withdrawn { request_id } => {
                        requests.retain(|open| *open != request_id);
                    }
                    _ => {}
                }
            }
            assert!(calls.is_empty(), "{name}: {calls:?}");
            assert!(requests.is_empty(), "{name}: {requests:?}");
        }
    }
}

#[test]
fn the_turns_of_a_dialog_end_as_they_did() {
    let ends = |agent: &str, name: &str| -> Vec<&'static str> {
        let all = dialogs(agent);
        let (_, _, recording) = all.iter().find(|(found, ..)| found == name).unwrap();
        let told = told(agent, recording, usize::MAX);
        let ends = told.iter().filter_map(|told| match told {
            Told::TurnOver { evidence, .. } => Some(match evidence {
                Evidence::Completed => "completed",
                Evidence::Failed(_) => "failed",
                Evidence::Interrupted => "interrupted",
                Evidence::ConversationMissing(_) => "missing",
                Evidence::None => "none",
            }),
            _ => None,
        });
        ends.collect()
    };
    let (done, cut) = ("completed", "interrupted");
    assert_eq!(ends("claude", "live_turns"), [done; 4]);
    assert_eq!(ends("claude", "live_can_use_tool"), [done, done, cut, done]);
    assert_eq!(ends("claude", "live_interrupt_text"), [cut, done]);
    assert_eq!(ends("claude", "live_interrupt_tool"), [cut, done]);
    assert_eq!(ends("codex", "basic"), [done; 5]);
    assert_eq!(ends("codex", "approval_cancel")[0], cut);
    assert_eq!(
        ends("codex", "errors"),
        ["failed", done, "failed", "failed", done, "failed"]
    );
    let failed = "failed";
    assert_eq!(
        ends("opencode", "all"),
        [done, done, done, done, done, cut, failed]
    );
    // by itself it ends a turn at a refused call; told to, it goes on
    assert_eq!(
        ends("opencode", "consent"),
        [done, failed, done, done, done]
    );
    assert_eq!(
        ends("opencode", "refused_failed_cancelled"),
        [done, done, failed, done, cut, cut, done]
    );
    assert_eq!(ends("gemini", "acp_cancel"), [cut, cut, done]);
    assert_eq!(
        ends("gemini", "acp_basic"),
        [
            done, done, done, done, done, done, done, failed, failed, done
        ]
    );
}

#[test]
fn the_command_replays_a_dialog_and_refuses_what_is_none() {
    let replay = |agent: &str, file: &str| {
        Command::new(env!("CARGO_BIN_EXE_agent-runner"))
            .args(["replay", "--dialog", "--agent", agent])
            .arg(super::corpus::path(agent, file))
            .output()
            .unwrap()
    };
    let output = replay("claude", "live/live_can_use_tool.dialog.txt");
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let events: Vec<Value> = lines.flat_map(serde_json::from_slice).collect();
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!(
        (
            of("end"),
            of("permission_request"),
            of("permission_response")
        ),
        (4, 4, 4)
    );
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], index + 1);
    }
    let exec = replay("claude", "plain_text.pipe.jsonl");
    assert_eq!(exec.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&exec.stderr).contains("holds no dialog"));
    let none = replay("pi", "plain.pipe.jsonl");
    assert_eq!(none.status.code(), Some(64));
}

/// Damage costs what it hits, and never the reader.
#[test]
fn a_damaged_dialog_is_read_to_its_end() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    for agent in LIVE {
        for (_, _, mut recording) in dialogs(agent) {
            recording.output.truncate(60_000);
            for _ in 0..10 {
                for _ in 0..20 {
                    let at = next(recording.output.len());
                    recording.output[at] = u8::try_from(next(256)).unwrap();
                    let (_, frame) = &mut recording.input[0];
                    let at = next(frame.len());
                    frame[at] = u8::try_from(next(256)).unwrap();
                }
                let whole = told(agent, &recording, usize::MAX);
                assert!(told(agent, &recording, 777) == whole);
            }
        }
    }
}

/// What it is called, and whether it is there.
type Row<T> = (&'static str, fn(&T) -> bool);

/// What the recordings of a form show, as far as that can be told from the stored events; the rows
/// of the table in `docs/agents.md`.
const SHOWN: &[Row<str>] = &[
    ("text in pieces, while it is written", in_pieces),
    ("reasoning", |events| has(events, "thinking", "")),
    ("output of a command, while it runs", |events| {
        has(events, "tool_delta", r#""stream":"output""#)
    }),
    ("exit codes", |events| {
        has(events, "tool_end", r#""exit_code":"#)
    }),
    ("diff of a changed file", |events| {
        has(events, "file_change", r#""diff":"#)
    }),
    ("output of a command that ended", |events| {
        let mut ends = events.lines().filter(|line| line.starts_with("tool_end "));
        ends.any(|line| {
            line.contains(r#""name":"shell""#)
                && line.contains(r#""output":"#)
                && line.contains(r#""is_error":false"#)
        })
    }),
    ("tokens", |events| has(events, "usage", "")),
    ("cost", |events| has(events, "usage", "cost_usd")),
    ("how full the context is", |events| {
        has(events, "context", "max_tokens")
    }),
    ("notice when a request is made again", |events| {
        has(events, "notice", r#""code":"api_retry""#)
    }),
    ("consent to a call", |events| {
        has(events, "permission_request", "")
    }),
    ("an interrupt that leaves the process", |events| {
        events.contains("evidence: Interrupted")
    }),
];

fn has(events: &str, kind: &str, what: &str) -> bool {
    let mut lines = events.lines();
    lines.any(|line| {
        let rest = line.strip_prefix(kind);
        rest.is_some_and(|rest| rest.starts_with(' ') && rest.contains(what))
    })
}

/// Three pieces of one message, one right behind the other.
fn in_pieces(events: &str) -> bool {
    let message = |line: &str| -> Option<String> {
        let token: Value = serde_json::from_str(line.strip_prefix("token ")?).ok()?;
        Some(token["message_id"].as_str()?.to_owned())
    };
    let messages: Vec<_> = events.lines().map(message).collect();
    messages
        .windows(3)
        .any(|three| three[0].is_some() && three.iter().all(|id| *id == three[0]))
}

/// The stored events of all recordings in a folder.
fn stored(agent: &str, folder: &str) -> String {
    let folder = super::corpus::path(agent, folder);
    let files = fs::read_dir(folder).unwrap();
    let mut all = String::new();
    for file in files {
        all.push_str(&fs::read_to_string(file.unwrap().path()).unwrap());
        // no message goes on in another recording
        all.push_str("\ntoken {}\n");
    }
    all
}

/// `UPDATE_DOCS=1 cargo test --test replay the_docs` writes it.
#[test]
fn the_docs_show_what_each_form_gives() {
    let mut table = String::from("| |");
    for agent in LIVE {
        write!(table, " {agent} exec | {agent} live |").unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&":-:|".repeat(2 * LIVE.len()));
    let mark = |yes: bool| if yes { "yes" } else { "–" };
    for (row, shows) in SHOWN {
        write!(table, "\n| {row} |").unwrap();
        for agent in LIVE {
            let exec = stored(agent, "events");
            let mut live = stored(agent, "live/events");
            if *agent == *"claude" {
                // the records are the same, and read by the same code
                live.push_str(&exec);
            }
            write!(table, " {} | {} |", mark(shows(&exec)), mark(shows(&live))).unwrap();
        }
    }
    let kinds = LIVE.map(|agent| agent::by_name(agent).unwrap().live.as_ref().unwrap());
    let rows: [Row<LiveKind>; 5] = [
        ("a message into the running turn", |kind| kind.can_steer),
        ("another model without a new process", |kind| {
            kind.sets.model > Since::NextProcess
        }),
        ("another effort without a new process", |kind| {
            kind.sets.effort > Since::NextProcess
        }),
        ("consent asked for without a new process", |kind| {
            kind.sets.consent > Since::NextProcess
        }),
        ("taken by `--mode auto` where nobody is asked", |kind| {
            kind.richer_than_exec
        }),
    ];
    for (row, can) in rows {
        write!(table, "\n| {row} |").unwrap();
        for kind in kinds {
            let exec = row.starts_with("taken") && !can(kind);
            write!(table, " {} | {} |", mark(exec), mark(can(kind))).unwrap();
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/agents.md");
    let docs = fs::read_to_string(file).unwrap();
    let (begin, end) = (
        "<!-- begin of the forms -->\n\n",
        "\n\n<!-- end of the forms -->",
    );
    let (head, rest) = docs.split_once(begin).unwrap();
    let (found, tail) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(file, [head, begin, &table, end, tail].concat()).unwrap();
        return;
    }
    assert_eq!(
        found, table,
        "UPDATE_DOCS=1 cargo test --test replay the_docs"
    );
}
