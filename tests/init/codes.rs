//! The end of the program is the end of init, with its code.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::Init;

/// So many inits at a time.
const BATCH: usize = 16;

fn codes(scripts: &[String]) -> Vec<Option<i32>> {
    let batches = scripts.chunks(BATCH).flat_map(|scripts| {
        let inits: Vec<_> = scripts
            .iter()
            .map(|script| Init::script(&[], script))
            .collect();
        inits.into_iter().map(Init::code).collect::<Vec<_>>()
    });
    batches.collect()
}

#[test]
fn all_256_exit_codes_are_passed_on() {
    let scripts: Vec<_> = (0..256).map(|code| format!("exit {code}")).collect();
    let expected: Vec<_> = (0..256).map(Some).collect();
    assert_eq!(codes(&scripts), expected);
}

#[test]
fn a_death_by_signal_is_128_and_its_number() {
    // All that end a process by default, real-time signals included.
    let signals: Vec<i32> = (1..=16)
        .chain(24..=27)
        .chain(29..=31)
        .chain(34..=64)
        .collect();
    let script = |signal| format!("ulimit -c 0; kill -{signal} $$");
    let scripts: Vec<_> = signals.iter().map(script).collect();
    let expected: Vec<_> = signals.iter().map(|signal| Some(128 + signal)).collect();
    assert_eq!(codes(&scripts), expected);
}

#[test]
fn a_program_that_is_not_there_is_127() {
    for name in ["/no/such/program", "no-such-program"] {
        let (status, errors) = Init::with(&["--restarts", "5", "--exec", name]).wait();
        assert_eq!(status.code(), Some(127));
        assert!(
            errors.contains(&format!("cannot start {name}: ")),
            "{errors}"
        );
        assert!(!errors.contains("again"), "it was tried once: {errors}");
    }
}

#[test]
fn a_file_that_is_no_program_is_126() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    fs::write(&file, "\u{7f}no program").unwrap();
    let code = || Init::with(&["--exec", file.to_str().unwrap()]).code();
    assert_eq!(code(), Some(126));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    // glibc's execvp gives a file without a known head to the shell, as the shell itself does.
    assert!(matches!(code(), Some(126 | 127)));
    assert_eq!(Init::with(&["--exec", "/"]).code(), Some(126));
}

#[test]
fn wrong_usage_is_64_and_names_the_flag() {
    let (status, errors) = Init::with(&["--grace", "soon"]).wait();
    assert_eq!(status.code(), Some(64));
    assert!(errors.contains("--grace: `soon`"), "{errors}");
}

#[test]
fn without_exec_it_runs_this_very_program() {
    let (status, errors) = Init::with(&["daemon", "--no-such-flag"]).wait();
    assert_eq!(status.code(), Some(64));
    assert!(errors.contains("--no-such-flag"), "{errors}");
    let init = Init::with(&["--", "--help"]);
    assert!(init.line().contains("Lead a Hub session"));
    assert_eq!(init.code(), Some(0));
}
