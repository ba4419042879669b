//! A scripted model in this process.

use std::path::Path;
use std::time::Duration;

use agent_runner::scripted_model::{Options, Record, Script, serve};
use agent_runner::tasks::Tasks;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than any of these tests takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// A scripted model on a free port; it records what it is asked.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    tasks: Tasks,
}

impl Server {
    /// Plays `features.toml`.
    pub(crate) async fn start() -> Self {
        Self::playing(Script::parse("features.toml", include_str!("features.toml")).unwrap()).await
    }

    pub(crate) async fn playing(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::append(&folder.path().join("record.jsonl")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let tasks = Tasks::new();
        let options = Options {
            record: Some(record),
        };
        let stop = tasks.stopping().clone();
        tasks.spawn("scripted model", serve(listener, script, options, stop));
        Self { url, folder, tasks }
    }

    /// What the model was asked so far.
    pub(crate) fn record(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.record_path()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn record_path(&self) -> std::path::PathBuf {
        self.folder.path().join("record.jsonl")
    }

    pub(crate) async fn stop(self) {
        tokio::time::timeout(LIMIT, self.tasks.stop())
            .await
            .expect("the server ends when it is told to");
    }
}

/// Copies the files of a folder (no subfolders) into another.
pub(crate) fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
