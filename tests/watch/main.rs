//! Agents that are watched: silent ones, stopped ones, ones that stay or will not go, and turns
//! that are cancelled while nobody is there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic

#[path = "../support/appears.rs"]
#[allow(dead_code)]
mod appears;
#[path = "../resume/bench.rs"]
#[allow(dead_code)] // shared with the tests of turns that go on, which use more of it
mod bench;

mod ends;
mod held;
mod silence;

/// What begins every CLI here: the first record of Claude Code, and functions for others. The
/// second process of a turn says at once that it is done.
const PRELUDE: &str = r#"#!/bin/sh
echo $$ >>"$HOME/pids"
say() { printf '%s\n' "$1"; }
init() { say '{"type":"system","subtype":"init","session_id":"7d4f8f9e-2f6c-4a56-9d2f-000000000000","cwd":"/","tools":[],"model":"m"}'; }
answer() { say '{"type":"assistant","message":{"id":"'"$1"'","role":"assistant","content":[{"type":"text","text":"'"$2"'"}]},"parent_tool_use_id":null}'; }
tool() { say '{"type":"assistant","message":{"id":"m1","role":"assistant","content":[{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"make all"}}]},"parent_tool_use_id":null}'; }
tool_end() { say '{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"made"}]},"parent_tool_use_id":null}'; }
tool_goes_on() { say '{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"begun"}]},"parent_tool_use_id":null,"tool_use_result":{"backgroundTaskId":"b1"}}'; }
task() { say '{"type":"system","subtype":"task_started","task_id":"b1","tool_use_id":"t1","description":"x","task_type":"local_bash"}'; }
task_end() { say '{"type":"system","subtype":"task_notification","task_id":"b1","tool_use_id":"t1","status":"completed","summary":"x"}'; }
result() { say '{"type":"result","subtype":"success","is_error":false,"result":"Done.","num_turns":1}'; }
cat >>"$HOME/prompts"
echo >>"$HOME/prompts"
init
if [ -e "$HOME/again" ]; then answer m9 'Done after all.'; result; exit 0; fi
touch "$HOME/again"
"#;

/// A CLI that does what these lines of shell say.
fn cli(script: &str) -> String {
    format!("{PRELUDE}{script}")
}

/// Says that a test proves nothing here, and why.
#[allow(clippy::print_stderr)]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
