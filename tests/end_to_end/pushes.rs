//! What an agent commits is pushed: by the daemon, or by the agent's own git with a token that is
//! handed to it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bench::Bench;
use crate::git_server::{Behaviour, GitServer};
use crate::ground::{config_with_work, git, of_type, repository, run};

const TOKEN: &str = "t-0k3n-needle";

/// Commits a file and looks around for the token.
const WORK: &str = r#"
echo "$RANDOM$$" >>work.txt
git add . && git -c user.name=B -c user.email=b@c.d commit -q -m work
grep -rl t-0k3n-need[l]e . /proc/[0-9]*/cmdline /proc/self/environ /proc/$PPID/environ 2>/dev/null | grep -v cli >found
"#;

struct Origin {
    bench: Bench,
    server: GitServer,
    folder: PathBuf,
}

impl Origin {
    fn new() -> Self {
        let bench = Bench::new();
        fs::create_dir(bench.path("served")).unwrap();
        let folder = repository(&bench, "served/r");
        let behaviour = Behaviour {
            token: Some(TOKEN),
            ..Behaviour::default()
        };
        let server = GitServer::start(&bench.path("served"), behaviour);
        bench.file("token", TOKEN);
        Self {
            bench,
            server,
            folder,
        }
    }

    fn run(&self, work: &str, settings: &str) -> (i32, Vec<Value>, String) {
        let config = config_with_work(&self.bench, work, settings);
        let (url, token, workspace) = (
            self.server.url("r"),
            self.bench.text("token"),
            self.bench.text("w"),
        );
        let words = [
            "--config",
            &config,
            "--repo",
            &url,
            "--git-token-file",
            &token,
            "--workspace-dir",
            &workspace,
            "Go.",
        ];
        run(&self.bench, &words)
    }

    fn branches(&self) -> Vec<String> {
        let list = git(
            &self.folder,
            &["for-each-ref", "--format=%(refname:short)", "refs/heads"],
        );
        list.lines().map(str::to_owned).collect()
    }
}

fn notice<'a>(events: &'a [Value], code: &str) -> &'a str {
    let notices = of_type(events, "notice");
    let found = notices.into_iter().find(|notice| notice["code"] == code);
    let found = found.unwrap_or_else(|| panic!("no {code} in {events:#?}"));
    found["text"].as_str().unwrap()
}

/// Whether the token stands in any file below a folder.
fn holds_token(folder: &Path) -> bool {
    let found = std::process::Command::new("grep")
        .args(["-rqF", TOKEN])
        .arg(folder)
        .status();
    found.unwrap().success()
}

#[test]
fn the_daemon_pushes_what_was_committed_to_the_sessions_branch() {
    let origin = Origin::new();
    let (code, events, said) = origin.run(WORK, "[git]\npush_branch = \"work/{session}\"\n");
    assert_eq!(code, 0, "{said}");
    let told = notice(&events, "pushed");
    let session = events[0]["session_id"].as_str().unwrap();
    let branch = format!("work/{session}");
    assert!(
        told.contains("1 commit to ") && told.contains(&branch),
        "{told}"
    );
    assert_eq!(origin.branches(), ["main".to_owned(), branch.clone()]);
    let workspace = origin.bench.path("w");
    let head = git(&workspace, &["rev-parse", "HEAD"]);
    assert_eq!(git(&origin.folder, &["rev-parse", &branch]), head);
    git(&origin.folder, &["fsck", "--strict"]);
    let [.., last] = events.as_slice() else {
        panic!("no events");
    };
    assert_eq!(last["outcome"], "completed");
    assert_eq!(
        fs::read_to_string(workspace.join("found")).unwrap(),
        "",
        "the token was found"
    );
    for folder in ["w", "state", "home"] {
        assert!(!holds_token(&origin.bench.path(folder)), "{folder}");
    }
    assert!(!format!("{events:?}{said}").contains(TOKEN));
    origin.bench.assert_no_process_left();
}

