//! `run` without a repo, and two of them at once.

use std::fs;

use crate::bench::Bench;

const SCRIPT: &str = r#"
[[reply]]
steps = [{ write = "{{prompt}}.txt", content = "{{prompt}}" }]
[[reply]]
steps = [{ say = "Wrote {{prompt}}." }]
"#;

#[test]
fn two_runs_in_the_current_directory_go_side_by_side() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let start = |name: &str| {
        let words = ["run", "--output", "jsonl", name];
        bench.start(&mut bench.agent(&model, &words))
    };
    let runs = [("one", start("one")), ("two", start("two"))];
    for (name, run) in runs {
        let finished = run.finish();
        assert_eq!(finished.code(), 0, "{finished:#?}");
        let file = bench.path("here").join(format!("{name}.txt"));
        assert_eq!(fs::read_to_string(file).unwrap(), name);
        let events = finished.events();
        let kinds: Vec<_> = events.iter().map(|event| event["type"].clone()).collect();
        assert_eq!(kinds.iter().filter(|kind| *kind == "end").count(), 1);
        assert_eq!(kinds.last().unwrap(), "end");
        assert!(
            events
                .iter()
                .all(|event| event["session_id"] == events[0]["session_id"])
        );
    }
    assert_eq!(fs::read_dir(bench.path("state/runs")).unwrap().count(), 2);
    bench.assert_no_process_left();
}

#[test]
fn a_person_is_told_what_happens_and_where_the_result_lies() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let finished = bench
        .start(&mut bench.agent(&model, &["run", "three"]))
        .finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    let out = finished.out.join("\n");
    for part in ["● write  three.txt", "Wrote three.", "completed in "] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
    let workspace = format!("workspace: {}", bench.text("here"));
    assert!(finished.err.contains(&workspace), "{}", finished.err);
}
