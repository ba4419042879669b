//! A run's container, as the engine sees it and as its own processes see it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use agent_runner::config::{EnvMap, SandboxConfig, SandboxKind};
use agent_runner::process::Environment;
use agent_runner::sandbox::docker::{DockerSandbox, Engine, Mounted, Policy};
use agent_runner::sandbox::{self, Attach, Change, Ending, RunHandle, Sandbox};
use agent_runner::spool::control::Stop;
use agent_runner::spool::{Plan, RunDir, Stopped, User};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::engine::{LIMIT, RUNNER, docker, image, is_podman, try_docker};

const SECRET: &str = "s3cret-of-the-agent";

/// A run of a shell in a container of its own.
struct Bench {
    root: tempfile::TempDir,
    docker: DockerSandbox,
    dir: RunDir,
    plan: Plan,
}

impl Bench {
    fn new(image: &str, script: &str) -> Self {
        Self::with_memory(image, script, 256)
    }

    fn with_memory(image: &str, script: &str, mebibytes: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        std::os::unix::fs::chown(&workspace, Some(1000), Some(1000)).unwrap();
        let runs = root.path().join("runs");
        let dir = RunDir::new(runs.join(uuid::Uuid::new_v4().to_string()));
        let args = vec!["-c".to_owned(), script.to_owned()];
        let mut plan = Plan::new(Path::new("sh"), args, &workspace, 1 << 30);
        plan.confined = true;
        plan.user = Some(User {
            uid: 1000,
            gid: 1000,
            groups: Vec::new(),
        });
        Self {
            docker: DockerSandbox::new(engine(), policy(image, &workspace, &runs, mebibytes)),
            dir,
            plan,
            root,
        }
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox::Docker(self.docker.clone())
    }

    async fn start(&self) -> RunHandle {
        let mut environment = Environment::new();
        environment.set("SECRET", SECRET).unwrap();
        environment.set("HOME", "/tmp").unwrap();
        let sandbox = self.sandbox();
        let start = sandbox.start(&self.dir, &self.plan, b"do it", &environment);
        tokio::time::timeout(LIMIT, start).await.unwrap().unwrap()
    }

    fn name(&self) -> String {
        let path = self.dir.path().to_str().unwrap().as_bytes();
        format!(
            "agent-runner-{}",
            uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, path)
        )
    }

    fn inspect(&self) -> Value {
        let text = docker(&["inspect", &self.name()]);
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    }

    fn is_there(&self) -> bool {
        try_docker(&["inspect", &self.name()]).status.success()
    }

    /// What the engine says of it.
    fn state(&self, format: &str) -> String {
        docker(&["inspect", "--format", format, &self.name()])
    }

    fn marked(&self, name: &str) {
        let mark = self.plan.workspace.join(name);
        assert!(crate::appears::path(&mark, LIMIT), "it came to {name}");
    }

    fn output(&self) -> String {
        fs::read_to_string(self.dir.spool()).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _gone = try_docker(&["rm", "--force", "--volumes", &self.name()]);
    }
}

fn engine() -> Engine {
    Engine::of(&EnvMap::of_this_process())
}

fn policy(image: &str, workspace: &Path, runs: &Path, mebibytes: u64) -> Policy {
    let limits = SandboxConfig {
        kind: SandboxKind::Docker,
        image: None,
        network: "none".to_owned(),
        memory: mebibytes << 20,
        nano_cpus: Some(1_500_000_000),
        pids: 512,
        landlock: false,
    };
    Policy {
        image: image.to_owned(),
        limits,
        program: PathBuf::from(RUNNER),
        mounted: vec![Mounted {
            path: workspace.to_owned(),
            writable: true,
        }],
        runs: runs.to_owned(),
        owner: (0, 0),
        session: "codesess_1".to_owned(),
    }
}

