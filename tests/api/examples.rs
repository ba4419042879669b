//! The commands of docs/api.md run as they stand there, one after the other.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::place::{Place, Started};

const PAGE: &str = include_str!("../../docs/api.md");

#[test]
fn every_example_of_the_page_works() {
    let place = Place::new();
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let folder = place.folder("here");
    std::fs::write(folder.join("go"), "").unwrap();
    let started = Started::read(&place.start(&folder, &["--config", &config, "Begin."]));
    started.events();
    let blocks = PAGE.split("```sh\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 5, "the page has examples");
    for block in blocks {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_agent-runner"));
        let path = std::env::join_paths([
            binary.parent().unwrap(),
            "/usr/bin".as_ref(),
            "/bin".as_ref(),
        ]);
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", block])
            .current_dir(&folder)
            .env_clear()
            .env("PATH", path.unwrap())
            .env("HOME", place.bench.path("home"))
            .env("AGENT_RUNNER_STATE_DIR", place.bench.path("state"))
            .env("SOCKET", place.bench.path("state/api.sock"))
            .env("SESSION", &started.session);
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{block}\n{output:?}");
        assert!(!said.contains("\"hint\":"), "{block}\n{said}");
    }
    Place::end(started.pid, Signal::SIGTERM);
}
