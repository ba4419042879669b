//! A process and what it has printed so far, line by line.
#![allow(dead_code)] // each suite uses its part

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use agent_runner::clock::Clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::appears;

/// No test waits longer for anything: far more than any of it takes, for busy machines. Ten tries
/// of a request, as a soak run waits for, take minutes.
pub(crate) fn limit() -> Duration {
    if std::env::var_os("CONFORMANCE_FULL_RETRIES").is_some() {
        Duration::from_mins(10)
    } else {
        Duration::from_mins(3)
    }
}

/// A running process; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) out: Lines,
    pub(crate) err: Lines,
    readers: Vec<JoinHandle<()>>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<String>,
    pub(crate) err: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (out, err) = (Lines::default(), Lines::default());
        let readers = vec![
            out.read_from(child.stdout.take().unwrap()),
            err.read_from(child.stderr.take().unwrap()),
        ];
        Self {
            stdin: child.stdin.take(),
            child,
            out,
            err,
            readers,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("the process is there");
    }

    pub(crate) fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(text.as_bytes()).expect("stdin is read");
    }

    /// The end of its stdin.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The first event on stdout that fits, of those printed already or to come.
    pub(crate) fn event(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str(line).ok().filter(&fits);
        let found = self.out.first(0, parse);
        found
            .unwrap_or_else(|| panic!("no {what}; {}", self.said()))
            .1
    }

    /// The address that a server's first line names.
    pub(crate) fn listening(&self) -> String {
        let url = |line: &str| line.strip_prefix("listening ").map(str::to_owned);
        self.out.first(0, url).expect("it says where it listens").1
    }

    /// Waits until it has closed its output, as it does with its end.
    pub(crate) fn ended(&self) {
        assert!(self.out.closed() && self.err.closed(), "{}", self.said());
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        self.close_stdin();
        let ended = self.out.closed() && self.err.closed();
        assert!(ended, "it does not end; {}", self.said());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Finished {
            status: self.child.wait().unwrap(),
            out: self.out.all(),
            err: self.err.all().join("\n"),
        }
    }

    fn said(&self) -> String {
        let (out, err) = (self.out.all().join("\n"), self.err.all().join("\n"));
        format!("stdout:\n{out}\nstderr:\n{err}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already in most tests.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Finished {
    pub(crate) fn code(&self) -> i32 {
        let code = self.status.code();
        code.unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Asserts the exit code and gives stderr.
    pub(crate) fn fails_with(&self, code: i32) -> &str {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        &self.err
    }

    /// The events that it printed: each line one, numbered without holes, one end, at the end.
    pub(crate) fn events(&self) -> Vec<Value> {
        let parse = |line: &String| serde_json::from_str(line).expect("a line of JSON");
        let events: Vec<Value> = self.out.iter().map(parse).collect();
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event["seq"], index + 1, "{event}");
        }
        events
    }
}

/// Lines as they come.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    fn read_from(&self, source: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            let (state, news) = &*lines.shared;
            for line in BufReader::new(source).split(b'\n') {
                let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
                state.lock().unwrap().lines.push(line);
                news.notify_all();
            }
            state.lock().unwrap().closed = true;
            news.notify_all();
        })
    }

    /// The first line from index `from` on for which `find` gives something, with its index;
    /// nothing when the lines end, or too much time passes, without it.
    pub(crate) fn first<T>(
        &self,
        from: usize,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Option<(usize, T)> {
        let (state, news) = &*self.shared;
        let deadline = Clock.now() + limit();
        let mut next = from;
        let mut guard = state.lock().unwrap();
        loop {
            while let Some(line) = guard.lines.get(next) {
                if let Some(found) = find(line) {
                    return Some((next, found));
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Clock.now());
            if guard.closed || left.is_zero() {
                return None;
            }
            guard = news.wait_timeout(guard, left).unwrap().0;
        }
    }

    /// Waits for the end; whether it came.
    fn closed(&self) -> bool {
        let from = self.all().len();
        let _none = self.first(from, |_| None::<()>);
        self.shared.0.lock().unwrap().closed
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().lines.clone()
    }
}

/// Waits for something that only shows when it is asked for: processes that are gone, a server's
/// answer. Files send events, see [`made`].
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Clock.now() + limit();
    while !condition() {
        assert!(Clock.now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until an agent has made that file.
pub(crate) fn made(path: &Path) {
    let there = appears::path(path, limit());
    assert!(there, "not in time: {}", path.display());
}
