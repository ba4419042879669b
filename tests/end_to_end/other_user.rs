//! Root's agent as another user: what is that user's, and what stays root's.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::bench::{Bench, skip};

const SCRIPT: &str = r#"
[[reply]]
steps = [{ write = "made.txt", content = "by {{prompt}}" }, { shell = "id -un; cat '{{cwd}}/../../journal.db' || echo closed" }]
[[reply]]
steps = [{ say = "Done." }]
"#;

#[test]
fn an_agent_of_another_user_works_in_its_workspace_and_reads_nothing_else() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root, to start an agent as another user");
    }
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o711)).unwrap();
    let model = bench.model(SCRIPT);
    let words = ["run", "--agent-user", "nobody", "--output", "jsonl"];
    let mut command = bench.agent(&model, &words);
    command.args(["--repo", "../repo", "me"]);
    let finished = bench.start(&mut command).finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let files = bench.files("state");
    let made = files
        .iter()
        .find(|path| path.ends_with("made.txt"))
        .unwrap();
    assert_eq!(made.metadata().unwrap().uid(), nobody.uid.as_raw());
    let told = finished.events().into_iter().find_map(|event| {
        let output = event["output"].as_str()?.to_owned();
        (event["name"] == "shell").then_some(output)
    });
    let told = told.unwrap();
    assert!(told.starts_with("nobody\n"), "{told}");
    assert!(told.ends_with("closed"), "{told}");
    // From a folder that has nothing to do with it, and that is in no repository.
    let session = finished.events()[0]["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = |words: &[&str]| {
        let mut command = bench.command(words);
        let finished = bench.start(command.args(["--session", &session])).finish();
        assert_eq!(finished.code(), 0, "{words:?}: {finished:#?}");
        finished.out.join("\n")
    };
    assert!(said(&["diff"]).contains("+by me"), "the session's changes");
    assert!(said(&["restore", "start"]).starts_with("restored "));
    assert!(!made.exists());
    bench.assert_no_process_left();
}

#[test]
fn root_that_is_asked_for_by_its_name_is_root_and_the_cli_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root, to start an agent as root");
    }
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let words = ["run", "--agent-user", "root", "--output", "jsonl", "me"];
    let finished = bench.start(&mut bench.agent(&model, &words)).finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    let events = finished.events();
    let has = |name: &str, value: &str| events.iter().any(|event| event[name] == value);
    assert!(has("code", "runs_as_root"), "{events:#?}");
    let told = events
        .iter()
        .find(|event| event["name"] == "shell" && event["type"] == "tool_end");
    let told = told.unwrap()["output"].as_str().unwrap();
    assert!(told.starts_with("root\n"), "{told}");
    bench.assert_no_process_left();
}

#[test]
fn a_state_dir_that_the_user_cannot_get_to_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root, to start an agent as another user");
    }
    let bench = Bench::new();
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o700)).unwrap();
    let config = bench.config_with_cli("#!/bin/sh\n");
    let words = [
        "run",
        "--agent-user",
        "nobody",
        "--config",
        &config,
        "Do it.",
    ];
    let finished = bench.start(&mut bench.command(&words)).finish();
    let text = finished.fails_with(73);
    assert!(text.contains("nobody may not pass"), "{text}");
    assert!(!bench.path("state").exists());
}
