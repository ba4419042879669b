//! Rules of the project that no lint knows.

mod source;

use std::collections::HashSet;
use std::path::Path;

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
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines without tests", file.name()))
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

/// Folders whose files documents name by their path.
const NAMED: [&str; 6] = ["src/", "tests/", "benches/", "docs/", "scripts/", "images/"];
/// A name of so many words is a test's.
const WORDS_OF_A_TEST: usize = 5;

#[test]
fn what_the_documents_name_is_there() {
    let mut functions = vec![String::new()];
    for file in source::rust_files("src")
        .iter()
        .chain(&source::rust_files("tests"))
    {
        let names = file.text.split("fn ").skip(1);
        for name in names.filter_map(|rest| rest.split('(').next()) {
            functions.push(name.to_owned());
        }
    }
    functions.push(String::new());
    let functions = functions.join("  ");
    let faults = documents().into_iter().flat_map(|file| {
        let is_missing = |word: &&str| !is_there(word, &functions);
        let words: Vec<String> = quoted(&file.text)
            .filter(is_missing)
            .map(str::to_owned)
            .collect();
        let name = file.name();
        words
            .into_iter()
            .map(move |word| format!("{name}: there is no `{word}`"))
    });
    none(faults);
}

#[test]
fn every_promise_names_the_tests_that_show_it() {
    let tests = tests();
    let document = source::files("docs")
        .into_iter()
        .find(|file| file.name() == "docs/SPECIFICATION.md");
    let text = document.expect("the specification").text;
    let (promises, _) = text.split_once("## Figures").expect("the figures");
    let rows = promises.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<_> = rows.skip(1).map(|row| row.trim_end_matches(" |")).collect();
    assert!(rows.len() > 100, "the table is read");
    let mut faults = Vec::new();
    let mut told = HashSet::new();
    for row in rows {
        let (promise, shown_by) = row.rsplit_once(" | ").unwrap_or((row, ""));
        if !told.insert(promise) {
            faults.push(format!("promised twice: {promise}"));
        }
        let mut names = quoted(shown_by).peekable();
        if names.peek().is_none() {
            faults.push(format!("shown by nothing: {promise}"));
        }
        let is_test = |name: &str| match name.strip_suffix('…') {
            Some(begin) => tests.iter().any(|test| test.starts_with(begin)),
            None if name.contains('/') => root().join(name).exists(),
            None => tests.contains(name),
        };
        let gone = names.filter(|name| !is_test(name));
        faults.extend(gone.map(|name| format!("`{name}` is no test: {promise}")));
    }
    none(faults);
}

/// The names of all tests: functions with the attribute in the lines before.
fn tests() -> HashSet<String> {
    let mut names = HashSet::new();
    for file in source::rust_files("src")
        .iter()
        .chain(&source::rust_files("tests"))
    {
        let mut is_test = false;
        for line in file.text.lines().map(str::trim_start) {
            let function = line.strip_prefix("async ").unwrap_or(line);
            if line.starts_with("#[") {
                is_test |= line.contains("test]") || line.contains("::test(");
            } else if let Some(rest) = function.strip_prefix("fn ") {
                let name = rest.split('(').next().filter(|_| is_test);
                names.extend(name.map(str::to_owned));
                is_test = false;
            } else if !line.starts_with("//") {
                is_test = false;
            }
        }
    }
    names
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let faults = documents().into_iter().flat_map(|file| {
        let folder = file.path.parent().unwrap().to_owned();
        let targets = file.text.split("](").skip(1);
        let targets = targets.filter_map(|rest| rest.split(['#', ')']).next());
        let is_file = |target: &&str| !target.is_empty() && !target.contains("://");
        let gone = targets
            .filter(is_file)
            .filter(|target| !root().join(&folder).join(target).exists());
        let name = file.name();
        gone.map(|target| format!("{name}: leads to {target}, which is not there"))
            .collect::<Vec<_>>()
    });
    none(faults);
}

fn documents() -> Vec<Source> {
    let mut files = source::files("docs");
    files.extend(source::files("."));
    files.retain(|file| file.path.extension().is_some_and(|e| e == "md"));
    files.sort_by_key(Source::name);
    files.dedup_by_key(|file| file.name());
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backticks, outside blocks of code.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let mut is_block = false;
    let lines = text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_block ^= is_fence;
        !is_block && !is_fence
    });
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Whether a word names no file and no test, or one that is there. One that is cut (`a_call_…`)
/// names the tests that begin so.
fn is_there(word: &str, functions: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
    if NAMED.iter().any(|folder| word.starts_with(folder)) && word.chars().all(plain) {
        return root().join(word).exists();
    }
    let (begin, behind) = match word.strip_suffix('…') {
        Some(begin) => (begin, ""),
        None => (word, " "),
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = begin.split('_').filter(|part| !part.is_empty()).count();
    let is_test = begin.chars().all(is_name) && words >= WORDS_OF_A_TEST;
    !is_test || functions.contains(&format!(" {begin}{behind}"))
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
