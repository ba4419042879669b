//! Tokens that are replaced: masked from the moment at which they are issued, renewed when they expire,
//! and known again to the daemon that goes on with a session.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{Bench, Hub};
use crate::git_server::{Behaviour, GitServer};
use crate::ground::{config_with_work, git, of_type, repository, run};
use crate::participants::Participants;
use crate::running::{eventually, made};

const WORK: &str =
    "echo $$ >>work.txt; git add .; git -c user.name=B -c user.email=b@c.d commit -q -m work";

#[test]
fn each_new_token_is_masked_and_one_that_expires_in_a_push_is_renewed() {
    let bench = Bench::new();
    fs::create_dir(bench.path("served")).unwrap();
    let folder = repository(&bench, "served/r");
    let (accepted, issued) = (bench.path("accepted"), bench.path("issued"));
    let behaviour = Behaviour {
        token_file: Some(accepted.clone()),
        expires: true,
        ..Behaviour::default()
    };
    let server = GitServer::start(&bench.path("served"), behaviour);
    // Each one that it gives makes those before it worthless.
    let script = format!(
        "echo x >>{0}; t=t-rotated-$(wc -l <{0})-needle; echo $t >{1}; echo $t",
        issued.display(),
        accepted.display()
    );
    let settings = format!("[git]\ntoken_command = [\"/bin/sh\", \"-c\", {script:?}]\n");
    // The agent shows the newest one.
    let work = format!("{WORK}; cat {}", accepted.display());
    let config = config_with_work(&bench, &work, &settings);
    let (url, workspace) = (server.url("r"), bench.text("w"));
    let words = [
        "--config",
        &config,
        "--repo",
        &url,
        "--workspace-dir",
        &workspace,
        "Go.",
    ];
    let (code, events, said) = run(&bench, &words);
    assert_eq!(code, 0, "{said}");
    let notices = of_type(&events, "notice").into_iter();
    let codes: Vec<_> = notices.map(|notice| notice["code"].to_string()).collect();
    assert!(codes.contains(&"\"pushed\"".to_owned()), "{events:#?}");
    let count = fs::read_to_string(&issued).unwrap().lines().count();
    assert!(count >= 4, "only {count} tokens were asked for");
    let shown = of_type(&events, "raw").into_iter();
    let shown: Vec<_> = shown.map(|raw| raw["text"].to_string()).collect();
    assert!(shown.iter().any(|text| text.contains("***")), "{shown:?}");
    assert!(!format!("{events:?}{said}").contains("t-rotated-"));
    git(&folder, &["fsck", "--strict"]);
    bench.assert_no_process_left();
}

/// A session of a Hub with a token in its environment, which the server of its repository accepts.
struct Issued {
    all: Participants,
    hub: Hub,
    folder: PathBuf,
    session: String,
    /// A daemon for it.
    command: Command,
    _server: GitServer,
}

/// The agent does `work`; what the server accepts stands in `accepted`.
fn issued(bench: &Bench, token: &'static str, work: &str) -> Option<Issued> {
    fs::create_dir(bench.path("served")).unwrap();
    let folder = repository(bench, "served/r");
    let behaviour = Behaviour {
        token_file: Some(bench.path("accepted")),
        ..Behaviour::default()
    };
    let server = GitServer::start(&bench.path("served"), behaviour);
    fs::write(bench.path("accepted"), token).unwrap();
    let config = config_with_work(bench, work, "");
    let hub = bench.hub(None);
    let mut all = Participants::start(bench, &hub, None)?;
    let url = server.url("r");
    let host = url.trim_start_matches("http://").trim_end_matches("/r");
    let body = json!({"task": "Go.", "repo": {"url": url}, "env": {"GIT_TOKEN": token}});
    let session = all.create(&body);
    let mut command = bench.lead(&config, &hub, &session);
    command.args(["--output", "jsonl"]);
    command.env("AGENT_RUNNER_GIT_ALLOW_HOSTS", host);
    Some(Issued {
        all,
        hub,
        folder,
        session,
        command,
        _server: server,
    })
}

#[test]
fn the_token_of_a_sessions_environment_is_known_to_the_next_daemon() {
    const TOKEN: &str = "t-of-session-needle";
    let bench = Bench::new();
    let work = format!("{WORK}; cat {}", bench.text("accepted"));
    let Some(mut issued) = issued(&bench, TOKEN, &work) else {
        return;
    };
    let tip = || {
        let format = "--format=%(objectname)";
        let branches = "refs/heads/agent-runner";
        git(&issued.folder, &["for-each-ref", format, branches])
    };
    let mut told = String::new();
    let mut tips = Vec::new();
    for _ in 0..2 {
        let daemon = bench.start(&mut issued.command);
        if !tips.is_empty() {
            let words = ["prompt", "--session", &issued.session, "Again."];
            eventually("the daemon takes the prompt", || {
                let asked = bench.start(&mut bench.command(&words)).finish();
                asked.status.code() == Some(0)
            });
        }
        let pushed = daemon.event("push", |event| {
            event["type"] == "notice" && event["code"].to_string().contains("push")
        });
        assert_eq!(pushed["code"], "pushed", "{pushed}");
        issued.all.broadcast("agent_end", tips.len() + 1);
        tips.push(tip());
        daemon.signal(Signal::SIGKILL);
        let done = daemon.finish();
        told.extend([format!("{done:?}")]);
    }
    assert_ne!(tips[0], tips[1]);
    assert!(!told.contains(TOKEN), "{told}");
    let found = Command::new("grep")
        .args(["-rlF", TOKEN])
        .arg(bench.path("state"))
        .output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    // The raw output is the named exception.
    let outside: Vec<_> = found
        .lines()
        .filter(|file| !file.contains("/runs/"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

/// The agent prints a token when the daemon that was given it is dead, and the Hub as well.
#[test]
fn a_token_is_masked_by_the_next_daemon_while_no_hub_answers() {
    const TOKEN: &str = "t-without-hub-needle";
    let bench = Bench::new();
    let (begun, go) = (bench.path("begun"), bench.path("go"));
    let work = format!(
        "touch {}; until test -e {}; do sleep 0.05; done; echo; cat {}",
        begun.display(),
        go.display(),
        bench.text("accepted")
    );
    let Some(mut issued) = issued(&bench, TOKEN, &work) else {
        return;
    };
    let daemon = bench.start(&mut issued.command);
    made(&begun);
    daemon.signal(Signal::SIGKILL);
    let mut told = format!("{:?}", daemon.finish());
    drop(issued.all);
    issued.hub.kill();
    let daemon = bench.start(&mut issued.command);
    fs::write(&go, "").unwrap();
    let raw = daemon.event("what the agent prints", |event| {
        event["type"] == "raw" && event["text"] != ""
    });
    assert_eq!(raw["text"], "***", "{raw}");
    daemon.event("end", |event| event["type"] == "end");
    daemon.signal(Signal::SIGKILL);
    told.extend([format!("{:?}", daemon.finish())]);
    assert!(!told.contains(TOKEN), "{told}");
}
