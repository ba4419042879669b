//! The daemon on this machine, its agent in a container beside it.

use std::fs;
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::{
    Agent, Bench, CLAUDE, CODEX, FORMS, GEMINI, OPENCODE, PI, forms_of, is_end, output_of,
};
use crate::engine::{LIMIT, Lines, docker, image};
use crate::git_server::{Behaviour, GitServer};
use crate::hand_hub::Hub;
use crate::tls::{self, TlsFront};

fn does_its_task(agent: &Agent) {
    let Some(image) = image(agent.name) else {
        return;
    };
    for form in forms_of(agent) {
        does_its_task_in_form(&image, agent, form);
    }
}

fn does_its_task_in_form(image: &str, agent: &Agent, form: &str) {
    let bench = Bench::new("id -un; cat /proc/self/status; pwd");
    let workspace = bench.dir.path().join("work");
    fs::create_dir(&workspace).unwrap();
    std::os::unix::fs::chown(&workspace, Some(1000), Some(1000)).unwrap();
    let mut command = bench.beside(image, agent, &["run", "--mode", form, "Go on."]);
    let events = Lines::of(command.current_dir(&workspace));
    let setup = events.event(|event| event["step"] == "sandbox").unwrap();
    let found = format!("{image} has /opt/agent-runner/bin/");
    assert!(
        setup["text"].as_str().unwrap().starts_with(&found),
        "{setup}"
    );
    let output = events.event(|event| event["type"] == "tool_end").unwrap();
    if let Some(text) = output_of(&output, agent, form) {
        assert_confined(text, &workspace);
    }
    let end = events.event(is_end).unwrap();
    assert_eq!(end["outcome"], "completed", "{form}: {end}");
    assert_eq!(events.code(), Some(0), "{form}");
    assert_eq!(containers(&bench), "", "{form}: its container is gone");
}

/// What the agent printed shows another user than root, no rights, and its workspace.
fn assert_confined(text: &str, workspace: &Path) {
    assert!(text.contains("agent"), "the agent is not root: {text}");
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(
            text.contains(&format!("{set}:\t0000000000000000")),
            "{text}"
        );
    }
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    let workspace = fs::canonicalize(workspace).unwrap();
    assert!(text.contains(workspace.to_str().unwrap()), "{text}");
}

/// The containers of the bench's daemons.
fn containers(bench: &Bench) -> String {
    let runs = bench.dir.path().display();
    let all = crate::bench::containers();
    let own = all.lines().filter(|line| line.contains(&runs.to_string()));
    own.collect::<Vec<_>>().join("\n")
}

#[test]
fn claude_does_its_task_in_a_container_beside() {
    does_its_task(&CLAUDE);
}

#[test]
fn codex_does_its_task_in_a_container_beside() {
    does_its_task(&CODEX);
}

#[test]
fn opencode_does_its_task_in_a_container_beside() {
    does_its_task(&OPENCODE);
}

#[test]
fn gemini_does_its_task_in_a_container_beside() {
    does_its_task(&GEMINI);
}

#[test]
fn pi_does_its_task_in_a_container_beside() {
    does_its_task(&PI);
}

/// A daemon that leads `session`, with claude beside it.
fn daemon(bench: &Bench, image: &str, session: &str) -> Lines {
    daemon_in_form(bench, image, session, "auto")
}

fn daemon_in_form(bench: &Bench, image: &str, session: &str, form: &str) -> Lines {
    let mut command = bench.beside(image, &CLAUDE, &["daemon", "--once", "--mode", form]);
    command.args(["--hub", &bench.hub, "--session", session]);
    Lines::of(&mut command)
}

