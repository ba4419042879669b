//! The scripted model as a process of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a model was asked, in the folder that it was given.
#[allow(dead_code)] // not every suite looks
pub(crate) const ASKED: &str = "asked.jsonl";

/// A running model; ended when dropped.
pub(crate) struct Model {
    child: Child,
    pub(crate) url: String,
}

impl Model {
    /// One that plays `script`, which is put into `dir` as what it is asked is.
    pub(crate) fn start(dir: &Path, script: &str) -> Self {
        let file = dir.join("script.toml");
        fs::write(&file, script).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_agent-runner"))
            .args(["scripted-model", "--script"])
            .arg(file)
            .arg("--record")
            .arg(dir.join(ASKED))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().strip_prefix("listening ").unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
