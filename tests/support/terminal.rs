//! A terminal: a PTY, the program in it, and the text that it has written.
#![allow(dead_code)] // each suite uses its part

use std::io::{Read as _, Write};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use agent_runner::clock::Clock;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::running::limit;

/// A program in a terminal of 40 lines by 120 columns; killed when it is dropped.
pub(crate) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    reader: Option<JoinHandle<()>>,
    _master: Box<dyn MasterPty + Send>,
}

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    closed: bool,
}

impl Terminal {
    /// Starts `command`, which has cleared its environment, in a terminal.
    pub(crate) fn start(command: &Command) -> Self {
        let size = PtySize {
            rows: 40,
            cols: 120,
            ..PtySize::default()
        };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut inside = CommandBuilder::new(command.get_program());
        inside.args(command.get_args());
        inside.env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(name, value);
            }
        }
        inside.env("TERM", "xterm-256color");
        inside.cwd(command.get_current_dir().expect("a folder"));
        let child = pair.slave.spawn_command(inside).unwrap();
        drop(pair.slave);
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let reader = read(pair.master.try_clone_reader().unwrap(), Arc::clone(&seen));
        Self {
            child,
            keys: pair.master.take_writer().unwrap(),
            seen,
            reader: Some(reader),
            _master: pair.master,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        let pid = self.child.process_id().expect("it runs");
        i32::try_from(pid).unwrap()
    }

    /// Presses these keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// How much it has written so far: from there on, [`Terminal::shows_since`] looks.
    pub(crate) fn mark(&self) -> usize {
        self.seen.0.lock().unwrap().bytes.len()
    }

    /// Waits until it has written `text`.
    pub(crate) fn shows(&self, text: &str) {
        self.shows_since(0, text);
    }

    /// Waits until it has written `text` after `mark`.
    pub(crate) fn shows_since(&self, mark: usize, text: &str) {
        let found = self.until(|bytes, closed| {
            let found = plain(&bytes[mark.min(bytes.len())..]).contains(text);
            (found || closed).then_some(found)
        });
        assert_eq!(found, Some(true), "no {text:?} in {}", self.text());
    }

    /// Presses `keys` and waits until it has written `text`. A program that is about to draw
    /// something else passes over a key, so `again` is pressed as often as nothing comes of it.
    pub(crate) fn insist(&mut self, keys: &str, again: &str, text: &str) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let mark = self.mark();
        self.press(keys);
        for _ in 0..6 {
            let found = self.within(PATIENCE, |bytes, _| {
                let new = &bytes[mark.min(bytes.len())..];
                plain(new).contains(text).then_some(())
            });
            if found.is_some() {
                return;
            }
            self.press(again);
        }
        panic!("no {text:?} in {}", self.text());
    }

    /// All that it has written, without what moves and colours.
    pub(crate) fn text(&self) -> String {
        plain(&self.seen.0.lock().unwrap().bytes)
    }

    /// Waits for the program's end; its exit code.
    pub(crate) fn finish(mut self) -> u32 {
        let ended = self.until(|_, closed| closed.then_some(()));
        assert!(ended.is_some(), "it does not end: {}", self.text());
        let code = self.child.wait().unwrap().exit_code();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        code
    }

    fn until<T>(&self, find: impl Fn(&[u8], bool) -> Option<T>) -> Option<T> {
        self.within(limit(), find)
    }

    fn within<T>(&self, limit: Duration, find: impl Fn(&[u8], bool) -> Option<T>) -> Option<T> {
        let (seen, news) = &*self.seen;
        let deadline = Clock.now() + limit;
        let mut guard = seen.lock().unwrap();
        loop {
            if let Some(found) = find(&guard.bytes, guard.closed) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Clock.now());
            if left.is_zero() {
                return None;
            }
            guard = news.wait_timeout(guard, left).unwrap().0;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended already in most tests.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read(
    mut source: Box<dyn std::io::Read + Send>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (seen, news) = &*seen;
        let mut chunk = [0; 4096];
        // A terminal that nobody has open any more reads as an error.
        while let Ok(count) = source.read(&mut chunk)
            && count > 0
        {
            seen.lock()
                .unwrap()
                .bytes
                .extend_from_slice(&chunk[..count]);
            news.notify_all();
        }
        seen.lock().unwrap().closed = true;
        news.notify_all();
    })
}

/// What was written, without escape sequences and carriage returns.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => skip_escape(&mut rest),
            '\r' | '\x07' => {}
            c => out.push(c),
        }
    }
    out
}

fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        // CSI: up to its final byte.
        Some('[') => while rest.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {},
        // OSC, APC, DCS: up to BEL or ST.
        Some(']' | '_' | 'P') => {
            while let Some(c) = rest.next() {
                if c == '\x07' || (c == '\x1b' && rest.next_if_eq(&'\\').is_some()) {
                    return;
                }
            }
        }
        // One more character.
        _ => {}
    }
}
