//! The crash points: found in the source, so that no list can miss one.

#[path = "../source/mod.rs"]
mod source;

use std::collections::BTreeMap;

/// The names of all crash points.
pub(crate) fn all() -> Vec<String> {
    let mut names = Vec::new();
    for file in source::rust_files("src") {
        if file.name() == "src/crash_point.rs" {
            continue;
        }
        let code = file.code();
        for (at, mark) in code.match_indices("crash_point!(\"") {
            let rest = &code[at + mark.len()..];
            names.push(rest[..rest.find('"').unwrap()].to_owned());
        }
    }
    names.sort();
    names
}

/// How often each point was passed by the process that passed it most often, as a log tells.
pub(crate) fn passes(log: &str) -> BTreeMap<String, u32> {
    let mut lines: BTreeMap<&str, u32> = BTreeMap::new();
    for line in log.lines() {
        *lines.entry(line).or_default() += 1;
    }
    let mut passes: BTreeMap<String, u32> = BTreeMap::new();
    for (line, count) in lines {
        let (name, _pid) = line.split_once(' ').unwrap();
        let most = passes.entry(name.to_owned()).or_default();
        *most = (*most).max(count);
    }
    passes
}

#[test]
fn there_are_many_crash_points_and_no_two_of_one_name() {
    let names = all();
    assert!(names.len() >= 40, "{names:?}");
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "each name stands for one place");
    }
}
