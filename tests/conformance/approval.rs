//! Consent with the real CLIs: what a person or a rule permits is done, and nothing else is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use agent_runner::agent::AGENTS;
use agent_runner::agent::live::Holds;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use serde_json::Value;

use crate::agents::Agent;
use crate::bench::Bench;
use crate::running::{Finished, Running, eventually};

/// A session in the background whose agent asks.
struct Asking {
    bench: Bench,
    pid: i32,
    session: String,
    output: PathBuf,
}

impl Asking {
    /// Nothing where the CLI is not installed. `rules` go into the config file.
    fn start(
        agent: &'static Agent,
        task: &str,
        approve: &'static str,
        rules: &str,
    ) -> Option<Self> {
        let mut bench = Bench::with(agent)?;
        (bench.mode, bench.approve) = ("auto", approve);
        let mut command = bench.agent_command(&["start", task], false);
        let mut config = fs::File::options()
            .append(true)
            .open(bench.path("config.toml"))
            .unwrap();
        config.write_all(rules.as_bytes()).unwrap();
        let finished = Running::start(&mut command).finish();
        assert_eq!(finished.code(), 0, "{finished:#?}");
        let answer: Value = serde_json::from_str(&finished.out[0]).unwrap();
        Some(Self {
            pid: i32::try_from(answer["pid"].as_i64().unwrap()).unwrap(),
            session: answer["session_id"].as_str().unwrap().to_owned(),
            output: answer["output_file"].as_str().unwrap().into(),
            bench,
        })
    }

    fn approve(&self, words: &[&str]) -> Finished {
        let words = [&["approve"], words].concat();
        Running::start(&mut self.bench.command(&words)).finish()
    }

    /// The only request that waits, once it does.
    fn request(&self) -> Value {
        let mut waiting = Vec::new();
        eventually("a request waits", || {
            let listed = self.approve(&["--list", "--json"]);
            assert_eq!(listed.code(), 0, "{listed:#?}");
            let found: Value = serde_json::from_str(&listed.out.join("\n")).unwrap();
            waiting.clone_from(found.as_array().unwrap());
            assert!(!self.has_ended(), "{:#?}", self.events());
            !waiting.is_empty()
        });
        assert_eq!(waiting.len(), 1, "{waiting:#?}");
        assert_eq!(waiting[0]["session_id"], self.session.as_str());
        waiting.remove(0)
    }

    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    fn has_ended(&self) -> bool {
        self.events()
            .last()
            .is_some_and(|event| event["type"] == "end")
    }

    /// Waits for the end of the turn, which must have completed; who said what to each request.
    fn answers(&self) -> Vec<(String, String)> {
        eventually("the turn has ended", || self.has_ended());
        let events = self.events();
        assert_eq!(
            events.last().unwrap()["outcome"],
            "completed",
            "{events:#?}"
        );
        let of = |kind: &str| -> Vec<&Value> {
            events
                .iter()
                .filter(|event| event["type"] == kind)
                .collect()
        };
        let (asked, said) = (of("permission_request"), of("permission_response"));
        let id = |event: &&Value| event["request_id"].as_str().unwrap().to_owned();
        let ids: Vec<String> = asked.iter().map(id).collect();
        assert_eq!(
            ids,
            said.iter().map(id).collect::<Vec<_>>(),
            "each is answered once"
        );
        let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
        let said = said
            .iter()
            .map(|event| (text(event, "decision"), text(event, "by")));
        said.collect()
    }

    fn has(&self, file: &str) -> bool {
        self.bench.path("here").join(file).exists()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // a test that failed half-way leaves its daemon
        let _gone = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
    }
}

fn pair(decision: &str, by: &str) -> (String, String) {
    (decision.to_owned(), by.to_owned())
}

