//! Clones of real repositories: from a folder, from a file URL, and from git's own HTTP server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // a test's own fixtures

#[path = "workspace/extent.rs"]
mod extent;
mod git_server;
#[path = "workspace/hostile.rs"]
mod hostile;
#[path = "support/git.rs"]
mod own_git;
#[path = "git_server/tls.rs"]
mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::workspace::{
    Cache, CloneError, CloneRequest, Extent, Progress, RepoUrl, Revision, Workspace, clone,
};
use git_server::{Behaviour, GitServer};
use secrecy::SecretString;
use tempfile::TempDir;
use tls::TlsFront;

/// A folder with a repository of three commits, a tag, a branch, and a place for workspaces.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        bench.git(".", &["init", "-q", "-b", "main", "origin"]);
        for (file, message) in [("a.txt", "one"), ("b.txt", "two"), ("c.txt", "three")] {
            fs::write(bench.path("origin").join(file), message).unwrap();
            bench.git("origin", &["add", "."]);
            bench.git("origin", &["commit", "-q", "-m", message]);
        }
        bench.git("origin", &["tag", "-a", "-m", "first", "v1", "main~1"]);
        bench.git("origin", &["branch", "side/one", "main~2"]);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn git(&self, folder: &str, words: &[&str]) -> String {
        own_git::git(&self.path(folder), words)
    }

    pub(crate) fn request(&self, url: &str) -> CloneRequest {
        CloneRequest {
            url: RepoUrl::parse(url, self.dir.path()).unwrap(),
            revision: None,
            token: None,
            into: self.path("workspaces/w"),
            limit: Duration::from_mins(1),
            ca_file: None,
            cache: None,
            extent: Extent::default(),
        }
    }

    fn at(&self, url: &str, revision: &str) -> CloneRequest {
        CloneRequest {
            revision: Some(Revision::parse(revision).unwrap()),
            ..self.request(url)
        }
    }

    /// Nothing but the folder for workspaces, and nothing in it.
    pub(crate) fn assert_nothing_left(&self) {
        let left = fs::read_dir(self.path("workspaces")).map_or(0, Iterator::count);
        assert_eq!(left, 0);
    }
}

pub(crate) fn run(request: &CloneRequest) -> Result<Workspace, CloneError> {
    clone(request, Clock, &AtomicBool::new(false), &mut |_| {})
}

pub(crate) fn count_commits(bench: &Bench) -> String {
    bench.git("workspaces/w", &["rev-list", "--count", "HEAD"])
}

#[test]
fn a_local_repository_is_cloned_whole_by_path_and_by_file_url() {
    let bench = Bench::new();
    let head = bench.git("origin", &["rev-parse", "main"]);
    let origin = bench.path("origin");
    for url in ["origin".to_owned(), format!("file://{}", origin.display())] {
        let workspace = run(&bench.request(&url)).unwrap();
        assert_eq!(workspace.commit.as_deref(), Some(head.as_str()));
        assert_eq!(workspace.branch.as_deref(), Some("main"));
        assert_eq!(count_commits(&bench), "3");
        assert_eq!(bench.git("workspaces/w", &["status", "--porcelain"]), "");
        assert_eq!(
            bench.git("workspaces/w", &["rev-parse", "--abbrev-ref", "@{u}"]),
            "origin/main"
        );
        fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
    }
    bench.assert_nothing_left();
}

#[test]
fn a_branch_a_tag_and_a_commit_are_checked_out_from_both_kinds_of_source() {
    let bench = Bench::new();
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    let first = bench.git("origin", &["rev-parse", "main~2"]);
    for url in ["origin".to_owned(), server.url("origin")] {
        for (revision, files, branch) in [
            ("side/one", 1, Some("side/one")),
            ("v1", 2, None),
            (first.as_str(), 1, None),
        ] {
            let workspace = run(&bench.at(&url, revision)).unwrap();
            assert_eq!(workspace.branch.as_deref(), branch, "{url} {revision}");
            let there = fs::read_dir(&workspace.path).unwrap().count();
            assert_eq!(there, files + 1, "{url} {revision}"); // and .git
            fs::remove_dir_all(&workspace.path).unwrap();
        }
        let error = run(&bench.at(&url, "sied/one")).unwrap_err();
        assert!(matches!(&error, CloneError::NoRevision { .. }), "{error}");
        assert!(
            error.to_string().contains("it has main, side/one"),
            "{error}"
        );
        bench.assert_nothing_left();
    }
}

