//! Repositories that are reached by ssh, over a real server of OpenSSH's on loopback.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bench::{Bench, skip};
use crate::git_server::{Behaviour, GitServer};
use crate::ground::{config_with_work, git, of_type, repository};
use crate::running::{Finished, Running, eventually};

const WORK: &str = "ssh-add -l >agent 2>&1; echo x >>work.txt; git add .; \
                    git -c user.name=B -c user.email=b@c.d commit -q -m work";

/// A server that takes the test's own key, and a client that knows the server.
struct Sshd {
    port: u16,
    _running: Running,
}

fn keygen(bench: &Bench, name: &str) -> String {
    let path = bench.text(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", &path])
        .status();
    assert!(made.unwrap().success());
    path
}

fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    own.map(|dir| dir.join(name)).find(|path| path.is_file())
}

impl Sshd {
    fn start(bench: &Bench) -> Option<Self> {
        let (Some(program), Some(_)) = (found("sshd"), found("ssh")) else {
            skip("needs OpenSSH's server and client (Debian: openssh-server)");
            return None;
        };
        if nix::unistd::geteuid().is_root() {
            // Where the machine's own server was never started.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let (host, key) = (keygen(bench, "host"), keygen(bench, "key"));
        // What a forge has beside git, where a test has made it.
        let path = format!("{}:{}", bench.text("forge"), std::env::var("PATH").unwrap());
        let config = format!(
            "HostKey {host}\nAuthorizedKeysFile {key}.pub\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nSetEnv PATH={path}\n"
        );
        let config = bench.file("sshd_config", &config);
        let (log, text) = (bench.path("sshd.log"), bench.text("sshd.log"));
        let logged = |word: &str| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.contains(word)
        };
        // A port that is free may be taken by another test before the server has it.
        let (port, running) = loop {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            fs::remove_file(&log).ok();
            let listen = format!("ListenAddress=127.0.0.1:{port}");
            let mut command = Command::new(&program);
            command.args(["-D", "-E", &text, "-f", &config, "-o", &listen]);
            let running = bench.start(&mut command);
            eventually("the server has begun", || {
                logged("Server listening") || logged("Cannot bind")
            });
            if logged("Server listening") {
                break (port, running);
            }
        };
        let known = fs::read_to_string(format!("{host}.pub")).unwrap();
        bench.file("known_hosts", &format!("[127.0.0.1]:{port} {known}"));
        Some(Self {
            port,
            _running: running,
        })
    }

    fn url(&self, folder: &Path) -> String {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
        let user = user.unwrap().unwrap().name;
        format!("ssh://{user}@127.0.0.1:{}{}", self.port, folder.display())
    }
}

/// `run` with an ssh whose keys and known hosts are the test's own.
fn run(bench: &Bench, url: &str, pair: (&str, &str)) -> Finished {
    run_with(bench, url, WORK, pair)
}

fn run_with(bench: &Bench, url: &str, work: &str, (key, hosts): (&str, &str)) -> Finished {
    let config = config_with_work(bench, work, "[git]\npush = \"daemon\"\n");
    // A configuration that would forward the agent and take any host.
    let client = format!(
        "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nForwardAgent yes\n\
         StrictHostKeyChecking no\n",
        bench.text(key),
        bench.text(hosts)
    );
    let client = bench.file("ssh_config", &client);
    let ssh = bench.file("ssh", &format!("#!/bin/sh\nexec ssh -F {client} \"$@\"\n"));
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let words = ["run", "--output", "jsonl", "--config", &config];
    let mut command = bench.command(&words);
    command.args(["--repo", url, "--workspace-dir", &bench.text("w"), "Go."]);
    bench.start(command.env("GIT_SSH", ssh)).finish()
}