async fn ended(run: &mut RunHandle) -> Ending {
    let wait = async {
        loop {
            if let Change::Ended(ending) = run.changed().await.unwrap() {
                return ending;
            }
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap()
}

async fn exited(run: &mut RunHandle) -> Stopped {
    match ended(run).await {
        Ending::Exited(stopped) => stopped,
        other => panic!("{other:?}"),
    }
}

/// What of a container's description is ours to say, with the places of this test taken out.
fn policy_of(inspected: &Value, bench: &Bench) -> Value {
    let config = &inspected["Config"];
    let host = &inspected["HostConfig"];
    let pick = |from: &Value, names: &[&str]| -> Value {
        let picked = names
            .iter()
            .map(|name| ((*name).to_owned(), from[*name].clone()));
        Value::Object(picked.collect())
    };
    // With or without a prefix, as the engine's version likes it.
    let capabilities = host["CapAdd"].as_array().unwrap().iter();
    let capabilities =
        capabilities.map(|name| name.as_str().unwrap().trim_start_matches("CAP_").to_owned());
    let capabilities: BTreeSet<String> = capabilities.collect();
    let mut picked = json!({
        "config": pick(config, &["User", "Entrypoint", "Cmd", "Tty", "OpenStdin", "StdinOnce", "Labels", "Healthcheck"]),
        "host": pick(host, &[
            "Binds", "NetworkMode", "PortBindings", "RestartPolicy", "AutoRemove", "VolumesFrom",
            "CapDrop", "IpcMode", "PidMode", "Privileged", "PublishAllPorts", "ReadonlyRootfs",
            "SecurityOpt", "Tmpfs", "UTSMode", "UsernsMode", "Memory", "MemorySwap", "NanoCpus",
            "Devices", "DeviceRequests", "DeviceCgroupRules", "PidsLimit", "OomKillDisable",
            "LogConfig", "Mounts", "GroupAdd",
        ]),
        "capabilities": capabilities,
    });
    // The image's own labels are in there, too.
    let labels = picked["config"]["Labels"].as_object_mut().unwrap();
    labels.retain(|name, _| {
        let own = ["run", "runs", "session"];
        own.iter()
            .any(|own| name == &format!("com.agentuity.agent-runner.{own}"))
    });
    if let Some(binds) = picked["host"]
        .get_mut("Binds")
        .and_then(Value::as_array_mut)
    {
        for bind in binds.iter_mut() {
            let words = bind.as_str().unwrap();
            let (source, rest) = words.split_once(':').unwrap();
            if !source.starts_with('/') {
                *bind = json!(format!("$VOLUME:{rest}"));
            }
        }
    }
    let text = serde_json::to_string(&picked).unwrap();
    let text = text
        .replace(bench.dir.path().to_str().unwrap(), "$RUN")
        .replace(bench.root.path().to_str().unwrap(), "$ROOT")
        .replace(RUNNER, "$PROGRAM");
    let mut picked = without_empty(serde_json::from_str(&text).unwrap());
    // Podman gives them in no order; sorted by their names here, as the
    // machine's own paths would sort otherwise on every machine.
    if let Some(binds) = picked["host"]
        .get_mut("Binds")
        .and_then(Value::as_array_mut)
    {
        binds.sort_by_key(Value::to_string);
    }
    picked
}

/// Engines say "none" in several ways.
fn without_empty(value: Value) -> Value {
    let is_empty = |value: &Value| [json!(null), json!([]), json!({}), json!("")].contains(value);
    match value {
        Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name, without_empty(value)));
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        other => other,
    }
}

#[tokio::test]
async fn a_container_is_made_as_the_stored_policy_says() {
    let Some(image) = image("base") else { return };
    let bench = Bench::new(&image, "touch here; exec sleep 300");
    let mut run = bench.start().await;
    bench.marked("here");
    let inspected = bench.inspect();
    let made = policy_of(&inspected, &bench);
    let stored = if is_podman() {
        include_str!("policy.podman.json")
    } else {
        include_str!("policy.json")
    };
    let stored: Value = serde_json::from_str(stored).unwrap();
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    assert_eq!(made, stored, "{}", pretty(&made));
    // Podman masks them as well, and does not say so.
    if let Some(masked) = inspected["HostConfig"]["MaskedPaths"].as_array() {
        for path in ["/proc/kcore", "/proc/keys", "/sys/firmware"] {
            assert!(masked.contains(&json!(path)), "{path}");
        }
    }
    let description = inspected.to_string();
    assert!(!description.contains(SECRET), "the CLI's environment");
    assert!(!description.contains("docker.sock"), "the engine's socket");
    run.control().unwrap().stop(Stop::NOW).await.unwrap();
    assert_eq!(exited(&mut run).await.sent, [9]);
    assert!(!bench.is_there());
}