#[test]
fn what_cannot_be_pushed_is_kept_as_a_bundle_and_nothing_is_forced() {
    let origin = Origin::new();
    let settings = "[git]\npush = \"daemon\"\npush_branch = \"shared\"\n";
    // Somebody else's commit on that branch.
    git(&origin.folder, &["checkout", "-q", "-b", "shared"]);
    fs::write(origin.folder.join("theirs.txt"), "x").unwrap();
    git(&origin.folder, &["add", "."]);
    git(&origin.folder, &["commit", "-q", "-m", "theirs"]);
    git(&origin.folder, &["checkout", "-q", "main"]);
    let theirs = git(&origin.folder, &["rev-parse", "shared"]);
    let (code, events, said) = origin.run(WORK, settings);
    assert_eq!(code, 0, "{said}");
    let told = notice(&events, "push_diverged").to_owned();
    assert_eq!(git(&origin.folder, &["rev-parse", "shared"]), theirs);
    assert_bundle(&origin, &told);

    // A server that refuses to take it.
    fs::remove_dir_all(origin.bench.path("w")).unwrap();
    let hook = origin.folder.join(".git/hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&hook, mode).unwrap();
    let (code, events, said) = origin.run(WORK, "");
    assert_eq!(code, 0, "{said}");
    let told = notice(&events, "push_failed").to_owned();
    assert!(told.contains("pre-receive hook declined"), "{told}");
    assert_bundle(&origin, &told);
}

/// The bundle that a notice names brings the workspace's commit to a clone.
fn assert_bundle(origin: &Origin, told: &str) {
    let path = told
        .split(" is in ")
        .nth(1)
        .unwrap()
        .split(" (git fetch")
        .next()
        .unwrap();
    let head = git(&origin.bench.path("w"), &["rev-parse", "HEAD"]);
    let clone = origin.bench.path("rescued");
    git(
        origin.bench.path(".").as_path(),
        &["clone", "-q", origin.folder.to_str().unwrap(), "rescued"],
    );
    git(&clone, &["bundle", "verify", path]);
    git(
        &clone,
        &["fetch", "-q", path, "+refs/heads/*:refs/rescued/*"],
    );
    let fetched = git(
        &clone,
        &["for-each-ref", "--format=%(objectname)", "refs/rescued"],
    );
    assert_eq!(fetched, head);
    git(&clone, &["fsck", "--strict"]);
    fs::remove_dir_all(clone).unwrap();
}

#[test]
fn a_repository_of_this_machine_is_pushed_to_only_where_that_is_asked_for() {
    let bench = Bench::new();
    let folder = repository(&bench, "r");
    let branches = || git(&folder, &["branch", "--format=%(refname:short)"]);
    for (settings, pushed) in [
        ("", false),
        ("[git]\npush = \"off\"\n", false),
        ("[git]\npush = \"daemon\"\n", true),
    ] {
        let config = config_with_work(&bench, WORK, settings);
        let words = [
            "--config",
            &config,
            "--repo",
            folder.to_str().unwrap(),
            "--workspace-dir",
            &bench.text("w"),
            "Go.",
        ];
        let (code, events, said) = run(&bench, &words);
        assert_eq!(code, 0, "{said}");
        assert_eq!(
            branches().contains("agent-runner/"),
            pushed,
            "{settings}: {events:#?}"
        );
        fs::remove_dir_all(bench.path("w")).unwrap();
    }
    git(&folder, &["fsck", "--strict"]);
}

#[test]
fn the_agents_git_pushes_by_itself_with_a_token_for_this_repository_alone() {
    let origin = Origin::new();
    let other = GitServer::start(
        &origin.bench.path("served"),
        Behaviour {
            token: Some(TOKEN),
            ..Behaviour::default()
        },
    );
    let work = format!(
        "{WORK}\ngit push -q origin HEAD:by-agent >pushed 2>&1\nexport GIT_TERMINAL_PROMPT=0\n\
         git push -q {} HEAD:stolen >refused 2>&1\ngit push -q {} HEAD:x >>refused 2>&1\n\
         env >env; git config --list >config\n",
        other.url("r"),
        origin.server.url("other"),
    );
    let (code, events, said) = origin.run(&work, "[git]\npush = \"agent\"\n");
    assert_eq!(code, 0, "{said}");
    let workspace = origin.bench.path("w");
    let read = |name: &str| fs::read_to_string(workspace.join(name)).unwrap();
    assert_eq!(read("pushed"), "");
    assert_eq!(origin.branches(), ["by-agent", "main"], "{events:#?}");
    let head = git(&workspace, &["rev-parse", "HEAD"]);
    assert_eq!(git(&origin.folder, &["rev-parse", "by-agent"]), head);
    assert!(!read("refused").is_empty());
    assert_eq!(read("found"), "", "the token was found");
    assert!(!holds_token(&workspace) && !holds_token(&origin.bench.path("state")));
    origin.bench.assert_no_process_left();
}

/// Puts a file of Git LFS into the origin: its pointer in a commit, its content in the store.
fn store_large(origin: &Origin, content: &str) {
    let path = origin.bench.path("content");
    fs::write(&path, content).unwrap();
    let sum = std::process::Command::new("sha256sum").arg(&path).output();
    let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
    let oid = sum.split(' ').next().unwrap();
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n",
        content.len()
    );
    fs::create_dir_all(origin.bench.path("served/lfs")).unwrap();
    fs::write(origin.bench.path("served/lfs").join(oid), content).unwrap();
    fs::write(origin.folder.join("large.bin"), pointer).unwrap();
    let rule = "*.bin filter=lfs diff=lfs merge=lfs -text\n";
    fs::write(origin.folder.join(".gitattributes"), rule).unwrap();
    // The machine's own configuration may know the filter; here it must not run.
    let plain = [
        "-c",
        "filter.lfs.clean=cat",
        "-c",
        "filter.lfs.required=false",
    ];
    git(&origin.folder, &[&plain[..], &["add", "."]].concat());
    git(&origin.folder, &["commit", "-q", "-m", "large"]);
}

