//! The recordings of each agent's output, whatever agents there are.

use std::path::PathBuf;

use agent_runner::agent::AgentKind;
use agent_runner::agent::live::recording;

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

/// The recorded dialogs of an agent's live form: what it said, and all frames that it was sent.
pub(crate) fn live(agent: &AgentKind) -> (Vec<Recording>, Vec<Vec<u8>>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(agent.name)
        .join("live");
    let files = std::fs::read_dir(&folder).expect("a live form has recorded dialogs");
    let mut paths: Vec<PathBuf> = files
        .map(|file| file.expect("a folder can be listed").path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    let (mut recordings, mut frames) = (Vec::new(), Vec::new());
    for path in paths {
        let bytes = std::fs::read(&path).expect("a recording can be read");
        let dialog = recording::read(&bytes).expect("a recorded dialog");
        frames.extend(dialog.input.into_iter().map(|(_, frame)| frame));
        recordings.push(Recording {
            name: path.display().to_string(),
            stdout: dialog.output,
        });
    }
    (recordings, frames)
}
