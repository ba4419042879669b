//! The serving side of the control socket.
//!
//! Nothing here blocks: a connection that does not read is not told more, and one that floods is
//! not read further until its answers are gone. Only the shim's own user and root are heard.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::event::PollFlags;

use super::pace::Pace;
use crate::spool::RunDir;
use crate::spool::control::{MAX_LINE, Notice, Request, bind};

/// Connections at once: a daemon that watches, one that took over, a few commands under way. More
/// are closed at once.
const MAX_CONNECTIONS: usize = 16;
/// After a connection that could not be taken, for want of descriptors say. It still waits, and so
/// would be tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// What a watcher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    /// The length of the spool.
    pub(super) bytes: u64,
    /// Whether output is left unread.
    pub(super) held: bool,
}

/// The listener and its connections.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    slots: [Option<Connection>; MAX_CONNECTIONS],
    pace: Pace,
    /// When watchers hear of what they were not told yet.
    due: Option<Instant>,
    /// Until when no connection is taken.
    shut: Option<Instant>,
}

impl Control {
    pub(super) fn bind(dir: &RunDir, folder: &File) -> io::Result<Self> {
        let listener = bind(dir, folder)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            slots: std::array::from_fn(|_| None),
            pace: Pace::default(),
            due: None,
            shut: None,
        })
    }

    /// Where new connections arrive, while they are taken.
    pub(super) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.shut.is_none().then(|| self.listener.as_fd())
    }

    /// The connections and what to poll each for.
    pub(super) fn connections(&self) -> impl Iterator<Item = (Slot, BorrowedFd<'_>, PollFlags)> {
        self.slots.iter().enumerate().filter_map(|(slot, held)| {
            let connection = held.as_ref()?;
            let flags = if connection.outgoing.is_empty() {
                PollFlags::IN
            } else {
                PollFlags::OUT
            };
            Some((Slot(slot), connection.stream.as_fd(), flags))
        })
    }

    /// Takes the new connections.
    pub(super) fn accept(&mut self, now: Instant) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.shut = Some(now + ACCEPT_PAUSE);
                    return;
                }
            };
            let free = self.slots.iter_mut().find(|slot| slot.is_none());
            if let (Some(slot), true) = (free, is_trusted(&stream)) {
                *slot = Connection::new(stream).ok();
            }
        }
    }

    /// Takes connections again when it is time.
    pub(super) fn tick(&mut self, now: Instant) {
        self.shut = self.shut.filter(|until| now < *until);
    }

    /// Reads a connection; its complete requests.
    pub(super) fn read(&mut self, slot: Slot) -> Vec<Result<Request, String>> {
        let Some(connection) = self.connection(slot) else {
            return Vec::new();
        };
        let requests = connection.read();
        self.bury(slot);
        requests
    }

    /// Writes on what a connection did not take before.
    pub(super) fn write(&mut self, slot: Slot) {
        if let Some(connection) = self.connection(slot) {
            connection.flush();
        }
        self.bury(slot);
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, slot: Slot, notice: &Notice) {
        if let Some(connection) = self.connection(slot) {
            connection.send(notice);
        }
        self.bury(slot);
    }

    /// From here on the connection hears of what it does not know yet.
    pub(super) fn watch(&mut self, slot: Slot, known: Growth) {
        if let Some(connection) = self.connection(slot) {
            connection.told = Some(known);
        }
    }

    /// When to announce again although nothing has grown, or to take connections again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.shut).min()
    }

    /// Tells the watchers, except for those that have not read the last notice yet; a stream of
    /// growths in steps.
    pub(super) fn announce(&mut self, growth: Growth, now: Instant) {
        self.due = None;
        if !self.slots.iter().flatten().any(|held| held.lacks(growth)) {
            return;
        }
        if !self.pace.take(now) {
            self.due = self.pace.next();
            return;
        }
        for held in &mut self.slots {
            if let Some(connection) = held {
                connection.announce(growth);
                if connection.dead {
                    *held = None;
                }
            }
        }
    }

    /// Tells everyone that the run is over. Who does not take it reads it from the record.
    pub(super) fn say_goodbye(&mut self) {
        for connection in self.slots.iter_mut().flatten() {
            if connection.told.is_some() {
                connection.send(&Notice::Exited);
            }
        }
    }

    fn connection(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.slots.get_mut(slot.0)?.as_mut()
    }

    fn bury(&mut self, slot: Slot) {
        if let Some(held) = self.slots.get_mut(slot.0)
            && held.as_ref().is_some_and(|connection| connection.dead)
        {
            *held = None;
        }
    }
}

/// Whether the peer runs under the shim's own user, or root. Its pid is 0 where it is outside of
/// our pid namespace, which rustix takes for a fault.
fn is_trusted(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| {
        let uid = peer.uid();
        uid == 0 || uid == rustix::process::geteuid().as_raw()
    })
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// What it was told last; none means that it does not watch.
    told: Option<Growth>,
    dead: bool,
}

impl Connection {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            told: None,
            dead: false,
        })
    }

    fn read(&mut self) -> Vec<Result<Request, String>> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.dead = true,
                Ok(count) => {
                    self.incoming.extend(buffer.iter().take(count));
                    if self.incoming.len() <= MAX_LINE {
                        continue;
                    }
                    // No asker of ours sends so much without a line end.
                    self.dead = memchr::memchr(b'\n', &self.incoming).is_none();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.dead = error.kind() != io::ErrorKind::WouldBlock,
            }
            return self.requests();
        }
    }

    fn requests(&mut self) -> Vec<Result<Request, String>> {
        let Some(end) = memchr::memrchr(b'\n', &self.incoming) else {
            return Vec::new();
        };
        let rest = self.incoming.split_off(end + 1);
        let lines = std::mem::replace(&mut self.incoming, rest);
        lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).map_err(|error| error.to_string()))
            .collect()
    }

    /// Whether it watches, can be told, and does not know of that.
    fn lacks(&self, growth: Growth) -> bool {
        self.outgoing.is_empty() && self.told.is_some_and(|told| told != growth)
    }

    fn announce(&mut self, growth: Growth) {
        if self.lacks(growth) {
            self.told = Some(growth);
            self.send(&Notice::Spool {
                bytes: growth.bytes,
                held: growth.held,
            });
        }
    }

    fn send(&mut self, notice: &Notice) {
        if let Ok(line) = serde_json::to_vec(notice) {
            self.outgoing.extend_from_slice(&line);
            self.outgoing.push(b'\n');
        }
        self.flush();
    }

    fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            match rustix::net::send(
                &self.stream,
                &self.outgoing,
                rustix::net::SendFlags::NOSIGNAL,
            ) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    self.dead = error != rustix::io::Errno::AGAIN;
                    return;
                }
            }
        }
    }
}
