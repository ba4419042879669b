//! The recordings of each agent's output, whatever agents there are.

use std::path::PathBuf;

use agent_runner::agent::AgentKind;

/// One recording of stdout.
pub(crate) struct Recording {
    /// The file's name.
    pub(crate) name: String,
    /// What the CLI wrote.
    pub(crate) stdout: Vec<u8>,
}

/// The recordings of an agent's exec form, on a pipe and on a terminal, by name.
pub(crate) fn of(agent: &AgentKind) -> Vec<Recording> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(agent.name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| {
        panic!("{}: {error}: record its output there", folder.display());
    });
    let mut recordings: Vec<Recording> = files
        .map(|file| file.expect("a folder can be listed"))
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let stdout = [".pipe.jsonl", ".raw"]
                .iter()
                .any(|end| name.ends_with(end));
            stdout.then(|| Recording {
                stdout: std::fs::read(file.path()).expect("a recording can be read"),
                name,
            })
        })
        .filter(|recording| !recording.stdout.is_empty())
        .collect();
    recordings.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(
        !recordings.is_empty(),
        "{}: no recordings",
        folder.display()
    );
    recordings
}
