//! The lock of the official base images, with a registry of our own in the place of theirs.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::engine::{Lines, RUNNER, docker, image, is_podman, try_docker};

/// A registry on this machine's loopback, which engines take without TLS.
struct Registry {
    address: String,
    _running: Lines,
}

impl Registry {
    #[allow(clippy::print_stderr)]
    fn start(dir: &Path) -> Option<Self> {
        let there = Command::new("docker-registry").arg("--version").output();
        if there.is_err() {
            assert!(
                std::env::var_os("CI").is_none(),
                "docker-registry is missing"
            );
            eprintln!("skipped: no docker-registry (Debian: apt install docker-registry)");
            return None;
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let config = format!(
            "version: 0.1\nhttp: {{addr: '{address}'}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n",
            dir.join("registry").display()
        );
        let file = dir.join("registry.yaml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exec docker-registry serve \"$0\" 2>&1"]);
        let running = Lines::of(command.arg(&file));
        // Its first line of all that says so.
        while let Some(line) = running.next() {
            if line.contains("listening on") {
                break;
            }
        }
        Some(Self {
            address,
            _running: running,
        })
    }
}

/// An image of the test's own; gone when it is dropped.
struct Tag(String);

impl Drop for Tag {
    fn drop(&mut self) {
        let _gone = try_docker(&["image", "rm", &self.0]);
    }
}

/// What the script says, run in a copy of its own.
fn build_images(root: &Path, words: &[&str]) -> String {
    let output = Command::new("scripts/build-images")
        .args(words)
        .current_dir(root)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

#[test]
fn the_lock_of_the_bases_is_filled_with_digests_and_built_on() {
    let base = "agent-runner-base:debootstrap";
    if image("base").is_none()
        || is_podman()
        || !try_docker(&["image", "inspect", base]).status.success()
    {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start(dir.path()) else {
        return;
    };
    let root = dir.path().join("project");
    for file in ["scripts/build-images", "images/base.Dockerfile"] {
        let place = root.join(file);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), place).unwrap();
    }
    let pulled = Tag(format!("{}/base:1", registry.address));
    docker(&["tag", base, &pulled.0]);
    docker(&["push", "--quiet", &pulled.0]);
    let own = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let lock = root.join("images/bases.lock");
    fs::write(&lock, format!("# A remark.\n{own} {}\n", pulled.0)).unwrap();

    let name = "agent-runner-test-pinned";
    let built = Tag(format!("{name}:base"));
    let words = ["--binary", RUNNER, "--name", name, "base"];
    assert!(build_images(&root, &words).contains("is not pinned"));
    build_images(&root, &["--pin"]);
    let pinned = fs::read_to_string(&lock).unwrap();
    let (remark, line) = pinned.trim_end().split_once('\n').unwrap();
    assert_eq!(remark, "# A remark.");
    let (reference, digest) = line.split_once("@sha256:").unwrap();
    assert_eq!(reference, format!("{own} {}", pulled.0));
    assert_eq!(digest.len(), 64, "{line}");

    // The tag moves on; the digest does not.
    docker(&["tag", &built.0, &pulled.0]);
    docker(&["push", "--quiet", &pulled.0]);
    docker(&["image", "rm", &pulled.0]);
    assert!(!build_images(&root, &words).contains("is not pinned"));
    let layers = |image: &str| {
        let format = "{{range .RootFS.Layers}}{{.}} {{end}}";
        docker(&["image", "inspect", "--format", format, image])
    };
    assert!(
        layers(&built.0).starts_with(&layers(base)),
        "it stands on what was pinned"
    );
    assert_eq!(
        layers(&built.0).split(' ').count(),
        layers(base).split(' ').count() + 2
    );
    let by_digest = format!("{}@sha256:{digest}", pulled.0.trim_end_matches(":1"));
    drop(Tag(by_digest));
}
