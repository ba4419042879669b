//! Dialogs with the real CLIs in live form, a scripted model behind them: the frames that are sent
//! are those that the CLIs take.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agent_runner::agent::live::{
    Answer, Command as Wish, Heard, LivePlan, LiveReader, Message, Phase, Refused, Told,
};
use agent_runner::agent::{AgentSession, Evidence, TurnSpec, by_name};
use agent_runner::event::Event;
use agent_runner::ids::SpoolOffset;
use agent_runner::redact::Redactor;
use serde_json::{Value, json};
use tempfile::TempDir;

/// No test waits longer for anything: far more than any of it takes, for busy machines.
const LIMIT: Duration = Duration::from_secs(90);

const SCRIPT: &str = r#"
[[scenario]]
match = "Work with a tool."
[[scenario.reply]]
steps = [{ say = "I look." }, { shell = "echo looked > looked" }]
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
match = "Use the server."
[[scenario.reply]]
steps = [{ mcp = "lab/echo", input = { text = "hi" } }]
[[scenario.reply]]
steps = [{ say = "Used." }]

[[scenario]]
match = "Make a file."
[[scenario.reply]]
steps = [{ think = "I think." }, { write = "made.txt", content = "one\n" }]
[[scenario.reply]]
steps = [{ read = "made.txt" }]
[[scenario.reply]]
steps = [{ say = "Made." }]

[[scenario]]
match = "Ask me by AskUserQuestion."
[[scenario.reply]]
steps = [{ tool = "AskUserQuestion", input = { questions = [{ question = "Which?", header = "Which", multiSelect = false, options = [{ label = "A", description = "a" }, { label = "B", description = "b" }] }] } }]
[[scenario.reply]]
steps = [{ say = "Asked." }]

[[scenario]]
match = "Ask me by request_user_input."
[[scenario.reply]]
steps = [{ tool = "request_user_input", input = { questions = [{ id = "which", question = "Which?", header = "Which", options = [{ label = "A", description = "a" }, { label = "B", description = "b" }] }] } }]
[[scenario.reply]]
steps = [{ say = "Asked." }]

[[scenario]]
match = "Say hello."
[[scenario.reply]]
steps = [{ say = "Hello.", chunk = 2 }]
"#;

/// A CLI that is spoken to, and what it has told.
struct Talk {
    dir: TempDir,
    url: String,
    children: Vec<Child>,
    /// None while no process is spoken to.
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    reader: LiveReader,
    read: u64,
    told: Vec<Told>,
}

/// A CLI under test.
struct Cli {
    agent: &'static str,
    /// Its executable, below `tests/tools/node_modules`.
    program: &'static str,
    model: &'static str,
    /// Its environment; `$URL` stands for the model server, `$SILENT` for one that answers nothing.
    env: &'static [(&'static str, &'static str)],
    /// A file of its home, with `$URL` likewise.
    home_file: Option<(&'static str, &'static str)>,
}

const CLAUDE: Cli = Cli {
    agent: "claude",
    program: ".bin/claude",
    model: "claude-opus-4-8",
    env: &[("ANTHROPIC_BASE_URL", "$URL"), ("ANTHROPIC_API_KEY", "any")],
    home_file: None,
};

const CODEX: Cli = Cli {
    agent: "codex",
    program: ".bin/codex",
    model: "gpt-5.5",
    env: &[("KEY", "any")],
    home_file: Some((
        ".codex/config.toml",
        "model_provider = \"scripted\"\n[model_providers.scripted]\nname = \"Scripted\"\n\
         base_url = \"$URL/v1\"\nenv_key = \"KEY\"\nwire_api = \"responses\"\n",
    )),
};

const OPENCODE: Cli = Cli {
    agent: "opencode",
    program: "opencode-linux-x64/bin/opencode",
    model: "scripted/scripted",
    env: &[
        ("OPENCODE_CONFIG_CONTENT", OPENCODE_CONFIG),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        // one that answers nothing: whoever asked it at the start would wait
        ("npm_config_registry", "$SILENT"),
    ],
    home_file: None,
};

const OPENCODE_CONFIG: &str = r#"{
  "small_model": "scripted/scripted",
  "enabled_providers": ["scripted"],
  "provider": {"scripted": {
    "npm": "@ai-sdk/openai-compatible",
    "options": {"baseURL": "$URL/v1", "apiKey": "any"},
    "models": {"scripted": {
      "reasoning": true, "tool_call": true, "limit": {"context": 200000, "output": 32000}
    }}
  }}
}"#;

