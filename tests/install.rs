//! `agent-runner install`, with the real npm. What needs its registry is skipped, with a line
//! that says so, where that cannot be reached; in CI that is a failure.
#![allow(clippy::unwrap_used, clippy::print_stderr)] // helpers of tests, lines about skipping

#[path = "support/npm_registry.rs"]
mod npm_registry;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use agent_runner::install::{self, Environment, InstallError, Step};
use npm_registry::CACHE;
use tokio_util::sync::CancellationToken;

fn installing(prefix: &Path, agents: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
    command
        .arg("install")
        .args(agents)
        .arg("--prefix")
        .arg(prefix)
        .env_remove("AGENT_RUNNER_PREFIX")
        .env_remove("AGENT_RUNNER_STATE_DIR")
        .env("npm_config_cache", CACHE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
}

fn staging_folders(prefix: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(prefix.join(".agent-runner")).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("/.staging-"))
        .collect()
}

fn version(executable: &Path) -> String {
    let output = Command::new(executable).arg("--version").output().unwrap();
    stdout(&output)
}

fn npm_is_there() -> bool {
    let there = Command::new("npm").arg("--version").output().is_ok();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "npm is not on PATH"
    );
    if !there {
        eprintln!("skipped: npm is not on PATH");
    }
    there
}

#[test]
fn an_installed_cli_runs_is_found_again_without_npm_and_is_mended_when_torn() {
    if !npm_registry::is_reachable() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("bin");
    assert_eq!(install::installed(&prefix, "claude"), None);

    let first = installing(&prefix, &["claude"]).output().unwrap();
    assert_exit(&first, 0);
    let link = prefix.join("claude");
    let said = format!("claude 2.1.197 installed: {}\n", link.display());
    assert_eq!(stdout(&first), said);
    let progress = stderr(&first);
    assert!(
        progress.starts_with("claude 2.1.197: downloading … checking … done ("),
        "{progress}"
    );
    assert!(std::fs::read_link(&link).unwrap().is_relative());
    assert_eq!(version(&link), "2.1.197 (Claude Code)\n");
    let executable = install::installed(&prefix, "claude").unwrap();
    assert_eq!(executable, link.canonicalize().unwrap());

    let again = || {
        let mut command = installing(&prefix, &["claude"]);
        command.env("PATH", dir.path()).output().unwrap()
    };
    let second = again();
    assert_exit(&second, 0);
    let said = format!("claude 2.1.197 already installed: {}\n", link.display());
    assert_eq!((stdout(&second), stderr(&second)), (said, String::new()));

    // Torn, it has to be fetched again, and says so when it cannot be.
    std::fs::write(&executable, "#!/bin/sh\n").unwrap();
    assert_exit(&again(), 68);
    let mended = installing(&prefix, &["claude"]).output().unwrap();
    assert_exit(&mended, 0);
    assert_eq!(version(&link), "2.1.197 (Claude Code)\n");
    assert_eq!(staging_folders(&prefix), Vec::<PathBuf>::new());
}

#[test]
fn a_cli_of_many_packages_runs_where_it_was_put() {
    if !npm_registry::is_reachable() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("bin");
    assert_exit(&installing(&prefix, &["pi"]).output().unwrap(), 0);
    let link = prefix.join("pi");
    assert!(install::installed(&prefix, "pi").is_some());
    let output = Command::new(&link).arg("--version").output().unwrap();
    // it answers on stderr
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8(said).unwrap().trim(), "0.74.2");
}

