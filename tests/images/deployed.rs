//! The manifests for people, brought up for real: paused when they are told to go, and woken on
//! the same volumes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::bench::{BEGUN, Bench, CLAUDE, HUB_KEY, is_end};
use crate::engine::{Container, RUNNER, docker, image, is_podman};

const COMPOSE: &str = "images/compose.yaml";
const JOB: &str = "images/kubernetes-job.yaml";

/// Once it sleeps, the second time it is done.
const COMMAND: &str = "[ -e begun ] || { touch begun; sleep 300; }";

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn said(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until the agent is at work; its `tool_start`.
fn begun(container: &Container) -> Value {
    let begin = container
        .follow()
        .event(|event| event["type"] == "tool_start");
    let begin = begin.unwrap_or_else(|| panic!("no tool; {}", container.errors()));
    container.exec(&["timeout", "30", "sh", "-c", BEGUN]);
    begin
}

/// Waits until the turn has completed, in the session of `begin`.
fn completes(container: &Container, begin: &Value) {
    let end = container.follow().event(is_end);
    let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["turn_id"], begin["turn_id"], "the same turn");
    assert_eq!(docker(&["wait", container.id()]), "0");
}

/// A project of Compose; gone with its volumes when it is dropped.
struct Project<'a> {
    tool: &'a [&'a str],
    more: String,
    env: Vec<(&'static str, String)>,
}

impl Project<'_> {
    fn ask(&self, words: &[&str]) -> Output {
        let (program, first) = self.tool.split_first().unwrap();
        let name = format!("agent-runner-test-{}", std::process::id());
        let output = Command::new(program)
            .args(first)
            .args(["--project-name", &name, "--file", COMPOSE])
            .args(["--file", &self.more])
            .args(words)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output();
        output.unwrap()
    }

    fn tell(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        let _gone = self.ask(&["down", "--volumes"]);
    }
}

/// Compose, as a plugin of the client or as a program of its own.
#[allow(clippy::print_stderr)]
fn compose() -> Option<&'static [&'static str]> {
    let tools: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    let is_there = |tool: &&[&str]| {
        let (program, first) = tool.split_first().unwrap();
        let version = Command::new(program).args(first).arg("version").output();
        version.is_ok_and(|output| output.status.success())
    };
    let found = tools.into_iter().find(is_there);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "Compose is missing");
        eprintln!("skipped: no Compose (Debian: apt install docker-compose)");
    }
    found
}

#[test]
fn the_compose_file_runs_a_session_that_a_stop_pauses_and_a_start_wakes() {
    let Some(image) = image("claude") else { return };
    let Some(tool) = compose() else { return };
    let bench = Bench::new(COMMAND);
    let session = bench.create_session(&json!({"task": "Go on."}));
    // What only the test has: the engine's image of it, its network, its program.
    let more = format!(
        "services:\n  agent:\n    image: {image}\n    network_mode: host\n    environment:\n      \
         ANTHROPIC_BASE_URL: {}\n      AGENT_RUNNER_OUTPUT: jsonl\n    volumes:\n      \
         - {RUNNER}:/usr/local/bin/agent-runner:ro\n",
        bench.model
    );
    let path = bench.dir.path().join("more.yaml");
    fs::write(&path, more).unwrap();
    let project = Project {
        tool,
        more: path.to_str().unwrap().to_owned(),
        env: vec![
            ("AGENTUITY_CODER_URL", bench.hub.clone()),
            ("AGENTUITY_SDK_KEY", HUB_KEY.to_owned()),
            ("AGENT_RUNNER_SESSION", session),
            (CLAUDE.env[1].0, "any".to_owned()),
        ],
    };
    project.tell(&["up", "--detach"]);
    let container = Container::of(project.tell(&["ps", "--quiet", "agent"]));
    let begin = begun(&container);
    project.tell(&["stop"]);
    assert_eq!(container.state("ExitCode"), "143", "{}", container.errors());
    project.tell(&["up", "--detach"]);
    completes(&container, &begin);
}