/// A person permits, denies and changes; the daemon dies while a request waits.
pub(crate) fn by_a_person(agent: &'static Agent) {
    let Some(mut asking) = Asking::start(agent, "Ask before each.", "ask", "") else {
        return;
    };
    let first = asking.request();
    assert_eq!(
        (&first["tool"], &first["input"]["command"]),
        (&"shell".into(), &"touch allowed".into())
    );
    assert!(first["until"].as_u64() > first["since"].as_u64(), "{first}");
    assert!(!asking.has("allowed"));
    let id = first["request_id"].as_str().unwrap();
    let status = Running::start(&mut asking.bench.command(&["status"])).finish();
    assert!(
        status.out.join("\n").contains("1 request waits"),
        "{status:#?}"
    );
    // the next daemon has it still
    kill(Pid::from_raw(asking.pid), Signal::SIGKILL).unwrap();
    let again = Running::start(&mut asking.bench.command(&["start"])).finish();
    assert_eq!(again.code(), 0, "{again:#?}");
    let answer: Value = serde_json::from_str(&again.out[0]).unwrap();
    asking.pid = i32::try_from(answer["pid"].as_i64().unwrap()).unwrap();
    assert_eq!(asking.request()["request_id"], first["request_id"]);
    let done = asking.approve(&[id]);
    assert_eq!(done.code(), 0, "{done:#?}");
    assert_eq!(done.out, ["shell touch allowed: permitted"]);
    let second = asking.request();
    assert_eq!(second["input"]["command"], "touch denied");
    assert!(asking.has("allowed"));
    let late = asking.approve(&["no-such-request"]);
    late.fails_with(75);
    let done = asking.approve(&["--deny=Leave that alone."]);
    assert_eq!(done.code(), 0, "{done:#?}");
    let third = asking.request();
    assert_eq!(third["input"]["command"], "touch late");
    let listed = asking.approve(&["--list"]);
    assert!(listed.out[0].contains("shell touch late"), "{listed:#?}");
    // where the CLI would not obey, that is refused and the request waits on
    let changed = asking.approve(&["--answer", r#"{"command": "touch changed"}"#]);
    let is_changed = agent.name == "claude";
    if is_changed {
        assert_eq!(changed.code(), 0, "{changed:#?}");
    } else {
        assert!(changed.fails_with(64).contains("another input"));
        assert_eq!(asking.approve(&["--deny"]).code(), 0);
    }
    let last = if is_changed { "allow" } else { "deny" };
    let expected = ["allow", "deny", last].map(|decision| pair(decision, "local"));
    assert_eq!(asking.answers(), expected);
    assert_eq!(asking.has("changed"), is_changed);
    assert!(!asking.has("denied") && !asking.has("late"));
    let nothing = asking.approve(&[]);
    assert!(nothing.fails_with(75).contains("no request waits"));
}

/// Rules decide, and what they leave open is denied when its time is up.
pub(crate) fn by_rules(agent: &'static Agent) {
    let rules = "[approval]\ntimeout = '1s'\n[[approval.allow]]\ncommand = 'touch allowed'\n\
                 [[approval.allow]]\ntool = 'write'\npath = 'inside/**'\n\
                 [[approval.deny]]\ncommand = 'touch denied'\n\
                 [[approval.deny]]\npath = 'elsewhere*'\n";
    let Some(asking) = Asking::start(agent, "Obey the rules.", "policy", rules) else {
        return;
    };
    let by_policy = ["allow", "deny", "allow", "deny"].map(|decision| pair(decision, "policy"));
    let expected = [&by_policy[..], &[pair("deny", "timeout")]].concat();
    assert_eq!(asking.answers(), expected);
    assert!(asking.has("allowed") && !asking.has("denied") && !asking.has("late"));
    assert!(asking.has("inside/new.txt") && !asking.has("elsewhere.txt"));
}

/// A question of the agent gets its answer.
pub(crate) fn a_question(agent: &'static Agent) {
    let Some(asking) = Asking::start(agent, "Ask which.", "ask", "") else {
        return;
    };
    let request = asking.request();
    assert_eq!(
        request["questions"][0]["question"], "Which colour?",
        "{request}"
    );
    assert!(asking.approve(&[]).fails_with(64).contains("1  Red"));
    let done = asking.approve(&["--answer", "2"]);
    assert_eq!(done.code(), 0, "{done:#?}");
    assert_eq!(asking.answers(), [pair("allow", "local")]);
    let requests = asking.bench.requests();
    let last = requests.iter().map(Value::to_string).next_back().unwrap();
    assert!(
        last.contains("Which colour?") && last.contains("Blue"),
        "{last}"
    );
}

/// A question that somebody denies: the agent goes on without.
pub(crate) fn a_question_denied(agent: &'static Agent) {
    let Some(asking) = Asking::start(agent, "Ask which.", "ask", "") else {
        return;
    };
    asking.request();
    assert_eq!(asking.approve(&["--deny=Choose for yourself."]).code(), 0);
    assert_eq!(asking.answers(), [pair("deny", "local")]);
    assert_eq!(asking.events().last().unwrap()["outcome"], "completed");
}

/// A question that nobody answers in time.
pub(crate) fn a_question_unanswered(agent: &'static Agent) {
    let rules = "[approval]\ntimeout = '1s'\n";
    let Some(asking) = Asking::start(agent, "Ask which.", "ask", rules) else {
        return;
    };
    assert_eq!(asking.answers(), [pair("deny", "timeout")]);
    assert_eq!(asking.events().last().unwrap()["outcome"], "completed");
}

/// Whoever is asked ends the turn.
pub(crate) fn a_question_that_ends(agent: &'static Agent) {
    let Some(asking) = Asking::start(agent, "Ask which.", "ask", "") else {
        return;
    };
    asking.request();
    assert_eq!(asking.approve(&["--cancel"]).code(), 0);
    eventually("the turn has ended", || asking.has_ended());
    assert_eq!(asking.events().last().unwrap()["outcome"], "cancelled");
}

/// The command that shows requests as they come.
pub(crate) fn followed(agent: &'static Agent) {
    let Some(asking) = Asking::start(agent, "Ask before each.", "ask", "") else {
        return;
    };
    let mut command: Command = asking.bench.command(&["approve", "--follow", "--json"]);
    let following = Running::start(&mut command);
    let is_it = |shown: &Value| shown["input"]["command"] == "touch allowed";
    let shown = following.event("the request", is_it);
    let id = shown["request_id"].as_str().unwrap();
    assert_eq!(asking.approve(&[id, "--cancel"]).code(), 0);
    eventually("the turn has ended", || asking.has_ended());
    assert_eq!(asking.events().last().unwrap()["outcome"], "cancelled");
    assert!(!asking.has("allowed"));
    following.signal(Signal::SIGINT);
    assert_eq!(following.finish().code(), 0);
}

/// A person at a terminal, with one of our commands.
struct Typist {
    shown: Arc<Mutex<String>>,
    keyboard: Box<dyn std::io::Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    // the terminal is there as long as this
    _terminal: Box<dyn portable_pty::MasterPty + Send>,
}

impl Typist {
    fn start(command: &Command) -> Self {
        let pty = native_pty_system().openpty(PtySize::default()).unwrap();
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.env_clear();
        for (name, value) in command.get_envs() {
            builder.env(name, value.unwrap());
        }
        builder.cwd(command.get_current_dir().unwrap());
        let child = pty.slave.spawn_command(builder).unwrap();
        let (shown, mut screen) = (
            Arc::<Mutex<String>>::default(),
            pty.master.try_clone_reader().unwrap(),
        );
        let copy = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                copy.lock().unwrap().push_str(&text);
            }
        });
        Self {
            shown,
            keyboard: pty.master.take_writer().unwrap(),
            child,
            _terminal: pty.master,
        }
    }

    /// Waits until a text is shown that was not before, and types.
    fn answer(&mut self, shown: &str, typed: &str) {
        eventually(shown, || {
            let has_ended = self.child.try_wait().unwrap().is_some();
            let mut screen = self.shown.lock().unwrap();
            let Some(at) = screen.find(shown) else {
                assert!(!has_ended, "it has ended: {screen}");
                return false;
            };
            screen.drain(..at + shown.len());
            true
        });
        self.keyboard.write_all(typed.as_bytes()).unwrap();
    }
}

