//! The CLI of these measurements: this very program, started by the runner with Claude Code's
//! flags, writes lines as Claude Code does.
//!
//! Of 40 lines 30 are deltas, one is their text as a whole, one a tool call and one its result of
//! 1 to 100 KB; a line has 890 bytes on the average. Each is one `write`, as the CLI does it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::hub::STAMP;
use crate::place::{cpu_millis, now, resident};

/// The file that says what the CLI is to do, and the one in which it notes how it went.
pub const PART: &str = "part";
pub const NOTE: &str = "note";
/// The file in which it notes when it began, and who it is.
pub const BEGAN: &str = "began";

/// Lines of one round of a conversation.
pub const ROUND: usize = 40;
const DELTAS: usize = 30;
const RESULT_KB: [usize; 8] = [1, 2, 4, 8, 16, 24, 40, 100];
const IDS: &str = r#""session_id":"00000000-0000-4000-8000-000000000001","uuid":"5bd2a7e5-51c5-4a5e-8f0a-0d5b3c0c1f6e","parent_tool_use_id":null"#;

/// What the CLI tells of its run.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Note {
    /// The first write, by the monotonic clock, and by the wall clock, in milliseconds.
    pub began: u64,
    pub began_wall: u64,
    /// CPU time and memory of its parent, the shim, at the last write.
    pub shim_cpu: u64,
    pub shim_kilobytes: u64,
    pub lines: usize,
    pub bytes: usize,
}

/// What the CLI is to do.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub enum Part {
    /// Write so many lines, as fast as they are taken.
    Lines(usize),
    /// Write so many lines, so many a second.
    Paced(usize, u64),
    /// A tool call with a result of about this many bytes, on one line.
    Line(usize),
    /// So many tool calls and results, so many lines a second, each with the moment of its write.
    Ticks(usize, u64),
    /// One sentence.
    Say,
    /// Half a sentence, then silence; every second time one sentence.
    Hang,
}

impl Part {
    fn lines(self) -> Vec<String> {
        match self {
            Self::Lines(count) | Self::Paced(count, _) => {
                let rounds: Vec<String> = RESULT_KB
                    .iter()
                    .enumerate()
                    .flat_map(|(number, kb)| round(number, kb * 1000))
                    .collect();
                rounds.iter().cycle().take(count).cloned().collect()
            }
            Self::Line(bytes) => round(0, bytes),
            Self::Say | Self::Hang => round(0, 1000).into_iter().take(DELTAS + 4).collect(),
            Self::Ticks(..) => Vec::new(),
        }
    }

    /// Bytes of streamed text, and tool results, that the Hub must have in the end.
    pub fn expected(self) -> (u64, u64) {
        let lines = self.lines();
        let count = |mark: &str| lines.iter().filter(|line| line.contains(mark)).count() as u64;
        let text = lines.iter().filter(|line| line.contains("text_delta"));
        let text = text.map(|line| {
            let (_, rest) = line.rsplit_once(r#""text":""#).expect("a delta has a text");
            rest.find('"').expect("it ends") as u64
        });
        (text.sum(), count(r#""tool_use_result""#))
    }
}

/// Does what the bench wrote into its home.
pub fn play() {
    let began = format!("{} {}", now(), std::process::id());
    std::fs::write(home().join(BEGAN), began).expect("HOME is writable");
    record();
    let part = std::fs::read(home().join(PART)).expect("the bench wrote it");
    run(serde_json::from_slice(&part).expect("a part"));
}

/// Leaves a record of the conversation where Claude Code does: a runner goes on with no other.
fn record() {
    let id = std::env::args().find_map(|argument| {
        let (flag, id) = argument.split_once('=')?;
        ["--session-id", "--resume"]
            .contains(&flag)
            .then(|| id.to_owned())
    });
    let Some(id) = id else { return };
    let folder = home().join(".claude/projects/bench");
    std::fs::create_dir_all(&folder).expect("HOME is writable");
    std::fs::write(folder.join(id).with_extension("jsonl"), "{}\n").expect("HOME is writable");
}

/// Does one part and leaves the note.
pub fn run(part: Part) {
    let lines = part.lines();
    let mut note = Note {
        began: now(),
        began_wall: agent_runner::clock::Clock.wall().millis(),
        shim_cpu: 0,
        shim_kilobytes: 0,
        lines: 0,
        bytes: 0,
    };
    let init = format!(
        r#"{{"type":"system","subtype":"init","cwd":"/","tools":[],"model":"bench",{IDS}}}"#
    );
    write(&init, &mut note);
    match part {
        Part::Hang if first() => {
            lines.iter().take(8).for_each(|line| write(line, &mut note));
            std::thread::sleep(Duration::from_mins(1)); // until it is killed
        }
        Part::Ticks(count, rate) => ticks(count, rate, &mut note),
        Part::Paced(_, rate) => {
            let mut pace = Pace::new(rate);
            for line in &lines {
                pace.wait();
                write(line, &mut note);
            }
        }
        _ => lines.iter().for_each(|line| write(line, &mut note)),
    }
    write(
        &format!(
            r#"{{"type":"result","subtype":"success","is_error":false,"result":"Done.","num_turns":1,"total_cost_usd":0,"usage":{{"input_tokens":1,"output_tokens":1}},{IDS}}}"#
        ),
        &mut note,
    );
    let shim = nix::unistd::getppid().as_raw();
    note.shim_cpu = cpu_millis(shim);
    note.shim_kilobytes = resident(shim, "VmRSS:") / 1024;
    let text = serde_json::to_vec(&note).expect("a note is JSON");
    std::fs::write(home().join(NOTE), text).expect("HOME is writable");
}

/// Whether this is not the CLI that goes on after the last one.
fn first() -> bool {
    let mark = home().join("hung");
    if mark.exists() {
        std::fs::remove_file(mark).expect("HOME is writable");
        return false;
    }
    std::fs::write(mark, "").expect("HOME is writable");
    true
}

fn home() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").expect("the runner sets HOME"))
}

/// Moments at a steady rate.
struct Pace {
    next: u64,
    step: u64,
}

impl Pace {
    fn new(a_second: u64) -> Self {
        let next = now();
        let step = 1_000_000_000 / a_second;
        Self { next, step }
    }

    fn wait(&mut self) {
        self.next += self.step;
        std::thread::sleep(Duration::from_nanos(self.next.saturating_sub(now())));
    }
}

fn ticks(count: usize, rate: u64, note: &mut Note) {
    let mut pace = Pace::new(rate);
    for number in 0..count / 2 {
        let call = format!("toolu_01Tick{number:012}");
        pace.wait();
        let block = format!(
            r#"{{"type":"tool_use","id":"{call}","name":"Bash","input":{{"command":"{STAMP}{}"}}}}"#,
            now()
        );
        write(
            &format!(
                r#"{{"type":"assistant","message":{{"id":"msg_{number}","type":"message","role":"assistant","model":"bench","content":[{block}]}},{IDS}}}"#
            ),
            note,
        );
        pace.wait();
        write(
            &format!(
                r#"{{"type":"user","message":{{"role":"user","content":[{{"tool_use_id":"{call}","type":"tool_result","content":"{STAMP}{}","is_error":false}}]}},{IDS}}}"#,
                now()
            ),
            note,
        );
    }
}

fn write(line: &str, note: &mut Note) {
    // one write a line, past the standard library's buffer
    let line = [line, "\n"].concat();
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(std::io::stdout(), rest));
        rest = &rest[count.expect("somebody reads")..];
    }
    note.lines += 1;
    note.bytes += line.len();
}

