//! `landlock = true`: the agent's files are its own and the system's.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::bench::{Bench, skip};

#[test]
fn an_agent_under_landlock_works_in_its_workspace_and_opens_nothing_else() {
    if !agent_runner::process::can_restrict_files() {
        return skip("this kernel has no Landlock");
    }
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let elsewhere = elsewhere();
    let closed = elsewhere.path().join("closed");
    fs::write(&closed, "private").unwrap();
    let script = format!(
        "[[reply]]\nsteps = [{{ shell = \"echo made >made.txt; git status --short; \
         cat '{0}' || echo unread; echo x >'{0}' || echo unwritten\" }}]\n\
         [[reply]]\nsteps = [{{ say = \"Done.\" }}]\n",
        closed.display()
    );
    let model = bench.model(&script);
    let mut command = bench.agent(&model, &["run", "--output", "jsonl"]);
    command.args(["--repo", "../repo", "Do it."]);
    command.env("AGENT_RUNNER_LANDLOCK", "true");
    let finished = bench.start(&mut command).finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    let told = finished.events().into_iter().find_map(|event| {
        let output = event["output"].as_str()?.to_owned();
        (event["name"] == "shell").then_some(output)
    });
    let told = told.unwrap();
    for word in ["made.txt", "unread", "unwritten"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(fs::read_to_string(&closed).unwrap(), "private");
}

#[test]
fn the_setup_script_is_kept_from_the_same_files() {
    if !agent_runner::process::can_restrict_files() {
        return skip("this kernel has no Landlock");
    }
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let elsewhere = elsewhere();
    let closed = elsewhere.path().join("closed");
    fs::write(&closed, "private").unwrap();
    let script = format!(
        "echo made >made.txt; cat '{0}' || echo unread; echo x >'{0}' || echo unwritten",
        closed.display()
    );
    let setup = bench.file("setup.sh", &script);
    let model = bench.model("[[reply]]\nsteps = [{ say = \"Done.\" }]\n");
    let mut command = bench.agent(&model, &["run", "--output", "jsonl", "--setup", &setup]);
    command.args(["--repo", "../repo", "Do it."]);
    command.env("AGENT_RUNNER_LANDLOCK", "true");
    let finished = bench.start(&mut command).finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    let events = finished.events();
    let said = events.iter().filter(|event| event["step"] == "setup");
    let said: String = said.map(ToString::to_string).collect();
    for word in ["unread", "unwritten", "is done"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(fs::read_to_string(&closed).unwrap(), "private");
}

/// A folder that is not below /tmp or /var/tmp, which are open to everyone; the project may be.
fn elsewhere() -> TempDir {
    let home = std::env::var_os("HOME").expect("a home");
    let places = [env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from(home)];
    let is_shared = |place: &PathBuf| {
        ["/tmp", "/var/tmp"]
            .iter()
            .any(|tmp| place.starts_with(tmp))
    };
    let place = places.into_iter().find(|place| !is_shared(place));
    tempfile::tempdir_in(place.expect("a place that is not shared")).unwrap()
}
