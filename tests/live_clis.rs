//! Dialogs with the real CLIs in live form, a scripted model behind them: the frames that are sent
//! are those that the CLIs take.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agent_runner::agent::live::{Answer, Command as Wish, Heard, LiveReader, Message, Phase, Told};
use agent_runner::agent::{AgentSession, Evidence, LaunchPlan, TurnSpec, by_name};
use agent_runner::event::Event;
use agent_runner::ids::SpoolOffset;
use agent_runner::redact::Redactor;
use tempfile::TempDir;

/// No test waits longer for anything: far more than any of it takes, for busy machines.
const LIMIT: Duration = Duration::from_secs(90);

const SCRIPT: &str = r#"
[[scenario]]
match = "Work with a tool."
[[scenario.reply]]
steps = [{ say = "I look." }, { shell = "cat /dev/null; echo looked > looked" }]
[[scenario.reply]]
steps = [{ say = "Looked." }]

[[scenario]]
match = "Only read."
[[scenario.reply]]
steps = [{ shell = "ls" }]
[[scenario.reply]]
steps = [{ say = "Read." }]

[[scenario]]
match = "Wait for long."
[[scenario.reply]]
steps = [{ shell = "touch waiting; sleep 300" }]
[[scenario.reply]]
steps = [{ say = "Waited." }]

[[scenario]]
match = "Say hello."
[[scenario.reply]]
steps = [{ say = "Hello.", chunk = 2 }]
"#;

/// A CLI that is spoken to, and what it has told.
struct Talk {
    dir: TempDir,
    children: Vec<Child>,
    stdin: ChildStdin,
    lines: Receiver<Vec<u8>>,
    reader: LiveReader,
    read: u64,
    told: Vec<Told>,
}

