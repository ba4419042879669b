//! Shell scripts taken apart into plain commands, as far as that can be done without doubt.
//!
//! [`Script::read`] knows plain words, quotes, `;`, `&`, `|`, `&&`, `||`, line ends, and output that
//! goes to another descriptor or to `/dev/null`. Anything else (expansions, substitutions, files
//! that are redirected to, groups, loops, comments) makes the script unreadable as a whole: what
//! only looks like the command that was meant must not be taken for it. Of an unreadable script
//! everything that might be a command is told, which is more than it runs.

/// Programs that run the command that stands behind them, or a part of it.
const CARRIERS: &[&str] = &[
    "builtin", "chroot", "chrt", "command", "doas", "env", "exec", "find", "flock", "ionice",
    "nice", "nohup", "parallel", "setsid", "stdbuf", "strace", "sudo", "time", "timeout",
    "unbuffer", "watch", "xargs",
];

/// Programs that run a script that stands behind them.
const SHELLS: &[&str] = &[
    "ash", "bash", "dash", "eval", "fish", "ksh", "sh", "ssh", "su", "zsh",
];

/// Words that are syntax where a command begins.
const KEYWORDS: &[&str] = &[
    "[[", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if",
    "in", "select", "then", "until", "while",
];

/// How deep scripts within scripts are followed.
const DEPTH: usize = 4;

/// The words of a plain command, never none.
pub(super) type Words = Vec<String>;

/// A script, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Script {
    /// These commands and no others, whatever operators stand between them.
    Commands(Vec<Words>),
    /// What it runs cannot be told. These are the pieces that might be commands, or begin with one
    /// or hold one.
    Unreadable(Vec<Words>),
}

impl Script {
    /// Reads a script.
    pub(super) fn read(text: &str) -> Self {
        match Reader::default().script(text) {
            Some(commands) => Self::Commands(commands),
            None => Self::Unreadable(pieces(text)),
        }
    }

    /// Every command that it runs or may run, and whether there may be others: those of programs
    /// that run commands for others are looked through.
    pub(super) fn reach(&self) -> (Vec<Words>, bool) {
        let (mut commands, mut doubt) = (Vec::new(), false);
        self.reach_into(&mut commands, &mut doubt, DEPTH);
        (commands, doubt)
    }

    fn reach_into(&self, out: &mut Vec<Words>, doubt: &mut bool, depth: usize) {
        match self {
            Self::Commands(commands) => {
                for command in commands {
                    reach_of(command, out, doubt, depth);
                }
            }
            Self::Unreadable(pieces) => {
                *doubt = true;
                for piece in pieces {
                    out.extend(tails(piece));
                }
            }
        }
    }
}

fn reach_of(command: &Words, out: &mut Vec<Words>, doubt: &mut bool, depth: usize) {
    let is_assignment =
        |word: &&String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
    let set = command.iter().take_while(is_assignment).count();
    let Some((program, arguments)) = command.get(set..).and_then(<[String]>::split_first) else {
        return;
    };
    let program = base(program);
    out.push([&[program.to_owned()], arguments].concat());
    if arguments.first().is_some_and(|word| word.starts_with('-')) {
        // `git -C folder push` is `git push`: which options take a word is not known here
        let after = 1..arguments.len();
        let tails = after.filter_map(|at| arguments.get(at..));
        out.extend(tails.map(|tail| [&[program.to_owned()], tail].concat()));
    }
    if CARRIERS.contains(&program) {
        out.extend(tails(arguments));
    }
    let runs_scripts = SHELLS.contains(&program)
        || (CARRIERS.contains(&program)
            && arguments.iter().any(|word| SHELLS.contains(&base(word))));
    if !runs_scripts {
        return;
    }
    // without a script it reads one from its stdin
    let has_script = arguments.iter().any(|word| !word.starts_with('-'));
    if depth == 0 || !has_script {
        *doubt = true;
        return;
    }
    // `eval` and `ssh` join their words; `-c` takes one
    let joined = [arguments.join(" ")];
    for script in arguments.iter().chain(&joined) {
        Script::read(script).reach_into(out, doubt, depth - 1);
    }
}

/// What begins at each word.
fn tails(words: &[String]) -> impl Iterator<Item = Words> {
    let tail = |at: usize| {
        let (program, rest) = words.get(at..)?.split_first()?;
        Some([&[base(program).to_owned()], rest].concat())
    };
    (0..words.len()).filter_map(tail)
}

/// `/bin/rm` is `rm`.
fn base(program: &str) -> &str {
    match program.rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => program,
    }
}