#[test]
fn a_killed_daemons_agent_goes_on_beside_and_the_next_daemon_takes_it_over() {
    let Some(image) = image("claude") else { return };
    for form in FORMS {
        let bench = Bench::new("while [ ! -e go ]; do sleep 0.05; done");
        let session = bench.create_session(&json!({"task": "Go on."}));
        let first = daemon_in_form(&bench, &image, &session, form);
        let begin = first.event(|event| event["type"] == "tool_start").unwrap();
        drop(first); // SIGKILL
        let container = containers(&bench);
        assert!(!container.is_empty(), "the agent goes on");
        let workspace = workspace(&bench);
        let second = daemon_in_form(&bench, &image, &session, form);
        fs::write(workspace.join("go"), "").unwrap();
        let end = second.event(is_end).unwrap();
        assert_eq!(end["outcome"], "completed", "{form}: {end}");
        assert_eq!(end["attempt"], 1, "the CLI was not disturbed: {end}");
        assert_eq!(end["turn_id"], begin["turn_id"]);
        assert_eq!(second.code(), Some(0));
        assert_eq!(containers(&bench), "");
    }
}

#[cfg(feature = "crash-points")]
#[test]
fn a_daemon_that_dies_while_it_makes_a_container_leaves_none_and_the_next_one_does_the_task() {
    let Some(image) = image("claude") else { return };
    for point in [
        "docker.before_create:1",
        "docker.created:1",
        // In the container that the image is tried in, then in the run's.
        "docker.started:1",
        "docker.started:2",
        "docker.answered:1",
    ] {
        let bench = Bench::new("id -u");
        let session = bench.create_session(&json!({"task": "Go on."}));
        let log = bench.dir.path().join("passed");
        let mut command = bench.beside(&image, &CLAUDE, &["daemon", "--once"]);
        command.args(["--hub", &bench.hub, "--session", &session]);
        command.env("AGENT_RUNNER_CRASH", point);
        command.env("AGENT_RUNNER_CRASH_LOG", &log);
        let first = Lines::of(&mut command);
        assert_eq!(first.code(), None, "{point}: it dies of SIGKILL");
        assert!(log.with_extension("crashed").exists(), "{point}");
        let second = daemon(&bench, &image, &session);
        let end = second.event(is_end).unwrap();
        assert_eq!(end["outcome"], "completed", "{point}: {end}");
        assert_eq!(second.code(), Some(0));
        assert_eq!(containers(&bench), "", "{point}");
    }
}

#[test]
fn the_engine_is_reached_over_tcp_and_over_tls() {
    let Some(image) = image("codex") else { return };
    let plain = engine_over_tcp();
    let front = TlsFront::before(&plain.replace("tcp://", "http://"));
    let over_tls = front.url("").replace("https://", "tcp://");
    let folder = tls::ca_file();
    let certificates = folder.parent().unwrap();
    for (host, is_tls) in [
        (plain.as_str(), false),
        (over_tls.trim_end_matches('/'), true),
    ] {
        let bench = Bench::new("id -u");
        let mut command = bench.beside(&image, &CODEX, &["run", "Go on."]);
        command.env("DOCKER_HOST", host);
        if is_tls {
            command
                .env("DOCKER_TLS_VERIFY", "1")
                .env("DOCKER_CERT_PATH", certificates);
        }
        let workspace = bench.dir.path().join("work");
        fs::create_dir(&workspace).unwrap();
        let events = Lines::of(command.current_dir(&workspace));
        let end = events
            .event(is_end)
            .unwrap_or_else(|| panic!("no end over {host}"));
        assert_eq!(end["outcome"], "completed", "{host}: {end}");
        assert_eq!(events.code(), Some(0));
        assert_eq!(containers(&bench), "");
    }
}

/// The engine's socket, by an address of TCP.
fn engine_over_tcp() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = host
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock")
        .to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let (mut near, mut far) = (near, UnixStream::connect(&socket).unwrap());
            let (mut near_again, mut far_again) =
                (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || {
                drop(std::io::copy(&mut near, &mut far));
                drop(far.shutdown(Shutdown::Write));
            });
            std::thread::spawn(move || {
                drop(std::io::copy(&mut far_again, &mut near_again));
                drop(near_again.shutdown(Shutdown::Write));
            });
        }
    });
    address
}