/// The lines of one round, with a result of its size.
fn round(number: usize, result_bytes: usize) -> Vec<String> {
    let event = |event: &str| format!(r#"{{"type":"stream_event","event":{event},{IDS}}}"#);
    let message = format!("msg_01Xy{number:016}");
    let call = format!("toolu_01Ab{number:016}");
    let usage = r#"{"input_tokens":2468,"cache_creation_input_tokens":200,"cache_read_input_tokens":1800,"output_tokens":48}"#;
    let head = format!(
        r#""id":"{message}","type":"message","role":"assistant","model":"bench","stop_reason":null,"usage":{usage}"#
    );
    let mut lines = vec![
        event(&format!(
            r#"{{"type":"message_start","message":{{{head},"content":[]}}}}"#
        )),
        event(
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        ),
    ];
    let mut text = String::new();
    for delta in 0..DELTAS {
        let piece = format!("word {delta} of the answer,\\n");
        text.push_str(&piece);
        lines.push(event(&format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{piece}"}}}}"#
        )));
    }
    let whole = |block: &str| {
        format!(r#"{{"type":"assistant","message":{{{head},"content":[{block}]}},{IDS}}}"#)
    };
    lines.push(whole(&format!(r#"{{"type":"text","text":"{text}"}}"#)));
    lines.push(event(r#"{"type":"content_block_stop","index":0}"#));
    lines.push(event(&format!(
        r#"{{"type":"content_block_start","index":1,"content_block":{{"type":"tool_use","id":"{call}","name":"Bash","input":{{}}}}}}"#
    )));
    lines.push(whole(&format!(
        r#"{{"type":"tool_use","id":"{call}","name":"Bash","input":{{"command":"cargo test","description":"Run the tests"}}}}"#
    )));
    lines.push(event(r#"{"type":"content_block_stop","index":1}"#));
    lines.push(event(&format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":"tool_use"}},"usage":{usage}}}"#
    )));
    lines.push(event(r#"{"type":"message_stop"}"#));
    lines.push(result(&call, result_bytes));
    assert_eq!(lines.len(), ROUND, "a round's lines");
    lines
}

/// Text stands in the record twice, as Claude Code writes it.
fn result(call: &str, bytes: usize) -> String {
    let mut output = String::new();
    let mut row = 0;
    while output.len() < bytes / 2 - 300 {
        write!(
            output,
            "test module::case_{row} ... \\\"ok\\\" in 0.01 s\\n"
        )
        .expect("a string takes it");
        row += 1;
    }
    format!(
        r#"{{"type":"user","message":{{"role":"user","content":[{{"tool_use_id":"{call}","type":"tool_result","content":"{output}","is_error":false}}]}},"tool_use_result":{{"stdout":"{output}","stderr":"","interrupted":false,"isImage":false}},{IDS}}}"#
    )
}
