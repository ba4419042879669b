//! What an image is made of.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::engine::{Container, docker, image, try_docker};

fn config(image: &str) -> Value {
    let text = docker(&["image", "inspect", "--format", "{{json .Config}}", image]);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn an_image_starts_init_and_has_its_places_labels_and_health_check() {
    let Some(image) = image("claude") else { return };
    let config = config(&image);
    assert_eq!(
        config["Entrypoint"],
        serde_json::json!(["agent-runner", "init"])
    );
    assert_eq!(config["StopSignal"], "SIGTERM");
    for volume in ["/var/lib/agent-runner", "/workspace"] {
        assert!(config["Volumes"][volume].is_object(), "{volume}");
    }
    let labels = &config["Labels"];
    assert_eq!(
        labels["org.opencontainers.image.version"],
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(labels["com.agentuity.agent-runner.agents"], "claude");
    assert!(config["Healthcheck"]["Test"].is_array());
}

#[test]
fn the_pinned_cli_runs_as_the_agents_user() {
    let Some(image) = image("claude") else { return };
    let run = |words: &[&str]| {
        let fixed = [
            "run",
            "--rm",
            "--network",
            "none",
            "--user",
            "agent",
            "--entrypoint",
        ];
        docker(&[&fixed, &words[..1], &[&image], &words[1..]].concat())
    };
    let pinned = agent_runner::install::RELEASES
        .iter()
        .find(|release| release.name == "claude")
        .unwrap();
    assert!(run(&["claude", "--version"]).starts_with(pinned.version));
    assert_eq!(run(&["id", "-u"]), "1000");
    assert!(run(&["git", "--version"]).starts_with("git version"));
}

#[test]
fn init_is_pid_1_and_any_command_can_follow() {
    let Some(image) = image("base") else { return };
    let container = Container::start(&image, &[], &["--exec", "sleep", "300"]);
    let first = container
        .exec(&["cat", "/proc/1/cmdline"])
        .replace('\0', " ");
    assert!(
        first.starts_with("agent-runner init --exec sleep"),
        "{first}"
    );
    let parent = container.exec(&["sh", "-c", "grep -l '^sleep' /proc/[0-9]*/comm | wc -l"]);
    assert_eq!(parent, "1");
    docker(&["stop", container.id()]);
    assert_eq!(container.state("ExitCode"), "143");
    let help = try_docker(&["run", "--rm", &image, "doctor", "--help"]);
    assert!(help.status.success());
}

/// The shipped build; `tests/init/memory.rs` has that of the tests.
#[test]
fn init_is_small_at_rest() {
    let Some(image) = image("base") else { return };
    let words = ["run", "--detach", "--network", "none", &image];
    let own = [&words[..], &["--exec", "sleep", "300"]].concat();
    let container = Container::of(docker(&own));
    let resident = "until [ $(awk '/^VmRSS:/ {print $2}' /proc/1/status) -le 3072 ]; do :; done";
    container.exec(&["timeout", "20", "sh", "-c", resident]);
}

/// Name, kind and checksum of each file in an image.
fn files(image: &str) -> BTreeMap<String, String> {
    let script =
        "find / -xdev -type f -exec sha256sum {} + ; find / -xdev ! -type f -printf '%y%m%l %p\\n'";
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "sh",
        image,
        "-c",
        script,
    ];
    let text = docker(&words);
    // The engine writes these into every container.
    let is_engines = |name: &str| {
        let files = [
            "/etc/hosts",
            "/etc/hostname",
            "/etc/resolv.conf",
            "/.dockerenv",
        ];
        files.contains(&name)
            || name.starts_with("/dev")
            || name.starts_with("/proc")
            || name.starts_with("/sys")
    };
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let pairs = lines.map(|(sum, name)| (name.trim().to_owned(), sum.to_owned()));
    pairs.filter(|(name, _)| !is_engines(name)).collect()
}

#[test]
fn the_same_inputs_give_the_same_files_with_either_builder() {
    let Some(image) = image("base") else { return };
    let first = files(&image);
    assert!(first.contains_key("/usr/local/bin/agent-runner"));
    let Some(base) = own_base() else { return };
    for buildkit in ["0", "1"] {
        let name = format!("agent-runner-rebuilt-{buildkit}");
        if !rebuild(&image, &base, &name, buildkit) {
            continue;
        }
        let again = files(&format!("{name}:base"));
        docker(&["image", "rm", &format!("{name}:base")]);
        assert!(
            first == again,
            "DOCKER_BUILDKIT={buildkit}: {:?}",
            differences(&first, &again)
        );
    }
}

/// What builds the tests' images.
const BUILD: &str = "scripts/build-images --name agent-runner-test";
/// The most that everything of ours may take in an image, without the CLIs.
const MOST: u64 = 40_000_000;

#[test]
fn what_is_ours_in_an_image_is_the_program_and_next_to_nothing_else() {
    let Some(image) = image("base") else { return };
    let Some(base) = own_base() else { return };
    let size = |image: &str| -> u64 {
        let format = ["image", "inspect", "--format", "{{.Size}}", image];
        docker(&format).parse().unwrap()
    };
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "stat",
        &image,
    ];
    let program = docker(&[&words[..], &["--format=%s", "/usr/local/bin/agent-runner"]].concat());
    let own = size(&image) - size(&base);
    let rest = own - program.parse::<u64>().unwrap();
    assert!(rest < 1_000_000, "{rest} bytes beside the program");
    assert!(
        own <= MOST,
        "{own} bytes; of a debug build? {BUILD} takes a release build"
    );
}

fn own_base() -> Option<String> {
    let base = "agent-runner-base:debootstrap";
    let there = try_docker(&["image", "inspect", base]).status.success();
    there.then(|| base.to_owned())
}

/// Builds the base image anew with the program that is in the present one; not where the client
/// has no such builder.
#[allow(clippy::print_stderr)]
fn rebuild(image: &str, base: &str, name: &str, buildkit: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("agent-runner");
    let program = program.to_str().unwrap();
    let id = docker(&["create", image]);
    docker(&["cp", &format!("{id}:/usr/local/bin/agent-runner"), program]);
    docker(&["rm", "--volumes", &id]);
    let output = std::process::Command::new("scripts/build-images")
        .args([
            "--base",
            base,
            "--binary",
            program,
            "--name",
            name,
            "--no-cache",
            "base",
        ])
        .env("DOCKER_BUILDKIT", buildkit)
        .env("PATH", client_first())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("buildx component is missing") {
        assert!(std::env::var_os("CI").is_none(), "{said}");
        eprintln!("skipped: BuildKit needs the client's buildx plugin");
        return false;
    }
    assert!(
        output.status.success(),
        "DOCKER_BUILDKIT={buildkit}: {said}"
    );
    true
}

/// PATH, with a client in front that speaks `BuildKit`: newer ones do with a plugin only, Debian's
/// does by itself.
fn client_first() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap();
    if try_docker(&["buildx", "version"]).status.success() {
        return path;
    }
    let usual = std::path::PathBuf::from("/usr/bin");
    std::env::join_paths(std::iter::once(usual).chain(std::env::split_paths(&path))).unwrap()
}

fn differences(first: &BTreeMap<String, String>, second: &BTreeMap<String, String>) -> Vec<String> {
    let names = first.keys().chain(second.keys());
    let mut differing: Vec<_> = names
        .filter(|name| first.get(*name) != second.get(*name))
        .cloned()
        .collect();
    differing.dedup();
    differing.truncate(20);
    differing
}