#[test]
fn the_setup_script_runs_in_a_container_too() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("cat from-setup");
    let script = bench.dir.path().join("setup.sh");
    fs::write(
        &script,
        "id -u; tr '\\0' ' ' </proc/1/cmdline; echo made >from-setup",
    )
    .unwrap();
    let session = bench.create_session(&json!({"task": "Go on."}));
    let mut command = bench.beside(&image, &CLAUDE, &["daemon", "--once"]);
    command.arg("--setup").arg(&script);
    command.args(["--hub", &bench.hub, "--session", &session]);
    let events = Lines::of(&mut command);
    let mut said = String::new();
    events.event(|event| {
        if event["step"] == "setup" {
            said.push_str(event["text"].as_str().unwrap());
        }
        said.contains("is done")
    });
    let is_agent = said.starts_with("1000");
    assert!(
        is_agent && said.contains("/.agent-runner init --oom-code"),
        "{said}"
    );
    let output = events.event(|event| event["type"] == "tool_end").unwrap();
    assert!(
        output["output"].as_str().unwrap().contains("made"),
        "{output}"
    );
    assert_eq!(events.event(is_end).unwrap()["outcome"], "completed");
    assert_eq!(events.code(), Some(0));
    assert_eq!(containers(&bench), "");
}

/// The one workspace that a daemon has made.
fn workspace(bench: &Bench) -> std::path::PathBuf {
    let folder = bench.dir.path().join("state/workspaces");
    let mut all = fs::read_dir(folder).unwrap();
    all.next().unwrap().unwrap().path()
}

#[test]
fn a_killed_container_is_a_crash_that_the_session_outlives() {
    let Some(image) = image("claude") else { return };
    for form in FORMS {
        let bench = Bench::new("[ -e begun ] || { touch begun; sleep 300; }");
        let session = bench.create_session(&json!({"task": "Go on."}));
        let events = daemon_in_form(&bench, &image, &session, form);
        events.event(|event| event["type"] == "tool_start").unwrap();
        let begun = workspace(&bench).join("begun");
        assert!(crate::appears::path(&begun, LIMIT));
        let container = containers(&bench);
        docker(&["kill", container.split(' ').next().unwrap()]);
        let end = events.event(is_end).unwrap();
        assert_eq!(end["outcome"], "completed", "{form}: {end}");
        assert_eq!(end["attempt"], 2, "it was resumed: {end}");
        assert_eq!(events.code(), Some(0));
        assert_eq!(containers(&bench), "");
    }
}

#[test]
fn a_pause_ends_the_container_and_the_next_daemon_goes_on_with_the_conversation() {
    let Some(image) = image("claude") else { return };
    for form in FORMS {
        let bench = Bench::new("[ -e begun ] || { touch begun; sleep 300; }");
        let session = bench.create_session(&json!({"task": "Go on."}));
        let mut command = bench.beside(&image, &CLAUDE, &["daemon", "--once", "--mode", form]);
        command.args(["--hub", &bench.hub, "--session", &session]);
        let first = Lines::of(&mut command);
        let native = first.event(|event| event["type"] == "session").unwrap();
        first.event(|event| event["type"] == "tool_start").unwrap();
        assert!(crate::appears::path(
            &workspace(&bench).join("begun"),
            LIMIT
        ));
        let asked = Command::new("kill").arg(first.pid().to_string()).status();
        assert!(asked.unwrap().success());
        assert_eq!(first.code(), Some(143));
        assert_eq!(containers(&bench), "", "nothing of it is left");
        let second = daemon_in_form(&bench, &image, &session, form);
        let mut natives = Vec::new();
        let end = second.event(|event: &Value| {
            if event["type"] == "session" {
                natives.push(event["id"].clone());
            }
            is_end(event)
        });
        assert_eq!(end.unwrap()["outcome"], "completed");
        assert_eq!(natives, [native["id"].clone()], "the same conversation");
    }
}