fn events(done: &Finished) -> Vec<Value> {
    let lines = done.out.iter();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_repository_is_cloned_from_and_pushed_to_over_ssh() {
    let bench = Bench::new();
    let Some(sshd) = Sshd::start(&bench) else {
        return;
    };
    let folder = repository(&bench, "served/it's a repo");
    let url = sshd.url(&folder).replace(' ', "%20");
    let done = run(&bench, &url, ("key", "known_hosts"));
    assert_eq!(done.code(), 0, "{done:#?}");
    let events = events(&done);
    let notices = of_type(&events, "notice").into_iter();
    let pushed: Vec<_> = notices.filter(|told| told["code"] == "pushed").collect();
    assert_eq!(pushed.len(), 1, "{events:#?}");
    let head = git(&bench.path("w"), &["rev-parse", "HEAD"]);
    let refs = "refs/heads/agent-runner";
    let branch = git(&folder, &["for-each-ref", "--format=%(objectname)", refs]);
    assert_eq!(branch, head);
    git(&folder, &["fsck", "--strict"]);
    let origin = git(&bench.path("w"), &["remote", "get-url", "origin"]);
    assert_eq!(origin, url);
}

#[test]
fn a_host_that_is_not_known_and_a_key_that_is_not_taken_are_refused_with_what_to_do() {
    let bench = Bench::new();
    let Some(sshd) = Sshd::start(&bench) else {
        return;
    };
    let url = sshd.url(&repository(&bench, "served/r"));
    keygen(&bench, "other");
    bench.file("no_hosts", "");
    for (pair, told, next) in [
        (
            ("key", "no_hosts"),
            "Host key verification failed",
            "known_hosts",
        ),
        (("other", "known_hosts"), "Permission denied", "ssh-add"),
    ] {
        let done = run(&bench, &url, pair);
        let said = done.fails_with(66);
        assert!(said.contains(told) && said.contains(next), "{said}");
    }
    assert_eq!(fs::read_to_string(bench.path("no_hosts")).unwrap(), "");
    let missing = sshd.url(Path::new("/no/such/repository"));
    let done = run(&bench, &missing, ("key", "known_hosts"));
    let said = done.fails_with(66);
    assert!(said.contains("not appear to be a git repository"), "{said}");
    assert!(!bench.path("w").exists());
}

#[test]
fn a_machine_without_ssh_says_so() {
    let bench = Bench::new();
    let config = config_with_work(&bench, "true", "");
    let words = [
        "run",
        "--config",
        &config,
        "--repo",
        "git@127.0.0.1:a/b",
        "Go.",
    ];
    let mut command = bench.command(&words);
    let done = bench.start(command.env("GIT_SSH", "/no/such/ssh")).finish();
    let said = done.fails_with(66);
    assert!(
        said.contains("no program `ssh`") && said.contains("https"),
        "{said}"
    );
}

/// A commit with a file of Git LFS that holds `new` and a line's end.
const LFS_WORK: &str = "git lfs install --local --skip-repo >&2; git lfs track '*.bin' >&2; \
                        echo new >more.bin; git add .; \
                        git -c user.name=B -c user.email=b@c.d commit -q -m more";
const LFS_OID: &str = "7aa7a5359173d05b63cfd682e3c38487f3cb4f7f1d60659fe59fab1505977d4c";

/// A user's name and token in base64, and what a forge's `git-lfs-authenticate` prints with it.
fn login(token: &str, url: &str) -> (String, Value) {
    let pair = format!("x-access-token:{token}");
    let pair = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
    let login = serde_json::json!({
        "href": format!("{url}.git/info/lfs"),
        "header": {"Authorization": format!("Basic {pair}")},
        "expires_in": 600,
    });
    (pair, login)
}

#[test]
fn what_a_push_over_ssh_leaves_to_lfs_goes_where_the_server_says() {
    const TOKEN: &str = "t-of-the-forge-needle";
    let bench = Bench::new();
    let Some(sshd) = Sshd::start(&bench) else {
        return;
    };
    if Command::new("git-lfs").arg("version").output().is_err() {
        return skip("needs git-lfs (Debian: apt install git-lfs)");
    }
    let folder = repository(&bench, "served/r");
    let behaviour = Behaviour {
        token: Some(TOKEN),
        ..Behaviour::default()
    };
    let server = GitServer::start(&bench.path("served"), behaviour);
    let (pair, login) = login(TOKEN, &server.url("r"));
    fs::create_dir(bench.path("forge")).unwrap();
    let program = bench.path("forge/git-lfs-authenticate");
    let asked = bench.text("asked");
    let answers = format!("#!/bin/sh\necho \"$@\" >{asked}\necho '{login}'\n");
    let denies = "#!/bin/sh\necho 'ERROR: you may not write here' >&2\nexit 1\n";
    let names_others = r#"#!/bin/sh
        echo '{"href": "http://169.254.169.254/latest", "header": {}}'"#;
    let url = sshd.url(&folder);
    let refused = "`169.254.169.254`, which is refused";
    for (script, code, words) in [
        (None, "push_without_lfs", "has no git-lfs-authenticate"),
        (Some(denies), "push_failed", "you may not write here"),
        (Some(names_others), "push_failed", refused),
        (Some(&*answers), "pushed", "with 1 file of Git LFS (1 KiB)"),
    ] {
        if let Some(script) = script {
            fs::write(&program, script).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let done = run_with(&bench, &url, LFS_WORK, ("key", "known_hosts"));
        assert_eq!(done.code(), 0, "{done:#?}");
        let all = format!("{}{}", done.out.join("\n"), done.err);
        assert!(!all.contains(&pair) && !all.contains(TOKEN), "{all}");
        let events = events(&done);
        let told = of_type(&events, "notice").into_iter();
        let told = told.filter(|told| told["code"] == code);
        let told: Vec<_> = told.map(|told| told["text"].to_string()).collect();
        assert_eq!(told.len(), 1, "{code}: {events:#?}");
        assert!(told[0].contains(words), "{told:?}");
        fs::remove_dir_all(bench.path("w")).unwrap();
    }
    let stored = bench.path("served/lfs").join(LFS_OID);
    assert_eq!(fs::read_to_string(stored).unwrap(), "new\n");
    let asked = fs::read_to_string(asked).unwrap();
    assert_eq!(asked, format!("{} upload\n", folder.display()));
    // Without Git LFS, and with it; not where it was refused.
    let refs = "refs/heads/agent-runner";
    let branches = git(&folder, &["for-each-ref", "--format=%(refname)", refs]);
    assert_eq!(branches.lines().count(), 2, "{branches}");
}
