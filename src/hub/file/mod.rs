//! The session file: a session's conversation in Pi's form (version 3), one JSON object a line.
//!
//! It lies in the state dir and grows with the journal, from which it is made; the Hub gets the
//! same lines, so that a daemon elsewhere can go on with the session. Lines hold whole messages,
//! never pieces of them; long strings are cut ([`line`]), as the events hold them whole.
//!
//! Each line has the id of the one before as its parent. Ids follow from the frames', so that a
//! journal gives the same lines however often it is read. A line of our own says by `seq` which
//! event it tells of; a `custom` line of type [`CUSTOM`] says whose lines follow, and which of its
//! own sessions the agent's CLI was in.

mod line;
mod recall;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub use recall::earlier;

use self::line::Body;
use super::pi::Frame;
use crate::event::{Envelope, Event};
use crate::files;
use crate::ids::{Seq, SessionId};

/// The type of the `custom` lines that say who writes and which session the CLI is in.
pub const CUSTOM: &str = "coder-driver";
/// The largest file that is taken from elsewhere, in bytes.
pub const MAX_FILE: usize = 64 << 20;

/// One session's file.
#[derive(Debug)]
pub struct SessionFile {
    local: PathBuf,
    /// Its name at the Hub.
    path: String,
    /// Who we are among those who write.
    own: String,
    empty: bool,
    /// The last line's id.
    last: Option<String>,
    ids: HashSet<u32>,
    /// Our events up to here are told.
    through: u64,
    /// The last lines are ours.
    ours: bool,
    driver: Option<Driver>,
    model: Option<String>,
    bytes: u64,
}

/// Who led the session last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driver {
    /// The agent's name.
    pub agent: String,
    /// The CLI's own session id.
    pub agent_session: Option<String>,
}

/// What an event added to a file.
#[derive(Debug, Default)]
pub struct Added {
    /// The file begins with it: the first line is its header.
    pub begins: bool,
    /// Lines, without newlines.
    pub lines: Vec<String>,
}

/// What is read of a line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    r#type: String,
    id: Option<String>,
    seq: Option<u64>,
    custom_type: Option<String>,
    data: Option<Value>,
    model_id: Option<String>,
}

/// Where the files of a state dir lie.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("session-files")
}

impl SessionFile {
    /// Opens the file of `session` in `folder`; it need not be there.
    pub fn open(folder: &Path, session: &SessionId) -> io::Result<Self> {
        files::create_private_dir(folder)?;
        let local = local(folder, session);
        Self::of(local.display().to_string(), &local, own(folder)?)
    }

    fn of(path: String, local: &Path, own: String) -> io::Result<Self> {
        let mut file = Self {
            path,
            local: local.to_owned(),
            own,
            empty: true,
            last: None,
            ids: HashSet::new(),
            through: 0,
            ours: false,
            driver: None,
            model: None,
            bytes: 0,
        };
        file.bytes = for_each_line(local, &mut |line| file.note(line))?;
        let found = local.metadata().map_or(0, |found| found.len());
        if found > file.bytes {
            // A line that a crash cut off; it is told again.
            files::update_private(local)?.set_len(file.bytes)?;
        }
        Ok(file)
    }

    /// Whether it has no line yet.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// Our events up to here are told.
    pub fn through(&self) -> Option<Seq> {
        Seq::new(self.through)
    }

    /// How large it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its name at the Hub.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Who led the session last, as far as the file says it.
    pub fn driver(&self) -> Option<&Driver> {
        self.driver.as_ref()
    }

    /// The file as somebody else has it goes on: its name from now on, and its lines before those
    /// of ours that are not among them. Those lines are returned.
    pub fn adopt(&mut self, path: String, content: &str) -> io::Result<Vec<String>> {
        let mut kept = HashSet::new();
        let mut text = String::with_capacity(content.len());
        for line in content.lines().filter(|line| known(line).is_some()) {
            kept.extend(known(line).and_then(|known| known.id));
            text.extend([line, "\n"]);
        }
        let mut missing = Vec::new();
        self.each(|line| {
            let id = known(line).and_then(|known| known.id);
            if id.is_some_and(|id| !kept.contains(&id)) {
                missing.push(line.to_owned());
            }
        })?;
        self.path = path;
        if text.is_empty() {
            return Ok(missing);
        }
        files::replace_durably(&self.local, text.as_bytes())?;
        let (path, local) = (self.path.clone(), self.local.clone());
        *self = Self::of(path, &local, self.own.clone())?;
        self.go_on_with(&mut missing);
        Ok(missing)
    }