#[test]
fn lfs_files_are_fetched_and_stored_by_its_program_with_the_token_of_the_repository() {
    if !git_lfs() {
        return crate::bench::skip("needs git-lfs (Debian: apt install git-lfs)");
    }
    let origin = Origin::new();
    store_large(&origin, "a large file\n");
    let work = "cp large.bin seen; git status --porcelain >status; echo new >more.bin; \
                git add more.bin; git -c user.name=B -c user.email=b@c.d commit -q -m more; \
                git push -q origin HEAD:by-agent >pushed 2>&1";
    let settings = "[git]\nlfs = true\npush = \"agent\"\n";
    let (code, events, said) = origin.run(work, settings);
    assert_eq!(code, 0, "{said}");
    let workspace = origin.bench.path("w");
    let read = |name: &str| fs::read_to_string(workspace.join(name)).unwrap();
    assert_eq!(read("seen"), "a large file\n", "{events:#?}");
    assert_eq!(read("status"), "?? seen\n?? status\n");
    // Its progress may be told.
    assert!(!read("pushed").contains("fatal"), "{}", read("pushed"));
    // What the agent added is a pointer in its commit, and its content is where those of others are.
    let pointer = git(&origin.folder, &["show", "by-agent:more.bin"]);
    let oid = pointer.split("sha256:").nth(1).unwrap();
    let oid = oid.lines().next().unwrap();
    let stored = origin.bench.path("served/lfs").join(oid);
    assert_eq!(fs::read_to_string(stored).unwrap(), "new\n");
    assert!(!holds_token(&workspace) && !holds_token(&origin.bench.path("state")));
    origin.bench.assert_no_process_left();
}

/// Adds a file of Git LFS.
const LARGE_WORK: &str = "echo new >more.bin; git add more.bin; \
                          git -c user.name=B -c user.email=b@c.d commit -q -m more;";
/// The content `new` and a line's end.
const LARGE_OID: &str = "7aa7a5359173d05b63cfd682e3c38487f3cb4f7f1d60659fe59fab1505977d4c";

