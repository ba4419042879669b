//! Where the measurements happen: a throw-away folder, the binary, the daemon in it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agent_runner::event::Envelope;
use rusqlite::{Connection, OpenFlags};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::agent::{BEGAN, NOTE, Note, PART, Part};
use crate::hub::Hub;

pub const BINARY: &str = env!("CARGO_BIN_EXE_agent-runner");

/// The kernel's monotonic clock, the same in all processes, in nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).expect("time is positive");
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let program = std::env::current_exe().expect("this program's path");
        let command = toml::Value::from(program.display().to_string());
        Self::with(&format!(
            "mode = \"exec\"\n[agents.claude]\ncommand = {command}\n"
        ))
    }

    /// For a real CLI in live form.
    pub fn of_agent(agent: &str, model: &str, program: &Path, home: &crate::agents::Place) -> Self {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let program = quoted(&program.display().to_string());
        let mut config = format!(
            "agent = \"{agent}\"\nmode = \"live\"\nmodel = {}\n[agents.{agent}]\ncommand = {program}\n\
             [agents.{agent}.env]\n",
            quoted(model)
        );
        for (name, value) in &home.env {
            config.push_str(&format!("{name} = {}\n", quoted(value)));
        }
        let place = Self::with(&config);
        if let Some((path, content)) = &home.home_file {
            let path = place.home().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            std::fs::write(path, content).expect("writable");
        }
        place
    }

    fn with(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("config.toml"), config).expect("writable");
        std::fs::create_dir(dir.path().join("home")).expect("writable");
        Self { dir }
    }

    /// Says what the next CLI does.
    pub fn plan(&self, part: Part) {
        let text = serde_json::to_vec(&part).expect("a part is JSON");
        std::fs::write(self.path("home").join(PART), text).expect("writable");
    }

    /// What the last CLI says of its run.
    pub fn note(&self) -> Note {
        let text = std::fs::read(self.path("home").join(NOTE)).expect("the CLI wrote it");
        serde_json::from_slice(&text).expect("a note")
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Has the daemon that leads `first` open a session more and take its first turn; its id.
    pub fn create(&self, first: &str) -> String {
        let socket = self.path(first).join("api.sock");
        let mut stream = UnixStream::connect(socket).expect("the daemon listens");
        let config = self.path("config.toml").display().to_string();
        let settings = json!({"config": [config], "agent_home": ["user"]});
        let body = json!({"settings": settings, "cwd": self.home(), "task": "go"}).to_string();
        write!(
            stream,
            "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("the daemon reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("the daemon answers");
        let created: Option<Value> = answer
            .split_once("\r\n\r\n")
            .and_then(|(_, body)| serde_json::from_str(body).ok());
        let id = created
            .as_ref()
            .and_then(|created| created["session_id"].as_str());
        id.unwrap_or_else(|| panic!("no session: {answer}"))
            .to_owned()
    }

    /// What a session's journal holds of its one turn.
    pub fn stored(&self, session: &str) -> Stored {
        let path = self.path(session).join("journal.db");
        let read = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let journal = Connection::open_with_flags(path, read).expect("a journal");
        Stored::read(&journal).expect("a journal with one turn")
    }

    pub fn stripped_megabytes(&self) -> f64 {
        let copy = self.path("stripped");
        std::fs::copy(BINARY, &copy).expect("the binary is built");
        let done = Command::new("strip")
            .arg("-s")
            .arg(&copy)
            .status()
            .expect("strip runs");
        assert!(done.success(), "strip failed");
        megabytes(copy.metadata().expect("it is there").len())
    }

    /// When the last CLI began, and its pid.
    pub fn agent_began(&self) -> (u64, i32) {
        let text = std::fs::read_to_string(self.path("home").join(BEGAN)).expect("it ran");
        let (at, pid) = text.split_once(' ').expect("two numbers");
        (at.parse().expect("a number"), pid.parse().expect("a pid"))
    }
}

/// The events of one turn, counted.
pub struct Stored {
    /// When its end was written, by the wall clock.
    pub ended: u64,
    /// Bytes of streamed text, and tool results.
    text: u64,
    results: u64,
    /// Numbers between the first event and the last that are missing.
    holes: u64,
}

impl Stored {
    fn read(journal: &Connection) -> rusqlite::Result<Self> {
        let number = |value: i64| u64::try_from(value).expect("no number is negative");
        let (ended, outcome): (i64, String) =
            journal.query_row("SELECT ended_at, outcome FROM turn", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        assert_eq!(outcome, "completed");
        let (mut text, mut results, mut holes, mut next) = (0, 0, 0, 1);
        let mut batches = journal
            .prepare("SELECT first_seq, last_seq, body FROM event_batch ORDER BY first_seq")?;
        let mut rows = batches.query([])?;
        while let Some(row) = rows.next()? {
            let (first, last) = (number(row.get(0)?), number(row.get(1)?));
            let body: Vec<u8> = row.get(2)?;
            holes += first - next;
            next = last + 1;
            for line in body.split(|byte| *byte == b'\n') {
                match Envelope::type_of(line) {
                    Some(b"token") => text += text_of(line),
                    Some(b"tool_end") => results += 1,
                    _ => {}
                }
            }
        }
        Ok(Self {
            ended: number(ended),
            text,
            results,
            holes,
        })
    }

    /// How far this is from what the CLI wrote.
    pub fn missing(&self, part: Part) -> u64 {
        let (text, results) = part.expected();
        self.text.abs_diff(text) + self.results.abs_diff(results) + self.holes
    }
}

/// The length of a piece of text; the CLI's has no quotes.
fn text_of(line: &[u8]) -> u64 {
    const FIELD: &[u8] = br#""text":""#;
    let from = memchr::memmem::find(line, FIELD).expect("a token has a text") + FIELD.len();
    memchr::memchr(b'"', &line[from..]).expect("it ends") as u64
}

pub struct Daemon {
    child: Child,
}

impl Daemon {
    pub fn start(place: &Place, hub: &Hub, session: &str) -> Self {
        Self::start_with(place, hub, session, &[])
    }

    pub fn start_with(place: &Place, hub: &Hub, session: &str, options: &[&str]) -> Self {
        let child = Command::new(BINARY)
            .args([
                "daemon",
                "--session",
                session,
                "--agent-home",
                "user",
                "--hub",
            ])
            .arg(hub.url())
            .arg("--config")
            .arg(place.path("config.toml"))
            .arg("--state-dir")
            .arg(place.path(session))
            .args(options)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", place.path("home"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        Self { child }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// All pages, and those that are its own: neither its program file's nor shared.
    pub fn resident_megabytes(&self) -> (f64, f64) {
        let of = |field| megabytes(resident(self.pid(), field));
        (of("VmRSS:"), of("RssAnon:"))
    }

    pub fn peak_megabytes(&self) -> f64 {
        megabytes(resident(self.pid(), "VmHWM:"))
    }

    /// CPU time so far, of all its threads.
    pub fn cpu_millis(&self) -> u64 {
        cpu_millis(self.pid())
    }

    /// Without any warning.
    pub fn kill(mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it ends");
    }

    /// In order, as a container's stop does it.
    pub fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it lives");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "the daemon ended with {status}");
    }
}

impl Drop for Daemon {
    /// A bench that fails leaves no daemon behind; one that has ended is past both.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// CPU time of a process so far, its children left out.
pub fn cpu_millis(pid: i32) -> u64 {
    const TICKS_A_SECOND: u64 = 100; // what the kernel tells programs, whatever its own rate
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    // behind the name, which may hold anything: the 14th and 15th fields are utime and stime
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    ticks * 1000 / TICKS_A_SECOND
}

/// A process's memory, as a field of its `status` says it, in bytes.
pub fn resident(pid: i32, field: &str) -> u64 {
    let path = Path::new("/proc").join(pid.to_string()).join("status");
    let status = std::fs::read_to_string(path).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = number
        .and_then(|number| number.parse().ok())
        .expect("a number");
    kib * 1024
}

pub fn megabytes(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let bytes = bytes as f64;
    bytes / 1e6
}