#[test]
fn the_agents_git_commits_for_the_author_and_pushes_with_a_token_from_a_container_beside() {
    const TOKEN: &str = "t-0k3n-of-the-agent";
    let Some(image) = image("claude") else { return };
    let bench = Bench::new(
        "git commit -q --allow-empty -m work; git push -q origin HEAD:by-agent >pushed 2>&1; \
         GIT_TERMINAL_PROMPT=0 git push -q ${PWD:+$(git remote get-url origin)}x HEAD:x >refused 2>&1; \
         (env; git config --list; ls -R /.agent-runner /run) >seen 2>/dev/null; true",
    );
    let origin = bench.dir.path().join("served/r");
    let git = |words: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(&origin)
            .args(words)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    fs::create_dir_all(&origin).unwrap();
    git(&["init", "-q", "-b", "main"]);
    let who = ["-c", "user.name=A", "-c", "user.email=a@b.c"];
    git(&[&who[..], &["commit", "-q", "--allow-empty", "-m", "one"]].concat());
    let behaviour = Behaviour {
        token: Some(TOKEN),
        ..Behaviour::default()
    };
    let server = GitServer::start(&bench.dir.path().join("served"), behaviour);
    let (token, config) = (
        bench.dir.path().join("token"),
        bench.dir.path().join("c.toml"),
    );
    fs::write(&token, TOKEN).unwrap();
    let settings = "[git]\npush = \"agent\"\nauthor = \"Ada <ada@example.com>\"\n";
    fs::write(&config, settings).unwrap();
    let mut command = bench.beside(&image, &CLAUDE, &["run", "Go on."]);
    let workspace = bench.dir.path().join("w");
    command.arg("--repo").arg(server.url("r"));
    command.arg("--git-token-file").arg(&token);
    command.arg("--config").arg(&config);
    command.arg("--workspace-dir").arg(&workspace);
    let events = Lines::of(&mut command);
    let end = events.event(is_end).unwrap();
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(events.code(), Some(0));
    let read = |name: &str| fs::read_to_string(workspace.join(name)).unwrap();
    assert_eq!(read("pushed"), "", "{}", read("seen"));
    let pushed = git(&["log", "-1", "--format=%an <%ae>|%cn", "by-agent"]);
    assert_eq!(pushed, "Ada <ada@example.com>|Ada");
    assert!(!read("refused").is_empty());
    assert!(!read("seen").contains(TOKEN));
    assert_eq!(containers(&bench), "");
}

#[tokio::test]
async fn a_tool_of_the_hub_is_called_from_a_container_beside() {
    const SCRIPT: &str = r#"
[[reply]]
steps = [{ mcp = "coder_hub/memory_recall", input = { query = "heron" } }]
[[reply]]
steps = [{ say = "I am done." }]
"#;
    let Some(image) = image("claude") else { return };
    for form in FORMS {
        let bench = Bench::playing("127.0.0.1", SCRIPT);
        let hub = Hub::start().await;
        let mut command = bench.beside(&image, &CLAUDE, &["daemon", "--mode", form]);
        command.args(["--hub", &hub.url(), "--session", "s1"]);
        let events = Lines::of(&mut command);
        let mut peer = hub.accept().await;
        let tool = json!({"name": "memory_recall", "description": "Recalls.",
            "parameters": {"type": "object"}});
        let init = json!({"type": "init", "role": "lead", "sessionId": "s1", "task": "Recall.",
            "tools": [tool]});
        peer.send(&init).await;
        let mut calls = 0;
        let found = |frame: &Value| {
            let actions = json!([{"action": "RETURN", "result": "grey herons"}]);
            (frame["type"] == "tool").then(|| {
                calls += 1;
                json!({"id": frame["id"], "actions": actions})
            })
        };
        let play = hub.play(&mut peer, found);
        tokio::time::timeout(LIMIT, play).await.expect("in time");
        assert_eq!(calls, 1, "{form}");
        let told = bench.requests().pop().unwrap().to_string();
        assert!(told.contains("grey herons"), "{form}: {told}");
        let asked = Command::new("kill").arg(events.pid().to_string()).status();
        assert!(asked.unwrap().success());
        assert!(events.code().is_some());
        assert_eq!(containers(&bench), "", "{form}");
    }
}
