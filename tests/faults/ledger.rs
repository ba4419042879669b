//! What the fake agent itself says that it did.

use serde_json::Value;

/// One process of the fake agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) prompt: String,
    /// Steps whose records it had written whole.
    pub(crate) wrote: u32,
    /// Messages that came into its turn.
    pub(crate) heard: Vec<String>,
    /// The requests for consent that it made.
    pub(crate) asked: Vec<String>,
    /// The requests that answers named.
    pub(crate) answered: Vec<String>,
}

/// Reads a ledger: its processes in the order in which they began.
pub(crate) fn read(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // A line that is still being written is none yet.
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        let entry: Value = serde_json::from_str(line).unwrap();
        let name = entry["run"].as_str().unwrap();
        if let Some(prompt) = entry["prompt"].as_str() {
            runs.push(Run {
                name: name.to_owned(),
                prompt: prompt.to_owned(),
                ..Run::default()
            });
            continue;
        }
        let run = runs.iter_mut().find(|run| run.name == name).unwrap();
        if let Some(step) = entry["wrote"].as_u64() {
            run.wrote = u32::try_from(step).unwrap() + 1;
        }
        for (what, known) in [
            ("heard", &mut run.heard),
            ("asked", &mut run.asked),
            ("answered", &mut run.answered),
        ] {
            known.extend(entry[what].as_str().map(str::to_owned));
        }
    }
    runs
}