#[test]
fn two_installs_at_once_fetch_once() {
    if !npm_registry::is_reachable() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let start = || installing(dir.path(), &["claude"]).spawn().unwrap();
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let already = both
        .iter()
        .inspect(|output| assert_exit(output, 0))
        .filter(|output| stdout(output).contains("already installed"))
        .count();
    assert_eq!(already, 1);
    let downloads = both
        .iter()
        .filter(|output| stderr(output).contains("downloading"));
    assert_eq!(downloads.count(), 1);
    assert_eq!(
        version(&dir.path().join("claude")),
        "2.1.197 (Claude Code)\n"
    );
    assert_eq!(staging_folders(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_killed_install_leaves_no_cli_and_the_next_one_clears_up_after_it() {
    if !npm_registry::is_reachable() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut killed = installing(dir.path(), &["claude"]).spawn().unwrap();
    read_until(&mut killed, "downloading … ");
    killed.kill().unwrap();
    assert_eq!(killed.wait().unwrap().signal(), Some(9));
    assert_eq!(install::installed(dir.path(), "claude"), None);
    assert_eq!(staging_folders(dir.path()).len(), 1);

    let next = installing(dir.path(), &["claude"]).output().unwrap();
    assert_exit(&next, 0);
    assert_eq!(
        version(&dir.path().join("claude")),
        "2.1.197 (Claude Code)\n"
    );
    assert_eq!(staging_folders(dir.path()), Vec::<PathBuf>::new());
}

/// A npm that unpacks a CLI of a line at once: what comes after it is asked about here.
#[cfg(feature = "crash-points")]
fn quick_npm(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let script = "#!/bin/sh\necho fetched >>\"$HOME/fetches\"\n\
        name=$(grep -o '@anthropic-ai/claude-code-linux-[a-z0-9-]*' package.json | head -n 1)\n\
        mkdir -p \"node_modules/$name\"\n\
        printf '#!/bin/sh\\necho \"2.1.197 (Claude Code)\"\\n' >\"node_modules/$name/claude\"\n\
        chmod 755 \"node_modules/$name/claude\"\n";
    for (name, text) in [("npm", script), ("node", "#!/bin/sh\n")] {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[cfg(feature = "crash-points")]
#[test]
fn an_install_that_dies_after_the_download_is_finished_by_the_next() {
    for (point, is_broken, fetches) in [
        ("install.fetched:1", false, 2),
        ("install.checked:1", false, 2),
        ("install.broken_removed:1", true, 2),
        ("install.published:1", false, 1),
        ("install.link_made:1", false, 1),
    ] {
        let dir = tempfile::tempdir().unwrap();
        quick_npm(dir.path());
        let prefix = dir.path().join("bin");
        let path = format!(
            "{}:{}",
            dir.path().display(),
            std::env::var("PATH").unwrap()
        );
        let install = |point: &str| {
            let mut command = installing(&prefix, &["claude"]);
            command.env("PATH", &path).env("HOME", dir.path());
            command.env("AGENT_RUNNER_CRASH", point);
            command.output().unwrap()
        };
        if is_broken {
            assert_exit(&install(""), 0);
            let executable = install::installed(&prefix, "claude").unwrap();
            std::fs::write(executable, "torn").unwrap();
            std::fs::remove_file(dir.path().join("fetches")).unwrap();
        }
        let died = install(point);
        assert_eq!(died.status.signal(), Some(9), "{point}: {}", stderr(&died));
        assert!(
            is_broken || install::installed(&prefix, "claude").is_none(),
            "{point}"
        );
        assert_exit(&install(""), 0);
        assert_eq!(
            version(&prefix.join("claude")),
            "2.1.197 (Claude Code)\n",
            "{point}"
        );
        let fetched = std::fs::read_to_string(dir.path().join("fetches")).unwrap();
        assert_eq!(fetched.lines().count(), fetches, "{point}");
        assert_eq!(staging_folders(&prefix), Vec::<PathBuf>::new(), "{point}");
    }
}

/// Reads the child's stderr up to and with `text`.
fn read_until(child: &mut Child, text: &str) {
    let stderr = child.stderr.as_mut().unwrap();
    let mut seen = Vec::new();
    for byte in BufReader::new(stderr).bytes() {
        seen.push(byte.unwrap());
        if seen.ends_with(text.as_bytes()) {
            return;
        }
    }
    panic!("no `{text}` in {}", String::from_utf8_lossy(&seen));
}

#[test]
fn an_unknown_agent_is_answered_with_the_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("bin");
    let output = installing(&prefix, &["claude", "cluade"]).output().unwrap();
    assert_exit(&output, 64);
    let said = stderr(&output);
    assert!(
        said.contains("`cluade`") && said.contains("opencode"),
        "{said}"
    );
    assert!(!prefix.exists());
}

#[test]
fn a_prefix_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let output = installing(&file.join("bin"), &[]).output().unwrap();
    assert_exit(&output, 73);
    let said = stderr(&output);
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    assert!(said.contains("--prefix"), "{said}");
    assert_eq!(said.lines().count(), 1, "said once for all agents: {said}");
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
}

#[test]
fn a_users_own_executable_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("claude");
    std::fs::write(&own, "mine").unwrap();
    let output = installing(dir.path(), &["claude"]).output().unwrap();
    assert_exit(&output, 73);
    assert_eq!(std::fs::read(&own).unwrap(), b"mine");
    assert_eq!(install::installed(dir.path(), "claude"), None);
}

#[test]
fn an_image_without_node_is_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = installing(&dir.path().join("bin"), &[])
        .env("PATH", dir.path())
        .output()
        .unwrap();
    assert_exit(&output, 68);
    let said = stderr(&output);
    assert!(said.contains("Node 20"), "{said}");
    assert!(said.contains("agents.claude.command"), "{said}");
    assert_eq!(said.lines().count(), 1, "said once for all agents: {said}");
}

#[test]
fn the_default_place_is_bin_in_a_private_state_dir() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_agent-runner"))
        .args(["install", "claude"])
        .env_clear()
        .env("XDG_STATE_HOME", dir.path())
        .output()
        .unwrap();
    assert_exit(&output, 68);
    let state = dir.path().join("agent-runner");
    assert_eq!(
        state.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert!(state.join("bin").is_dir());
}

#[test]
fn an_unreachable_registry_leaves_nothing_and_says_try_again() {
    if !npm_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let output = installing(dir.path(), &["claude"])
        .env(
            "npm_config_registry",
            format!("http://user:hidden@{closed}/"),
        )
        .env("npm_config_cache", dir.path().join("cache"))
        .env("npm_config_fetch_retries", "0")
        .output()
        .unwrap();
    assert_exit(&output, 75);
    let said = stderr(&output);
    assert!(
        said.contains("ECONNREFUSED") && said.contains("npm ping"),
        "{said}"
    );
    assert!(!said.contains("hidden"), "{said}");
    assert_eq!(install::installed(dir.path(), "claude"), None);
    assert_eq!(staging_folders(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_registry_that_serves_other_bytes_is_refused() {
    if !npm_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = format!("http://{}", listener.local_addr().unwrap());
    let address = registry.clone();
    // Ends with the test's process; npm decides how many requests there are.
    std::thread::spawn(move || serve_forged_packages(&listener, &address));
    let output = installing(dir.path(), &["claude"])
        .env("npm_config_registry", &registry)
        .env("npm_config_cache", dir.path().join("cache"))
        .env("npm_config_fetch_retries", "0")
        .output()
        .unwrap();
    assert_exit(&output, 68);
    assert!(
        stderr(&output).contains("EINTEGRITY"),
        "{}",
        stderr(&output)
    );
    assert_eq!(install::installed(dir.path(), "claude"), None);
    assert_eq!(staging_folders(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_cancelled_install_ends_at_once_and_leaves_nothing() {
    if !npm_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Takes connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = format!("http://{}", listener.local_addr().unwrap());
    let cache = dir.path().join("cache");
    let variables = [
        ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
        ("HOME".into(), dir.path().into()),
        ("npm_config_registry".into(), registry.into()),
        ("npm_config_cache".into(), cache.into_os_string()),
    ];
    let cancel = CancellationToken::new();
    let mut steps = Vec::new();
    let error = install::install(
        &dir.path().join("bin"),
        install::release("claude").unwrap(),
        &Environment::new(variables),
        &cancel,
        &mut |step| {
            steps.push(step);
            cancel.cancel();
        },
    )
    .unwrap_err();
    assert!(matches!(error, InstallError::Cancelled { .. }), "{error}");
    assert_eq!(steps, [Step::Downloading]);
    assert_eq!(
        staging_folders(&dir.path().join("bin")),
        Vec::<PathBuf>::new()
    );
}

/// A registry whose every package claims the pinned version, with a tarball of its own.
fn serve_forged_packages(listener: &TcpListener, address: &str) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        reader.read_line(&mut request).unwrap();
        let mut header = String::new();
        while reader.read_line(&mut header).unwrap_or(0) > 2 {
            header.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let body = if path.ends_with("/forged") {
            "not what was pinned".to_owned()
        } else {
            let name = path.trim_start_matches('/').replace("%2f", "/");
            let version = serde_json::json!({
                "name": name,
                "version": "2.1.197",
                "dist": { "tarball": format!("{address}/{name}/-/forged") },
            });
            let versions = serde_json::json!({ "2.1.197": version });
            serde_json::json!({ "name": name, "versions": versions }).to_string()
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        // npm may hang up early.
        drop(stream.write_all((head + &body).as_bytes()));
    }
}
