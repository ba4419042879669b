//! The least that a live CLI needs of its other end: frames out, lines in, nothing kept.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agent_runner::agent::live::{Command as Wish, Heard, LiveReader, Message, Told};
use agent_runner::agent::{AgentSession, TurnSpec, by_name};
use agent_runner::event::Event;
use agent_runner::ids::SpoolOffset;
use agent_runner::redact::Redactor;

use crate::place::now;

/// A CLI that answers later than this is a fault.
const LIMIT: Duration = Duration::from_mins(1);

pub struct Talk {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Vec<u8>>,
    reader: LiveReader,
    read: u64,
    told: Vec<Told>,
    prompts: u64,
    _dir: tempfile::TempDir,
}

impl Talk {
    /// Starts the agent's CLI in a folder of its own; `env` points it at its model.
    pub fn start(agent: &str, program: &Path, model: &str, home: &crate::agents::Place) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["home", "here"] {
            std::fs::create_dir(dir.path().join(folder)).expect("writable");
        }
        let kind = by_name(agent).expect("it is known");
        let form = kind.live.as_ref().expect("it has a live form");
        let names = home.env.iter().map(|(name, _)| name.clone());
        let spec = spec(dir.path(), model, names.collect());
        let plan = (form.plan)(&spec, false).expect("a plan");
        let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        if let Some((name, content)) = &home.home_file {
            files.push((
                dir.path().join("home").join(name),
                content.clone().into_bytes(),
            ));
        }
        for (name, content) in &plan.launch.home_files {
            files.push((dir.path().join("home").join(name), content.clone()));
        }
        for (name, content) in &plan.launch.files {
            files.push((dir.path().join("launch").join(name), content.clone()));
        }
        for (path, content) in files {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            std::fs::write(path, content).expect("writable");
        }
        let mut child = Command::new(program)
            .args(&plan.launch.args)
            .current_dir(dir.path().join("here"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", dir.path().join("home"))
            .envs(home.env.iter().map(|(name, value)| (name, value)))
            .envs(plan.launch.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the CLI starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                if sender.send([line.as_slice(), b"\n"].concat()).is_err() {
                    return;
                }
            }
        });
        let mut talk = Self {
            stdin: child.stdin.take().expect("a pipe"),
            child,
            lines,
            reader: LiveReader::new(form, &plan.spec, Arc::new(Redactor::none())),
            read: 0,
            told: Vec::new(),
            prompts: 0,
            _dir: dir,
        };
        talk.until(|told| *told == Told::Ready);
        talk
    }

    /// A turn; when its prompt was sent and when it was over.
    pub fn turn(&mut self, text: &str) -> (u64, u64) {
        let began = self.prompt(text);
        self.until(is_over);
        (began, now())
    }

    /// A turn that is interrupted in its text; when, and when it was over.
    pub fn interrupted(&mut self, text: &str) -> (u64, u64) {
        self.prompt(text);
        self.until(|told| matches!(told, Told::Event(Event::Token { .. })));
        let began = now();
        self.wish(&Wish::Interrupt);
        self.until(is_over);
        (began, now())
    }

    fn prompt(&mut self, text: &str) -> u64 {
        self.prompts += 1;
        let message = Message {
            id: uuid::Uuid::from_u128(u128::from(self.prompts)).to_string(),
            text: text.to_owned(),
            images: Vec::new(),
        };
        let began = now();
        self.wish(&Wish::Prompt(message));
        began
    }

    fn wish(&mut self, wish: &Wish) {
        let frames = self.reader.dialog().frames(wish).expect("it may be wished");
        self.send(frames);
    }

    fn send(&mut self, frames: Vec<Vec<u8>>) {
        for mut frame in frames {
            frame.push(b'\n');
            self.stdin.write_all(&frame).expect("the CLI reads");
            let (at, told) = (SpoolOffset::new(self.read), &mut self.told);
            self.reader
                .sent(at, frame, &mut |heard: Heard<'_>| told.append(heard.told));
        }
    }

    fn until(&mut self, fits: impl Fn(&Told) -> bool) {
        loop {
            loop {
                let due = self.reader.dialog().due();
                if due.is_empty() {
                    break;
                }
                self.send(due);
            }
            if let Some(at) = self.told.iter().position(&fits) {
                self.told.drain(..=at);
                return;
            }
            let line = self.lines.recv_timeout(LIMIT).expect("the CLI answers");
            let told = &mut self.told;
            self.reader
                .push(&line, &mut |heard: Heard<'_>| told.append(heard.told));
            self.read += line.len() as u64;
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const fn is_over(told: &Told) -> bool {
    matches!(told, Told::TurnOver { .. })
}

fn spec(dir: &Path, model: &str, variables: Vec<String>) -> TurnSpec {
    TurnSpec {
        agent_session: AgentSession::New(uuid::Uuid::new_v4()),
        model: Some(model.to_owned()),
        effort: None,
        system_prompt_file: None,
        system_prompt: None,
        mcp_config: None,
        mcp_servers: None,
        settings: None,
        variables,
        allowed_tools: Vec::new(),
        subagents: Vec::new(),
        extra_args: Vec::new(),
        home: dir.join("home"),
        is_root: true,
        workspace: dir.join("here"),
        files: dir.join("launch"),
    }
}
