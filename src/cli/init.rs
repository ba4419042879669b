//! Looks after the daemon as the first process of a container.
//!
//! It is parsed here and not by clap, before anything else is set up: as PID 1 it stays small, and
//! what follows its own options is for the program that it starts.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use super::{CliError, Exit};
use crate::config::parse_duration;
use crate::init::{self, Policy, Program};

/// The command's name.
pub(super) const NAME: &str = "init";

/// The daemon leaves in under 8 s. With the second that init takes for what is left this stays
/// under the 10 s of `docker stop`.
const GRACE: Duration = Duration::from_millis(8500);
/// With its growing delays that is about 16 s of trying.
const RESTARTS: usize = 8;

const GRACE_VARIABLE: &str = "AGENT_RUNNER_GRACE";
const RESTARTS_VARIABLE: &str = "AGENT_RUNNER_RESTARTS";

const HELP: &str = "\
Run a command of agent-runner as the first process of a container

Usage: agent-runner init [OPTIONS] [--] [COMMAND] [ARGUMENTS]
       agent-runner init [OPTIONS] --exec PROGRAM [ARGUMENTS]

Without a command, or with flags in its place, that is `daemon`, which is started again when it
dies. Zombies are reaped and signals are forwarded.

Options:
  --grace DURATION  How long it may take to end after SIGTERM [env: AGENT_RUNNER_GRACE] [default: 8500ms]
  --restarts N      How often it is started again within a minute [env: AGENT_RUNNER_RESTARTS] [default: 8 for the daemon, else 0]
  --oom-code CODE   End with this code when the kernel killed it for want of memory [default: 137, as for any SIGKILL]
  --exec PROGRAM    Run another program
  -h, --help        Print help
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Help,
    Run(Plan),
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// None: this very program.
    program: Option<OsString>,
    arguments: Vec<OsString>,
    grace: Duration,
    restarts: usize,
    once: bool,
    oom_code: Option<u8>,
}

/// Runs the command with what follows its name.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, CliError> {
    let plan =
        match parse(arguments, |name| std::env::var_os(name)).map_err(|message| usage(&message))? {
            Request::Help => {
                // A closed pipe (`--help | head`) is nobody's error.
                let _unread = io::stdout().write_all(HELP.as_bytes());
                return Ok(ExitCode::SUCCESS);
            }
            Request::Run(plan) => plan,
        };
    let name = match plan.program {
        Some(program) => program,
        // By its path: what an upgrade puts there is what the next start runs.
        None => std::env::current_exe()
            .map_err(|error| fault("find its own program file", &error))?
            .into_os_string(),
    };
    let program =
        Program::new(&name, &plan.arguments).map_err(|error| usage(&error.to_string()))?;
    let policy = Policy {
        grace: plan.grace,
        restarts: plan.restarts,
        once: plan.once,
        oom_code: plan.oom_code,
    };
    let code = init::run(&program, policy).map_err(|error| fault("watch signals", &error))?;
    Ok(ExitCode::from(code))
}

fn usage(message: &str) -> CliError {
    CliError::new(
        Exit::Usage,
        format!("init: {message}; see `agent-runner init --help`"),
    )
}

fn fault(what: &str, error: &io::Error) -> CliError {
    CliError::new(Exit::Internal, format!("init cannot {what}: {error}"))
}

fn parse(
    arguments: impl Iterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Request, String> {
    let mut arguments = arguments.peekable();
    let mut grace = variable(GRACE_VARIABLE).map(|value| (GRACE_VARIABLE, value));
    let mut restarts = variable(RESTARTS_VARIABLE).map(|value| (RESTARTS_VARIABLE, value));
    let mut oom_code = None;
    let mut program = None;
    // The first thing that is not init's begins what is the program's.
    while program.is_none() {
        let Some(word) = arguments.next_if(|word| is_own(word)) else {
            break;
        };
        let (flag, value) = split(&word);
        let mut value = |name| match &value {
            Some(value) => Ok((*value).to_owned()),
            None => arguments.next().ok_or(format!("{name} takes a value")),
        };
        match flag {
            "--grace" => grace = Some(("--grace", value("--grace")?)),
            "--restarts" => restarts = Some(("--restarts", value("--restarts")?)),
            "--oom-code" => oom_code = Some(value("--oom-code")?),
            "--exec" => program = Some(value("--exec")?),
            "--" => break,
            _ => return Ok(Request::Help),
        }
    }
    let mut rest: Vec<OsString> = arguments.collect();
    let is_flag = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    if program.is_none() && rest.first().is_none_or(is_flag) {
        rest.insert(0, OsString::from("daemon"));
    }
    let is_daemon = program.is_none() && rest.first().is_some_and(|word| word == "daemon");
    Ok(Request::Run(Plan {
        grace: match grace {
            Some((from, value)) => duration(from, &value)?,
            None => GRACE,
        },
        restarts: match restarts {
            Some((from, value)) => number(from, &value, "number of restarts")?,
            None if is_daemon => RESTARTS,
            None => 0,
        },
        once: is_daemon && rest.iter().any(|word| word == "--once"),
        oom_code: oom_code
            .map(|value| number("--oom-code", &value, "exit code"))
            .transpose()?,
        program,
        arguments: rest,
    }))
}

fn is_own(word: &OsStr) -> bool {
    let flags = [
        "--grace",
        "--restarts",
        "--oom-code",
        "--exec",
        "--",
        "--help",
        "-h",
    ];
    flags.contains(&split(word).0)
}

/// `--flag=value` in two, else the flag alone. What is not text is no flag of ours.
fn split(word: &OsStr) -> (&str, Option<&OsStr>) {
    let Some(text) = word.to_str() else {
        return ("", None);
    };
    match text.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (flag, Some(OsStr::new(value))),
        _ => (text, None),
    }
}

