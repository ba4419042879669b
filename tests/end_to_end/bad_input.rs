//! What cannot work is refused in clear words, with its exit code, and leaves nothing behind.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::json;

use crate::bench::Bench;
use crate::git_server::{Behaviour, GitServer};
use crate::participants::Participants;

/// A CLI that must not be reached.
const NEVER: &str = "#!/bin/sh\ntouch \"$HOME/reached\"\n";

/// Runs the command to its end, and asserts its exit code, its words, and that nothing is left.
fn refused(bench: &Bench, command: &mut Command, code: i32, words: &[&str]) {
    let finished = bench.start(command).finish();
    let text = finished.fails_with(code);
    for word in words {
        assert!(text.contains(word), "no {word:?} in:\n{text}");
    }
    let progress = |line: &String| line.starts_with("cloning ");
    assert!(finished.out.iter().all(progress), "{:?}", finished.out);
    let left = fs::read_dir(bench.path("state")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "left in the state dir: {:?}", bench.files("state"));
    assert!(!bench.path("home/reached").exists(), "the CLI was started");
    bench.assert_no_process_left();
}

fn run_refused(words: &[&str], code: i32, texts: &[&str]) {
    let bench = Bench::new();
    let config = bench.config_with_cli(NEVER);
    let mut command = bench.command(&["run", "--config", &config]);
    refused(&bench, command.args(words), code, texts);
}

#[test]
fn a_cli_that_is_not_installed_is_named_with_what_installs_it() {
    let bench = Bench::new();
    fs::create_dir(bench.path("empty")).unwrap();
    let mut command = bench.command(&["run", "Do it."]);
    command.env("PATH", bench.path("empty"));
    let words = ["`claude` is not installed", "agent-runner install claude"];
    refused(&bench, &mut command, 68, &words);
}

#[test]
fn a_container_engine_that_is_not_there_is_named_once() {
    let bench = Bench::new();
    let config = bench.config_with_cli(NEVER);
    let socket = format!("unix://{}", bench.path("no.sock").display());
    let mut command = bench.command(&["run", "--config", &config, "--sandbox", "docker", "Do it."]);
    command.env("DOCKER_HOST", &socket);
    let finished = bench.start(&mut command).finish();
    let text = finished.fails_with(68);
    let all = format!("{}\n{text}", finished.out.join("\n"));
    assert_eq!(
        all.matches("no container engine answers").count(),
        1,
        "{all}"
    );
    assert!(
        text.contains(&socket) && text.contains("DOCKER_HOST"),
        "{text}"
    );
}

#[test]
fn a_command_that_is_no_program_is_named() {
    let bench = Bench::new();
    let config = bench.file("config.toml", "[agents.claude]\ncommand = \"./nothing\"\n");
    let mut command = bench.command(&["run", "--config", &config, "Do it."]);
    refused(
        &bench,
        &mut command,
        68,
        &["nothing", "agents.claude.command"],
    );
}

#[test]
fn a_cli_that_is_there_and_cannot_be_executed_says_why() {
    for (content, word) in [
        (
            "#!/no/such/interpreter\n",
            "`/no/such/interpreter`, which is not there",
        ),
        (
            "#!/usr/bin/env no-such-node\n",
            "asks for `no-such-node`, which is not on PATH",
        ),
        ("", "neither a program nor a script"),
    ] {
        let bench = Bench::new();
        let config = bench.config_with_cli(content);
        let mut command = bench.command(&["run", "--config", &config, "Do it."]);
        refused(&bench, &mut command, 68, &["cannot be executed", word]);
    }
}

#[test]
fn images_that_cannot_go_with_a_task_are_refused() {
    let png = b"\x89PNG\r\n\x1a\n";
    for command in ["run", "start"] {
        for (words, texts) in [
            (
                vec!["--mode", "exec"],
                ["claude takes images in its live form only", "--mode live"],
            ),
            (
                vec!["--agent", "pi"],
                ["pi takes no images", "claude, codex"],
            ),
            (
                vec!["--image", "no-such.png"],
                ["`--image no-such.png`", "No such file"],
            ),
        ] {
            let bench = Bench::new();
            let config = bench.config_with_cli(NEVER);
            fs::write(bench.path("here/a.png"), png).unwrap();
            let text = fs::read_to_string(&config).unwrap();
            let also = format!("{text}[agents.pi]\ncommand = {:?}\n", bench.path("cli"));
            fs::write(&config, also).unwrap();
            let mut command = bench.command(&[command, "--config", &config, "--image", "a.png"]);
            command
                .env_remove("AGENT_RUNNER_MODE")
                .args(&words)
                .arg("Do it.");
            let finished = bench.start(&mut command).finish();
            let said = finished.fails_with(64);
            for text in texts {
                assert!(said.contains(text), "no {text:?} in:\n{said}");
            }
            assert!(!bench.path("home/reached").exists());
        }
    }
}

#[test]
fn a_workspace_that_is_named_and_not_there_is_refused() {
    for command in ["run", "start"] {
        let bench = Bench::new();
        let config = bench.config_with_cli(NEVER);
        let missing = bench.text("typo/work");
        let mut command = bench.command(&[command, "--config", &config]);
        command.args(["--workspace-dir", &missing, "Do it."]);
        refused(&bench, &mut command, 64, &[&missing, "--repo", "mkdir -p"]);
        assert!(!bench.path("typo").exists());
    }
}

#[test]
fn an_unknown_agent_is_refused() {
    run_refused(
        &["--agent", "nope", "Do it."],
        64,
        &["--agent", "`nope`", "claude"],
    );
}