#[test]
fn a_clone_over_http_is_shallow_and_shows_progress() {
    let bench = Bench::new();
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    let mut seen = Vec::new();
    let request = bench.request(&server.url("origin"));
    let workspace = clone(&request, Clock, &AtomicBool::new(false), &mut |progress| {
        seen.push(progress);
    });
    assert_eq!(workspace.unwrap().branch.as_deref(), Some("main"));
    assert_eq!(count_commits(&bench), "1");
    let received = |p: &Progress| matches!(p, Progress::Receiving { objects, total, bytes } if objects == total && *bytes > 0);
    assert!(seen.iter().any(received), "{seen:?}");
    assert!(
        seen.contains(&Progress::CheckingOut { files: 3, total: 3 }),
        "{seen:?}"
    );
}

#[test]
fn a_private_repository_is_cloned_with_a_token_that_is_stored_nowhere() {
    let bench = Bench::new();
    let server = GitServer::start(
        bench.dir.path(),
        Behaviour {
            token: Some("t-0k3n"),
            ..Behaviour::default()
        },
    );
    let mut request = bench.request(&server.url("origin"));
    assert!(matches!(run(&request), Err(CloneError::AuthNeeded { .. })));
    request.token = Some(SecretString::from("wrong"));
    let error = run(&request).unwrap_err();
    assert!(matches!(error, CloneError::AuthRefused { .. }), "{error}");
    assert!(server.requests() < 12, "asked {} times", server.requests());
    bench.assert_nothing_left();
    request.token = Some(SecretString::from("t-0k3n"));
    run(&request).unwrap();
    assert!(!holds(&bench.path("workspaces/w"), b"t-0k3n"));
    let config = fs::read_to_string(bench.path("workspaces/w/.git/config")).unwrap();
    assert!(!config.contains("followRedirects"), "{config}");
}

#[test]
fn https_is_spoken_with_a_ca_of_ones_own_and_with_no_other_that_is_unknown() {
    let bench = Bench::new();
    let behaviour = Behaviour {
        token: Some("t0ken"),
        ..Behaviour::default()
    };
    let server = GitServer::start(bench.dir.path(), behaviour);
    let front = TlsFront::before(&server.url(""));
    let mut request = bench.request(&front.url("origin"));
    request.token = Some("t0ken".to_owned().into());
    assert!(matches!(run(&request), Err(CloneError::Certificate { .. })));
    assert_eq!(server.requests(), 0);
    bench.assert_nothing_left();
    request.ca_file = Some(tls::ca_file());
    run(&request).unwrap();
    assert_eq!(count_commits(&bench), "1");
    request.into = bench.path("workspaces/other");
    request.ca_file = Some(bench.path("origin/.git/HEAD"));
    let error = run(&request).unwrap_err().to_string();
    assert!(error.contains("there are none in PEM form"), "{error}");
}

#[test]
fn a_token_does_not_follow_a_redirect_to_another_host() {
    let bench = Bench::new();
    let thief = GitServer::start(
        bench.dir.path(),
        Behaviour {
            token: Some("t-0k3n"),
            ..Behaviour::default()
        },
    );
    let away = thief.url("").replace("127.0.0.1", "localhost");
    let server = GitServer::start(
        bench.dir.path(),
        Behaviour {
            redirect: Some(away),
            ..Behaviour::default()
        },
    );
    let mut request = bench.request(&server.url("origin"));
    request.token = Some(SecretString::from("t-0k3n"));
    let error = run(&request).unwrap_err();
    assert!(matches!(error, CloneError::Redirect { .. }), "{error}");
    assert_eq!(thief.requests(), 0);
    bench.assert_nothing_left();
}

#[test]
fn what_is_not_there_is_not_found() {
    let bench = Bench::new();
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    fs::create_dir(bench.path("plain")).unwrap();
    for url in ["none".to_owned(), "plain".to_owned(), server.url("none")] {
        let error = run(&bench.request(&url)).unwrap_err();
        assert!(
            matches!(error, CloneError::NotFound { .. }),
            "{url}: {error}"
        );
    }
    bench.assert_nothing_left();
}

#[test]
fn a_server_that_is_not_there_is_a_network_error() {
    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/r", listener.local_addr().unwrap());
    drop(listener);
    let error = run(&bench.request(&url)).unwrap_err();
    assert!(matches!(error, CloneError::Network { .. }), "{error}");
    bench.assert_nothing_left();
}