impl Talk {
    /// Nothing where the CLI is not installed, which continuous integration does not accept.
    fn with(agent: &str, program: &str, asks: bool) -> Option<Self> {
        let program = installed(program)?;
        let dir = tempfile::tempdir().unwrap();
        for folder in ["home/.codex", "here"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let (model, url) = scripted_model(dir.path());
        let kind = by_name(agent).unwrap();
        let form = kind.live.as_ref().unwrap();
        let plan = (form.plan)(&spec(agent, dir.path()), asks).unwrap();
        let mut cli = command(agent, &program, &url, dir.path(), &plan.launch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(cli.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.split(b'\n') {
                let mut line = line.unwrap();
                line.push(b'\n');
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut talk = Self {
            stdin: cli.stdin.take().unwrap(),
            children: vec![cli, model],
            dir,
            lines,
            reader: LiveReader::new(form, &plan.spec, Arc::new(Redactor::none())),
            read: 0,
            told: Vec::new(),
        };
        talk.until("ready", |told| *told == Told::Ready);
        Some(talk)
    }

    fn send(&mut self, frames: Vec<Vec<u8>>) {
        for mut frame in frames {
            frame.push(b'\n');
            self.stdin.write_all(&frame).unwrap();
            let at = SpoolOffset::new(self.read);
            let told = &mut self.told;
            self.reader
                .sent(at, frame, &mut |heard: Heard<'_>| told.append(heard.told));
        }
    }

    fn due(&mut self) {
        loop {
            let due = self.reader.dialog().due();
            if due.is_empty() {
                return;
            }
            self.send(due);
        }
    }

    fn wish(&mut self, wish: &Wish) {
        let frames = self.reader.dialog().frames(wish).unwrap();
        self.send(frames);
    }

    /// Listens until that is told; forgets what was told up to there.
    fn until(&mut self, what: &str, fits: impl Fn(&Told) -> bool) -> Vec<Told> {
        loop {
            self.due();
            if let Some(at) = self.told.iter().position(&fits) {
                return self.told.drain(..=at).collect();
            }
            let line = self.lines.recv_timeout(LIMIT);
            let line = line.unwrap_or_else(|_| panic!("no {what}: {:?}", self.told));
            let told = &mut self.told;
            self.reader
                .push(&line, &mut |heard: Heard<'_>| told.append(heard.told));
            self.read += line.len() as u64;
        }
    }

    /// The rest of the turn, and how it went.
    fn turn(&mut self) -> (Vec<Told>, Evidence) {
        let mut told = self.until("end of the turn", |told| {
            matches!(told, Told::TurnOver { .. })
        });
        match told.pop() {
            Some(Told::TurnOver { evidence, .. }) => (told, evidence),
            other => panic!("{other:?}"),
        }
    }

    fn asked(&mut self) -> String {
        let told = self.until("request", |told| {
            matches!(told, Told::Event(Event::PermissionRequest { .. }))
        });
        match told.last() {
            Some(Told::Event(Event::PermissionRequest {
                request_id, tool, ..
            })) => {
                assert_eq!(tool, "shell");
                request_id.clone()
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn installed(program: &str) -> Option<PathBuf> {
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/node_modules");
    let path = Path::new(tools).join(program);
    if path.exists() {
        return Some(path);
    }
    let needs = format!("needs {program}, get it with scripts/install-test-tools");
    assert!(std::env::var_os("CI").is_none(), "{needs}");
    println!("skipped: {needs}");
    None
}

fn scripted_model(dir: &Path) -> (Child, String) {
    fs::write(dir.join("script.toml"), SCRIPT).unwrap();
    let mut model = Command::new(env!("CARGO_BIN_EXE_agent-runner"))
        .args(["scripted-model", "--script"])
        .arg(dir.join("script.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(model.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line.trim().strip_prefix("listening ").unwrap().to_owned();
    (model, url)
}

/// A new conversation in `dir`.
fn spec(agent: &str, dir: &Path) -> TurnSpec {
    let model = match agent {
        "codex" => "gpt-5.5",
        _ => "claude-opus-4-8",
    };
    TurnSpec {
        agent_session: AgentSession::New(uuid::Uuid::new_v4()),
        model: Some(model.to_owned()),
        effort: None,
        system_prompt_file: None,
        system_prompt: None,
        mcp_config: None,
        mcp_servers: None,
        settings: None,
        variables: Vec::new(),
        allowed_tools: Vec::new(),
        extra_args: Vec::new(),
        home: dir.join("home"),
        is_root: true,
        workspace: dir.join("here"),
        files: dir.join("launch"),
    }
}

/// What the plan starts, where its model is the scripted one.
fn command(agent: &str, program: &Path, url: &str, dir: &Path, plan: &LaunchPlan) -> Command {
    let mut command = Command::new(program);
    command
        .args(&plan.args)
        .current_dir(dir.join("here"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(plan.env.iter().map(|(name, value)| (name, value)));
    for (place, content) in &plan.home_files {
        let file = dir.join("home").join(place);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    match agent {
        "codex" => {
            let config = format!(
                "model_provider = \"scripted\"\n[model_providers.scripted]\n\
                 name = \"Scripted\"\nbase_url = \"{url}/v1\"\nenv_key = \"KEY\"\n\
                 wire_api = \"responses\"\n"
            );
            fs::write(dir.join("home/.codex/config.toml"), config).unwrap();
            command.env("KEY", "any");
        }
        _ => {
            command
                .env("ANTHROPIC_BASE_URL", url)
                .env("ANTHROPIC_API_KEY", "any");
        }
    }
    command
}

/// Ids are UUIDs; these count up.
fn message(number: u8, text: &str) -> Message {
    Message {
        id: format!("00000000-0000-4000-8000-0000000000{number:02}"),
        text: text.to_owned(),
    }
}

fn texts(told: &[Told]) -> String {
    let texts = told.iter().filter_map(|told| match told {
        Told::Event(Event::Token { text, .. }) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn pieces(told: &[Told]) -> usize {
    let is_piece = |told: &&Told| matches!(told, Told::Event(Event::Token { .. }));
    told.iter().filter(is_piece).count()
}

/// Two turns in one process; each message is said to be taken up, the text comes in pieces.
fn turns(agent: &str, program: &str) {
    let Some(mut talk) = Talk::with(agent, program, false) else {
        return;
    };
    for number in [1, 2] {
        let message = message(number, "Say hello.");
        let taken = Told::TakenUp {
            id: Some(message.id.clone()),
        };
        talk.wish(&Wish::Prompt(message));
        assert_eq!(talk.reader.dialog().phase(), Phase::Working);
        let (told, evidence) = talk.turn();
        assert_eq!(evidence, Evidence::Completed);
        assert!(told.contains(&taken), "{told:?}");
        assert_eq!(texts(&told), "Hello.");
        assert!(pieces(&told) > 1, "{told:?}");
        assert_eq!(talk.reader.dialog().phase(), Phase::Resting);
    }
}

/// A command waits for consent; a refused one does not run.
fn consent(agent: &str, program: &str) {
    let Some(mut talk) = Talk::with(agent, program, true) else {
        return;
    };
    let mark = talk.dir.path().join("here/looked");
    let answers = [
        Answer::Deny {
            message: "Not now.".to_owned(),
        },
        Answer::Allow { input: None },
    ];
    for (number, answer) in (1..).zip(answers) {
        let runs = matches!(answer, Answer::Allow { .. });
        talk.wish(&Wish::Prompt(message(number, "Work with a tool.")));
        let request_id = talk.asked();
        assert!(!mark.exists(), "it waits");
        talk.wish(&Wish::Answer { request_id, answer });
        let (told, evidence) = talk.turn();
        assert_eq!(evidence, Evidence::Completed, "{told:?}");
        assert!(texts(&told).ends_with("Looked."), "{told:?}");
        assert_eq!(mark.exists(), runs);
    }
}

/// An interrupt in the middle of a command ends the turn; the process takes the next one.
fn interrupt(agent: &str, program: &str) {
    let Some(mut talk) = Talk::with(agent, program, false) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Wait for long.")));
    talk.until("call", |told| {
        matches!(told, Told::Event(Event::ToolStart { .. }))
    });
    talk.wish(&Wish::Steer(message(2, "Say hello.")));
    talk.wish(&Wish::Interrupt);
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Interrupted, "{told:?}");
    // the message came too late for Claude, which then goes on with it by itself
    if talk.reader.dialog().phase() == Phase::Resting {
        talk.wish(&Wish::Prompt(message(3, "Say hello.")));
    }
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
}

/// Left alone, it lets commands that only read pass; our hook holds them too.
#[test]
fn claude_waits_for_consent_to_a_read_as_well() {
    let Some(mut talk) = Talk::with("claude", ".bin/claude", true) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Only read.")));
    let request_id = talk.asked();
    let answer = Answer::Stop;
    talk.wish(&Wish::Answer { request_id, answer });
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Interrupted, "{told:?}");
}

#[test]
fn claude_takes_several_turns() {
    turns("claude", ".bin/claude");
}

#[test]
fn claude_waits_for_consent() {
    consent("claude", ".bin/claude");
}

#[test]
fn claude_is_interrupted() {
    interrupt("claude", ".bin/claude");
}

#[test]
fn codex_takes_several_turns() {
    turns("codex", ".bin/codex");
}

#[test]
fn codex_waits_for_consent() {
    consent("codex", ".bin/codex");
}

#[test]
fn codex_is_interrupted() {
    interrupt("codex", ".bin/codex");
}