    /// Adds lines of our own that follow on others.
    fn go_on_with(&mut self, lines: &mut Vec<String>) {
        let Some(first) = lines.first_mut() else {
            return;
        };
        if let Ok(mut body) = serde_json::from_str::<Value>(first) {
            let mut introduction = self.introduction();
            let name = body.get("id").and_then(Value::as_str).unwrap_or_default();
            let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
            let id = self.next_id(name, 0);
            for (field, value) in [
                ("id", json!(id)),
                ("parentId", json!(self.last)),
                (
                    "timestamp",
                    body.get("timestamp").cloned().unwrap_or_default(),
                ),
            ] {
                if let Some(introduction) = introduction.as_object_mut() {
                    introduction.insert(field.to_owned(), value);
                }
            }
            if let Some(body) = body.as_object_mut() {
                body.insert("parentId".to_owned(), json!(id));
            }
            *first = body.to_string();
            lines.insert(0, introduction.to_string());
        }
        self.append(lines);
        for line in lines {
            self.note(line);
        }
    }

    /// Gives all lines to `visit`.
    pub fn each(&self, mut visit: impl FnMut(&str)) -> io::Result<()> {
        for_each_line(&self.local, &mut visit).map(drop)
    }

    /// Gives the lines of our own events beyond `acked` to `visit`.
    pub fn each_beyond(&self, acked: Option<Seq>, mut visit: impl FnMut(&str)) -> io::Result<()> {
        let acked = acked.map_or(0, Seq::get);
        let mut ours = false;
        self.each(|line| {
            let Some(known) = known(line) else { return };
            if let Some(writer) = known.writer() {
                ours = writer == self.own;
            }
            if ours && known.seq.is_some_and(|seq| seq > acked) {
                visit(line);
            }
        })
    }

    /// Adds what an event and its frames tell. What is told already adds nothing. `cwd` is where the agent works.
    pub fn record(&mut self, envelope: &Envelope, frames: &[Frame], cwd: &str) -> Added {
        let seq = envelope.header.seq.get();
        if seq <= self.through {
            return Added::default();
        }
        let at = envelope.header.at;
        let mut bodies = Vec::new();
        if let Event::Session { id, model, .. } = &envelope.event {
            self.session(&envelope.header.agent, id, model.as_deref(), &mut bodies);
        }
        bodies.extend(frames.iter().filter_map(line::of_frame));
        if bodies.is_empty() {
            return Added::default();
        }
        let (mut lines, begins) = (Vec::new(), self.empty);
        if begins {
            let id = Uuid::new_v5(&envelope.header.event_id.uuid(), b"file");
            lines.push(line::header(id, at, cwd));
            self.empty = false;
        }
        if !self.ours {
            let agent = &envelope.header.agent;
            let same = self.driver.take().filter(|driver| driver.agent == *agent);
            self.driver = Some(Driver {
                agent: agent.clone(),
                agent_session: same.and_then(|driver| driver.agent_session),
            });
            self.ours = true;
            bodies.insert(0, Body::Fields(self.introduction()));
        }
        let name = envelope.header.event_id.uuid();
        for (n, body) in bodies.into_iter().enumerate() {
            let id = self.next_id(name, n);
            let place = line::Place {
                id: &id,
                parent: self.last.as_deref(),
                at,
                seq,
            };
            lines.push(body.line(&place));
            self.last = Some(id);
        }
        self.through = seq;
        self.append(&lines);
        Added { begins, lines }
    }

