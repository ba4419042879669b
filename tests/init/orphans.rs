//! `kill -9` of a shim: its CLI and all descendants die, and no one else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use agent_runner::process::{SHIM_NAME, is_named};
use agent_runner::spool::{Plan, RunDir};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Init, children, eventually, fake_agent, identity, is_over};

/// Lays out a run as the daemon does.
fn run_dir(folder: &Path, name: &str, directives: &str) -> RunDir {
    let dir = RunDir::new(folder.join(name));
    fs::create_dir(dir.path()).unwrap();
    let words = directives.split(' ').map(str::to_owned).collect();
    let plan = Plan::new(&fake_agent(), words, folder, 1 << 20);
    fs::write(dir.prompt(), b"").unwrap();
    fs::write(dir.plan(), serde_json::to_vec(&plan).unwrap()).unwrap();
    dir
}

fn shims(init: &Init) -> Vec<i32> {
    let pids = init.children().into_iter().map(|child| child.pid);
    pids.filter(|pid| is_named(*pid, SHIM_NAME)).collect()
}

/// All processes below one, itself left out.
fn below(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        let pids = children(pid).into_iter().map(|child| child.pid);
        open.extend(pids.inspect(|pid| found.push(*pid)));
    }
    found
}

#[test]
fn the_tree_of_a_killed_shim_is_gone_within_5_seconds_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("environment"), b"").unwrap();
    let victim = run_dir(folder.path(), "victim", "ignore-term tree 8 6 wait");
    let other = run_dir(folder.path(), "other", "tree 2 2 wait");
    let start = |dir: &RunDir| {
        let path = dir.path().display();
        let environment = folder.path().join("environment");
        let environment = environment.display();
        format!("\"$RUNNER\" shim {path} < {environment} | cat; echo $!")
    };
    // An orphan from before the shims, and a child of the program from after.
    let script = format!(
        "(sleep 300 & echo $!); {}; {}; sleep 300 & echo $!; wait",
        start(&victim),
        start(&other)
    );
    let init = Init::script(&["--grace", "200ms"], &script);
    let mut numbers = Vec::new();
    while numbers.len() < 2 {
        numbers.extend(init.line().parse::<i32>());
    }
    let [earlier, child] = [identity(numbers[0]), identity(numbers[1])];
    let of = |dir: &RunDir| {
        let name = dir.path().display().to_string();
        let is_its = |pid: &i32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
            String::from_utf8_lossy(&arguments).contains(&name)
        };
        shims(&init).into_iter().find(is_its).unwrap()
    };
    let (dead, living) = (of(&victim), of(&other));
    eventually("the tree has grown", || below(dead).len() > 8 * 6);
    let (doomed, spared) = (below(dead), below(living));
    kill_process(Pid::from_raw(dead).unwrap(), Signal::KILL).unwrap();
    let took = eventually("its tree is gone", || {
        doomed.iter().all(|pid| is_over(*pid))
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The hunt goes on for half a second after its last find; its end is init's last word on it.
    for pid in spared.into_iter().chain([living]) {
        assert!(!is_over(pid), "{pid} is of another shim");
    }
    assert!(earlier.is_alive(), "older than the shim");
    assert!(child.is_alive(), "the program's own");
    init.signal(Signal::TERM);
    let (_, errors) = init.wait();
    assert!(
        errors.contains("died (signal 9), ending what it left"),
        "{errors}"
    );
}