#[test]
fn a_repo_that_does_not_exist_is_refused() {
    run_refused(&["--repo", "../nothing", "Do it."], 66, &["nothing"]);
    let server_root = tempfile::tempdir().unwrap();
    let git = GitServer::start(server_root.path(), Behaviour::default());
    run_refused(&["--repo", &git.url("a.git"), "Do it."], 66, &["a.git"]);
}

#[test]
fn a_repo_that_needs_credentials_is_refused() {
    let bench = Bench::new();
    let behaviour = Behaviour {
        token: Some("needed"),
        ..Behaviour::default()
    };
    let git = GitServer::start(&bench.path(""), behaviour);
    let config = bench.config_with_cli(NEVER);
    let repo = git.url("repo/.git");
    let words = ["run", "--config", &config, "--repo", &repo, "Do it."];
    refused(
        &bench,
        &mut bench.command(&words),
        66,
        &["--git-token-file"],
    );
}

#[test]
fn a_branch_that_does_not_exist_is_refused() {
    let bench = Bench::new();
    let config = bench.config_with_cli(NEVER);
    let words = [
        "run", "--config", &config, "--repo", "../repo", "--branch", "nope", "Do it.",
    ];
    refused(&bench, &mut bench.command(&words), 66, &["nope"]);
}

#[test]
fn a_hub_that_refuses_the_key_is_told_from_one_that_is_not_there() {
    let bench = Bench::new();
    let config = bench.config_with_cli(NEVER);
    let hub = bench.hub(Some("right"));
    // Nobody listens there once the listener is dropped.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let gone = gone.unwrap().to_string();
    let gone_url = format!("http://{gone}");
    let daemon = |hub: &str, session: bool| {
        let words = [
            "daemon",
            "--config",
            &config,
            "--hub-wait",
            "1s",
            "--hub",
            hub,
        ];
        let mut command = bench.command(&words);
        if session {
            command.args(["--session", "codesess_1"]);
        }
        command.env("AGENT_RUNNER_HUB_KEY", "wrong");
        command
    };
    for session in [true, false] {
        refused(&bench, &mut daemon(&hub.url, session), 77, &["key"]);
        refused(&bench, &mut daemon(&gone_url, session), 69, &[&gone]);
    }
}

#[test]
fn a_session_that_does_not_exist_is_refused() {
    let bench = Bench::new();
    let config = bench.config_with_cli(NEVER);
    let hub = bench.hub(None);
    let mut command = bench.lead(&config, &hub, "codesess_1");
    refused(&bench, &mut command, 77, &["codesess_1"]);
}

#[test]
fn a_state_dir_that_is_a_file_is_refused() {
    let bench = Bench::new();
    let config = bench.config_with_cli(NEVER);
    let file = bench.file("a-file", "kept");
    let words = ["run", "--config", &config, "--state-dir", &file, "Do it."];
    refused(
        &bench,
        &mut bench.command(&words),
        73,
        &[&file, "--state-dir"],
    );
    assert_eq!(fs::read_to_string(file).unwrap(), "kept");
}

#[test]
fn a_state_dir_in_use_is_refused_with_who_uses_it() {
    let bench = Bench::new();
    let config = bench.config_with_cli(NEVER);
    let hub = bench.hub(None);
    let words = ["daemon", "--config", &config, "--hub", &hub.url];
    let first = bench.start(&mut bench.command(&words));
    let leads = |line: &str| line.contains("leading session").then_some(());
    assert!(first.err.first(0, leads).is_some());
    let second = bench.start(&mut bench.command(&words)).finish();
    let text = second.fails_with(73);
    assert!(text.contains(&format!("pid {}", first.pid())), "{text}");
}

#[test]
fn wrong_settings_are_named_with_their_place() {
    let bench = Bench::new();
    let config = bench.file("config.toml", "agent = \"claude\"\nmodle = \"x\"\n");
    let words = ["run", "--config", &config, "Do it."];
    let place = format!("{config}:2:1");
    refused(
        &bench,
        &mut bench.command(&words),
        64,
        &[&place, "`modle`", "`model`"],
    );
}

#[test]
fn a_task_that_says_nothing_is_refused() {
    run_refused(&[], 64, &["TASK"]);
    run_refused(&[" \n"], 64, &["TASK", "empty"]);
    run_refused(&["-"], 64, &["stdin is empty"]);
    run_refused(&["--task-file", "nothing.md"], 64, &["nothing.md"]);
}

#[test]
fn arguments_of_the_cli_that_the_runner_owns_are_refused() {
    run_refused(&["--agent-arg", "--resume=x", "Do it."], 64, &["--resume"]);
    run_refused(&["--agent-arg", "a prompt", "Do it."], 64, &["a prompt"]);
}

#[test]
fn what_is_not_built_is_not_accepted() {
    let words = ["--agent", "pi", "--mode", "live", "Do it."];
    run_refused(&words, 64, &["--mode live", "pi has no live form"]);
    let words = ["--approve", "ask", "--mode", "exec", "Do it."];
    run_refused(&words, 64, &["--approve", "ask", "--mode exec"]);
}

#[test]
fn a_repo_that_a_session_names_in_vain_is_refused() {
    let bench = Bench::new();
    let config = bench.config_with_cli(NEVER);
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let repo = format!("file://{}", bench.text("nothing"));
    let session = all.create(&json!({"task": "Do it.", "repo": {"url": repo}}));
    let finished = bench
        .start(&mut bench.lead(&config, &hub, &session))
        .finish();
    assert!(finished.fails_with(66).contains("nothing"));
    assert_eq!(
        bench.files("state/workspaces"),
        [""; 0].map(std::path::PathBuf::from)
    );
    assert!(!bench.path("home/reached").exists(), "the CLI was started");
    bench.assert_no_process_left();
}