fn duration(from: &str, value: &OsStr) -> Result<Duration, String> {
    let text = value.to_string_lossy();
    parse_duration(&text).map_err(|error| format!("{from}: {error}"))
}

fn number<N: FromStr>(from: &str, value: &OsStr, what: &str) -> Result<N, String> {
    let text = value.to_string_lossy();
    text.parse()
        .map_err(|_| format!("{from}: `{text}` is no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str, env: &[(&str, &str)]) -> Result<Request, String> {
        let variable = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        parse(line.split_whitespace().map(OsString::from), variable)
    }

    fn plan(line: &str) -> Plan {
        match parsed(line, &[]) {
            Ok(Request::Run(plan)) => plan,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn words(plan: &Plan) -> String {
        let program = plan.program.iter().chain(&plan.arguments);
        let words: Vec<_> = program.map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn what_is_not_inits_is_the_daemons() {
        for (line, expected) in [
            ("", "daemon"),
            ("--", "daemon"),
            ("--once --hub x", "daemon --once --hub x"),
            ("-- --grace 1s", "daemon --grace 1s"),
            ("--grace 1s --once --grace 2s", "daemon --once --grace 2s"),
            ("daemon --once", "daemon --once"),
            ("-- doctor --json", "doctor --json"),
            ("run hello", "run hello"),
            ("--exec sh -c --help", "sh -c --help"),
            ("--exec=sh -- x", "sh -- x"),
        ] {
            assert_eq!(words(&plan(line)), expected, "{line}");
        }
    }

    #[test]
    fn only_the_daemon_is_started_again_unless_asked_for() {
        for (line, restarts, once) in [
            ("", RESTARTS, false),
            ("--once", RESTARTS, true),
            ("daemon --once", RESTARTS, true),
            ("doctor", 0, false),
            ("run --once", 0, false),
            ("--exec sh --once", 0, false),
            ("--restarts 3 --exec sh", 3, false),
            ("--restarts=0", 0, false),
        ] {
            let plan = plan(line);
            assert_eq!((plan.restarts, plan.once), (restarts, once), "{line}");
        }
    }

    #[test]
    fn a_flag_counts_before_its_variable_and_that_before_the_default() {
        let env = [("AGENT_RUNNER_GRACE", "3s"), ("AGENT_RUNNER_RESTARTS", "1")];
        let grace = |line, env| match parsed(line, env) {
            Ok(Request::Run(plan)) => (plan.grace.as_millis(), plan.restarts),
            other => panic!("{other:?}"),
        };
        assert_eq!(grace("", &[]), (8500, 8));
        assert_eq!(grace("", &env), (3000, 1));
        assert_eq!(grace("--grace=1m --restarts 2", &env), (60_000, 2));
    }

    #[test]
    fn a_wrong_value_is_told_with_its_place() {
        for (line, env, expected) in [
            ("--grace 5", None, "--grace: `5` has no unit"),
            ("--grace", None, "--grace takes a value"),
            ("--exec", None, "--exec takes a value"),
            ("--restarts many", None, "--restarts: `many` is no number"),
            ("--oom-code 256", None, "--oom-code: `256` is no exit code"),
            (
                "",
                Some(("AGENT_RUNNER_GRACE", "x")),
                "AGENT_RUNNER_GRACE: `x`",
            ),
        ] {
            let error = parsed(line, env.as_slice()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn help_is_given_for_init_itself_only() {
        for line in ["--help", "-h", "--grace 1s --help"] {
            assert_eq!(parsed(line, &[]), Ok(Request::Help));
        }
        assert_eq!(words(&plan("daemon --help")), "daemon --help");
    }
}