const GEMINI: Cli = Cli {
    agent: "gemini",
    program: ".bin/gemini",
    model: "gemini-3.8-flash",
    env: &[
        ("GOOGLE_GEMINI_BASE_URL", "$URL"),
        ("GEMINI_API_KEY", "any"),
    ],
    home_file: None,
};

impl Talk {
    /// Nothing where the CLI is not installed, which continuous integration does not accept.
    fn with(cli: &Cli, asks: bool) -> Option<Self> {
        let program = installed(cli.program)?;
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("here")).unwrap();
        let (model, url) = scripted_model(dir.path());
        let session = AgentSession::New(uuid::Uuid::new_v4());
        let (process, reader) = start(cli, &program, &url, dir.path(), asks, session);
        let mut talk = Self {
            url,
            stdin: Some(process.stdin),
            children: vec![process.child, model],
            dir,
            lines: process.lines,
            reader,
            read: 0,
            told: Vec::new(),
        };
        talk.until("ready", |told| *told == Told::Ready);
        Some(talk)
    }

    /// The process ends; another one goes on with the conversation.
    fn restarted(mut self, cli: &Cli, asks: bool) -> Self {
        let id = self.reader.dialog().agent_session().unwrap().to_owned();
        let program = installed(cli.program).unwrap();
        // so told, it ends by itself, and has stored all of the conversation then
        self.stdin = None;
        self.children.remove(0).wait().unwrap();
        let session = AgentSession::Resume(id);
        let (process, reader) = start(cli, &program, &self.url, self.dir.path(), asks, session);
        self.children.insert(0, process.child);
        self.stdin = Some(process.stdin);
        self.lines = process.lines;
        self.reader = reader;
        self.read = 0;
        self.until("ready", |told| *told == Told::Ready);
        self
    }

    fn send(&mut self, frames: Vec<Vec<u8>>) {
        for mut frame in frames {
            frame.push(b'\n');
            self.stdin.as_ref().unwrap().write_all(&frame).unwrap();
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

    /// The next request, which is about that tool.
    fn asked(&mut self, about: &str) -> String {
        let told = self.until("request", |told| {
            matches!(told, Told::Event(Event::PermissionRequest { .. }))
        });
        match told.last() {
            Some(Told::Event(Event::PermissionRequest {
                request_id, tool, ..
            })) => {
                assert_eq!(tool, about);
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

/// A process that was started.
struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Vec<u8>>,
}

/// What the plan starts, where its model is the scripted one.
fn start(
    cli: &Cli,
    program: &Path,
    url: &str,
    dir: &Path,
    asks: bool,
    agent_session: AgentSession,
) -> (Process, LiveReader) {
    let spec = spec(cli, dir, agent_session);
    let form = by_name(cli.agent).unwrap().live.as_ref().unwrap();
    let LivePlan { launch, spec } = (form.plan)(&spec, asks).unwrap();
    let nobody = silent().local_addr().unwrap();
    let filled = |text: &str| {
        text.replace("$URL", url)
            .replace("$SILENT", &format!("http://{nobody}/"))
    };
    let write = |file: PathBuf, content: &[u8]| {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    };
    let home = dir.join("home");
    for (place, content) in &launch.home_files {
        write(home.join(place), content);
    }
    for (place, content) in &launch.home_defaults {
        write(home.join(place), content);
    }
    for (name, content) in &launch.files {
        write(dir.join("launch").join(name), content);
    }
    for link in &launch.home_links {
        let (place, target) = (home.join(&link.place), &link.target);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        if link.is_folder {
            fs::create_dir_all(target).unwrap();
        }
        drop(symlink(target, place));
    }
    if let Some((place, content)) = cli.home_file {
        write(home.join(place), filled(content).as_bytes());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut child = Command::new(program)
        .args(&launch.args)
        .current_dir(dir.join("here"))
        .env_clear()
        .env("PATH", path)
        .envs(launch.env)
        .envs(cli.env.iter().map(|(name, value)| (name, filled(value))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let process = Process {
        stdin: child.stdin.take().unwrap(),
        child,
        lines,
    };
    let redactor = Arc::new(Redactor::none());
    (process, LiveReader::new(form, &spec, redactor))
}

/// A server that is there and never answers.
fn silent() -> &'static TcpListener {
    static SILENT: OnceLock<TcpListener> = OnceLock::new();
    SILENT.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    })
}

fn lines_of(output: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(mut line) = line else { return };
            line.push(b'\n');
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn mcp_servers() -> String {
    let server = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/scripted_model/echo-mcp.mjs"
    );
    json!({"mcpServers": {"lab": {"command": "node", "args": [server]}}}).to_string()
}

fn spec(cli: &Cli, dir: &Path, agent_session: AgentSession) -> TurnSpec {
    TurnSpec {
        agent_session,
        model: Some(cli.model.to_owned()),
        effort: None,
        system_prompt_file: None,
        system_prompt: None,
        mcp_config: None,
        // only where a test is about it: starting it takes time
        mcp_servers: (cli.agent == "codex").then(mcp_servers),
        settings: None,
        variables: cli.env.iter().map(|(name, _)| (*name).to_owned()).collect(),
        allowed_tools: Vec::new(),
        subagents: Vec::new(),
        extra_args: Vec::new(),
        home: dir.join("home"),
        is_root: true,
        workspace: dir.join("here"),
        files: dir.join("launch"),
    }
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

/// Two turns in one process; each message is said to be taken up, the text comes in pieces. A
/// process that is started later goes on with the conversation.
fn turns(cli: &Cli) {
    let Some(mut talk) = Talk::with(cli, false) else {
        return;
    };
    for number in [1, 2] {
        hello(&mut talk, number);
    }
    let id = talk.reader.dialog().agent_session().map(str::to_owned);
    let mut talk = talk.restarted(cli, false);
    hello(&mut talk, 3);
    assert_eq!(talk.reader.dialog().agent_session(), id.as_deref());
}

fn hello(talk: &mut Talk, number: u8) {
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

/// A command waits for consent; a refused one does not run, and the turn goes on.
fn consent(cli: &Cli) {
    let Some(mut talk) = Talk::with(cli, true) else {
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
        let request_id = talk.asked("shell");
        assert!(!mark.exists(), "it waits");
        talk.wish(&Wish::Answer { request_id, answer });
        let (told, evidence) = talk.turn();
        assert_eq!(evidence, Evidence::Completed, "{told:?}");
        assert!(texts(&told).ends_with("Looked."), "{told:?}");
        assert_eq!(mark.exists(), runs);
    }
}

/// Files are not written nor read without consent, and calls and changes are told.
fn files(cli: &Cli) {
    let Some(mut talk) = Talk::with(cli, true) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Make a file.")));
    for tool in ["write", "read"] {
        let request_id = talk.asked(tool);
        let made = talk.dir.path().join("here/made.txt").exists();
        assert_eq!(made, tool == "read");
        let answer = Answer::Allow { input: None };
        talk.wish(&Wish::Answer { request_id, answer });
    }
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
    assert_eq!(texts(&told), "Made.");
}

/// An interrupt in the middle of a command ends the turn and the command; the process takes the
/// next one.
fn interrupt(cli: &Cli) {
    let Some(mut talk) = Talk::with(cli, false) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Wait for long.")));
    talk.until("call", |told| {
        matches!(told, Told::Event(Event::ToolStart { .. }))
    });
    let steers = by_name(cli.agent).unwrap().live.as_ref().unwrap().can_steer;
    let steer = Wish::Steer(message(2, "Say hello."));
    if steers {
        talk.wish(&steer);
    } else {
        let refused = talk.reader.dialog().frames(&steer);
        assert_eq!(refused, Err(Refused::NotLive));
    }
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

/// A question of the agent waits for its answer, which the agent gets.
fn question(cli: &Cli, tool: &str, answers: &Value) {
    let Some(mut talk) = Talk::with(cli, true) else {
        return;
    };
    let prompt = format!("Ask me by {tool}.");
    talk.wish(&Wish::Prompt(message(1, &prompt)));
    let request_id = talk.asked(tool);
    let asked = talk.reader.dialog().pending().remove(0);
    assert!(asked.is_question());
    assert_eq!(asked.input["questions"][0]["question"], "Which?");
    let mut input = asked.input;
    input["answers"] = answers.clone();
    let answer = Answer::Allow { input: Some(input) };
    talk.wish(&Wish::Answer { request_id, answer });
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
    assert_eq!(texts(&told), "Asked.");
}

/// Left alone, it lets commands that only read pass; our hook holds them too.
#[test]
fn claude_waits_for_consent_to_a_read_as_well() {
    let Some(mut talk) = Talk::with(&CLAUDE, true) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Only read.")));
    let request_id = talk.asked("shell");
    let answer = Answer::Stop;
    talk.wish(&Wish::Answer { request_id, answer });
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Interrupted, "{told:?}");
}

/// A plain `ls` is taken for what it is.
#[test]
fn codex_waits_for_consent_to_a_read_as_well() {
    let Some(mut talk) = Talk::with(&CODEX, true) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Only read.")));
    let request_id = talk.asked("glob");
    let answer = Answer::Allow { input: None };
    talk.wish(&Wish::Answer { request_id, answer });
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
}

/// Codex asks for consent to a tool of an MCP server in another way than to its own.
#[test]
fn codex_waits_for_consent_to_a_tool_of_an_mcp_server() {
    let Some(mut talk) = Talk::with(&CODEX, true) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Use the server.")));
    let request_id = talk.asked("mcp__lab__echo");
    let answer = Answer::Allow { input: None };
    talk.wish(&Wish::Answer { request_id, answer });
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
    let echoed = |told: &Told| {
        matches!(told, Told::Event(Event::ToolEnd { output: Some(text), is_error: false, .. })
            if text.contains("hi"))
    };
    assert!(told.iter().any(echoed), "{told:?}");
}

#[test]
fn claude_takes_several_turns() {
    turns(&CLAUDE);
}

#[test]
fn claude_waits_for_consent() {
    consent(&CLAUDE);
    files(&CLAUDE);
}

#[test]
fn claude_is_interrupted() {
    interrupt(&CLAUDE);
}

#[test]
fn claude_asks_a_question() {
    question(&CLAUDE, "AskUserQuestion", &json!({"Which?": "B"}));
}

#[test]
fn codex_takes_several_turns() {
    turns(&CODEX);
}

#[test]
fn codex_waits_for_consent() {
    consent(&CODEX);
}

#[test]
fn codex_is_interrupted() {
    interrupt(&CODEX);
}

#[test]
fn codex_asks_a_question() {
    let answers = json!({"which": {"answers": ["B"]}});
    question(&CODEX, "request_user_input", &answers);
}

#[test]
fn opencode_takes_several_turns() {
    turns(&OPENCODE);
}

#[test]
fn opencode_asks_no_registry_in_a_home_of_ours() {
    let Some(mut talk) = Talk::with(&OPENCODE, false) else {
        return;
    };
    hello(&mut talk, 1);
    let asked = silent().accept().map(drop).unwrap_err();
    assert_eq!(asked.kind(), ErrorKind::WouldBlock);
}

#[test]
fn opencode_waits_for_consent() {
    consent(&OPENCODE);
    files(&OPENCODE);
}

#[test]
fn opencode_is_interrupted() {
    interrupt(&OPENCODE);
}

/// What the repo's own configuration allows an agent would let its calls pass unasked.
#[test]
fn opencode_waits_for_consent_whatever_the_repo_says() {
    let Some(talk) = Talk::with(&OPENCODE, true) else {
        return;
    };
    let allowed = json!({"permission": {"bash": "allow"},
        "agent": {"build": {"permission": {"*": "allow", "bash": "allow"}}}});
    let file = talk.dir.path().join("here/opencode.json");
    fs::write(file, allowed.to_string()).unwrap();
    let mut talk = talk.restarted(&OPENCODE, true);
    talk.wish(&Wish::Prompt(message(1, "Work with a tool.")));
    talk.asked("shell");
}

#[test]
fn gemini_waits_for_consent() {
    consent(&GEMINI);
    files(&GEMINI);
}

#[test]
fn gemini_is_interrupted() {
    interrupt(&GEMINI);
}

/// It does not go on with a conversation in another process within the minute in which it was
/// begun: it loses it then.
#[test]
fn gemini_takes_several_turns() {
    let Some(mut talk) = Talk::with(&GEMINI, false) else {
        return;
    };
    for number in [1, 2] {
        hello(&mut talk, number);
    }
}