#[tokio::test]
async fn a_run_in_a_container_has_its_output_its_end_and_no_rights() {
    let Some(image) = image("base") else { return };
    let script = "echo \"secret=$SECRET path=$PATH lang=$LANG\"; cat >&2; \
        grep -E 'Cap|NoNewPrivs' /proc/self/status; id -u; \
        touch /root-is-closed || touch /usr/x || touch /var/x || echo closed; \
        touch /tmp/open && echo open; exit 7";
    let bench = Bench::new(&image, script);
    let mut run = bench.start().await;
    let stopped = exited(&mut run).await;
    let output = bench.output();
    assert_eq!(stopped.exit.code, Some(7), "{output}");
    assert_eq!(stopped.spool_bytes, output.len() as u64);
    assert!(
        output.contains(&format!("secret={SECRET} path=/usr/local/sbin")),
        "{output}"
    );
    assert!(
        output.contains("lang=C.UTF-8"),
        "the image's own variables: {output}"
    );
    for line in [
        "CapBnd:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "1000",
        "closed",
        "open",
    ] {
        assert!(
            output.lines().any(|found| found == line),
            "{line}: {output}"
        );
    }
    let stderr = fs::read_to_string(bench.dir.stderr()).unwrap();
    assert!(
        stderr.starts_with("do it"),
        "its stdin is the prompt: {stderr}"
    );
    assert_eq!(fs::read_to_string(bench.dir.shim_log()).unwrap(), "");
    assert!(!bench.is_there(), "the container is gone");
}

#[tokio::test]
async fn volumes_of_the_image_are_in_memory_bounded_and_gone_with_the_container() {
    let Some(image) = image("base") else { return };
    let script = "grep -E ' (/workspace|/var/lib/agent-runner) ' /proc/mounts; \
        echo kept >/workspace/file; cat /workspace/file; touch here; exec sleep 300";
    let bench = Bench::new(&image, script);
    let mut run = bench.start().await;
    bench.marked("here");
    let kinds: Vec<_> = bench.inspect()["Mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["Type"].as_str().unwrap().to_owned())
        .collect();
    assert!(!kinds.contains(&"volume".to_owned()), "{kinds:?}");
    run.control().unwrap().stop(Stop::NOW).await.unwrap();
    exited(&mut run).await;
    let output = bench.output();
    let mounts = output.lines().filter(|line| line.starts_with("tmpfs "));
    let mounts: Vec<_> = mounts.collect();
    assert_eq!(mounts.len(), 2, "{output}");
    for mount in mounts {
        assert!(mount.contains("size=1048576k"), "bounded: {mount}");
    }
    // Podman gives it to nobody but root.
    assert!(output.contains("kept") || is_podman(), "{output}");
    assert!(!bench.is_there());
}

/// An image of a file system that holds nothing but one file.
struct Scratch(String);

impl Scratch {
    /// As `docker save` writes one.
    fn load(name: &str, architecture: &str, file: (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let packed = |archive: &str, names: &[&str]| {
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(folder.path()).arg("-cf");
            let done = tar.arg(at(archive)).args(names).status();
            assert!(done.unwrap().success());
        };
        let path = at(file.0);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file.1).unwrap();
        packed("layer.tar", &[file.0]);
        let layer = fs::read(at("layer.tar")).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &layer);
        let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        let digest = format!("sha256:{}", digits.collect::<String>());
        let image = format!("agent-runner-test-{name}:{}", std::process::id());
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        });
        let manifest =
            json!([{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]);
        fs::write(at("config.json"), config.to_string()).unwrap();
        fs::write(at("manifest.json"), manifest.to_string()).unwrap();
        let names = ["config.json", "manifest.json", "layer.tar"];
        packed("image.tar", &names);
        docker(&["load", "--input", at("image.tar").to_str().unwrap()]);
        Self(image)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = try_docker(&["rmi", "--force", &self.0]);
    }
}

#[tokio::test]
async fn an_image_that_cannot_run_the_program_is_refused_with_the_reason() {
    if image("base").is_none() {
        return;
    }
    let (own, other) = match std::env::consts::ARCH {
        "aarch64" => ("arm64", "amd64"),
        _ => ("amd64", "arm64"),
    };
    // As Alpine has it: another loader than the one that our program asks the kernel for.
    let musl = Scratch::load("musl", own, ("lib/ld-musl-x86_64.so.1", "\u{7f}ELF"));
    let foreign = Scratch::load("foreign", other, ("etc/os-release", "ID=debian"));
    let platforms = (format!("linux/{other}"), format!("linux/{own}"));
    for (image, words) in [
        (&musl, ["musl", "glibc", "Debian"]),
        (&foreign, ["made for", &platforms.0, &platforms.1]),
    ] {
        let bench = Bench::new(&image.0, "true");
        let (steps, _told) = mpsc::channel(16);
        let prepared = bench.docker.prepare(Path::new("sh"), &steps);
        let refused = tokio::time::timeout(LIMIT, prepared).await.unwrap();
        let why = refused.unwrap_err().to_string();
        assert!(why.contains(&image.0), "{why}");
        for word in words {
            assert!(why.contains(word), "no {word} in: {why}");
        }
    }
}