#[test]
fn the_daemon_uploads_what_a_push_leaves_to_lfs_and_a_fresh_clone_has_it() {
    if !git_lfs() {
        return crate::bench::skip("needs git-lfs (Debian: apt install git-lfs)");
    }
    let origin = Origin::new();
    store_large(&origin, "a large file\n");
    // What the server has is not asked of the workspace.
    let work = format!("cp large.bin copy.bin; git add .; rm -rf .git/lfs/objects; {LARGE_WORK}");
    let mut settings = "[git]\nlfs = true\npush_branch = \"work\"\n".to_owned();
    if nix::unistd::geteuid().is_root() {
        // The content is read with the rights of the workspace's owner.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        fs::set_permissions(origin.bench.path(""), open).unwrap();
        settings.insert_str(0, "agent_user = \"nobody\"\n");
    }
    let (code, events, said) = origin.run(&work, &settings);
    assert_eq!(code, 0, "{said}");
    notice(&events, "pushed");
    let served = |name: &str| fs::read_to_string(origin.bench.path("served").join(name)).unwrap();
    assert_eq!(served(&format!("lfs/{LARGE_OID}")), "new\n");
    assert_eq!(served("lfs-verified"), format!("{LARGE_OID}\n"));
    let pair = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("x-access-token:{TOKEN}"),
    );
    let header = format!("http.extraHeader=Authorization: Basic {pair}");
    let words = [
        "-c",
        &header,
        "-c",
        "filter.lfs.process=git-lfs filter-process",
        "-c",
        "filter.lfs.required=true",
        "clone",
        "-q",
        "-b",
        "work",
        &origin.server.url("r"),
        "fresh",
    ];
    git(&origin.bench.path(""), &words);
    let cloned = |name: &str| fs::read_to_string(origin.bench.path("fresh").join(name)).unwrap();
    assert_eq!(cloned("more.bin"), "new\n");
    assert_eq!(cloned("copy.bin"), "a large file\n");
    let rescue = origin.bench.path("state/rescue");
    let left = walk(&rescue);
    assert!(left.is_empty(), "{left:?}");
    origin.bench.assert_no_process_left();
}

/// The files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let found = entries.map(|entry| entry.unwrap().path());
    found
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn a_branch_does_not_move_to_commits_whose_lfs_content_is_not_uploaded() {
    if !git_lfs() {
        return crate::bench::skip("needs git-lfs (Debian: apt install git-lfs)");
    }
    let origin = Origin::new();
    store_large(&origin, "a large file\n");
    let full = origin.bench.path("served/lfs-full");
    let replaced =
        "for f in $(find .git/lfs/objects -name '7aa7*'); do rm -f $f; echo bad >$f; done";
    for (then, is_full, why) in [
        ("", true, "507 Insufficient Storage: the store is full"),
        (
            "rm -rf .git/lfs/objects",
            false,
            "cannot be read: No such file",
        ),
        (replaced, false, "the workspace holds something else"),
    ] {
        fs::write(&full, "").unwrap();
        if !is_full {
            fs::remove_file(&full).unwrap();
        }
        let work = format!("{LARGE_WORK} {then}");
        let (code, events, said) = origin.run(&work, "[git]\nlfs = true\n");
        assert_eq!(code, 0, "{said}");
        let told = notice(&events, "push_failed");
        assert!(told.contains(why), "{told}");
        assert!(is_full || told.contains(LARGE_OID), "{told}");
        assert_eq!(origin.branches(), ["main"]);
        assert!(!origin.bench.path("served/lfs").join(LARGE_OID).exists());
        assert_bundle(&origin, told);
        fs::remove_dir_all(origin.bench.path("w")).unwrap();
    }
    origin.bench.assert_no_process_left();
}

#[test]
fn what_a_push_to_a_folder_leaves_to_lfs_is_stored_there_and_a_clone_has_it() {
    if !git_lfs() {
        return crate::bench::skip("needs git-lfs (Debian: apt install git-lfs)");
    }
    let bench = Bench::new();
    let folder = repository(&bench, "r");
    let settings = "[git]\npush = \"daemon\"\npush_branch = \"work\"\n";
    let track = "git lfs install --local --skip-repo >&2; git lfs track '*.bin' >&2; git add .;";
    let gone = format!("{track} {LARGE_WORK} rm -rf .git/lfs/objects");
    let there = format!("{track} {LARGE_WORK}");
    let (from, into) = (folder.to_str().unwrap(), bench.text("w"));
    for (work, code, words) in [
        (&gone, "push_failed", LARGE_OID),
        (&there, "pushed", "with 1 file of Git LFS (1 KiB)"),
    ] {
        let config = config_with_work(&bench, work, settings);
        let place = ["--repo", from, "--workspace-dir", &into];
        let words_of_run = [&["--config", &config], &place[..], &["Go."]].concat();
        let (status, events, said) = run(&bench, &words_of_run);
        assert_eq!(status, 0, "{said}");
        let told = notice(&events, code);
        assert!(told.contains(words), "{told}");
        fs::remove_dir_all(&into).unwrap();
    }
    let fresh = bench.path("fresh");
    let clone = [
        "clone",
        "-q",
        "-b",
        "work",
        &format!("file://{from}"),
        "fresh",
    ];
    git(&bench.path(""), &clone);
    git(&fresh, &["lfs", "install", "--local", "--skip-repo"]);
    git(&fresh, &["lfs", "pull"]);
    assert_eq!(fs::read_to_string(fresh.join("more.bin")).unwrap(), "new\n");
    bench.assert_no_process_left();
}

