//! `start`: a daemon where none runs, a session in it, and nothing that belongs to another.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::place::{GATED, Place, Started};
use crate::running::made;

#[test]
fn two_agents_work_in_one_daemon_and_their_events_do_not_mix() {
    let Some(place) = Place::with_claude() else {
        return;
    };
    let model = place.bench.model(GATED);
    let (one, two) = (place.folder("one"), place.folder("two"));
    let real = place.start_claude(&model, &one);
    let config = place.gated_cli("codex", "twotext.pipe.jsonl");
    let words = ["--agent", "codex", "--config", &config, "Say something."];
    let fake = Started::read(&place.start(&two, &words));
    assert_eq!(real.pid, fake.pid, "one daemon");
    assert_ne!(real.session, fake.session);
    for folder in [&one, &two] {
        made(&folder.join("begun"));
    }
    let (_, list) = place.ask("GET", "/v1/sessions", &Value::Null);
    let ids: Vec<_> = list["sessions"].as_array().unwrap().iter().collect();
    assert_eq!(ids.len(), 2, "{list}");
    assert_eq!(ids[0]["id"], *fake.session, "the newest first: {list}");
    for folder in [&one, &two] {
        fs::write(folder.join("go"), "").unwrap();
    }
    let (text, end) = real.said();
    assert_eq!(
        (text.as_str(), &end["outcome"]),
        ("I begin.I am done.", &json!("completed"))
    );
    assert_eq!(fake.said().1["outcome"], "completed");
    for (session, agent) in [(&real, "claude"), (&fake, "codex")] {
        let events = place.events(&session.session);
        assert!(events.iter().all(|event| event["agent"] == agent));
        let own = events
            .iter()
            .filter(|event| event["turn_id"] == *session.turn);
        assert!(own.eq(session.events().iter()), "the file holds the turn");
    }
}

#[test]
fn two_starts_at_once_end_with_one_daemon_and_two_sessions() {
    let place = Place::new();
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let folders = [place.folder("one"), place.folder("two")];
    let starting = folders.each_ref().map(|folder| {
        fs::write(folder.join("go"), "").unwrap();
        let mut command = place.start_command(folder, &["--config", &config, "Go."]);
        place.bench.start(&mut command)
    });
    let started = starting.map(|starting| Started::read(&starting.finish()));
    assert_eq!(started[0].pid, started[1].pid);
    assert_ne!(started[0].session, started[1].session);
    for session in &started {
        assert_eq!(session.said().1["outcome"], "completed");
    }
    let daemons = place.bench.descendants();
    let daemons = daemons
        .iter()
        .filter(|process| process.arguments.contains(" background "));
    assert_eq!(daemons.count(), 1);
}

#[test]
fn a_daemon_in_the_background_keeps_nothing_of_whoever_started_it() {
    let place = Place::new();
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let here = place.folder("one");
    let command = place.start_command(&here, &["--config", &config, "Go."]);
    // A shell that has a file open which it leaves open for its children.
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "exec 7</dev/null; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(&here)
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let started = Started::read(&place.bench.start(&mut shell).finish());
    let proc = |name: &str| format!("/proc/{}/{name}", started.pid);
    assert_eq!(fs::read_link(proc("cwd")).unwrap().to_str(), Some("/"));
    let stat = fs::read_to_string(proc("stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(fields[3], started.pid.to_string(), "a session of its own");
    for fd in fs::read_dir(proc("fd")).unwrap() {
        let fd = fd.unwrap();
        let number: u32 = fd.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(fd.path()).unwrap_or_default();
        let is_null = target.to_str() == Some("/dev/null");
        assert!(!is_null || number < 2, "{number} was inherited");
    }
    let log = fs::read_link(proc("fd/2")).unwrap();
    assert_eq!(log, place.bench.path("state/daemon.log"));
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(here.join("go"), "").unwrap();
    assert_eq!(started.said().1["outcome"], "completed");
}

#[test]
fn a_broken_session_says_why_and_hurts_no_other() {
    let place = Place::new();
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let folder = place.folder("one");
    let whole = Started::read(&place.start(&folder, &["--config", &config, "Go."]));
    made(&folder.join("begun"));
    let missing = place.bench.text("no-such-repo");
    let words = ["--config", &config, "--repo", &missing, "Go."];
    let broken = Started::read(&place.start(&folder, &words));
    let (_, end) = broken.said();
    assert_eq!(end["outcome"], "failed", "{end}");
    assert!(
        end["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no-such-repo"),
        "{end}"
    );
    let status = place.status(&broken.session);
    assert_eq!(status["state"], "failed", "{status}");
    assert!(
        status["detail"].as_str().unwrap().contains("no-such-repo"),
        "{status}"
    );
    // What cannot even begin is no session: the one who asks hears it.
    let config_without = place
        .bench
        .file("none.toml", "[agents.claude]\ncommand = \"/no/such\"\n");
    let refused = place.start(&folder, &["--config", &config_without, "Go."]);
    assert!(refused.fails_with(68).contains("/no/such"), "{refused:#?}");
    let with_key = [
        "--config",
        &config,
        "--repo",
        "https://a:b@example.com/x",
        "Go.",
    ];
    let refused = place.start(&folder, &with_key);
    assert!(
        refused.fails_with(66).contains("--git-token-file"),
        "{refused:#?}"
    );
    let elsewhere = ["--config", &config, "--hub", "http://127.0.0.1:9", "Go."];
    let refused = place.start(&folder, &elsewhere);
    assert!(
        refused.fails_with(64).contains("127.0.0.1:9"),
        "{refused:#?}"
    );
    assert_eq!(place.status(&whole.session)["state"], "running");
    fs::write(folder.join("go"), "").unwrap();
    assert_eq!(whole.said().1["outcome"], "completed");
}

#[test]
fn a_daemon_that_cannot_start_tells_its_reason_and_code_through_start() {
    let place = Place::new();
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let state = place.folder("state");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(state.join("hub")).unwrap();
    fs::write(
        state.join("hub/hub.db"),
        "no database at all, but long enough".repeat(99),
    )
    .unwrap();
    let refused = place.start(&place.folder("one"), &["--config", &config, "Go."]);
    let said = refused.fails_with(73);
    assert!(
        said.contains("did not start") && said.contains("daemon.log"),
        "{said}"
    );
}

#[test]
fn a_wrong_setting_is_refused_before_a_daemon_is_started() {
    let place = Place::new();
    let here = place.folder("one");
    let refused = place.start(&here, &["--agent", "cloud", "Go."]);
    assert!(refused.fails_with(64).contains("claude"), "{refused:#?}");
    assert!(!place.bench.path("state").exists());
}
