//! Every adapter against output that no CLI ever wrote: recorded lines with bytes changed, cut,
//! repeated, swapped and mixed. Nothing may panic, and nothing may make memory grow without end.
//!
//! Runs through `OutputReader`, as a turn does. The seed is printed; `MUTATION_SEED` sets another
//! one and `MUTATION_LINES` how many lines each agent gets (`scripts/soak` takes a million).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)] // a test may

#[path = "support/allocations.rs"]
mod allocations;
#[path = "mutation/mutate.rs"]
mod mutate;
#[path = "support/recordings.rs"]
mod recordings;

use std::sync::Arc;

use agent_runner::agent::live::{Command, LiveKind, LiveReader, LiveSpec};
use agent_runner::agent::{AGENTS, AgentKind, Ignored, OutputReader};
use agent_runner::ids::SpoolOffset;
use agent_runner::redact::Redactor;
use mutate::Mutator;

/// Lines for each agent, unless the environment asks for more.
const LINES: u64 = 20_000;
/// One process's output: then a new reader begins, as with a new turn.
const LINES_A_RUN: u64 = 2_000;
/// A run goes on from its own snapshot this often, as after a crash.
const LINES_A_SNAPSHOT: u64 = 500;
/// In a talk, a frame goes out as often as this.
const LINES_A_FRAME: u64 = 25;
/// What a reader may hold of what it has read, at any moment; the longest recorded line is 0.5 MB
/// and a mutation makes it at most twice as long.
const MOST_HELD: i64 = 24 << 20;

#[test]
fn no_mutation_of_any_recording_panics_or_fills_the_memory() {
    let seed = setting("MUTATION_SEED", 0x5eed);
    let lines = setting("MUTATION_LINES", LINES);
    for agent in AGENTS {
        println!("{}: {lines} lines, MUTATION_SEED={seed}", agent.name);
        let mut mutator = Mutator::new(seed, &recordings::of(agent));
        let before = allocations::so_far().held;
        allocations::forget_peak();
        let mut left = lines;
        while left > 0 {
            let run = left.min(LINES_A_RUN);
            one_run(agent, &mut mutator, run, seed);
            left -= run;
        }
        let used = allocations::so_far();
        let (peak, kept) = (used.peak - before, used.held - before);
        println!("{}: at most {peak} bytes held", agent.name);
        assert!(
            peak < MOST_HELD,
            "{}: {peak} bytes, seed {seed}",
            agent.name
        );
        assert!(kept < 1 << 20, "{}: {kept} bytes kept", agent.name);
    }
}

fn one_run(agent: &AgentKind, mutator: &mut Mutator, lines: u64, seed: u64) {
    let redactor = Arc::new(Redactor::none());
    let mut reader = OutputReader::new(agent, Arc::clone(&redactor));
    let mut end = SpoolOffset::START;
    let mut line = Vec::new();
    for number in 1..=lines {
        mutator.next_line(&mut line);
        reader.push(&line, &mut |read| {
            end = read.line.end;
            let silent = matches!(read.ignored, Ignored::Because(_));
            assert_eq!(silent, read.events.is_empty(), "seed {seed}");
        });
        if number % LINES_A_SNAPSHOT == 0 && line.ends_with(b"\n") {
            let snapshot = reader.snapshot();
            let restored = OutputReader::restore(agent, Arc::clone(&redactor), &snapshot, end);
            reader = restored.unwrap_or_else(|error| {
                panic!(
                    "{}: own snapshot not read, seed {seed}: {error}",
                    agent.name
                )
            });
        }
    }
    let mut last = Vec::new();
    reader.finish(None, &line, &mut |_| {}, &mut last);
}