#[test]
fn a_server_that_a_repository_names_for_lfs_is_asked_only_where_it_is_its_own() {
    if !git_lfs() {
        return crate::bench::skip("needs git-lfs (Debian: apt install git-lfs)");
    }
    let origin = Origin::new();
    store_large(&origin, "a large file\n");
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let other = format!("http://{}/x", elsewhere.local_addr().unwrap());
    let own = format!("{}.git/info/lfs", origin.server.url("r"));
    for (named, is_own) in [(&other, false), (&own, true)] {
        let text = format!("[lfs]\n\turl = {named}\n[remote \"origin\"]\n\tlfsurl = {other}\n");
        fs::write(origin.folder.join(".lfsconfig"), text).unwrap();
        git(&origin.folder, &["add", ".lfsconfig"]);
        let who = ["-c", "user.name=A", "-c", "user.email=a@b.c"];
        git(
            &origin.folder,
            &[&who[..], &["commit", "-q", "-m", "lfs"]].concat(),
        );
        let (code, events, said) = origin.run("cat large.bin >seen", "[git]\nlfs = true\n");
        assert_eq!(code, 0, "{said}");
        let seen = fs::read_to_string(origin.bench.path("w/seen")).unwrap();
        assert_eq!(seen, "a large file\n");
        let told = events.iter().any(|event| {
            let text = event["text"].as_str().unwrap_or_default();
            text.contains("is not asked") && text.contains(&other)
        });
        assert_eq!(told, !is_own, "{events:#?}");
        assert!(elsewhere.accept().is_err(), "nobody went there");
        fs::remove_dir_all(origin.bench.path("w")).unwrap();
    }
}

#[test]
fn files_of_lfs_that_are_larger_than_a_repository_may_be_are_not_fetched() {
    let origin = Origin::new();
    let oid = "0".repeat(64);
    let size = 30_u64 << 30;
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n");
    fs::write(origin.folder.join("huge.bin"), pointer).unwrap();
    git(&origin.folder, &["add", "huge.bin"]);
    let who = ["-c", "user.name=A", "-c", "user.email=a@b.c"];
    git(
        &origin.folder,
        &[&who[..], &["commit", "-q", "-m", "huge"]].concat(),
    );
    let (code, _, said) = origin.run("true", "[git]\nlfs = true\n");
    assert_eq!(code, 66, "{said}");
    let told = said.contains("take 30720 MiB") && said.contains("git.max_size");
    assert!(told, "{said}");
}

