//! Root's sessions side by side, each agent as another user.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::place::{Place, Started};

#[test]
fn agents_of_several_users_work_side_by_side_each_in_its_own_workspace() {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("CI").is_none(),
            "needs root, to start agents as other users"
        );
        println!("skipped: needs root, to start agents as other users");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.bench.path(""), fs::Permissions::from_mode(0o711)).unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/claude");
    let recording = fs::read_to_string(corpus.join("plain_text.pipe.jsonl")).unwrap();
    let recording = place.bench.file("recording.jsonl", &recording);
    let script = format!("#!/bin/sh\ncat >/dev/null\nid -un >who\nexec cat '{recording}'\n");
    let program = place.bench.file("cli", &script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("[agents.claude]\ncommand = {program:?}\n");
    let config = place.bench.file("config.toml", &config);
    let here = place.folder("one");
    let users = ["nobody", "daemon", "nobody"];
    let sessions = users.map(|user| {
        let workspace = place.bench.text(&format!("state/workspaces/{user}"));
        let words = ["--config", &config, "--agent-user", user, "--workspace-dir"];
        let words = [&words[..], &[workspace.as_str(), "Go."]].concat();
        let started = Started::read(&place.start(&here, &words));
        (user, workspace, started)
    });
    for (user, workspace, started) in &sessions {
        let (_, end) = started.said();
        assert_eq!(end["outcome"], "completed", "{end}");
        let who = Path::new(workspace).join("who");
        assert_eq!(fs::read_to_string(&who).unwrap().trim(), *user);
        let owner = nix::unistd::User::from_name(user).unwrap().unwrap();
        assert_eq!(who.metadata().unwrap().uid(), owner.uid.as_raw());
    }
    let pids: Vec<_> = sessions.iter().map(|(_, _, started)| started.pid).collect();
    assert!(
        pids.iter().all(|pid| *pid == pids[0]),
        "one daemon: {pids:?}"
    );
}
