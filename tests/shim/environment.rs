//! What the CLI finds when it starts: exactly what was planned.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use agent_runner::process::RunMark;
use agent_runner::sandbox::SandboxError;
use agent_runner::spool::{Phase, Status, User};
use serde_json::{Value, json};

use crate::harness::{Harness, lacks};

async fn report(harness: &Harness) -> Value {
    let (_, output) = harness.run().await;
    serde_json::from_slice(&output).unwrap()
}

#[tokio::test]
async fn the_cli_has_its_three_descriptors_its_environment_and_nothing_else() {
    for pipe in [false, true] {
        let mut harness = Harness::new("report");
        if pipe {
            harness = harness.on_a_pipe();
        }
        harness.environment.set("API_KEY", "sk-hush\n=x").unwrap();
        harness.environment.set("PATH", "/usr/bin").unwrap();
        let mut report = report(&harness).await;
        // who its shim is: the one variable that is not in the plan
        let environment = report["environment"].as_object_mut().unwrap();
        let mark = environment.remove(RunMark::VARIABLE).unwrap();
        mark.as_str().unwrap().parse::<RunMark>().unwrap();
        assert_eq!(
            report["environment"],
            json!({"API_KEY": "sk-hush\n=x", "PATH": "/usr/bin"})
        );
        let mut fds: Vec<_> = report["fds"].as_array().unwrap().iter().collect();
        fds.sort_by_key(|fd| fd.as_str());
        assert_eq!(fds, [&json!("0"), &json!("1"), &json!("2")]);
        assert_eq!(
            report["window"],
            if pipe { Value::Null } else { json!([50, 200]) }
        );
        assert_eq!(report["cwd"], json!(harness.plan.workspace));
        assert_eq!(report["pid"], report["group"]);
        assert_eq!(report["oom"], "500");
        assert!(
            report["limits"]
                .as_str()
                .unwrap()
                .contains("Max core file size        0 ")
        );
        assert_no_needle(harness.root.path(), b"sk-hush");
    }
}

#[tokio::test]
async fn no_signal_is_blocked_or_ignored_in_the_cli() {
    let mut harness = Harness::new("/proc/self/status");
    harness.plan.program = "/bin/cat".into();
    let (_, output) = harness.run().await;
    let status = String::from_utf8(output).unwrap();
    for clean in [
        "SigBlk:\t0000000000000000",
        "SigIgn:\t0000000000000000",
        "NoNewPrivs:\t0",
    ] {
        assert!(status.contains(clean), "{clean} not in {status}");
    }
}

/// No file below `folder` holds the needle.
fn assert_no_needle(folder: &Path, needle: &[u8]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_needle(&path, needle);
        } else if path.file_name().unwrap() != "spool.raw" {
            let content = std::fs::read(&path).unwrap();
            assert!(
                memchr::memmem::find(&content, needle).is_none(),
                "in {}",
                path.display()
            );
        }
    }
}

#[tokio::test]
async fn every_file_of_a_run_is_private() {
    let harness = Harness::new("lines 1 stderr 5");
    harness.run().await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(harness.dir.path()), 0o700);
    for entry in std::fs::read_dir(harness.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn another_user_gets_no_privileges_and_no_group_of_ours() {
    if !rustix::process::geteuid().is_root() {
        lacks("changing the user needs root");
        return;
    }
    let mut harness = Harness::new("report");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(harness.root.path(), open.clone()).unwrap();
    // The build folder may be closed to that user.
    let program = harness.root.path().join("fake_agent");
    std::fs::copy(crate::harness::fake_agent(), &program).unwrap();
    std::fs::set_permissions(&program, open).unwrap();
    harness.plan.program = program;
    harness.plan.user = Some(User {
        uid: 65_534,
        gid: 65_533,
        groups: vec![65_532],
    });
    let report = report(&harness).await;
    let status = report["status"].as_str().unwrap();
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "Gid:\t65533\t65533\t65533\t65533",
        "Groups:\t65532 \n",
        "NoNewPrivs:\t1",
        "Umask:\t0077",
    ] {
        assert!(status.contains(line), "{line} not in {status}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_reported_with_its_path() {
    let cases = [("/nonexistent/claude", 2), ("/etc/passwd", 13)];
    for (program, errno) in cases {
        let mut harness = Harness::new("");
        harness.plan.program = program.into();
        let SandboxError::Spawn(failure) = harness.try_start().await.unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(
            (failure.errno, failure.step.as_str()),
            (Some(errno), "execute")
        );
        assert_eq!(failure.path, Path::new(program));
        let status = Status::read(&harness.dir).unwrap().unwrap();
        assert_eq!(status.phase, Phase::SpawnFailed(failure));
        crate::harness::eventually("nothing is left", || harness.processes().is_empty()).await;
    }
}

#[tokio::test]
async fn a_workspace_that_is_not_there_is_reported() {
    let mut harness = Harness::new("lines 1");
    harness.plan.workspace = harness.root.path().join("gone");
    let error = harness.try_start().await.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot enter ") && error.contains("/gone: "),
        "{error}"
    );
}
