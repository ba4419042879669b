//! A session in this process whose agent is the real Claude Code, or a script in its place, with a
//! scripted model behind it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_runner::agent::{AgentSession, TurnSpec, by_name};
use agent_runner::clock::Clock;
use agent_runner::config::{ApprovalConfig, Approve, Otherwise, Patience};
use agent_runner::journal::{self, Journal, Tail};
use agent_runner::process::Environment;
use agent_runner::redact::Redactor;
use agent_runner::sandbox::{LocalSandbox, Sandbox};
use agent_runner::scripted_model::{Options, Record, Script, serve};
use agent_runner::session::{Prompt, Session};
use agent_runner::spool::Stdout;
use agent_runner::tasks::Tasks;
use agent_runner::turn::TurnContext;
use agent_runner::turn::approval::Approval;
use agent_runner::workspace::Authorship;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::appears;

/// No test waits longer for anything: far more than any of it takes, for busy machines.
const LIMIT: Duration = Duration::from_secs(90);

/// A test's place: home, workspace, journal, model.
pub(crate) struct Bench {
    dir: TempDir,
    tasks: Tasks,
    model: String,
    program: PathBuf,
    /// What runs the shims.
    pub(crate) runner: PathBuf,
    pub(crate) patience: Patience,
    pub(crate) journal_quota: u64,
    pub(crate) spool_quota: u64,
    pub(crate) spool_retain: bool,
}

/// A session that runs.
pub(crate) struct Running {
    pub(crate) session: Session,
    #[allow(dead_code)] // for the suites that look into it
    pub(crate) journal: Journal,
    tail: Tail,
    seen: Vec<Value>,
    /// Those that were waited for.
    waited: usize,
    tasks: Tasks,
}

impl Bench {
    /// With the real CLI, which notes its pid before it starts; nothing where it is not installed.
    pub(crate) async fn with_claude(script: &str) -> Option<Self> {
        let claude = claude()?;
        let wrapper = format!(
            "#!/bin/sh\necho $$ >>\"$HOME/pids\"\nexec '{}' \"$@\"\n",
            claude.display()
        );
        Some(Self::new(&wrapper, script).await)
    }

    /// With a shell script as the CLI.
    pub(crate) async fn with_cli(cli: &str) -> Self {
        Self::new(cli, "[[reply]]\nsteps = [{ say = \"unused\" }]").await
    }