/// The same for talks with live agents; frames that were recorded go out among the lines.
#[test]
fn no_mutation_of_any_dialog_panics_or_fills_the_memory() {
    let seed = setting("MUTATION_SEED", 0x5eed);
    let lines = setting("MUTATION_LINES", LINES);
    for agent in AGENTS {
        let Some(live) = &agent.live else { continue };
        println!("{}, live: {lines} lines, MUTATION_SEED={seed}", agent.name);
        let (recordings, frames) = recordings::live(agent);
        let mut mutator = Mutator::new(seed, &recordings);
        let before = allocations::so_far().held;
        allocations::forget_peak();
        let mut left = lines;
        while left > 0 {
            let run = left.min(LINES_A_RUN);
            one_talk(live, &mut mutator, &frames, run);
            left -= run;
        }
        let used = allocations::so_far();
        let (peak, kept) = (used.peak - before, used.held - before);
        println!("{}, live: at most {peak} bytes held", agent.name);
        let most = MOST_HELD;
        assert!(peak < most, "{}: {peak} bytes, seed {seed}", agent.name);
        assert!(kept < 1 << 20, "{}: {kept} bytes kept", agent.name);
    }
}

fn one_talk(live: &LiveKind, mutator: &mut Mutator, frames: &[Vec<u8>], lines: u64) {
    let redactor = Arc::new(Redactor::none());
    let spec = LiveSpec::default();
    let mut reader = LiveReader::new(live, &spec, Arc::clone(&redactor));
    let mut read = 0;
    let mut bytes = Vec::new();
    let mut frames = frames.iter().cycle();
    for number in 1..=lines {
        if number % LINES_A_FRAME == 1
            && let Some(frame) = frames.next()
        {
            reader.sent(SpoolOffset::new(read), frame.clone(), &mut |_| {});
        }
        mutator.next_line(&mut bytes);
        read += bytes.len() as u64;
        reader.push(&bytes, &mut |heard| {
            let silent = matches!(heard.ignored, Ignored::Because(_));
            assert!(!silent || heard.told.is_empty());
        });
        let dialog = reader.dialog();
        drop((
            dialog.due(),
            dialog.frames(&Command::Interrupt),
            dialog.pending(),
        ));
        if number % LINES_A_SNAPSHOT == 0 && bytes.ends_with(b"\n") {
            let (snapshot, at) = (reader.snapshot(), SpoolOffset::new(read));
            let redactor = Arc::clone(&redactor);
            reader = LiveReader::restore(live, redactor, &snapshot, at).unwrap();
        }
    }
    reader.finish(None, &bytes, &mut |_| {}, &mut Vec::new());
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// A line that says nothing costs nothing but the reading: CLIs write such lines by the thousand.
/// What has to be remembered of one (a block has begun) may need memory.
#[test]
fn a_line_that_gives_no_event_allocates_nothing() {
    let mut total = 0;
    // Pi's records are few and read whole, also those of the user's own messages.
    for agent in AGENTS.iter().filter(|agent| agent.name != "pi") {
        let mut ignored = 0;
        let mut faults = Vec::new();
        for recording in recordings::of(agent) {
            let mut reader = OutputReader::new(agent, Arc::new(Redactor::none()));
            for line in recording.stdout.split_inclusive(|byte| *byte == b'\n') {
                let known = reader.snapshot();
                let before = allocations::so_far().calls;
                let mut reason = None;
                reader.push(line, &mut |read| {
                    if let Ignored::Because(why) = read.ignored {
                        reason = Some(why);
                    }
                });
                let calls = allocations::so_far().calls - before;
                // A repetition has to be read whole before it is known to be one.
                if let Some(reason) = reason.filter(|reason| !reason.ends_with("again"))
                    && reader.snapshot() == known
                {
                    ignored += 1;
                    if calls > 0 {
                        let text = String::from_utf8_lossy(&line[..line.len().min(200)]);
                        faults.push(format!("{}: {reason}: {calls}: {text}", recording.name));
                    }
                }
            }
        }
        println!("{}: {ignored} ignored lines", agent.name);
        total += ignored;
        assert!(faults.is_empty(), "{}:\n{}", agent.name, faults.join("\n"));
    }
    // Not every agent writes such lines.
    assert!(total > 0, "the recordings have no such line");
}