#[test]
fn a_server_that_forbids_or_breaks_says_which() {
    let bench = Bench::new();
    let answer = |status| {
        let behaviour = Behaviour {
            status: Some(status),
            ..Behaviour::default()
        };
        let server = GitServer::start(bench.dir.path(), behaviour);
        run(&bench.request(&server.url("origin"))).unwrap_err()
    };
    assert!(matches!(answer(403), CloneError::Forbidden { .. }));
    let broken = answer(500);
    assert!(matches!(broken, CloneError::Network { .. }));
    assert!(broken.to_string().contains("500"), "{broken}");
    bench.assert_nothing_left();
}

#[test]
fn a_clone_can_be_cancelled_and_has_its_time() {
    let bench = Bench::new();
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    let mut request = bench.request(&server.url("origin"));
    let cancelled = AtomicBool::new(false);
    let result = clone(&request, Clock, &cancelled, &mut |_| {
        cancelled.store(true, Ordering::Relaxed);
    });
    assert!(
        matches!(result, Err(CloneError::Cancelled { .. })),
        "{result:?}"
    );
    bench.assert_nothing_left();
    request.limit = Duration::ZERO;
    assert!(matches!(run(&request), Err(CloneError::TimedOut { .. })));
    bench.assert_nothing_left();
}

#[test]
fn a_clone_that_is_there_is_used_again_and_anything_else_is_left_alone() {
    let bench = Bench::new();
    let request = bench.request("origin");
    run(&request).unwrap();
    fs::write(bench.path("workspaces/w/new.txt"), "work").unwrap();
    let again = run(&request).unwrap();
    assert!(again.reused && again.branch.as_deref() == Some("main"));
    assert!(bench.path("workspaces/w/new.txt").exists());
    bench.git(".", &["init", "-q", "other"]);
    let error = run(&bench.request("other")).unwrap_err();
    assert!(matches!(error, CloneError::Occupied { .. }), "{error}");
    assert!(bench.path("workspaces/w/new.txt").exists());
}

#[test]
fn root_finds_a_clone_again_that_it_gave_to_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let bench = Bench::new();
    let request = bench.request("origin");
    let first = run(&request).unwrap();
    let given = Command::new("chown")
        .args(["-R", "1000:1000"])
        .arg(&first.path)
        .status();
    assert!(given.unwrap().success());
    let again = run(&request).unwrap();
    assert!(again.reused && again.branch == first.branch, "{again:?}");
    // Neither a link nor another origin will do.
    let head = first.path.join(".git/HEAD");
    fs::remove_file(&head).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &head).unwrap();
    assert!(matches!(run(&request), Err(CloneError::Occupied { .. })));
}

#[test]
fn an_empty_folder_becomes_the_workspace_and_stays_empty_when_the_clone_fails() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("workspaces/w/.agent-runner-cloning-crashed")).unwrap();
    assert!(run(&bench.at("origin", "none")).is_err());
    assert_eq!(fs::read_dir(bench.path("workspaces/w")).unwrap().count(), 0);
    run(&bench.request("origin")).unwrap();
    assert_eq!(bench.git("workspaces/w", &["status", "--porcelain"]), "");
}

#[test]
fn what_a_killed_clone_left_is_removed_by_the_next() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("workspaces/.agent-runner-cloning-w-crashed/.git")).unwrap();
    run(&bench.request("origin")).unwrap();
    assert_eq!(fs::read_dir(bench.path("workspaces")).unwrap().count(), 1);
}

#[test]
fn an_empty_repository_is_an_empty_workspace() {
    let bench = Bench::new();
    bench.git(".", &["init", "-q", "--bare", "empty"]);
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    for url in ["empty".to_owned(), server.url("empty")] {
        let workspace = run(&bench.request(&url)).unwrap();
        assert_eq!((workspace.commit, workspace.branch), (None, None), "{url}");
        fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
    }
}