    async fn new(cli: &str, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["home", "workspace"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let program = dir.path().join("cli");
        fs::write(&program, cli).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let model = format!("http://{}", listener.local_addr().unwrap());
        let record = Record::append(&dir.path().join("requests")).unwrap();
        let options = Options {
            record: Some(record),
        };
        let script = Script::parse("script", script).unwrap();
        let stop = tasks.stopping().clone();
        tasks.spawn("model", serve(listener, script, options, stop));
        Self {
            dir,
            tasks,
            model,
            program,
            runner: env!("CARGO_BIN_EXE_agent-runner").into(),
            patience: Patience::default(),
            journal_quota: journal::Options::default().quota,
            spool_quota: 1 << 30,
            spool_retain: false,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A daemon's part: the journal, and the session's driver on it.
    #[expect(clippy::too_many_lines, reason = "a line for each setting")]
    pub(crate) async fn start(&self) -> Running {
        let options = journal::Options {
            quota: self.journal_quota,
            ..journal::Options::default()
        };
        let journal = Journal::open_with(&self.path("journal"), options).unwrap();
        let mut environment = Environment::new();
        let path = std::env::var_os("PATH").unwrap_or_default();
        environment.set("PATH", path).unwrap();
        for (name, value) in [
            ("ANTHROPIC_BASE_URL", self.model.as_str()),
            ("ANTHROPIC_API_KEY", "sk-ant-any"),
            ("CLAUDE_CODE_MAX_RETRIES", "0"),
        ] {
            environment.set(name, value).unwrap();
        }
        fs::create_dir_all(self.path("state")).unwrap();
        let authorship = Authorship::take(&self.path("state"), None, &mut environment).unwrap();
        let session = "s1".parse().unwrap();
        let tail = journal.tail(&session, journal.last_seq(&session).await.unwrap());
        let approval = ApprovalConfig {
            mode: Approve::Auto,
            otherwise: Otherwise::Ask,
            timeout: None,
            allow: Vec::new(),
            deny: Vec::new(),
        };
        let context = TurnContext {
            session,
            agent: by_name("claude").unwrap(),
            program: self.program.clone(),
            spec: TurnSpec {
                settings: None,
                variables: Vec::new(),
                mcp_servers: None,
                system_prompt: None,
                agent_session: AgentSession::New(uuid::Uuid::nil()),
                model: None,
                effort: None,
                system_prompt_file: None,
                mcp_config: None,
                allowed_tools: Vec::new(),
                subagents: Vec::new(),
                extra_args: Vec::new(),
                home: self.path("home"),
                is_root: nix::unistd::geteuid().is_root(),
                workspace: PathBuf::new(),
                files: PathBuf::new(),
            },
            choices: tokio::sync::watch::Sender::default(),
            briefings: agent_runner::turn::briefing::Briefings::default(),
            asides: agent_runner::turn::approval::Asides::default(),
            authorship,
            environment,
            repositories: vec![self.path("workspace")],
            workspace: self.path("workspace"),
            state_dir: self.path("state"),
            state_root: self.path("state"),
            live: None,
            idle_timeout: None,
            alone: None,
            approval: Approval::new(&approval, &self.path("workspace")),
            stdout: Stdout::Pipe,
            user: None,
            reach: None,
            in_container: false,
            timeout: Some(LIMIT),
            patience: self.patience,
            spool_quota: self.spool_quota,
            sandbox: Sandbox::Local(LocalSandbox::with_program(&self.runner)),
            spool_retain: self.spool_retain,
            checkpoints: false,
            expected: Vec::new(),
            publishing: None,
            journal: journal.clone(),
            redactor: Arc::new(Redactor::none()),
            clock: Clock,
        };
        let tasks = Tasks::new();
        let (session, _driver) = Session::start(Arc::new(context), &tasks).await.unwrap();
        Running {
            session,
            journal,
            tail,
            seen: Vec::new(),
            waited: 0,
            tasks,
        }
    }

    /// Kills the CLI that was started last.
    pub(crate) fn kill_cli(&self) {
        let pids = self.lines("home/pids");
        let pid = pids.last().unwrap().parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    /// The lines of a file; none where it is not there.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the agent has made a file.
    pub(crate) async fn made(&self, name: &str) {
        let path = self.path(name);
        let made = tokio::task::spawn_blocking(move || appears::path(&path, LIMIT));
        assert!(made.await.unwrap(), "{name} is not made");
    }

    /// The messages of the latest request for the agent's next step, as text.
    pub(crate) fn asked(&self) -> String {
        let requests = self.lines("requests");
        let bodies = requests
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].take());
        let mut steps: Vec<Value> = bodies
            .filter(|body| {
                body["tools"]
                    .as_array()
                    .is_some_and(|list| !list.is_empty())
            })
            .collect();
        let last = steps.pop().expect("the model was asked");
        serde_json::to_string(&last["messages"]).unwrap()
    }

    /// Waits until the CLI has stored that text in a conversation, which it does in its own time.
    pub(crate) async fn stored(&self, text: &str) {
        let (folder, text) = (self.path("home"), text.to_owned());
        let holds =
            move |path: &PathBuf| fs::read_to_string(path).is_ok_and(|all| all.contains(&text));
        let stored = tokio::task::spawn_blocking(move || {
            appears::below(&folder, LIMIT, || conversations(&folder).iter().any(&holds))
        });
        assert!(stored.await.unwrap(), "it is not stored");
    }

    /// Deletes what the CLI has stored of its conversations; how many that were.
    pub(crate) fn forget_conversations(&self) -> usize {
        let conversations = conversations(&self.path("home"));
        for path in &conversations {
            fs::remove_file(path).unwrap();
        }
        conversations.len()
    }

    pub(crate) async fn stop(self) {
        timeout(LIMIT, self.tasks.stop()).await.expect("it ends");
    }
}

/// The files of the CLI's conversations.
fn conversations(home: &Path) -> Vec<PathBuf> {
    let mut folders = vec![home.join(".claude/projects")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "jsonl") {
                found.push(path);
            }
        }
    }
    found
}

impl Running {
    pub(crate) async fn prompt(&self, text: &str) {
        self.session.prompt(prompt(text)).await.unwrap();
    }

    pub(crate) async fn steer(&self, text: &str) {
        self.session.steer(prompt(text)).await.unwrap();
    }

    /// The next event of that type, after the last that was waited for.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        let search = async {
            loop {
                while let Some(event) = self.seen.get(self.waited) {
                    self.waited += 1;
                    if event["type"] == kind {
                        return event.clone();
                    }
                }
                let batch = self.tail.next().await.unwrap();
                let lines = batch
                    .lines()
                    .map(|line| serde_json::from_slice(line).unwrap());
                self.seen.extend(lines);
            }
        };
        let found = timeout(LIMIT, search).await;
        found.unwrap_or_else(|_| panic!("no {kind} event: {:#?}", self.seen))
    }

    /// All events of that type so far.
    pub(crate) fn all(&self, kind: &str) -> Vec<&Value> {
        let of_kind = |event: &&Value| event["type"] == kind;
        self.seen.iter().filter(of_kind).collect()
    }

    /// The one notice with that code.
    pub(crate) fn notice(&self, code: &str) -> &str {
        let mut notices = self.all("notice");
        notices.retain(|event| event["code"] == code);
        assert_eq!(notices.len(), 1, "{:#?}", self.seen);
        assert_eq!(notices[0]["level"], "warning");
        notices[0]["text"].as_str().unwrap()
    }

    pub(crate) async fn stop(self) {
        timeout(LIMIT, self.session.pause(true))
            .await
            .expect("it pauses");
        timeout(LIMIT, self.tasks.stop()).await.expect("it ends");
    }
}

fn prompt(text: &str) -> Prompt {
    Prompt {
        text: text.to_owned(),
        author: None,
        images: Vec::new(),
        command_id: None,
        is_task: false,
    }
}

/// The real CLI, or a word on what is skipped.
#[allow(clippy::print_stderr)] // a skipped test must not look like one that passed
fn claude() -> Option<PathBuf> {
    let installed = "tests/tools/node_modules/.bin/claude";
    let path = match std::env::var_os("AGENT_RUNNER_TEST_CLAUDE") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(installed),
    };
    if path.exists() {
        return Some(path);
    }
    let reason = "needs Claude Code, get it with scripts/install-test-tools";
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
    None
}
