//! Deaths before a session's first turn and after its last step: in the clone, and in the push with
//! what it leaves to Git LFS.
#![cfg(feature = "crash-points")]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::thread;

use serde_json::Value;

use crate::bench::Bench;
use crate::git_server::{Behaviour, GitServer};
use crate::ground::{config_with_work, git, of_type, repository};

/// A `run` in a clone of `origin`, which dies at `point`.
fn run_in_clone(bench: &Bench, config: &str, point: Option<&str>) -> (i32, String) {
    let mut command = bench.command(&["run", "--output", "jsonl", "--config", config]);
    command.args(["--repo", &bench.text("origin"), "--workspace-dir"]);
    command.args([&bench.text("w"), "Go."]);
    if let Some(point) = point {
        command.env("AGENT_RUNNER_CRASH", point);
        command.env("AGENT_RUNNER_CRASH_LOG", bench.path("passed"));
    }
    let done = bench.start(&mut command).finish();
    (done.code(), done.err)
}

/// Dies at `point` while it clones into a folder, which may be there; the next run has all of it.
fn clone_dies_at(point: &str, is_there: bool) {
    let bench = Bench::new();
    let origin = repository(&bench, "origin");
    for name in ["a", "b/c", "d"] {
        fs::create_dir_all(origin.join(name).parent().unwrap()).unwrap();
        fs::write(origin.join(name), name).unwrap();
    }
    git(&origin, &["add", "."]);
    git(&origin, &["commit", "-q", "-m", "two"]);
    let workspace = bench.path("w");
    if is_there {
        fs::create_dir(&workspace).unwrap();
    }
    let config = config_with_work(&bench, "touch worked", "");
    let (code, said) = run_in_clone(&bench, &config, Some(point));
    assert!(bench.path("passed.crashed").exists(), "{point}: {said}");
    assert_eq!(code, 66, "{point}: {said}");
    let (code, said) = run_in_clone(&bench, &config, None);
    assert_eq!(code, 0, "{point}: {said}");
    assert_eq!(
        git(&workspace, &["status", "--porcelain"]),
        "?? worked",
        "{point}"
    );
    let commit = |folder| git(folder, &["rev-parse", "HEAD"]);
    assert_eq!(commit(&workspace), commit(&origin), "{point}");
    for folder in [&bench.path(""), &workspace] {
        let names = fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = names
            .filter(|name| name.starts_with(".agent-runner"))
            .collect();
        assert!(left.is_empty(), "{point}: {left:?}");
    }
    bench.assert_no_process_left();
}

#[test]
fn a_clone_that_dies_anywhere_is_whole_at_the_next_start() {
    thread::scope(|scope| {
        for point in ["clone.checked_out:1", "clone.before_rename:1"] {
            scope.spawn(|| clone_dies_at(point, false));
        }
        for point in [
            "clone.checked_out:1",
            "clone.before_whole:1",
            "clone.whole:1",
            "clone.entry_moved:1",
            "clone.entry_moved:3",
            // all but the folder that they came from
            "clone.entry_moved:5",
        ] {
            scope.spawn(|| clone_dies_at(point, true));
        }
    });
}

#[test]
fn what_somebody_has_put_where_a_clone_was_moving_is_not_replaced() {
    let bench = Bench::new();
    repository(&bench, "origin");
    fs::create_dir(bench.path("w")).unwrap();
    let config = config_with_work(&bench, "touch worked", "");
    run_in_clone(&bench, &config, Some("clone.whole:1"));
    fs::write(bench.path("w/file.txt"), "mine").unwrap();
    let (code, said) = run_in_clone(&bench, &config, None);
    assert_eq!(code, 66, "{said}");
    assert!(said.contains("w/file.txt is there already"), "{said}");
    assert_eq!(
        fs::read_to_string(bench.path("w/file.txt")).unwrap(),
        "mine"
    );
    fs::remove_file(bench.path("w/file.txt")).unwrap();
    let (code, said) = run_in_clone(&bench, &config, None);
    assert_eq!(code, 0, "{said}");
}

/// A turn's commit with a large file, pushed by a daemon that dies at `point` and one that goes on.
fn push_dies_at(point: &str) {
    let bench = Bench::new();
    fs::create_dir(bench.path("served")).unwrap();
    let origin = repository(&bench, "served/r");
    let token = "t-0k3n-needle";
    let behaviour = Behaviour {
        token: Some(token),
        ..Behaviour::default()
    };
    let server = GitServer::start(&bench.path("served"), behaviour);
    let token = bench.file("token", token);
    // As git-lfs leaves it, which need not be installed for that.
    let work = r"
oid=$(echo new | sha256sum | cut -d' ' -f1)
folder=.git/lfs/objects/$(echo $oid | cut -c1-2)/$(echo $oid | cut -c3-4)
mkdir -p $folder && echo new >$folder/$oid
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 4\n' $oid >more.bin
echo '*.bin filter=lfs diff=lfs merge=lfs -text' >.gitattributes
git -c filter.lfs.clean=cat -c filter.lfs.process= -c filter.lfs.required=false add .
git -c user.name=B -c user.email=b@c.d commit -q -m more";
    let config = config_with_work(&bench, work, "[git]\npush_branch = \"work\"\n");
    let task = bench.file("task.txt", "Go.");
    let hub = bench.hub(None);
    let daemon = |session: Option<&str>, point: Option<&str>| {
        let mut command = bench.command(&["daemon", "--once", "--output", "jsonl"]);
        command.args(["--config", &config, "--hub", &hub.url]);
        command.args(["--repo", &server.url("r"), "--git-token-file", &token]);
        match session {
            Some(session) => command.args(["--session", session]),
            None => command.args(["--task-file", &task]),
        };
        if let Some(point) = point {
            command.env("AGENT_RUNNER_CRASH", point);
        }
        bench.start(&mut command).finish()
    };
    let parse = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let first = daemon(None, Some(point));
    assert_eq!(first.status.signal(), Some(9), "{point}: {first:?}");
    let mut events: Vec<Value> = first.out.iter().map(parse).collect();
    let session = events[0]["session_id"].as_str().unwrap().to_owned();
    let second = daemon(Some(&session), None);
    assert_eq!(second.code(), 0, "{point}: {second:?}");
    events.extend(second.out.iter().map(parse));
    let told: Vec<_> = of_type(&events, "notice")
        .into_iter()
        .filter(|notice| notice["code"].as_str().unwrap().starts_with("push"))
        .map(|notice| notice["text"].as_str().unwrap())
        .collect();
    assert_eq!(told.len(), 1, "{point}: {told:?}");
    assert!(told[0].contains("pushed 1 commit"), "{point}: {told:?}");
    assert_eq!(of_type(&events, "end").len(), 1, "{point}");
    git(&origin, &["fsck", "--strict"]);
    assert!(git(&origin, &["show", "work:more.bin"]).contains("sha256:"));
    assert_eq!(fs::read_dir(bench.path("served/lfs")).unwrap().count(), 1);
    let rescue = bench.files("state/rescue");
    assert!(rescue.is_empty(), "{point}: {rescue:?}");
    bench.assert_no_process_left();
}

#[test]
fn a_push_that_dies_anywhere_is_made_and_told_once() {
    thread::scope(|scope| {
        for point in [
            "push.packed:1",
            "push.content_sent:1",
            "push.sent:1",
            "push.noted:1",
            "turn.before_end:1",
        ] {
            scope.spawn(|| push_dies_at(point));
        }
    });
}