#[test]
fn hooks_and_submodules_take_no_part() {
    let bench = Bench::new();
    let module = bench.path("origin");
    bench.git(".", &["init", "-q", "-b", "main", "outer"]);
    bench.git(
        "outer",
        &["submodule", "-q", "add", module.to_str().unwrap(), "inner"],
    );
    bench.git("outer", &["commit", "-q", "-m", "one"]);
    let hook = bench.path("outer/.git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\ntouch \"$0.ran\"\n").unwrap();
    let workspace = run(&bench.request("outer")).unwrap();
    assert_eq!(
        fs::read_dir(workspace.path.join("inner")).unwrap().count(),
        0
    );
    let hooks = fs::read_dir(workspace.path.join(".git/hooks"))
        .into_iter()
        .flatten();
    let names = hooks.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let live: Vec<_> = names.filter(|name| !name.ends_with(".sample")).collect();
    assert_eq!(live, [] as [&str; 0]);
}

/// Something that no packing makes small.
fn commit_noise(bench: &Bench) {
    let noise: Vec<u8> = (0..400_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect();
    fs::write(bench.path("origin/noise.bin"), noise).unwrap();
    bench.git("origin", &["add", "."]);
    bench.git("origin", &["commit", "-q", "-m", "noise"]);
}

#[test]
fn a_repository_that_was_cloned_before_is_fetched_from_where_it_was_left() {
    let bench = Bench::new();
    let behaviour = Behaviour {
        token: Some("right-token"),
        ..Behaviour::default()
    };
    let server = GitServer::start(bench.dir.path(), behaviour);
    let url = server.url("origin");
    commit_noise(&bench);
    let cached = |revision: Option<&str>| {
        let mut request = bench.request(&url);
        request.revision = revision.map(|revision| Revision::parse(revision).unwrap());
        request.token = Some(SecretString::from("right-token"));
        request.cache = Some(Cache {
            path: bench.path("cache"),
            limit: 1 << 30,
        });
        request
    };
    let received = |request: &CloneRequest| {
        let mut most = 0;
        let made = clone(request, Clock, &AtomicBool::new(false), &mut |step| {
            if let Progress::Receiving { bytes, .. } = step {
                most = most.max(bytes);
            }
        });
        (made.unwrap(), most)
    };
    let first_commit = bench.git("origin", &["rev-parse", "main~3"]);
    let revisions = [None, Some("side/one"), Some("v1"), Some(&*first_commit)];
    for revision in revisions {
        let (plain, _) = received(&CloneRequest {
            cache: None,
            ..cached(revision)
        });
        fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
        received(&cached(revision));
        fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
        let (again, bytes) = received(&cached(revision));
        assert_eq!(again, plain, "{revision:?}");
        assert!(bytes < 1_000, "{revision:?}: {bytes} bytes again");
        assert_eq!(bench.git("workspaces/w", &["status", "--porcelain"]), "");
        bench.git("workspaces/w", &["fsck", "--strict"]);
        fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
    }
    fs::write(bench.path("origin/a.txt"), "newer").unwrap();
    bench.git("origin", &["commit", "-q", "-a", "-m", "newer"]);
    let (newer, bytes) = received(&cached(None));
    let tip = bench.git("origin", &["rev-parse", "main"]);
    assert_eq!(newer.commit, Some(tip));
    assert!(bytes < 2_000, "{bytes}");
    let remotes = bench.git("workspaces/w", &["branch", "-r"]);
    assert_eq!(remotes, "origin/main", "not another clone's branch");
    fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
    let stranger = CloneRequest {
        token: None,
        ..cached(None)
    };
    assert!(matches!(run(&stranger), Err(CloneError::AuthNeeded { .. })));
}

#[test]
fn a_cache_that_is_full_forgets_and_one_that_is_broken_is_made_anew() {
    let bench = Bench::new();
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    let request = CloneRequest {
        cache: Some(Cache {
            path: bench.path("cache"),
            limit: 0,
        }),
        ..bench.request(&server.url("origin"))
    };
    let entries = || {
        let entries = fs::read_dir(bench.path("cache")).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    };
    run(&request).unwrap();
    assert_eq!(entries(), 0);
    fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
    let roomy = CloneRequest {
        cache: Some(Cache {
            path: bench.path("cache"),
            limit: 1 << 30,
        }),
        ..request
    };
    for _ in 0..2 {
        run(&roomy).unwrap();
        assert_eq!(entries(), 1);
        fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
        let entry = fs::read_dir(bench.path("cache")).unwrap();
        let entry = entry
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir());
        fs::write(entry.unwrap().join("HEAD"), "broken").unwrap();
    }
}

pub(crate) fn holds(folder: &Path, needle: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        let bytes = fs::read(&path).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}