    /// The CLI has said which session it is in.
    fn session(&mut self, agent: &str, id: &str, model: Option<&str>, bodies: &mut Vec<Body>) {
        let driver = Driver {
            agent: agent.to_owned(),
            agent_session: Some(id.to_owned()),
        };
        if self.driver.as_ref() != Some(&driver) || !self.ours {
            self.driver = Some(driver);
            self.ours = true;
            bodies.push(Body::Fields(self.introduction()));
        }
        if let Some(model) = model
            && self.model.as_deref() != Some(model)
        {
            self.model = Some(model.to_owned());
            let (_, provider, model) = super::pi::model(agent, model);
            let change = json!({"type": "model_change", "provider": provider, "modelId": model});
            bodies.push(Body::Fields(change));
        }
    }

    fn introduction(&self) -> Value {
        let mut data = json!({"writer": self.own});
        if let (Some(driver), Some(data)) = (&self.driver, data.as_object_mut()) {
            data.insert("agent".to_owned(), json!(driver.agent));
            if let Some(id) = &driver.agent_session {
                data.insert("agentSession".to_owned(), json!(id));
            }
        }
        json!({"type": "custom", "customType": CUSTOM, "data": data})
    }

    /// Follows from the event and is nobody else's.
    fn next_id(&mut self, event: Uuid, n: usize) -> String {
        let mut salt = 0u32;
        loop {
            let hash = Uuid::new_v5(&event, format!("{n}/{salt}").as_bytes());
            let (id, ..) = hash.as_fields();
            if self.ids.insert(id) {
                return format!("{id:08x}");
            }
            salt += 1;
        }
    }

    /// One write for the lines of one event: after a crash they are there or not.
    fn append(&mut self, lines: &[String]) {
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        self.bytes += text.len() as u64;
        let written =
            files::append_private(&self.local).and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            // The Hub has the lines; the next daemon asks it for them.
            tracing::warn!(%error, file = %self.local.display(), "the session file is behind");
        }
    }

    fn note(&mut self, line: &str) {
        let Some(known) = known(line) else { return };
        self.empty = false;
        if known.r#type == "session" {
            return;
        }
        if let Some(writer) = known.writer() {
            self.ours = writer == self.own;
            self.driver = known.driver();
        }
        if let Some(seq) = known.seq.filter(|_| self.ours) {
            self.through = self.through.max(seq);
        }
        if let Some(model) = known.model_id {
            self.model = Some(model);
        }
        if let Some(id) = known.id {
            self.ids.extend(u32::from_str_radix(&id, 16).ok());
            self.last = Some(id);
        }
    }
}

impl Known {
    fn field(&self, name: &str) -> Option<&str> {
        let ours = self.custom_type.as_deref() == Some(CUSTOM);
        self.data.as_ref().filter(|_| ours)?.get(name)?.as_str()
    }

    /// Who writes from this line on, where it says so.
    fn writer(&self) -> Option<&str> {
        self.field("writer")
    }

    fn driver(&self) -> Option<Driver> {
        Some(Driver {
            agent: self.field("agent")?.to_owned(),
            agent_session: self.field("agentSession").map(str::to_owned),
        })
    }
}

fn known(line: &str) -> Option<Known> {
    serde_json::from_str(line).ok()
}

fn local(folder: &Path, session: &SessionId) -> PathBuf {
    folder.join(format!("{session}.jsonl"))
}

/// The name of whoever writes from this state dir: made once.
fn own(folder: &Path) -> io::Result<String> {
    let path = folder.join("writer");
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            let name = Uuid::new_v4().simple().to_string();
            files::replace_durably(&path, name.as_bytes())?;
            Ok(name)
        }
    }
}

/// Removes the file of a session.
pub fn remove(state_dir: &Path, session: &SessionId) -> io::Result<()> {
    std::fs::remove_file(local(&folder(state_dir), session))
}

/// Gives whole lines to `visit`; how many bytes they are.
fn for_each_line(path: &Path, visit: &mut impl FnMut(&str)) -> io::Result<u64> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut bytes = 0;
    while reader.read_until(b'\n', &mut line)? > 0 {
        if let Some(whole) = line.strip_suffix(b"\n") {
            bytes += line.len() as u64;
            if let Ok(text) = str::from_utf8(whole) {
                visit(text);
            }
        }
        line.clear();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
