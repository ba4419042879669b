//! What control groups show and do: memory kills, whole trees, processes that cannot be killed.
//! Needs root, or a machine that lets this user make groups; skipped where neither is so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::process::RunGroup;
use agent_runner::sandbox::LocalSandbox;
use agent_runner::spool::Status;
use agent_runner::spool::control::Stop;

use crate::harness::{Harness, control, eventually, exited, skip};

/// A control group of v1; thawed, emptied and removed in the end.
struct Group(PathBuf);

impl Group {
    fn make(hierarchy: &str, name: &str) -> Option<Self> {
        let name = format!("agent-runner-test-{name}-{}", std::process::id());
        let path = Path::new("/sys/fs/cgroup").join(hierarchy).join(name);
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    /// With a limit of memory, as v1 or v2 have it.
    fn with_memory(name: &str, bytes: u64) -> Option<Self> {
        [("memory", "memory.limit_in_bytes"), ("", "memory.max")]
            .into_iter()
            .find_map(|(hierarchy, file)| {
                let group = Self::make(hierarchy, name)?;
                let limit = bytes.to_string();
                let limited = group.0.join(file).exists() && group.set(file, &limit).is_ok();
                limited.then_some(group)
            })
    }

    fn set(&self, file: &str, value: &str) -> std::io::Result<()> {
        fs::write(self.0.join(file), value)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only a freezer has it.
        let _other = self.set("freezer.state", "THAWED");
        let limit = Clock.now() + Duration::from_secs(5);
        while fs::remove_dir(&self.0).is_err() && Clock.now() < limit {
            std::thread::yield_now();
        }
    }
}

/// A run whose shim, and so its CLI, is born in `group`.
fn within(group: &Group, mut harness: Harness) -> Harness {
    let program = harness.root.path().join("born-in-the-group");
    let script = format!(
        "#!/bin/sh\necho $$ >{}/cgroup.procs\nexec {} \"$@\"\n",
        group.0.display(),
        env!("CARGO_BIN_EXE_agent-runner")
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    harness.sandbox = LocalSandbox::with_program(program);
    harness
}

#[tokio::test]
async fn a_cli_that_the_kernel_killed_for_want_of_memory_is_recorded_as_that() {
    let Some(group) = Group::with_memory("oom", 96 << 20) else {
        return skip("no control group with a memory limit can be made here");
    };
    let harness = within(&group, Harness::new("lines 1 hog 400 exit 0"));
    let (stopped, output) = harness.run().await;
    assert!(stopped.exit.oom, "{stopped:?}");
    assert_eq!(stopped.exit.signal, Some(9));
    assert!(stopped.oom_kills > 0 && stopped.sent.is_empty());
    assert_eq!(memchr::memchr_iter(b'\n', &output).count(), 1);

    // Someone else's SIGKILL is no want of memory, nor is a tool's death the CLI's.
    let harness = within(&group, Harness::new("lines 1 die 9"));
    let (stopped, _) = harness.run().await;
    assert!(!stopped.exit.oom && stopped.oom_kills == 0, "{stopped:?}");
    let harness = within(&group, Harness::new("child-hog 400 exit 3"));
    let (stopped, _) = harness.run().await;
    assert_eq!(stopped.exit.code, Some(3));
    assert!(!stopped.exit.oom && stopped.oom_kills > 0, "{stopped:?}");
}

#[tokio::test]
async fn a_run_has_a_group_of_its_own_while_it_lives_where_one_can_be_made() {
    let harness = Harness::new("tree 3 3 mark here wait");
    let mut run = harness.start().await;
    harness.marked("here").await;
    let Some(path) = Status::read(&harness.dir).unwrap().unwrap().group else {
        control(&run).stop(Stop::NOW).await.unwrap();
        exited(&mut run).await;
        return skip("no control group of version 2 can be made here");
    };
    let group = RunGroup::at(&path);
    eventually("the tree is in it", || group.members().len() > 9).await;
    control(&run).stop(Stop::NOW).await.unwrap();
    let stopped = exited(&mut run).await;
    assert!(stopped.leaked.is_empty(), "{stopped:?}");
    assert!(!path.exists(), "the group is left");
}

#[tokio::test]
async fn a_cli_that_no_signal_ends_is_given_up_in_time_and_named() {
    let Some(group) = Group::make("freezer", "frozen") else {
        return skip("no freezer of control groups version 1 here: nothing else resists SIGKILL");
    };
    let harness = Harness::new("ignore-term mark here wait");
    let mut run = harness.start().await;
    harness.marked("here").await;
    let (_, agent) = run.identities().unwrap();
    group.set("cgroup.procs", &agent.pid.to_string()).unwrap();
    group.set("freezer.state", "FROZEN").unwrap();
    let start = Clock.now();
    let how = Stop {
        interrupt_grace_ms: 50,
        term_grace_ms: 50,
    };
    control(&run).stop(how).await.unwrap();
    let stopped = exited(&mut run).await;
    let took = Clock.now().duration_since(start);
    assert!(took < Duration::from_secs(7), "{took:?}");
    assert_eq!(stopped.exit, agent_runner::exit::Exit::default());
    assert_eq!(stopped.leaked, [agent]);
    drop(group);
    eventually("it dies once it may", || !agent.is_alive()).await;
}
