//! Where a session works: several repositories, and what prepares them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::participants::Participants;

/// A CLI that does `work` in its workspace, and then prints a recording of a whole turn.
pub(crate) fn config_with_work(bench: &Bench, work: &str, settings: &str) -> String {
    let recording =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/claude/plain_text.pipe.jsonl");
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\n{work}\nexec cat '{}'\n",
        recording.display()
    );
    let program = bench.file("cli", &script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!("{settings}\n[agents.claude]\ncommand = {program:?}\n");
    bench.file("config.toml", &text)
}

pub(crate) fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
        .args(words)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with one commit.
pub(crate) fn repository(bench: &Bench, name: &str) -> PathBuf {
    let folder = bench.path(name);
    fs::create_dir_all(&folder).unwrap();
    git(&folder, &["init", "-q", "-b", "main"]);
    fs::write(folder.join("file.txt"), name).unwrap();
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-q", "-m", "one"]);
    folder
}

/// `run`, its exit code, its events and what it says to people.
pub(crate) fn run(bench: &Bench, words: &[&str]) -> (i32, Vec<Value>, String) {
    let mut command = bench.command(&["run", "--output", "jsonl"]);
    let done = bench.start(command.args(words)).finish();
    let events = done
        .out
        .iter()
        .map(|line| serde_json::from_str(line).unwrap());
    (done.code(), events.collect(), done.err.clone())
}

pub(crate) fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["type"] == kind)
        .collect()
}

fn said_by_setup(events: &[Value], stream: &str) -> String {
    let said = of_type(events, "setup").into_iter();
    let said = said.filter(|event| event["step"] == "setup" && event["stream"] == stream);
    let texts: Vec<&str> = said.map(|event| event["text"].as_str().unwrap()).collect();
    texts.join("\n")
}

#[test]
fn several_repositories_are_folders_of_the_workspace_and_are_prepared_once() {
    let bench = Bench::new();
    let (one, two) = (repository(&bench, "a/tool"), repository(&bench, "b/tool"));
    git(&two, &["branch", "side"]);
    let config = config_with_work(
        &bench,
        "ls; echo x >> tool/file.txt; echo y > tool-2/new.txt",
        "",
    );
    let script = "pwd\ncat tool/file.txt tool-2/file.txt\necho oops >&2\nenv | cut -d= -f1\ntouch prepared\n";
    let setup = bench.file("setup.sh", script);
    let words = [
        "--config",
        &config,
        "--repo",
        one.to_str().unwrap(),
        "--repo",
        two.to_str().unwrap(),
        "--branch",
        "HEAD",
        "--branch",
        "side",
        "--setup",
        &setup,
        "--workspace-dir",
        &bench.text("w"),
        "Go.",
    ];
    let (code, events, said) = run(&bench, &words);
    assert_eq!(code, 0, "{said}\n{events:#?}");
    let workspace = bench.path("w");
    assert!(workspace.join("prepared").exists());
    assert_eq!(
        git(&workspace.join("tool-2"), &["branch", "--show-current"]),
        "side"
    );
    let stdout = said_by_setup(&events, "stdout");
    assert!(stdout.starts_with(bench.text("w").as_str()), "{stdout}");
    assert!(stdout.contains("a/toolb/tool"), "{stdout}");
    assert!(
        !stdout.contains("AGENT_RUNNER") && !stdout.contains("ANTHROPIC"),
        "{stdout}"
    );
    assert_eq!(said_by_setup(&events, "stderr"), "oops");
    let kept = of_type(&events, "checkpoint");
    let counts = ["files", "insertions"].map(|name| kept[0][name].as_u64().unwrap());
    assert_eq!((kept.len(), counts), (1, [2, 2]), "{kept:?}");
    bench.assert_no_process_left();
}

#[test]
fn a_setup_that_fails_is_the_sessions_end_unless_it_may_go_on() {
    let bench = Bench::new();
    let setup = bench.file("setup.sh", "#!/bin/sh -e\nsleep 60 &\nfalse\n");
    let config = config_with_work(&bench, "touch worked", "");
    let words = ["--config", &config, "--setup", &setup, "Go."];
    let (code, _, said) = run(&bench, &words);
    assert_eq!(code, 66, "{said}");
    assert!(
        said.contains("exit code 1") && said.contains("setup.on_failure"),
        "{said}"
    );
    assert!(!bench.path("here/worked").exists());
    bench.assert_no_process_left();

    let settings = "[setup]\non_failure = \"continue\"\ntimeout = \"1s\"\n";
    let config = config_with_work(&bench, "touch worked", settings);
    let slow = bench.file("slow.sh", "echo begun\nsleep 60\n");
    let words = ["--config", &config, "--setup", &slow, "Go."];
    let (code, events, said) = run(&bench, &words);
    assert_eq!(code, 0, "{said}");
    let notices = of_type(&events, "notice");
    let told = notices
        .iter()
        .find(|notice| notice["code"] == "setup_failed");
    assert!(
        told.unwrap()["text"]
            .as_str()
            .unwrap()
            .contains("longer than 1s")
    );
    assert_eq!(said_by_setup(&events, "stdout"), "begun");
    assert!(bench.path("here/worked").exists());
    bench.assert_no_process_left();
}

#[test]
fn a_hub_may_not_name_what_a_person_could() {
    let bench = Bench::new();
    let config = config_with_work(&bench, "touch worked", "");
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    for (url, why) in [
        (
            format!("file://{}", bench.text("repo")),
            "a folder of this machine",
        ),
        (
            "https://127.0.0.1/r".to_owned(),
            "not of the public network",
        ),
        ("https://token@github.com/a/b".to_owned(), "credentials"),
        ("ext::touch reached".to_owned(), "no https address"),
    ] {
        let session = all.create(&json!({"task": "Do it.", "repo": {"url": url}}));
        let words = [
            "daemon",
            "--config",
            &config,
            "--hub",
            &hub.url,
            "--session",
            &session,
        ];
        let mut command = bench.command(&words);
        command.env_remove("AGENT_RUNNER_GIT_ALLOW_HOSTS");
        let finished = bench.start(&mut command).finish();
        let said = finished.fails_with(66);
        assert!(
            said.contains(why) && !said.contains("token@"),
            "{url}: {said}"
        );
    }
    bench.assert_no_process_left();
}
