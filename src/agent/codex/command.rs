//! Shell commands as what they are for.
//!
//! Codex has no tools to read, list or search: it runs `cat`, `ls` and `rg` in a shell. A command
//! that does nothing but one of these is shown under the normalized tool's name, with `command`
//! beside its input; anything that could do more (a pipe, a redirection, a variable, an unknown
//! flag) stays `shell`. The rule errs on that side: a `read` here is never a write.

use serde_json::{Value, json};

/// The normalized tool and its input.
pub(super) fn call(command: &str) -> (&'static str, Value) {
    let script = script(command);
    let (name, mut input) = simple_words(&script)
        .and_then(|words| purpose(&words))
        .unwrap_or_else(|| ("shell", json!({})));
    if let Value::Object(fields) = &mut input {
        fields.insert("command".to_owned(), script.into());
    }
    (name, input)
}

/// What the shell is given: Codex writes `/bin/bash -lc '<script>'`, quoted for a shell.
fn script(command: &str) -> String {
    let words = words(command, |_| true);
    match words.as_deref() {
        Some([_, flag, script]) if matches!(flag.as_str(), "-lc" | "-c") => script.clone(),
        _ => command.to_owned(),
    }
}

/// The words of a script that is one plain command.
fn simple_words(script: &str) -> Option<Vec<String>> {
    let plain = |c: char| c.is_alphanumeric() || " \t-_./,:@+=^%".contains(c) || !c.is_ascii();
    words(script, plain)
}

/// Splits `text` as a shell does. `None` when a quote stays open, when a character outside quotes
/// is not `plain`, or when something in double quotes would be expanded.
fn words(text: &str, plain: impl Fn(char) -> bool) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' if c != '\n' || plain('\n') => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c if plain(c) => word.get_or_insert_default().push(c),
            _ => return None,
        }
    }
    words.extend(word);
    Some(words)
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '$' | '`' => return None,
            '\\' => match chars.next()? {
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                '\n' => {}
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

fn purpose(words: &[String]) -> Option<(&'static str, Value)> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (program, arguments) = words.split_first()?;
    match (*program, arguments) {
        ("cat", [file] | ["-n", file]) | ("nl", [file] | ["-ba", file]) => read(file),
        ("head" | "tail", ["-n", count, file]) if is_range(count) => read(file),
        ("head" | "tail", [count, file]) if count.strip_prefix('-').is_some_and(is_range) => {
            read(file)
        }
        ("sed", ["-n", range, file]) if range.strip_suffix('p').is_some_and(is_range) => read(file),
        ("rg", ["--files", rest @ ..]) => match rest {
            ["-g", pattern] => glob(pattern, None),
            ["-g", pattern, path] | [path, "-g", pattern] => glob(pattern, Some(path)),
            [] => glob("*", None),
            [path] => glob("*", Some(path)),
            _ => None,
        },
        ("rg" | "grep", arguments) => {
            let flags = arguments.iter().take_while(|word| word.starts_with('-'));
            let count = flags.clone().count();
            if !flags.clone().all(|flag| only_shows(flag)) {
                return None;
            }
            match arguments.get(count..)? {
                [pattern] => grep(pattern, None),
                [pattern, path] => grep(pattern, Some(path)),
                _ => None,
            }
        }
        (
            "find",
            [path, "-name" | "-iname", pattern]
            | [path, "-type", "f", "-name" | "-iname", pattern]
            | [path, "-name" | "-iname", pattern, "-type", "f"],
        ) => glob(pattern, Some(path)),
        ("ls", arguments) => match arguments {
            [] => glob("*", None),
            [flags] if flags.starts_with('-') => glob("*", None),
            [path] => glob("*", Some(path)),
            [flags, path] if flags.starts_with('-') => glob("*", Some(path)),
            _ => None,
        },
        _ => None,
    }
}

/// Flags of `rg` and `grep` that take no value and change only what is matched and shown.
fn only_shows(flag: &str) -> bool {
    let letters = flag.strip_prefix('-').unwrap_or_default();
    !letters.is_empty()
        && letters
            .chars()
            .all(|letter| "nirRHEFwlcsoS".contains(letter))
}

fn is_range(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == ',')
}

