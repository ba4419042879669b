//! `agent-runner doctor` as a process: what it finds on this machine, in files and sockets made
//! for it, and at a real Hub.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use agent_runner::journal::StateLock;
use serde_json::Value;
use tempfile::TempDir;

/// A machine with nothing on PATH, a home and a state dir that is not there yet.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("path")).unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a shell script called `claude` on PATH. Written by another process: a test that forks
    /// meanwhile would hold the file open for writing, and it could not be executed.
    fn with_claude(self, script: &str) -> Self {
        let (written, path) = (self.at("script"), self.at("path/claude"));
        std::fs::write(&written, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mut copy = Command::new("install");
        copy.args(["-m", "755"]).args([&written, &path]);
        assert!(copy.status().unwrap().success());
        self
    }

    fn doctor(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
        command
            .arg("doctor")
            .args(arguments)
            .env_clear()
            .env("PATH", self.at("path"))
            .env("HOME", self.at("home"))
            .env("AGENT_RUNNER_STATE_DIR", self.at("state"))
            .env("AGENT_RUNNER_AGENT_HOME", "user")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The report of a doctor that prints JSON.
struct Report(Value);

impl Report {
    fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.arg("--json").output().unwrap();
        let report: Value = serde_json::from_slice(&stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", text(&stdout), text(&stderr)));
        let exit = status.code().map(i64::from);
        assert_eq!(report["exit_code"].as_i64(), exit, "{report:#}");
        Self(report)
    }

    fn exit(&self) -> i64 {
        self.0["exit_code"].as_i64().unwrap()
    }

    fn check(&self, id: &str) -> &Value {
        let checks = self.0["checks"].as_array().unwrap();
        let chosen = &self.0["agent"];
        checks
            .iter()
            .find(|check| {
                check["id"] == id && (check["agent"].is_null() || check["agent"] == *chosen)
            })
            .unwrap_or_else(|| panic!("no check `{id}`: {:#}", self.0))
    }

    fn status(&self, id: &str) -> &str {
        self.check(id)["status"].as_str().unwrap()
    }
}

#[test]
fn a_machine_with_a_tested_cli_and_a_key_is_fine_and_left_as_it_was() {
    let machine = Machine::new().with_claude("env > \"$0.env\"; echo '2.1.197 (Claude Code)'");
    let mut doctor = machine.doctor(&[]);
    doctor.env("ANTHROPIC_API_KEY", "sk-hidden");
    let report = Report::of(&mut doctor);
    assert_eq!(report.exit(), 0, "{:#}", report.0);
    assert_eq!(report.0["schema"], 1);
    assert_eq!(report.0["agent"], "claude");

    let program = &report.check("program")["facts"];
    assert_eq!(program["found_by"], "path");
    assert_eq!(program["path"], machine.at("path/claude").to_str().unwrap());
    let version = &report.check("version")["facts"];
    assert_eq!(
        (&version["version"], &version["tested"]),
        (&"2.1.197".into(), &true.into())
    );
    let credentials = report.check("credentials");
    assert_eq!(
        credentials["facts"]["env"],
        serde_json::json!(["ANTHROPIC_API_KEY"])
    );
    assert!(!report.0.to_string().contains("hidden"));
    assert_eq!(report.status("kernel"), "ok");
    assert_eq!(report.status("hub"), "info");

    let seen = std::fs::read_to_string(machine.at("path/claude.env")).unwrap();
    assert!(
        !seen.contains("hidden") && !seen.contains("AGENT_RUNNER"),
        "{seen}"
    );
    let home = format!("HOME={}\n", machine.at("home").display());
    assert!(!seen.contains(&home), "{seen}");
    assert!(!machine.at("state").exists());
    assert_eq!(machine.at("home").read_dir().unwrap().count(), 0);
}

#[test]
fn without_the_agent_it_ends_with_68_and_says_what_to_do() {
    let machine = Machine::new();
    let report = Report::of(&mut machine.doctor(&[]));
    assert_eq!(report.exit(), 68);
    assert_eq!(report.status("program"), "error");
    // Without npm, installing it is not what helps first.
    let mend = report.check("program")["mend"].as_str().unwrap();
    assert!(mend.contains("install Node 20"), "{mend}");

    let bin = machine.at("path");
    for tool in ["node", "npm"] {
        std::os::unix::fs::symlink("/bin/sh", bin.join(tool)).unwrap();
    }
    let output = machine.doctor(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(68));
    let said = text(&output.stdout);
    assert!(said.contains("✗ program      not installed"), "{said}");
    assert!(said.contains("→ agent-runner install claude"), "{said}");
    assert!(said.contains("! git          not on PATH"), "{said}");
    assert!(
        said.starts_with("claude (the agent of these settings)\n"),
        "{said}"
    );
}

#[test]
fn another_version_is_told_and_a_cli_that_does_not_run_is_fatal() {
    let machine = Machine::new().with_claude("echo '2.1.100 (Claude Code)'");
    let report = Report::of(&mut machine.doctor(&["--agent", "claude"]));
    assert_eq!((report.exit(), report.status("version")), (0, "warning"));
    assert_eq!(
        report.check("version")["mend"],
        "agent-runner install claude"
    );
    assert_eq!(report.check("version")["facts"]["version"], "2.1.100");
    let checks = report.0["checks"].as_array().unwrap();
    let others = |check: &&Value| !check["agent"].is_null() && check["agent"] != "claude";
    assert_eq!(checks.iter().filter(others).count(), 0);

    let machine = Machine::new().with_claude("echo 'libfoo is missing' >&2; exit 127");
    let report = Report::of(&mut machine.doctor(&[]));
    assert_eq!((report.exit(), report.status("version")), (68, "error"));
    let said = report.check("version")["text"].as_str().unwrap();
    assert!(said.contains("libfoo is missing"), "{said}");
}

#[test]
fn the_config_files_command_comes_first_and_a_login_file_counts_unread() {
    let machine = Machine::new().with_claude("echo '2.1.197 (Claude Code)'");
    let config = machine.at("config.toml");
    let own = machine.at("own-claude");
    std::fs::rename(machine.at("path/claude"), &own).unwrap();
    std::fs::write(&config, "[agents.claude]\ncommand = './own-claude'\n").unwrap();
    let login = machine.at("home/.claude/.credentials.json");
    std::fs::create_dir(login.parent().unwrap()).unwrap();
    std::fs::write(&login, "{\"token\":\"hidden\"}").unwrap();
    std::fs::set_permissions(&login, std::fs::Permissions::from_mode(0o000)).unwrap();

    let config = config.to_str().unwrap();
    let report = Report::of(&mut machine.doctor(&["--config", config]));
    assert_eq!(report.exit(), 0, "{:#}", report.0);
    assert_eq!(report.check("program")["facts"]["found_by"], "config");
    assert_eq!(report.status("credentials"), "ok");
    let homes = &report.check("credentials")["facts"]["homes"];
    assert_eq!(homes[0]["files"][0], login.to_str().unwrap());
    assert!(!report.0.to_string().contains("hidden"));

    let state = Report::of(&mut machine.doctor(&["--config", config, "--agent-home", "state"]));
    assert_eq!(state.status("credentials"), "warning");
    let mend = state.check("credentials")["mend"].as_str().unwrap();
    let home = machine.at("state/agents/claude");
    let login = format!("HOME={} {} auth login", home.display(), own.display());
    assert!(mend.contains(&login), "{mend}");

    std::fs::remove_file(&own).unwrap();
    let gone = Report::of(&mut machine.doctor(&["--config", config]));
    assert_eq!(gone.exit(), 68);
    let said = gone.check("program")["text"].as_str().unwrap();
    assert!(said.contains("agents.claude.command"), "{said}");
}

#[test]
fn a_state_dir_is_told_from_one_in_use_and_one_that_cannot_be() {
    let machine = Machine::new().with_claude("echo '2.1.197 (Claude Code)'");
    let lock = StateLock::take(&machine.at("state")).unwrap();
    let report = Report::of(&mut machine.doctor(&[]));
    assert_eq!((report.exit(), report.status("state_dir")), (0, "warning"));
    let facts = &report.check("state_dir")["facts"];
    assert_eq!(facts["in_use_by_pid"], std::process::id());
    assert!(facts["free_bytes"].as_u64().unwrap() > 0);
    drop(lock);
    let report = Report::of(&mut machine.doctor(&[]));
    assert_eq!(report.status("state_dir"), "ok");

    std::fs::write(machine.at("file"), "").unwrap();
    let report = Report::of(&mut machine.doctor(&["--state-dir", "file"]));
    assert_eq!((report.exit(), report.status("state_dir")), (73, "error"));
}

#[test]
fn proxies_and_certificates_in_force_are_shown_without_passwords() {
    let machine = Machine::new().with_claude("echo '2.1.197 (Claude Code)'");
    let mut doctor = machine.doctor(&[]);
    doctor
        .env("HTTPS_PROXY", "http://user:hidden@proxy.example:3128")
        .env("no_proxy", "localhost")
        .env("NODE_EXTRA_CA_CERTS", "missing.pem");
    let report = Report::of(&mut doctor);
    let variables = &report.check("proxy")["facts"]["variables"];
    assert_eq!(variables["HTTPS_PROXY"], "http://***@proxy.example:3128");
    assert_eq!(variables["no_proxy"], "localhost");
    assert!(!report.0.to_string().contains("hidden"));
    assert_eq!((report.exit(), report.status("ca")), (0, "warning"));

    std::fs::write(machine.at("empty.pem"), "").unwrap();
    let mut doctor = machine.doctor(&[]);
    let report = Report::of(doctor.env("SSL_CERT_FILE", "empty.pem"));
    assert_eq!((report.exit(), report.status("ca")), (64, "error"));
}

#[test]
fn a_hub_that_is_set_is_asked_whether_it_takes_the_key() {
    let machine = Machine::new().with_claude("echo '2.1.197 (Claude Code)'");
    let hub = Hub::start(&machine.at("hub"), "right-key");
    let ask = |key: Option<&str>| {
        let mut doctor = machine.doctor(&["--hub", &hub.url]);
        if let Some(key) = key {
            doctor.env("AGENT_RUNNER_HUB_KEY", key);
        }
        Report::of(&mut doctor)
    };
    let right = ask(Some("right-key"));
    assert_eq!((right.exit(), right.status("hub")), (0, "ok"));
    assert_eq!(right.check("hub")["facts"]["key_present"], true);
    assert!(!right.0.to_string().contains("right-key"));
    for wrong in [Some("wrong-key"), None] {
        let report = ask(wrong);
        assert_eq!((report.exit(), report.status("hub")), (77, "error"));
        assert_eq!(report.check("hub")["facts"]["refused"], true);
        assert!(!report.0.to_string().contains("wrong-key"));
    }

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let report = Report::of(&mut machine.doctor(&["--hub", &closed]));
    assert_eq!((report.exit(), report.status("hub")), (69, "error"));
    let said = report.check("hub")["text"].as_str().unwrap();
    assert!(said.contains("Connection refused"), "{said}");
}

#[test]
fn wrong_settings_end_it_with_64() {
    let machine = Machine::new();
    for wrong in [["--agent", "clod"], ["--stdio", "tube"]] {
        let output = machine.doctor(&wrong).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        assert!(output.stdout.is_empty());
        assert!(text(&output.stderr).contains(wrong[1]));
    }
    let mut doctor = machine.doctor(&["--agent-user", "nobody-of-that-name"]);
    let report = Report::of(&mut doctor);
    assert_eq!((report.exit(), report.status("user")), (64, "error"));
    let shown = machine.doctor(&["--print-config"]).output().unwrap();
    assert!(shown.status.success());
    assert!(text(&shown.stdout).contains("AGENT_RUNNER_STATE_DIR"));
}

/// A Hub of this test's own, ended with it.
struct Hub {
    child: Child,
    url: String,
}

impl Hub {
    fn start(state: &Path, key: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agent-runner"))
            .args(["hub", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(state)
            .env("AGENT_RUNNER_API_KEY", key)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| Some(line.get(line.find("http://")?..)?.trim().to_owned()));
        Self {
            child,
            url: url.unwrap(),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
