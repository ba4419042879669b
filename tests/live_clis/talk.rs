//! A talk with a CLI: the process, the model behind it, and the reader that is under test.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agent_runner::agent::live::{Command as Wish, Heard, LivePlan, LiveReader, Message, Told};
use agent_runner::agent::{AgentSession, Evidence, by_name};
use agent_runner::event::Event;
use agent_runner::ids::SpoolOffset;
use agent_runner::redact::Redactor;
use tempfile::TempDir;

use crate::clis::{Cli, installed, spec};
use crate::model::Model;

/// No test waits longer for anything: far more than any of it takes, for busy machines.
const LIMIT: Duration = Duration::from_secs(90);

const SCRIPT: &str = include_str!("script.toml");

/// A CLI that is spoken to, and what it has told.
pub(crate) struct Talk {
    pub(crate) dir: TempDir,
    model: Model,
    child: Child,
    /// None while no process is spoken to.
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    pub(crate) reader: LiveReader,
    read: u64,
    told: Vec<Told>,
}

impl Talk {
    /// Nothing where the CLI is not installed, which continuous integration does not accept.
    pub(crate) fn with(cli: &Cli, asks: bool) -> Option<Self> {
        let program = installed(cli.program)?;
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("here")).unwrap();
        let model = Model::start(dir.path(), SCRIPT);
        let session = AgentSession::New(uuid::Uuid::new_v4());
        let (process, reader) = start(cli, &program, &model.url, dir.path(), asks, session);
        let mut talk = Self {
            model,
            stdin: Some(process.stdin),
            child: process.child,
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
    pub(crate) fn restarted(mut self, cli: &Cli, asks: bool) -> Self {
        let id = self.reader.dialog().agent_session().unwrap().to_owned();
        let program = installed(cli.program).unwrap();
        // so told, it ends by itself, and has stored all of the conversation then
        self.stdin = None;
        self.child.wait().unwrap();
        let session = AgentSession::Resume(id);
        let (process, reader) = start(
            cli,
            &program,
            &self.model.url,
            self.dir.path(),
            asks,
            session,
        );
        self.child = process.child;
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

    pub(crate) fn wish(&mut self, wish: &Wish) {
        let frames = self.reader.dialog().frames(wish).unwrap();
        self.send(frames);
    }

    /// Listens until that is told; forgets what was told up to there.
    pub(crate) fn until(&mut self, what: &str, fits: impl Fn(&Told) -> bool) -> Vec<Told> {
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
    pub(crate) fn turn(&mut self) -> (Vec<Told>, Evidence) {
        let mut told = self.until("end of the turn", |told| {
            matches!(told, Told::TurnOver { .. })
        });
        match told.pop() {
            Some(Told::TurnOver { evidence, .. }) => (told, evidence),
            other => panic!("{other:?}"),
        }
    }

    /// The next request, which is about that tool.
    pub(crate) fn asked(&mut self, about: &str) -> String {
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
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ids are UUIDs; these count up.
pub(crate) fn message(number: u8, text: &str) -> Message {
    Message {
        id: format!("00000000-0000-4000-8000-0000000000{number:02}"),
        text: text.to_owned(),
        images: Vec::new(),
    }
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
pub(crate) fn silent() -> &'static TcpListener {
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
