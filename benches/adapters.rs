//! What it costs to read a CLI's output: bytes to events, for each agent and its recordings.
//!
//! Runs through [`OutputReader`], as a turn does: framing, masking (no secrets known), adapter.
//! `scripts/bench` runs it.
// A program for the developers of this project: what goes wrong in it may stop it.
#![allow(clippy::print_stdout, missing_docs, unreachable_pub)]

#[path = "../tests/support/allocations.rs"]
mod allocations;
#[path = "../tests/support/recordings.rs"]
#[allow(dead_code)] // shared with the tests, which read those of the live forms, too
mod recordings;

use std::sync::Arc;
use std::time::Duration;

use agent_runner::agent::{AGENTS, AgentKind, OutputReader};
use agent_runner::clock::Clock;
use agent_runner::redact::Redactor;
use recordings::Recording;

/// What one core must read at least.
const GOAL: f64 = 150.0;
/// A round is a pass over an agent's recordings until this much was read.
const ROUND_BYTES: usize = 32 << 20;
/// The best of them counts: whatever else the machine does only slows down.
const ROUNDS: usize = 7;
/// As the spool is read.
const CHUNK: usize = 256 * 1024;
/// Recordings below this size: their lines are as a chat's are.
const SMALL: usize = 30_000;

fn main() {
    for agent in AGENTS {
        let all = recordings::of(agent);
        let all: Vec<&Recording> = all.iter().collect();
        let streamed: Vec<&Recording> = all
            .iter()
            .filter(|one| one.stdout.len() < SMALL)
            .copied()
            .collect();
        report(agent, "all recordings", &all);
        report(agent, "without large outputs", &streamed);
    }
}

fn report(agent: &AgentKind, what: &str, recordings: &[&Recording]) {
    if recordings.is_empty() {
        return;
    }
    let bytes: usize = recordings.iter().map(|one| one.stdout.len()).sum();
    let passes = ROUND_BYTES.div_ceil(bytes);
    let mut best = Duration::MAX;
    let mut read = Passed::default();
    let held = allocations::so_far().held;
    allocations::forget_peak();
    for _ in 0..ROUNDS {
        let began = Clock.now();
        read = Passed::default();
        for _ in 0..passes {
            for recording in recordings {
                pass(agent, &recording.stdout, &mut read);
            }
        }
        best = best.min(began.elapsed());
    }
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let (megabytes, lines) = ((bytes * passes) as f64 / 1e6, read.lines as f64);
    println!(
        "{}, {what}: {:.0} MB/s (goal {GOAL}), {:.2} us a line of {:.0} bytes, {:.1} allocations, \
         {} KB held at most",
        agent.name,
        megabytes / best.as_secs_f64(),
        best.as_secs_f64() * 1e6 / lines,
        megabytes * 1e6 / lines,
        read.allocations() / lines,
        (allocations::so_far().peak - held) / 1000,
    );
}

/// What came of passes.
#[derive(Default)]
struct Passed {
    lines: u64,
    allocated: u64,
}

impl Passed {
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    fn allocations(&self) -> f64 {
        self.allocated as f64
    }
}

fn pass(agent: &AgentKind, stdout: &[u8], passed: &mut Passed) {
    let before = allocations::so_far().calls;
    let mut reader = OutputReader::new(agent, Arc::new(Redactor::none()));
    for chunk in stdout.chunks(CHUNK) {
        reader.push(chunk, &mut |read| {
            passed.lines += 1;
            std::hint::black_box(read.events.len());
        });
    }
    std::hint::black_box(reader.adapter().finished());
    passed.allocated += allocations::so_far().calls - before;
}
