//! What the fake agent says at each step of its work: a function of who says it and when, so that
//! whoever hears it can tell whether it is whole.

use std::fmt::Write as _;

/// What a step shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A message of its own.
    Text,
    /// A tool call begins.
    ToolStart,
    /// The tool call of the step before ends.
    ToolEnd,
}

impl Step {
    /// The kind of step `number`.
    pub(crate) fn of(number: u32) -> Self {
        match number % 3 {
            0 => Self::Text,
            1 => Self::ToolStart,
            _ => Self::ToolEnd,
        }
    }
}

/// The words of step `number` of the process that calls itself `run`. One message in eight is
/// longer than a PTY or a pipe gives at once.
pub(crate) fn payload(run: &str, number: u32) -> String {
    let mut state = fnv(format!("{run}/{number}").as_bytes());
    let long = Step::of(number) == Step::Text && state.is_multiple_of(8);
    let words = if long { 1_500 } else { 1 + state % 30 };
    let mut text = format!("ev:{run}/{number}:");
    for _ in 0..words {
        write!(text, "{state:016x}").expect("a text takes more");
        state = fnv(&state.to_le_bytes());
    }
    text.push(';');
    text
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