fn is_name(text: &str) -> bool {
    let mut chars = text.trim_end_matches('+').chars();
    let first = chars.next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The pieces between everything that may end a command, without quotes.
fn pieces(text: &str) -> Vec<Words> {
    let text = text.replace("\\\n", "");
    let bare: String = text.chars().filter(|c| !"\"'\\".contains(*c)).collect();
    let pieces = bare.split(|c: char| ";|&<>(){}`!$".contains(c) || (c.is_control() && c != '\t'));
    let words = pieces.map(|piece| piece.split_whitespace().map(str::to_owned).collect());
    words.filter(|words: &Words| !words.is_empty()).collect()
}

/// Reads one script. None: it holds what is not understood.
#[derive(Debug, Default)]
struct Reader {
    commands: Vec<Words>,
    words: Words,
    word: Option<Word>,
    /// An operator wants a command behind it.
    wanted: bool,
}

#[derive(Debug, Default)]
struct Word {
    text: String,
    /// Some of it is quoted.
    quoted: bool,
    /// The shell makes file names of it.
    globbed: bool,
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

impl Reader {
    fn script(mut self, text: &str) -> Option<Vec<Words>> {
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            self.char(c, &mut chars)?;
        }
        self.end_command(false)?;
        (!self.wanted && !self.commands.is_empty()).then_some(self.commands)
    }

    fn char(&mut self, c: char, chars: &mut Chars<'_>) -> Option<()> {
        match c {
            ' ' | '\t' => self.end_word(),
            '\n' => self.end_command(false),
            ';' => self.end_command(true),
            '&' | '|' => self.operator(c, chars),
            '>' => self.redirection(chars),
            '\'' => self.single_quoted(chars),
            '"' => self.double_quoted(chars),
            '\\' => self.escaped(chars),
            '#' if self.word.is_none() => None,
            '$' | '`' | '(' | ')' | '{' | '}' | '<' | '!' => None,
            c if c.is_control() => None,
            c => {
                let word = self.word.get_or_insert_default();
                word.globbed |= "*?[".contains(c);
                word.text.push(c);
                Some(())
            }
        }
    }

    fn end_word(&mut self) -> Option<()> {
        let Some(word) = self.word.take() else {
            return Some(());
        };
        let begins = self.words.is_empty();
        // what a file is called would decide which program is run
        if begins && (word.globbed || KEYWORDS.contains(&word.text.as_str())) {
            return None;
        }
        self.words.push(word.text);
        Some(())
    }

    /// With `needed`, there must be a command to end.
    fn end_command(&mut self, needed: bool) -> Option<()> {
        self.end_word()?;
        if self.words.is_empty() {
            return (!needed).then_some(());
        }
        self.commands.push(std::mem::take(&mut self.words));
        self.wanted = false;
        Some(())
    }

    fn operator(&mut self, c: char, chars: &mut Chars<'_>) -> Option<()> {
        self.end_command(true)?;
        let doubled = chars.next_if_eq(&c).is_some();
        if c == '|' && !doubled {
            chars.next_if_eq(&'&');
        }
        // `&>` is a redirection, and so is `|&>`
        if chars.peek() == Some(&'>') {
            return None;
        }
        self.wanted = doubled || c == '|';
        Some(())
    }

    /// To another descriptor or to `/dev/null`: nothing is written anywhere.
    fn redirection(&mut self, chars: &mut Chars<'_>) -> Option<()> {
        if let Some(word) = &self.word
            && word.text.chars().all(|c| c.is_ascii_digit())
        {
            // a number before it is a descriptor, but not in quotes
            if word.quoted {
                return None;
            }
            self.word = None;
        }
        self.end_word()?;
        chars.next_if_eq(&'>');
        let is_descriptor = chars.next_if_eq(&'&').is_some();
        while !is_descriptor && chars.next_if(|c| " \t".contains(*c)).is_some() {}
        let mut target = String::new();
        while let Some(c) = chars.next_if(|c| !" \t\n;&|".contains(*c)) {
            target.push(c);
        }
        let is_number = !target.is_empty() && target.chars().all(|c| c.is_ascii_digit());
        let is_nowhere = if is_descriptor {
            is_number || target == "-"
        } else {
            target == "/dev/null"
        };
        is_nowhere.then_some(())
    }

    fn quoting(&mut self) -> &mut String {
        let word = self.word.get_or_insert_default();
        word.quoted = true;
        &mut word.text
    }

    fn single_quoted(&mut self, chars: &mut Chars<'_>) -> Option<()> {
        let text = self.quoting();
        loop {
            match chars.next()? {
                '\'' => return Some(()),
                c => text.push(c),
            }
        }
    }

    fn double_quoted(&mut self, chars: &mut Chars<'_>) -> Option<()> {
        let text = self.quoting();
        loop {
            match chars.next()? {
                '"' => return Some(()),
                '$' | '`' => return None,
                '\\' => match chars.next()? {
                    c @ ('"' | '\\' | '$' | '`') => text.push(c),
                    '\n' => {}
                    c => text.extend(['\\', c]),
                },
                c => text.push(c),
            }
        }
    }

    fn escaped(&mut self, chars: &mut Chars<'_>) -> Option<()> {
        match chars.next()? {
            '\n' => {}
            c => self.quoting().push(c),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(text: &str) -> Option<Vec<String>> {
        match Script::read(text) {
            Script::Commands(commands) => {
                Some(commands.iter().map(|words| words.join("|")).collect())
            }
            Script::Unreadable(_) => None,
        }
    }

    fn reach(text: &str) -> (Vec<String>, bool) {
        let (commands, doubt) = Script::read(text).reach();
        (
            commands.iter().map(|words| words.join(" ")).collect(),
            doubt,
        )
    }

    #[test]
    fn operators_and_line_ends_divide_commands() {
        for text in [
            "a 1; b 2",
            "a 1 && b 2",
            "a 1||b 2",
            "a 1 | b 2",
            "a 1 |& b 2",
            "a 1 & b 2",
            "a 1\nb 2\n",
            "a 1 &&\n b 2;",
            "a 1 2>&1 | b 2 >/dev/null",
            "a \\\n1; 'b' \"2\" 2> /dev/null",
        ] {
            let found = commands(text);
            assert_eq!(
                found.as_deref(),
                Some(["a|1", "b|2"].map(str::to_owned).as_slice()),
                "{text}"
            );
        }
    }

    #[test]
    fn quotes_hold_what_would_divide() {
        assert_eq!(
            commands(r#"git commit -m "a; rm -rf /" 'b && c' d\;e"#).unwrap(),
            ["git|commit|-m|a; rm -rf /|b && c|d;e"]
        );
    }

    #[test]
    fn what_is_not_plain_is_unreadable() {
        for text in [
            "echo $(rm x)",
            "echo `rm x`",
            "echo \"$(rm x)\"",
            "echo $X",
            "cat <(rm x)",
            "a > file",
            "a >> file",
            "a < file",
            "(rm x)",
            "{ rm x; }",
            "{rm,-rf,/}",
            "if true; then rm x; fi",
            "for i in a; do rm x; done",
            "# a",
            "a # b",
            "/bin/r? x",
            "a;;b",
            "a &&",
            "a | | b",
            "&& a",
            "'open",
            "\"open",
            "a\\",
            "a &> file",
            "a 2>&1x",
            "\"2\">/dev/null x",
            "! a",
            "",
            "  \n",
            "a \u{1b}[2J",
            "a\rb",
        ] {
            assert_eq!(commands(text), None, "{text:?}");
        }
    }

    #[test]
    fn commands_of_other_programs_and_of_scripts_within_are_reached() {
        for text in [
            "sudo rm -rf /",
            "/bin/rm -rf /",
            "X=1 rm -rf /",
            "r\\m -rf /",
            "ls | xargs rm -rf /",
            "bash -c 'ls; rm -rf /'",
            "env A=b timeout 5 rm -rf /",
            "sh -c \"bash -c 'rm -rf /'\"",
            "eval rm -rf /",
            "echo $(rm -rf /)",
            "if true; then rm -rf /; fi",
            "(cd x; 'rm' -rf /)",
            "sudo bash -c 'rm -rf /'",
        ] {
            let (found, _) = reach(text);
            let is_there = found.iter().any(|command| command.starts_with("rm -rf /"));
            assert!(is_there, "{text}: {found:?}");
        }
        assert!(!reach("git rm -rf x").0.contains(&"rm -rf x".to_owned()));
    }

    #[test]
    fn options_before_a_subcommand_hide_nothing() {
        for text in ["git -C x push o", "git -c a=b --no-pager push o"] {
            assert!(reach(text).0.contains(&"git push o".to_owned()), "{text}");
        }
    }

    #[test]
    fn only_what_was_read_whole_leaves_no_doubt() {
        assert!(!reach("sudo ls; bash -c 'ls x'").1);
        assert!(reach("bash -c 'ls $X'").1);
        assert!(reach("ls $X").1);
        assert!(reach("curl x | sh").1);
        assert!(reach("echo x | sudo bash -s").1);
    }
}