#[test]
fn what_an_agent_links_into_the_place_of_its_repository_is_not_pushed() {
    let origin = Origin::new();
    let private = repository(&origin.bench, "private");
    fs::write(private.join("secret"), "private-needle").unwrap();
    git(&private, &["add", "."]);
    let who = ["-c", "user.name=A", "-c", "user.email=a@b.c"];
    git(
        &private,
        &[&who[..], &["commit", "-q", "-m", "private"]].concat(),
    );
    let at = private.display();
    let head = git(&private, &["rev-parse", "HEAD"]);
    for work in [
        format!("rm -rf .git; ln -s {at}/.git .git"),
        format!("rm -rf .git; echo 'gitdir: {at}/.git' >.git"),
        format!(
            "rm -rf .git/objects; ln -s {at}/.git/objects .git/objects; git update-ref --no-deref HEAD {head}"
        ),
        format!(
            "echo {at}/.git/objects >.git/objects/info/alternates; git update-ref --no-deref HEAD {head}"
        ),
        format!("echo {at}/.git >.git/commondir; git update-ref --no-deref HEAD {head}"),
    ] {
        let (code, events, said) = origin.run(&work, "");
        assert_eq!(code, 0, "{said}");
        assert_eq!(origin.branches(), ["main"], "{work}: {events:#?}");
        for rescue in walk(&origin.bench.path("state/rescue")) {
            let kept = fs::read(&rescue).unwrap();
            assert!(
                memchr::memmem::find(&kept, head.as_bytes()).is_none(),
                "{work}"
            );
        }
        fs::remove_dir_all(origin.bench.path("w")).unwrap();
    }
    if !agent_runner::process::can_restrict_files() {
        return crate::bench::skip("needs Landlock in the kernel");
    }
    // An agent that is kept in its workspace writes nothing there by its checkpoints either.
    let noted = ["for-each-ref", "refs/agent-runner"];
    let link = format!("rm -rf .git; ln -s {at}/.git .git");
    for (settings, is_kept) in [("landlock = true\n", true), ("", false)] {
        for reference in git(&private, &noted).lines() {
            let name = reference.rsplit('\t').next().unwrap();
            git(&private, &["update-ref", "-d", name]);
        }
        let (code, events, said) = origin.run(&link, settings);
        // What stands in for the CLI may not read its recording under Landlock.
        assert!(code == 0 || is_kept, "{said}");
        assert_eq!(git(&private, &noted).is_empty(), is_kept, "{events:#?}");
        fs::remove_dir_all(origin.bench.path("w")).unwrap();
    }
}

#[test]
fn lfs_without_its_program_says_what_to_install() {
    let origin = Origin::new();
    let bin = origin.bench.path("bin");
    fs::create_dir(&bin).unwrap();
    for tool in ["git", "sh", "cat"] {
        let found = std::process::Command::new("which").arg(tool).output();
        let path = String::from_utf8(found.unwrap().stdout).unwrap();
        std::os::unix::fs::symlink(path.trim(), bin.join(tool)).unwrap();
    }
    let config = config_with_work(&origin.bench, "true", "[git]\nlfs = true\n");
    let words = ["run", "--output", "jsonl", "--config", &config, "--repo"];
    let mut command = origin.bench.command(&words);
    let (url, token) = (origin.server.url("r"), origin.bench.text("token"));
    command.args([&url, "--git-token-file", &token, "Go."]);
    command.env("PATH", &bin);
    let done = origin.bench.start(&mut command).finish();
    assert_eq!(done.code(), 66, "{done:#?}");
    let told = done.out.join("\n");
    assert!(told.contains("git.lfs needs git-lfs"), "{done:#?}");
}

fn git_lfs() -> bool {
    let found = std::process::Command::new("git")
        .args(["lfs", "version"])
        .output();
    found.unwrap().status.success()
}

#[test]
fn another_users_agent_is_prepared_and_pushed_for_with_its_own_rights() {
    if !nix::unistd::geteuid().is_root() {
        return crate::bench::skip("needs root, to start an agent as another user");
    }
    let origin = Origin::new();
    let open = || std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(origin.bench.path(""), open()).unwrap();
    let setup = origin.bench.file("setup.sh", "id -un >prepared\n");
    let by_itself = format!("{WORK}\ngit push -q origin HEAD:by-agent >pushed 2>&1\n");
    for (work, push) in [(WORK, "daemon"), (by_itself.as_str(), "agent")] {
        let settings = format!(
            "agent_user = \"nobody\"\n[git]\npush = \"{push}\"\n[setup]\nscript = {setup:?}\n"
        );
        let (code, events, said) = origin.run(work, &settings);
        assert_eq!(code, 0, "{said}");
        let read =
            |name: &str| fs::read_to_string(origin.bench.path("w").join(name)).unwrap_or_default();
        assert_eq!(read("prepared"), "nobody\n", "{events:#?}");
        assert_eq!((read("found").as_str(), read("pushed").as_str()), ("", ""));
        if push == "daemon" {
            notice(&events, "pushed");
        }
        fs::remove_dir_all(origin.bench.path("w")).unwrap();
    }
    let branches = origin.branches();
    assert!(
        branches.len() == 3 && branches.contains(&"by-agent".to_owned()),
        "{branches:?}"
    );
    origin.bench.assert_no_process_left();
}
