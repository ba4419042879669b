//! The CLI of these measurements: writes lines as Claude Code does, as fast as they are taken.
//!
//! Of 40 lines 30 are deltas, one is their text as a whole, one a tool call and one its result of
//! 1 to 100 KB; a line has 890 bytes on the average. Each is one `write`, as the CLI does it.

use crate::home;
use crate::place::{cpu_millis, now};
use std::fmt::Write as _;

/// The file in which the CLI notes how it went.
pub const NOTE: &str = "note";

/// Lines of one round of a conversation.
const ROUND: usize = 40;
const DELTAS: usize = 30;
const RESULT_KB: [usize; 8] = [1, 2, 4, 8, 16, 24, 40, 100];
const IDS: &str = r#""session_id":"00000000-0000-4000-8000-000000000001","uuid":"5bd2a7e5-51c5-4a5e-8f0a-0d5b3c0c1f6e","parent_tool_use_id":null"#;

/// What the CLI tells of its run.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Note {
    /// The first write, by the monotonic clock, and by the wall clock, in milliseconds.
    pub began: u64,
    pub began_wall: u64,
    /// CPU time of its parent, the shim, at the last write.
    pub shim_cpu: u64,
    pub lines: usize,
    pub bytes: usize,
}

/// What the CLI is to write.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub enum Part {
    /// So many lines.
    Lines(usize),
    /// A tool call with a result of about this many bytes, on one line.
    Line(usize),
}

impl Part {
    fn lines(self) -> Vec<String> {
        match self {
            Self::Lines(count) => {
                let rounds: Vec<String> = RESULT_KB
                    .iter()
                    .enumerate()
                    .flat_map(|(number, kb)| round(number, kb * 1000))
                    .collect();
                rounds.iter().cycle().take(count).cloned().collect()
            }
            Self::Line(bytes) => round(0, bytes),
        }
    }
}

pub fn play(part: Part) {
    let lines = part.lines();
    let mut note = Note {
        began: now(),
        began_wall: agent_runner::clock::Clock.wall().millis(),
        shim_cpu: 0,
        lines: 0,
        bytes: 0,
    };
    let init = format!(
        r#"{{"type":"system","subtype":"init","cwd":"/","tools":[],"model":"bench",{IDS}}}"#
    );
    write(&init, &mut note);
    for line in &lines {
        write(line, &mut note);
    }
    write(
        &format!(
            r#"{{"type":"result","subtype":"success","is_error":false,"result":"Done.","num_turns":1,"total_cost_usd":0,"usage":{{"input_tokens":1,"output_tokens":1}},{IDS}}}"#
        ),
        &mut note,
    );
    note.shim_cpu = cpu_millis(nix::unistd::getppid().as_raw());
    let text = serde_json::to_vec(&note).expect("a note is JSON");
    std::fs::write(home().join(NOTE), text).expect("HOME is writable");
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
