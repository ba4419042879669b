//! Where a session works: several repositories, and what prepares them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::Bench;
pub(crate) use crate::own_git::git;
use crate::participants::Participants;
use crate::running::{eventually, made};

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
fn a_workspace_that_was_removed_is_made_and_prepared_anew_and_told_of() {
    let bench = Bench::new();
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let origin = repository(&bench, "origin");
    let config = config_with_work(&bench, "touch worked", "");
    let slow = bench.path("slow");
    let script = format!(
        "touch preparing\nwhile [ -e '{}' ]; do sleep 0.05; done\ntouch prepared\n",
        slow.display()
    );
    let setup = bench.file("setup.sh", &script);
    let session = all.create(&json!({"task": "Go."}));
    let workspace = bench.path("w");
    let start = || {
        let mut command = bench.command(&["daemon", "--output", "jsonl", "--session", &session]);
        command.args(["--hub", &hub.url, "--config", &config, "--setup", &setup]);
        command.args(["--repo", origin.to_str().unwrap()]);
        command.args(["--workspace-dir", workspace.to_str().unwrap()]);
        bench.start(&mut command)
    };
    let lost = |event: &Value| event["code"] == "workspace_lost";
    let daemon = start();
    all.broadcast("agent_end", 1);
    daemon.signal(Signal::SIGTERM);
    let first = daemon.finish();
    assert!(!first.events().iter().any(lost), "{:?}", first.out);
    assert!(workspace.join("worked").exists());
    fs::remove_dir_all(&workspace).unwrap();

    fs::write(&slow, "").unwrap();
    let daemon = start();
    let told = daemon.event("word of the loss", lost);
    let text = told["text"].as_str().unwrap();
    assert!(text.contains(workspace.to_str().unwrap()), "{text}");

    // A clone that is there again is not taken for the one that was prepared.
    made(&workspace.join("preparing"));
    daemon.signal(Signal::SIGKILL);
    daemon.ended();
    fs::remove_file(&slow).unwrap();
    let daemon = start();
    made(&workspace.join("prepared"));
    all.command(&json!({"type": "prompt", "message": "Go on."}));
    all.broadcast("agent_end", 2);
    for name in ["prepared", "worked", "file.txt"] {
        assert!(workspace.join(name).exists(), "{name}");
    }
    daemon.signal(Signal::SIGTERM);
    daemon.finish();
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
        let mut command = bench.lead(&config, &hub, &session);
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

#[test]
fn a_turn_whose_report_is_missing_or_does_not_fit_is_incomplete() {
    let bench = Bench::new();
    let schema = bench.file("schema.json", r#"{"required": ["passed"]}"#);
    let expect = format!("out/report.json:{schema}");
    let words = |config: &str| {
        [
            "--config", config, "--expect", &expect, "--expect", "notes.md", "Go.",
        ]
        .map(str::to_owned)
    };
    for (work, code, told) in [
        ("true", 3, [Some("is missing"), Some("is missing")]),
        (
            "mkdir -p out; echo '{}' >out/report.json; echo hi >notes.md",
            3,
            [Some("has no `passed`"), None],
        ),
        (
            "echo '{\"passed\": true}' >out/report.json",
            3,
            [None, Some("no turn has written it")],
        ),
        (
            "echo '{\"passed\": true}' >out/report.json; echo hi >notes.md",
            0,
            [None, None],
        ),
    ] {
        let config = config_with_work(&bench, work, "");
        let words = words(&config);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (ended, events, said) = run(&bench, &words);
        assert_eq!(ended, code, "{work}: {said}");
        let reports = of_type(&events, "report");
        assert_eq!(reports.len(), 2, "{reports:?}");
        for (report, told) in reports.iter().zip(told) {
            assert_eq!(report["ok"], told.is_none(), "{report}");
            let error = report["error"].as_str().unwrap_or_default();
            assert!(error.contains(told.unwrap_or_default()), "{report}");
            assert_eq!(report["unchanged"] == true, error.contains("no turn"));
        }
        let end = events.last().unwrap();
        let message = end["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(message.contains("expected report"), code == 3, "{end}");
        if code == 0 {
            assert_eq!(reports[1]["content"], "hi\n");
        }
    }
}

#[test]
fn a_report_of_an_earlier_turn_counts_and_is_told_as_unchanged() {
    let bench = Bench::new();
    let config = config_with_work(&bench, "[ -e report.md ] || echo done >report.md", "");
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let session = all.create(&json!({"task": "Do it."}));
    let words = ["daemon", "--config", &config, "--expect", "report.md"];
    let mut command = bench.command(&words);
    command.args([
        "--output",
        "jsonl",
        "--hub",
        &hub.url,
        "--session",
        &session,
    ]);
    let daemon = bench.start(&mut command);
    let first = daemon.event("report", |event| event["type"] == "report");
    assert_eq!(first["unchanged"], Value::Null, "{first}");
    all.broadcast("agent_end", 1);
    // The daemon that goes on with the session knows as much.
    daemon.signal(Signal::SIGKILL);
    daemon.finish();
    let daemon = bench.start(&mut command);
    let words = ["prompt", "--session", &session, "Anything else?"];
    eventually("the daemon takes the prompt", || {
        let asked = bench.start(&mut bench.command(&words)).finish();
        asked.status.code() == Some(0)
    });
    let second = daemon.event("report", |event| event["type"] == "report");
    assert_eq!(
        (&second["ok"], &second["unchanged"]),
        (&json!(true), &json!(true))
    );
    let end = daemon.event("end", |event| event["type"] == "end");
    assert_eq!(end["outcome"], "completed", "{end}");
}

#[test]
fn a_hub_may_expect_a_report_within_the_workspace() {
    let bench = Bench::new();
    let config = config_with_work(&bench, "echo done >report.md", "");
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    for (path, code, part) in [
        ("report.md", 0, "\"ok\":true"),
        ("other.md", 3, "is missing"),
        ("../x", 66, "expectedReportPath"),
    ] {
        let metadata = json!({"expectedReportPath": path});
        let session = all.create(&json!({"task": "Do it.", "metadata": metadata}));
        let mut command = bench.lead(&config, &hub, &session);
        let done = bench
            .start(command.args(["--once", "--output", "jsonl"]))
            .finish();
        assert_eq!(done.status.code(), Some(code), "{done:#?}");
        let said = format!("{}{}", done.out.join("\n"), done.err);
        assert!(said.contains(part), "{path}: {said}");
    }
    bench.assert_no_process_left();
}

#[test]
fn skills_are_where_the_cli_looks_and_in_no_commit() {
    let bench = Bench::new();
    let folder = bench.path("skills/tidy");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("SKILL.md"), "---\nname: tidy\n---\n").unwrap();
    let config = config_with_work(
        &bench,
        "cat .claude/skills/*/SKILL.md >seen; git status --porcelain >status",
        "",
    );
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let sent = json!([{"skillId": "brief", "repo": "a/b", "content": "Be brief.\n"}, {"skillId": "far", "repo": "a/b"}]);
    let repo = json!({"url": format!("file://{}", bench.text("repo"))});
    let session = all.create(&json!({"task": "Do it.", "skills": sent, "repo": repo}));
    let mut command = bench.lead(&config, &hub, &session);
    let words = ["--once", "--skill", folder.to_str().unwrap()];
    let done = bench.start(command.args(words)).finish();
    assert_eq!(done.code(), 0, "{done:#?}");
    let workspace = bench.path("state/workspaces").join(&session);
    let read = |name: &str| fs::read_to_string(workspace.join(name)).unwrap();
    assert_eq!(read("seen"), "Be brief.\n---\nname: tidy\n---\n");
    assert_eq!(read("status"), "?? seen\n?? status\n");
}

#[test]
fn the_agents_git_runs_nothing_that_a_repository_brings_along() {
    let bench = Bench::new();
    let repo = repository(&bench, "r");
    let ran = bench.text("ran");
    let program = bench.file(
        "program",
        &format!("#!/bin/sh\necho \"$0 $*\" >>{ran}\ncat\n"),
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // Hooks, a monitor, a bare repository within with a configuration of its own, a remote helper.
    let bare = repo.join("inner.git");
    git(&repo, &["init", "-q", "--bare", bare.to_str().unwrap()]);
    git(&bare, &["config", "core.fsmonitor", &program]);
    fs::write(bare.join("objects/keep"), "").unwrap();
    fs::write(bare.join("refs/keep"), "").unwrap();
    git(&repo, &["add", "--force", "."]);
    git(&repo, &["commit", "-q", "-m", "hostile"]);
    let work = format!(
        "for hook in pre-commit post-commit post-checkout; do cp {program} .git/hooks/$hook; done\n\
         cp {program} hook; mkdir own; cp {program} own/pre-commit\n\
         git config core.hooksPath \"$PWD/own\"; git config core.fsmonitor {program}\n\
         git add . ; git status >/dev/null; git -c user.name=a -c user.email=b@c commit -q -m x\n\
         (cd inner.git && git status) 2>&1 | head -c 300 >bare\n\
         git clone -q 'ext::{program} x' cloned >ext 2>&1\n"
    );
    let config = config_with_work(&bench, &work, "");
    let workspace = bench.text("w");
    let words = ["--config", &config, "--repo", repo.to_str().unwrap()];
    let (code, events, said) = run(
        &bench,
        &[&words[..], &["--workspace-dir", &workspace, "Go."]].concat(),
    );
    assert_eq!(code, 0, "{said}\n{events:#?}");
    let said = fs::read_to_string(&ran).unwrap_or_default();
    assert_eq!(said, "", "something ran");
    let read = |name: &str| fs::read_to_string(bench.path("w").join(name)).unwrap();
    assert!(
        read("bare").contains("safe.bareRepository"),
        "{}",
        read("bare")
    );
    assert!(read("ext").contains("'ext' not allowed"), "{}", read("ext"));
    let head = git(&bench.path("w"), &["log", "-1", "--format=%s"]);
    assert_eq!(head, "x");
}

#[test]
fn a_setup_that_the_daemons_death_cut_off_is_ended_and_run_again() {
    let bench = Bench::new();
    let script = format!(
        "sleep 600 &\necho run >>{0}/runs\nwhile [ ! -e {0}/go ]; do sleep 0.05; done\n",
        bench.path(".").display()
    );
    let setup = bench.file("setup.sh", &script);
    let config = config_with_work(&bench, "true", "");
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let session = all.create(&json!({"task": "Do it."}));
    let words = [
        "daemon",
        "--once",
        "--config",
        &config,
        "--hub",
        &hub.url,
        "--session",
        &session,
        "--setup",
        &setup,
    ];
    let runs = || {
        fs::read_to_string(bench.path("runs"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    let first = bench.start(&mut bench.command(&words));
    eventually("the setup has begun", || runs() == 1);
    first.signal(Signal::SIGKILL);
    first.finish();
    let second = bench.start(&mut bench.command(&words));
    eventually("the setup has begun again", || runs() == 2);
    fs::write(bench.path("go"), "").unwrap();
    assert_eq!(second.finish().code(), 0);
    bench.assert_no_process_left();
    // Once it is done it is not run again.
    let again = bench.start(&mut bench.command(&words));
    again.signal(Signal::SIGTERM);
    again.finish();
    assert_eq!(runs(), 2);
}