#[tokio::test]
async fn a_run_in_a_container_is_found_again_and_obeys() {
    let Some(image) = image("base") else { return };
    let bench = Bench::new(
        &image,
        "trap 'echo caught; exit 3' INT; touch here; while :; do sleep 0.05; done",
    );
    let first = bench.start().await;
    bench.marked("here");
    let began = bench.state("{{.State.Pid}} {{.State.StartedAt}}");
    drop(first);
    let Attach::Running(mut again) = sandbox::attach(&bench.dir).await.unwrap() else {
        panic!("it goes on");
    };
    assert_eq!(bench.state("{{.State.Pid}} {{.State.StartedAt}}"), began);
    let control = again.control().unwrap();
    control.stop(Stop::ORDERLY).await.unwrap();
    let stopped = exited(&mut again).await;
    assert_eq!(
        (stopped.exit.code, stopped.sent.clone()),
        (Some(3), vec![2])
    );
    assert!(bench.output().contains("caught"));
    let Attach::Ended(Ending::Exited(later)) = sandbox::attach(&bench.dir).await.unwrap() else {
        panic!("it is over");
    };
    assert_eq!(later, stopped);
}

#[tokio::test]
async fn a_container_that_is_killed_has_vanished_and_leaves_nothing() {
    let Some(image) = image("base") else { return };
    let bench = Bench::new(&image, "echo begun; touch here; exec sleep 300");
    let mut run = bench.start().await;
    bench.marked("here");
    docker(&["kill", &bench.name()]);
    assert_eq!(ended(&mut run).await, Ending::vanished());
    assert_eq!(bench.output(), "begun\n");
    assert!(!bench.is_there());
}

#[tokio::test]
async fn what_a_shim_does_not_end_is_ended_with_its_container() {
    let Some(image) = image("base") else { return };
    let bench = Bench::new(&image, "touch here; exec sleep 300");
    let mut run = bench.start().await;
    bench.marked("here");
    run.control().unwrap().destroy().await;
    assert_eq!(ended(&mut run).await, Ending::vanished());
    assert!(!bench.is_there());
}

#[tokio::test]
async fn an_agent_that_takes_too_much_memory_is_known_to_have_died_of_it() {
    let Some(image) = image("base") else { return };
    let bench = Bench::with_memory(&image, "exec tail /dev/zero", 128);
    let mut run = bench.start().await;
    let stopped = exited(&mut run).await;
    assert!(stopped.exit.oom, "{stopped:?}");
    assert!(stopped.oom_kills >= 1);
}

#[tokio::test]
async fn a_shim_that_dies_for_want_of_memory_is_known_by_its_container() {
    let Some(image) = image("base") else { return };
    // What lies in a scratch folder counts for the container, and for no process of it.
    let script = "touch here; while [ ! -e go ]; do sleep 0.05; done; \
        exec head -c 500M /dev/zero >/tmp/file";
    let bench = Bench::with_memory(&image, script, 128);
    let mut run = bench.start().await;
    bench.marked("here");
    let init = bench.state("{{.State.Pid}}");
    let shim = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    // Turned around: the shim is the kernel's first choice.
    fs::write(format!("/proc/{}/oom_score_adj", shim.trim()), "1000").unwrap();
    fs::write(bench.plan.workspace.join("go"), "").unwrap();
    let stopped = exited(&mut run).await;
    assert!(stopped.exit.oom, "{stopped:?}");
    assert!(!bench.is_there());
}

#[tokio::test]
async fn containers_of_runs_that_are_over_are_removed_and_others_stay() {
    let Some(image) = image("base") else { return };
    let bench = Bench::new(&image, "touch here; exec sleep 300");
    let mut run = bench.start().await;
    bench.marked("here");
    let runs = bench.dir.path().parent().unwrap();
    // What a daemon leaves that dies while it removes one.
    let left = docker(&[
        "create",
        "--label",
        &format!("com.agentuity.agent-runner.runs={}", runs.display()),
        "--label",
        &format!("com.agentuity.agent-runner.run={}/gone", runs.display()),
        "--entrypoint",
        "true",
        &image,
    ]);
    docker(&["start", "--attach", &left]);
    bench.sandbox().sweep(runs).await;
    assert!(!try_docker(&["inspect", &left]).status.success());
    assert!(bench.is_there(), "it runs");
    run.control().unwrap().stop(Stop::NOW).await.unwrap();
    exited(&mut run).await;
}