fn is_operand(word: &str) -> bool {
    !word.is_empty() && !word.starts_with('-')
}

fn read(file: &str) -> Option<(&'static str, Value)> {
    is_operand(file).then(|| ("read", json!({ "file_path": file })))
}

fn glob(pattern: &str, path: Option<&str>) -> Option<(&'static str, Value)> {
    searched("glob", pattern, path)
}

fn grep(pattern: &str, path: Option<&str>) -> Option<(&'static str, Value)> {
    searched("grep", pattern, path)
}

fn searched(
    name: &'static str,
    pattern: &str,
    path: Option<&str>,
) -> Option<(&'static str, Value)> {
    let mut input = json!({ "pattern": pattern });
    if let (Some(path), Value::Object(fields)) = (path, &mut input) {
        if !is_operand(path) {
            return None;
        }
        fields.insert("path".to_owned(), path.into());
    }
    is_operand(pattern).then_some((name, input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_what_the_shell_is_given() {
        for (command, expected) in [
            ("/bin/bash -lc 'echo hello && ls'", "echo hello && ls"),
            (
                r#"/bin/bash -lc "find . -name '*.rs'""#,
                "find . -name '*.rs'",
            ),
            (r#"bash -lc "printf 'a\\\\n\$x'""#, r"printf 'a\\n$x'"),
            ("/bin/zsh -c ls", "ls"),
            ("cmd.exe /c dir", "cmd.exe /c dir"),
            ("/bin/bash -lc 'not closed", "/bin/bash -lc 'not closed"),
        ] {
            assert_eq!(script(command), expected);
        }
    }

    #[test]
    fn a_command_that_only_looks_is_named_after_what_it_looks_for() {
        for (script, name, input) in [
            ("cat README.md", "read", json!({"file_path": "README.md"})),
            ("cat 'a file'", "read", json!({"file_path": "a file"})),
            ("sed -n '1,20p' a.rs", "read", json!({"file_path": "a.rs"})),
            ("head -n 5 a.rs", "read", json!({"file_path": "a.rs"})),
            ("tail -5 a.rs", "read", json!({"file_path": "a.rs"})),
            (
                "rg -n \"println\" src",
                "grep",
                json!({"pattern": "println", "path": "src"}),
            ),
            (
                "grep -rn 'a|b' .",
                "grep",
                json!({"pattern": "a|b", "path": "."}),
            ),
            ("rg --files -g '*.rs'", "glob", json!({"pattern": "*.rs"})),
            ("rg --files", "glob", json!({"pattern": "*"})),
            (
                "find . -name '*.rs'",
                "glob",
                json!({"pattern": "*.rs", "path": "."}),
            ),
            ("ls -la src", "glob", json!({"pattern": "*", "path": "src"})),
            ("ls", "glob", json!({"pattern": "*"})),
        ] {
            let mut expected = input;
            expected["command"] = script.into();
            assert_eq!(
                call(&format!("/bin/bash -lc {}", quoted(script))),
                (name, expected)
            );
        }
    }

    #[test]
    fn whatever_could_do_more_stays_a_shell_command() {
        for script in [
            "cat a b",
            "cat a > b",
            "cat *.md",
            "cat ~/x",
            "cat $HOME/x",
            "cat \"$x\"",
            "cat a | sh",
            "cat a && rm b",
            "cat a\nrm b",
            "cat -",
            "sed -n '1w b' a",
            "sed -i s/a/b/ c",
            "find . -name x -delete",
            "find . -name x -exec rm {} +",
            "rg --pre sh x",
            "rg -g '*.rs' x",
            "X=1 cat a",
            "cat 'not closed",
            "tail -f a",
            "",
        ] {
            let command = format!("/bin/bash -lc {}", quoted(script));
            assert_eq!(call(&command), ("shell", json!({"command": script})));
        }
    }

    fn quoted(script: &str) -> String {
        format!("'{}'", script.replace('\'', r"'\''"))
    }
}
