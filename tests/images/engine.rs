//! The container engine, and containers that end with their test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// No test waits longer for anything.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// The images' name in tests; `scripts/test` builds them under it.
const REPOSITORY: &str = "agent-runner-test";

/// The program under test, which takes the place of the one that the image was built with.
pub(crate) const RUNNER: &str = env!("CARGO_BIN_EXE_agent-runner");

/// The image `name`; nothing where it was not built.
#[allow(clippy::print_stderr)]
pub(crate) fn image(name: &str) -> Option<String> {
    let image = format!("{REPOSITORY}:{name}");
    let found = Command::new("docker")
        .args(["image", "inspect", &image])
        .output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(image);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "the image {image} is not there"
    );
    eprintln!("skipped: no {image}; build it: scripts/build-images --name {REPOSITORY} {name}");
    None
}

pub(crate) fn try_docker(words: &[&str]) -> Output {
    Command::new("docker").args(words).output().unwrap()
}

/// What `docker` prints.
pub(crate) fn docker(words: &[&str]) -> String {
    let output = try_docker(words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether the engine is Podman, which describes the same container in other words: of the
/// capabilities those that it takes away, mounts as binds, and the image's volumes by their names.
pub(crate) fn is_podman() -> bool {
    docker(&["version", "--format", "{{json .Server}}"]).contains("Podman Engine")
}

/// A container; removed with its volumes when it is dropped.
pub(crate) struct Container(String);

impl Container {
    /// Starts one in the background, with the program under test.
    pub(crate) fn start(image: &str, options: &[&str], command: &[&str]) -> Self {
        Self::start_in("host", image, options, command)
    }

    /// The same in another network than this machine's.
    pub(crate) fn start_in(network: &str, image: &str, options: &[&str], command: &[&str]) -> Self {
        let binary = format!("{RUNNER}:/usr/local/bin/agent-runner:ro");
        let mut words = vec!["run", "--detach", "--network", network, "--volume", &binary];
        words.extend(options);
        words.push(image);
        words.extend(command);
        Self(docker(&words))
    }

    /// One that something else has made.
    pub(crate) fn of(id: String) -> Self {
        Self(id)
    }

    pub(crate) fn id(&self) -> &str {
        &self.0
    }

    pub(crate) fn state(&self, field: &str) -> String {
        let format = format!("{{{{.State.{field}}}}}");
        docker(&["inspect", "--format", &format, &self.0])
    }

    pub(crate) fn exec(&self, words: &[&str]) -> String {
        docker(&[&["exec", &self.0], words].concat())
    }

    /// What it has written on stdout from the beginning, line by line as it comes.
    pub(crate) fn follow(&self) -> Lines {
        let mut command = Command::new("docker");
        command.args(["logs", "--follow", &self.0]);
        Lines::of(command.stderr(Stdio::null()))
    }

    pub(crate) fn errors(&self) -> String {
        let output = try_docker(&["logs", &self.0]);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _gone = try_docker(&["rm", "--force", "--volumes", &self.0]);
    }
}

/// A process that is read line by line; killed when it is dropped.
pub(crate) struct Lines {
    child: Child,
    lines: Receiver<String>,
}

impl Lines {
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code, once it has ended by itself.
    pub(crate) fn code(mut self) -> Option<i32> {
        while self.next().is_some() {}
        self.child.wait().unwrap().code()
    }

    pub(crate) fn next(&self) -> Option<String> {
        self.lines.recv_timeout(LIMIT).ok()
    }

    /// The next event that fits.
    pub(crate) fn event(&self, mut fits: impl FnMut(&Value) -> bool) -> Option<Value> {
        while let Some(line) = self.next() {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if fits(&event) {
                return Some(event);
            }
        }
        None
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Ended already in some tests.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
