//! How much is cloned: depth, submodules, and where neither may lead.

use std::fs;

use agent_runner::workspace::{AllowList, Cache, CloneError, CloneRequest, Extent, Reach};
use secrecy::SecretString;

use crate::git_server::{Behaviour, GitServer};
use crate::{Bench, count_commits, holds, run};

/// A repository with a submodule at `address`.
fn outer(bench: &Bench, address: &str) {
    bench.git(".", &["init", "-q", "-b", "main", "outer"]);
    let module = bench.path("origin");
    bench.git(
        "outer",
        &[
            "submodule",
            "-q",
            "add",
            module.to_str().unwrap(),
            "deep/inner",
        ],
    );
    bench.git(
        "outer",
        &[
            "config",
            "-f",
            ".gitmodules",
            "submodule.deep/inner.url",
            address,
        ],
    );
    bench.git("outer", &["add", "."]);
    bench.git("outer", &["commit", "-q", "-m", "one"]);
}

fn with_submodules(bench: &Bench, url: &str, allowed: &[&str]) -> CloneRequest {
    let allowed: Vec<String> = allowed.iter().map(|&entry| entry.to_owned()).collect();
    let submodules = Some(AllowList::parse(&allowed).unwrap());
    CloneRequest {
        extent: Extent {
            submodules,
            ..Extent::default()
        },
        ..bench.request(url)
    }
}

#[test]
fn submodules_are_cloned_where_asked_for_from_their_repositorys_own_server() {
    let bench = Bench::new();
    outer(&bench, "../origin");
    let behaviour = Behaviour {
        token: Some("t-0k3n"),
        ..Behaviour::default()
    };
    let server = GitServer::start(bench.dir.path(), behaviour);
    let mut request = with_submodules(&bench, &server.url("outer"), &[]);
    request.token = Some(SecretString::from("t-0k3n"));
    let workspace = run(&request).unwrap();
    let inner = workspace.path.join("deep/inner");
    assert_eq!(fs::read_to_string(inner.join("c.txt")).unwrap(), "three");
    assert_eq!(bench.git("workspaces/w", &["status", "--porcelain"]), "");
    let status = bench.git("workspaces/w", &["submodule", "status"]);
    assert!(!status.starts_with(['-', '+', 'U']), "{status}");
    assert!(!holds(&workspace.path, b"t-0k3n"));
}

#[test]
fn submodules_lead_to_no_other_place_than_the_settings_allow() {
    let bench = Bench::new();
    let thief = GitServer::start(bench.dir.path(), Behaviour::default());
    let origin = format!("file://{}", bench.path("origin").display());
    for address in [
        origin.as_str(),
        &thief.url("origin"),
        "ext::touch reached",
        "/etc",
    ] {
        outer(&bench, address);
        let server = GitServer::start(bench.dir.path(), Behaviour::default());
        let request = with_submodules(&bench, &server.url("outer"), &[]);
        let error = run(&request).unwrap_err();
        assert!(
            matches!(error, CloneError::Submodule { .. }),
            "{address}: {error}"
        );
        assert!(error.to_string().contains("deep/inner"), "{error}");
        bench.assert_nothing_left();
        if address == origin {
            let allowed = bench.dir.path().to_str().unwrap();
            run(&with_submodules(&bench, &server.url("outer"), &[allowed])).unwrap();
            assert!(bench.path("workspaces/w/deep/inner/a.txt").exists());
            fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
        }
        fs::remove_dir_all(bench.path("outer")).unwrap();
    }
    assert_eq!(thief.requests(), 0);
}

#[test]
fn a_clone_over_http_is_as_deep_as_asked_for_with_and_without_the_cache() {
    let bench = Bench::new();
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    for (depth, commits) in [(1, "1"), (2, "2"), (0, "3"), (1, "1")] {
        for cache in [None, Some(bench.path("cache"))] {
            let limit = 1 << 30;
            let request = CloneRequest {
                cache: cache.map(|path| Cache { path, limit }),
                extent: Extent {
                    depth,
                    ..Extent::default()
                },
                ..bench.request(&server.url("origin"))
            };
            run(&request).unwrap();
            assert_eq!(count_commits(&bench), commits, "{depth}");
            bench.git("workspaces/w", &["fsck", "--strict"]);
            fs::remove_dir_all(bench.path("workspaces/w")).unwrap();
        }
    }
}

#[test]
fn an_address_that_a_hub_named_is_looked_up_before_it_is_connected_to() {
    let bench = Bench::new();
    let server = GitServer::start(bench.dir.path(), Behaviour::default());
    let mut request = bench.request(&server.url("origin").replace("127.0.0.1", "localhost"));
    request.url = request.url.with_reach(Reach::Public);
    let error = run(&request).unwrap_err();
    assert!(matches!(error, CloneError::NotPublic { .. }), "{error}");
    assert_eq!(server.requests(), 0);
    bench.assert_nothing_left();
}