/// The Job's pod by Podman, which plays pods as Kubernetes does and takes jobs from 5.3 on only.
struct Pod {
    podman: String,
}

impl Pod {
    fn ask(&self, words: &[&str]) -> Output {
        let output = Command::new("podman")
            .args(["--remote", "--url", &self.podman])
            .args(words)
            .output();
        output.unwrap()
    }

    fn tell(&self, words: &[&str]) {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    }

    fn play(&self, bench: &Bench, documents: &str) -> Container {
        let path = bench.dir.path().join("pod.yaml");
        fs::write(&path, documents).unwrap();
        self.tell(&["kube", "play", path.to_str().unwrap()]);
        Container::of("agent-session-agent".to_owned())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for words in [
            &["pod", "rm", "--force", "agent-session"][..],
            &[
                "volume",
                "rm",
                "--force",
                "agent-session",
                "agent-session-state",
            ],
            &["secret", "rm", "agent-runner"],
        ] {
            let _gone = self.ask(words);
        }
    }
}

/// The claims of the volumes, and a pod as the Job makes it for that session. State and workspace are
/// two volumes here: Podman 4.3 knows no `subPath`, and would mount one folder at both places.
fn claim_and_pod(bench: &Bench, image: &str, session: &str) -> (String, String) {
    let manifest = read(JOB);
    let (claim, job) = manifest.split_once("---\n").unwrap();
    let template = job.split_once("  template:\n    spec:\n").unwrap().1;
    let spec = template
        .replace("agent-runner:claude", &format!("localhost/{image}"))
        .replace("https://hub.example.com", &bench.hub)
        .replace("codesess_1", session)
        .replace(
            "{name: session, mountPath: /var/lib/agent-runner, subPath: state}",
            "{name: state, mountPath: /var/lib/agent-runner}",
        )
        .replace(
            "          env:\n",
            &format!(
                "          env:\n            - {{name: ANTHROPIC_BASE_URL, value: '{}'}}\n            \
                 - {{name: AGENT_RUNNER_OUTPUT, value: jsonl}}\n",
                bench.model
            ),
        );
    let state =
        "    - name: state\n      persistentVolumeClaim: {claimName: agent-session-state}\n";
    assert!(spec.ends_with("{claimName: agent-session}\n"), "{spec}");
    let lines = spec
        .lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line));
    let spec: Vec<&str> = lines.collect();
    let head =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: agent-session}\nspec:\n  hostNetwork: true\n";
    let second = claim.replace("agent-session", "agent-session-state");
    (
        format!("{claim}---\n{second}"),
        format!("{head}{}\n{state}", spec.join("\n")),
    )
}

#[test]
fn the_jobs_pod_is_paused_by_an_eviction_and_the_next_one_goes_on_with_its_volume() {
    let Some(image) = image("claude") else { return };
    // CI runs this with Podman's socket as well.
    if !is_podman() {
        return;
    }
    let bench = Bench::new(COMMAND);
    let session = bench.create_session(&json!({"task": "Go on."}));
    let podman = std::env::var("DOCKER_HOST").unwrap();
    let pod = Pod { podman };
    let secret = bench.dir.path().join("secret.json");
    let encoded = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let keys = json!({"sdk-key": encoded(HUB_KEY), "anthropic-key": encoded("any")});
    fs::write(&secret, keys.to_string()).unwrap();
    pod.tell(&["secret", "create", "agent-runner", secret.to_str().unwrap()]);
    let (claim, description) = claim_and_pod(&bench, &image, &session);
    let container = pod.play(&bench, &format!("{claim}---\n{description}"));
    let begin = begun(&container);
    // SIGTERM, and the time that the Job grants.
    pod.tell(&["pod", "stop", "--time", "30", "agent-session"]);
    assert_eq!(container.state("ExitCode"), "143", "{}", container.errors());
    pod.tell(&["pod", "rm", "--force", "agent-session"]);
    drop(container);
    let container = pod.play(&bench, &description);
    completes(&container, &begin);
}
