//! Rules of the project that no lint knows.

mod source;

use source::Source;

/// More than this without tests is more than one concept.
const MAX_LINES: usize = 600;

#[test]
fn every_module_says_what_it_is() {
    let faults = source::rust_files("src")
        .into_iter()
        .chain(source::rust_files("tests"))
        .filter(|file| !file.name().ends_with("/tests.rs") && !file.text.starts_with("//!"))
        .map(|file| format!("{}: does not start with `//!`", file.name()));
    none(faults);
}

#[test]
fn no_file_is_too_long() {
    let faults = source::rust_files("src").into_iter().filter_map(|file| {
        let lines = file.code().lines().count();
        (!file.is_test() && lines > MAX_LINES)
            .then(|| format!("{}: {lines} lines without tests", file.name()))
    });
    none(faults);
}

#[test]
fn nothing_is_left_for_later() {
    // Taken apart so that this file does not find itself.
    let words = [
        concat!("todo", "!("),
        concat!("dbg", "!("),
        concat!("unimplemented", "!("),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    none(lines_with(&code_and_scripts(), &words));
}

#[test]
fn no_line_ends_in_blanks() {
    let faults = code_and_scripts().into_iter().flat_map(|file| {
        let blank = |(_, line): &(usize, &str)| line.ends_with([' ', '\t']);
        let lines: Vec<_> = file.text.lines().enumerate().filter(blank).collect();
        let name = file.name();
        lines
            .into_iter()
            .map(move |(index, _)| format!("{name}:{}: blanks at its end", index + 1))
            .collect::<Vec<_>>()
    });
    none(faults);
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("\"reso", "lved\": \"http"),
    ];
    none(lines_with(&source::files("."), &words));
}

#[test]
fn every_script_stops_at_the_first_failure() {
    let scripts = source::files("scripts")
        .into_iter()
        .chain(source::files(".ci"));
    let faults = scripts
        .filter(|file| file.text.starts_with("#!") && file.text.contains("bash\n"))
        .filter(|file| {
            let first = file.text.lines().find(|line| !line.starts_with('#'));
            first != Some("set -euo pipefail")
        })
        .map(|file| format!("{}: does not begin with `set -euo pipefail`", file.name()));
    none(faults);
}

fn code_and_scripts() -> Vec<Source> {
    let mut files = source::rust_files("src");
    files.extend(source::rust_files("tests"));
    files.extend(source::files("scripts"));
    files.extend(source::files(".ci"));
    files
}

fn lines_with(files: &[Source], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                found.push(format!("{}:{}: `{word}`", file.name(), index + 1));
            }
        }
    }
    found
}

fn none(faults: impl IntoIterator<Item = String>) {
    let faults: Vec<_> = faults.into_iter().collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
