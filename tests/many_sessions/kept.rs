//! What the real CLI did to a workspace: kept, counted, shown, undone.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::place::{Place, Started};
use crate::running::made;

const WRITES: &str = r#"
[[reply]]
steps = [{ shell = "printf 'one\ntwo\n' > new.txt; echo changed > old.txt; touch begun; while [ ! -e ../go ]; do sleep 0.05; done; echo went on" }]
[[reply]]
steps = [{ say = "I am done." }]
"#;

fn git(place: &Place, words: &[&str]) {
    let mut git = Command::new("git");
    let who = ["-c", "user.name=a", "-c", "user.email=a@b.c"];
    git.args(who).args(words).current_dir(place.folder("one"));
    let done = git.env("HOME", place.bench.path("home")).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn say(place: &Place, words: &[&str]) -> String {
    let mut command = place.bench.command(words);
    let said = place.bench.start(command.current_dir(place.folder("one")));
    let said = said.finish();
    assert_eq!(said.code(), 0, "{said:#?}");
    said.out.join("\n")
}

#[test]
fn a_turn_ends_with_a_checkpoint_that_can_be_shown_and_undone() {
    let Some(place) = Place::with_claude() else {
        return;
    };
    let folder = place.folder("one");
    fs::write(folder.join("old.txt"), "as it was\n").unwrap();
    fs::write(folder.join(".gitignore"), "begun\n").unwrap();
    git(&place, &["init", "-q", "-b", "main"]);
    git(&place, &["add", "."]);
    git(&place, &["commit", "-q", "-m", "one"]);
    let model = place.bench.model(WRITES);
    let started = place.start_claude(&model, &folder);
    made(&folder.join("begun"));
    // The death of the daemon in between changes nothing of that.
    Place::end(started.pid, Signal::SIGKILL);
    place.restart();
    fs::write(place.bench.path("go"), "").unwrap();
    let events = started.events();
    let kinds: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    let of_kind = kinds.iter().filter(|kind| **kind == "checkpoint");
    assert_eq!(of_kind.count(), 1, "{kinds:?}");
    let [.., kept, end] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(
        (&kept["type"], &end["type"]),
        (&"checkpoint".into(), &"end".into())
    );
    assert_eq!(end["outcome"], "completed");
    let counts = ["files", "insertions", "deletions"].map(|name| kept[name].as_u64().unwrap());
    assert_eq!(counts, [2, 3, 1], "{kept}");
    let reference = kept["ref"].as_str().unwrap();
    assert!(
        reference.ends_with(&format!("2-{}", started.turn)),
        "{kept}"
    );
    let shown = say(&place, &["diff", &started.turn]);
    assert!(
        shown.contains("+two") && shown.contains("-as it was"),
        "{shown}"
    );
    say(&place, &["restore", "start"]);
    assert!(!folder.join("new.txt").exists());
    let old = fs::read_to_string(folder.join("old.txt")).unwrap();
    assert_eq!(old, "as it was\n");
}

#[test]
fn checkpoints_can_be_switched_off_and_a_folder_without_a_repository_has_none() {
    let place = Place::new();
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let folder = place.folder("one");
    fs::write(folder.join("go"), "").unwrap();
    let checkpoints = |started: &Started| {
        let kept = |event: &Value| event["type"] == "checkpoint" || event["type"] == "notice";
        started.events().into_iter().filter(kept).count()
    };
    let go = ["--config", &config, "Go."];
    let plain = Started::read(&place.start(&folder, &go));
    assert_eq!(checkpoints(&plain), 0);
    git(&place, &["init", "-q", "-b", "main"]);
    let kept = Started::read(&place.start(&folder, &go));
    assert_eq!(checkpoints(&kept), 1, "also before the first commit");
    let off = fs::read_to_string(&config).unwrap();
    let off = place
        .bench
        .file("off.toml", &format!("checkpoints = false\n{off}"));
    let off = Started::read(&place.start(&folder, &["--config", &off, "Go."]));
    assert_eq!(checkpoints(&off), 0);
}