#[tokio::test]
async fn a_program_that_the_image_does_not_have_was_never_started() {
    let Some(image) = image("base") else { return };
    let mut bench = Bench::new(&image, "");
    bench.plan.program = PathBuf::from("no-such-cli");
    let sandbox = bench.sandbox();
    let none = Environment::new();
    let started = sandbox.start(&bench.dir, &bench.plan, b"", &none);
    let error = started.await.unwrap_err().to_string();
    assert!(
        error.contains("no-such-cli") && error.contains("PATH"),
        "{error}"
    );
}

/// What preparing a session's runs in that image says.
async fn prepared(image: &str, program: &str) -> (Result<(), String>, Vec<String>) {
    let root = tempfile::tempdir().unwrap();
    let policy = policy(image, root.path(), root.path(), 128);
    let (progress, mut steps) = mpsc::channel(64);
    let sandbox = DockerSandbox::new(engine(), policy);
    let prepared = sandbox.prepare(Path::new(program), &progress);
    let result = tokio::time::timeout(2 * LIMIT, prepared).await.unwrap();
    drop(progress);
    let mut told = Vec::new();
    while let Some(step) = steps.recv().await {
        told.push(step);
    }
    (result.map_err(|error| error.to_string()), told)
}

/// An image with nothing in it that could run; removed when it is dropped.
struct Made(String);

impl Made {
    fn new(name: &str) -> Self {
        let image = format!("agent-runner-test-{name}:made");
        shell(&format!(
            "tar --create --files-from /dev/null | docker import - {image}"
        ));
        Self(image)
    }

    /// The same with another processor in its description.
    fn for_another_processor(&self, own: &str, other: &str) -> Self {
        let image = format!("{}-{other}", self.0);
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().display();
        shell(&format!(
            "cd '{dir}' && docker save {} | tar --extract && \
             config=$(sed -n 's/.*\"Config\":\"\\([^\"]*\\)\".*/\\1/p' manifest.json) && \
             sed -i 's/\"architecture\" *: *\"{own}\"/\"architecture\":\"{other}\"/' \"$config\" && \
             sed -i 's|{}|{image}|' manifest.json && rm -rf repositories index.json oci-layout && \
             tar --create . | docker load",
            self.0, self.0
        ));
        Self(image)
    }
}

fn shell(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
}

impl Drop for Made {
    fn drop(&mut self) {
        let _gone = try_docker(&["image", "rm", "--force", &self.0]);
    }
}

#[tokio::test]
async fn an_image_is_tried_and_one_that_cannot_run_us_is_refused_with_the_reason() {
    let Some(base) = image("base") else { return };
    let (fit, told) = prepared(&base, "git").await;
    fit.unwrap();
    assert_eq!(told, [format!("{base} has /usr/bin/git")]);

    let (without, _) = prepared(&base, "claude").await;
    let without = without.unwrap_err();
    assert!(without.contains("no `claude` on the PATH"), "{without}");

    let (own, other) = match std::env::consts::ARCH {
        "aarch64" => ("arm64", "amd64"),
        _ => ("amd64", "arm64"),
    };
    let empty = Made::new("bare");
    let (refused, _) = prepared(&empty.0, "git").await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("glibc"), "{refused}");

    let foreign = empty.for_another_processor(own, other);
    let (refused, _) = prepared(&foreign.0, "git").await;
    let refused = refused.unwrap_err();
    assert!(refused.contains(&format!("linux/{other}")), "{refused}");
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_named_with_what_to_do() {
    if image("base").is_none() {
        return;
    }
    // Nobody listens there: no name is looked up, and nothing leaves this machine.
    let (result, told) = prepared("127.0.0.1:9/none/such:1", "git").await;
    let error = result.unwrap_err();
    assert!(
        error.contains("cannot be pulled") && error.contains("--sandbox-image"),
        "{error}"
    );
    assert_eq!(
        told.first().map(String::as_str),
        Some("pulling 127.0.0.1:9/none/such:1")
    );
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_with_its_address() {
    let root = tempfile::tempdir().unwrap();
    let policy = policy("any", root.path(), root.path(), 128);
    let (progress, _steps) = mpsc::channel(1);
    let sandbox = DockerSandbox::new(Engine::at("tcp://127.0.0.1:9"), policy);
    let prepared = sandbox.prepare(Path::new("git"), &progress);
    let result = tokio::time::timeout(Duration::from_secs(30), prepared)
        .await
        .unwrap();
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("tcp://127.0.0.1:9") && error.contains("DOCKER_HOST"),
        "{error}"
    );
}