/// `run` and `approve --follow` ask at their terminal.
pub(crate) fn at_a_terminal(agent: &'static Agent) {
    let Some(mut bench) = Bench::with(agent) else {
        return;
    };
    (bench.mode, bench.approve) = ("auto", "ask");
    let command = ["run", "Ask before each."];
    let command = bench.agent_command(&command, false);
    let mut typist = Typist::start(&command);
    typist.answer("command: touch allowed", "");
    typist.answer("c to end the turn: ", "perhaps\r");
    typist.answer("c ends the turn: ", "y\r");
    typist.answer("command: touch denied", "n Leave that alone.\r");
    typist.answer("command: touch late", "n\r");
    let status = typist.child.wait().unwrap();
    assert_eq!(status.exit_code(), 0, "{}", typist.shown.lock().unwrap());
    let has = |file: &str| bench.path("here").join(file).exists();
    assert!(has("allowed") && !has("denied") && !has("late"));
    let last = bench.requests().pop().unwrap().to_string();
    assert!(last.contains("Leave that alone."), "{last}");

    let asking = Asking::start(agent, "Ask before each.", "ask", "").unwrap();
    let mut typist = Typist::start(&asking.bench.command(&["approve", "--follow"]));
    typist.answer("command: touch allowed", "y\r");
    typist.answer("command: touch denied", "c\r");
    eventually("the turn has ended", || asking.has_ended());
    assert_eq!(asking.events().last().unwrap()["outcome"], "cancelled");
    assert!(asking.has("allowed") && !asking.has("denied"));
    typist.keyboard.write_all(b"\x03").unwrap();
    assert_eq!(typist.child.wait().unwrap().exit_code(), 0);
}

/// What the adapters say of themselves stands in the table of `docs/agents.md`.
pub(crate) fn the_docs() {
    let page = include_str!("../../docs/agents.md");
    let table = page.split("## What can wait for consent").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    for kind in AGENTS {
        let row = table
            .lines()
            .find(|line| line.starts_with(&format!("| {} |", kind.name)));
        let row = row.unwrap_or_else(|| panic!("no row for {}", kind.name));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let expected = match kind.live.as_ref().map(|live| &live.holds) {
            None => "nothing",
            Some(Holds::All) => "every call",
            Some(Holds::AllBut(others)) => &format!("every call but {others}"),
        };
        assert!(cells[2].starts_with(expected), "{}: {row}", kind.name);
        let can_change = kind.live.as_ref().is_some_and(|live| live.can_change_input);
        assert_eq!(cells[3] == "yes", can_change, "{row}");
    }
}
