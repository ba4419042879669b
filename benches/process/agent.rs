//! The CLI of these measurements: notes when it began, says one sentence, is done.

use std::io::Write as _;

use crate::place::{BEGAN, now};

const LINES: [&str; 7] = [
    r#"{"type":"system","subtype":"init","cwd":"/","session_id":"00000000-0000-4000-8000-000000000001","tools":[],"model":"bench"}"#,
    r#"{"type":"stream_event","event":{"type":"message_start","message":{"id":"m1","role":"assistant","model":"bench","content":[]}},"parent_tool_use_id":null}"#,
    r#"{"type":"stream_event","event":{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}},"parent_tool_use_id":null}"#,
    r#"{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Done."}},"parent_tool_use_id":null}"#,
    r#"{"type":"assistant","message":{"id":"m1","type":"message","role":"assistant","model":"bench","content":[{"type":"text","text":"Done."}],"usage":{"input_tokens":1,"output_tokens":1}},"parent_tool_use_id":null}"#,
    r#"{"type":"stream_event","event":{"type":"message_stop"},"parent_tool_use_id":null}"#,
    r#"{"type":"result","subtype":"success","is_error":false,"result":"Done.","num_turns":1,"duration_ms":1,"total_cost_usd":0,"usage":{"input_tokens":1,"output_tokens":1}}"#,
];

pub fn play() {
    let began = now();
    let home = std::env::var_os("HOME").expect("the runner sets HOME");
    let note = std::path::Path::new(&home).join(BEGAN);
    let mut out = std::io::stdout();
    for line in LINES {
        writeln!(out, "{line}").expect("somebody reads");
    }
    std::fs::write(note, began.to_string()).expect("HOME is writable");
}
