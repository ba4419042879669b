//! Clones of a repository of 100,000 objects, beside the `git` CLI's own of the same, in turn.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::workspace::{Cache, CloneRequest, Extent, RepoUrl, clone};

use crate::git_server::{Behaviour, GitServer};
use crate::place::now;
use crate::report::{Figure, Goal, Report};
use crate::series::Series;

/// Each adds a blob, two trees and itself.
const COMMITS: usize = 25_000;
const ROUNDS: usize = 5;

pub fn figures(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a folder");
    let bench = Bench {
        root: dir.path().to_owned(),
    };
    bench.make_origin();
    let server = GitServer::start(dir.path(), Behaviour::default());
    let (network, local) = (
        server.url("origin"),
        bench.path("origin").display().to_string(),
    );
    for (row, what, url, goal) in [
        (
            "C1",
            "100,000 objects over HTTP, whole, times git's",
            network.as_str(),
            1.5,
        ),
        (
            "C2",
            "the same from a folder, times git's",
            local.as_str(),
            1.0,
        ),
    ] {
        let (mut ours, mut gits) = (Series::default(), Series::default());
        for _ in 0..ROUNDS {
            gits.push(bench.timed(|| bench.git_clone(url)));
            ours.push(bench.timed(|| bench.clone(url, None)));
        }
        let ratio = ours.median() / gits.median();
        report.add(Figure::new(row, what, Goal::AtMost(goal), ratio).of(ROUNDS));
        let figure = Figure::new(row, format!("{what}: ms"), Goal::None, ours.median());
        report.add(figure.of(ROUNDS).beside(gits.median()));
    }
    let (mut first, mut again) = (Series::default(), Series::default());
    for round in 0..ROUNDS {
        let cache = bench.path(&format!("cache{round}"));
        first.push(bench.timed(|| bench.clone(&network, Some(&cache))));
        again.push(bench.timed(|| bench.clone(&network, Some(&cache))));
        std::fs::remove_dir_all(cache).expect("removable");
    }
    let what = "the first over HTTP, times the second from the cache";
    let ratio = first.median() / again.median();
    report.add(Figure::new("C3", what, Goal::AtLeast(5.0), ratio).of(ROUNDS));
}

struct Bench {
    root: PathBuf,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn git(&self, words: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.args(words)
            .current_dir(&self.root)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdout(Stdio::null());
        git
    }

    fn make_origin(&self) {
        let made = self.git(&["init", "-q", "-b", "main", "origin"]).status();
        assert!(made.expect("git runs").success());
        let mut import = self
            .git(&["-C", "origin", "fast-import", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("git runs");
        let mut stream = String::new();
        for n in 0..COMMITS {
            let text = format!("{n} {}\n", "words of a line of some length ".repeat(n % 40));
            // Writing to a string cannot fail.
            write!(
                stream,
                "commit refs/heads/main\ncommitter A <a@b.c> {} +0000\ndata 2\nx\nM 100644 inline d{}/f{}\ndata {}\n{text}\n",
                1_700_000_000 + n,
                n % 20,
                n % 400,
                text.len()
            )
            .ok();
        }
        let mut stdin = import.stdin.take().expect("a pipe");
        stdin.write_all(stream.as_bytes()).expect("git reads");
        drop(stdin);
        assert!(import.wait().expect("git ends").success());
        let repacked = self.git(&["-C", "origin", "repack", "-adq"]).status();
        assert!(repacked.expect("git runs").success());
    }

    fn git_clone(&self, url: &str) {
        let cloned = self.git(&["clone", "-q", url, "w"]).status();
        assert!(cloned.expect("git runs").success());
    }

    fn clone(&self, url: &str, cache: Option<&Path>) {
        let request = CloneRequest {
            url: RepoUrl::parse(url, &self.root).expect("an address"),
            revision: None,
            token: None,
            into: self.path("w"),
            limit: Duration::from_mins(5),
            ca_file: None,
            cache: cache.map(|path| Cache {
                path: path.to_owned(),
                limit: 1 << 40,
            }),
            extent: Extent {
                depth: 0,
                ..Extent::default()
            },
        };
        clone(&request, Clock, &AtomicBool::new(false), &mut |_| {}).expect("a clone");
    }

    /// Milliseconds that it takes; the workspace is gone afterwards.
    fn timed(&self, work: impl FnOnce()) -> f64 {
        let began = now();
        work();
        let took = now() - began;
        std::fs::remove_dir_all(self.path("w")).expect("removable");
        took as f64 / 1e6
    }
}
