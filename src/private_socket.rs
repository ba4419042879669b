//! A socket that one user is answered at: one request a connection, one answer back.
//!
//! Guarantees: the socket is reached by way of a descriptor of its folder, so that the folder's path
//! may be of any length (an address holds 107 bytes) and may be the same place in a container; who
//! asks is known by the connection, whatever the socket's file permits; a request is bounded in size
//! and time; a machine or process that is out of descriptors is waited for. Does not: know what is
//! asked, or log it.
//!
//! ```text
//! Door::ask ── request, end of writing ──► PrivateSocket::accept ─► Caller
//!           ◄─────────── answer ─────────── Caller::answer
//! ```

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// Whoever asks writes at once.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// After a connection that could not be taken. It still waits, and so would be tried again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// The server's side.
#[derive(Debug)]
pub struct PrivateSocket {
    listener: UnixListener,
    /// Held so that the socket's address stays good.
    _folder: File,
    uid: u32,
}

impl PrivateSocket {
    /// Makes the socket `name` in `folder`, in the place of one that an earlier process left; `uid`
    /// is who is answered.
    pub fn open(folder: &Path, name: &str, uid: u32) -> io::Result<Self> {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let open = File::open(folder)?;
        let listener = UnixListener::bind(address(&open, name))?;
        // Who asks is known by the connection.
        std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(Self {
            listener,
            _folder: open,
            uid,
        })
    }

    /// The next who asks.
    pub async fn accept(&self) -> Caller {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let peer = stream.peer_cred();
                    let is_own = peer.is_ok_and(|peer| peer.uid() == self.uid);
                    return Caller { stream, is_own };
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Somebody who asks.
#[derive(Debug)]
pub struct Caller {
    stream: UnixStream,
    is_own: bool,
}

impl Caller {
    /// Whether it is the user that is answered.
    pub const fn is_own(&self) -> bool {
        self.is_own
    }

    /// What it asks, up to `longest` bytes.
    pub async fn request(&mut self, longest: u64) -> io::Result<Vec<u8>> {
        let mut request = Vec::new();
        let mut asked = (&mut self.stream).take(longest);
        tokio::time::timeout(ASK_LIMIT, asked.read_to_end(&mut request)).await??;
        Ok(request)
    }

    /// The answer, and the end.
    pub async fn answer(mut self, answer: &[u8]) -> io::Result<()> {
        self.stream.write_all(answer).await
    }
}

/// The client's side: where such a socket is, or will be.
#[derive(Debug)]
pub struct Door {
    folder: File,
    name: &'static str,
}

impl Door {
    /// Of the socket `name` in `folder`, which its user may pass through and not list.
    pub fn open(folder: &Path, name: &'static str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(rustix::fs::open(folder, flags, Mode::empty())?);
        Ok(Self { folder, name })
    }

    /// A connection to whoever serves it now.
    pub fn connect(&self) -> io::Result<Connection> {
        StdStream::connect(address(&self.folder, self.name)).map(Connection)
    }
}

/// A connection on which nothing was asked.
#[derive(Debug)]
pub struct Connection(StdStream);

impl Connection {
    /// The answer to `request`, up to `longest` bytes, from a server that is not silent for longer
    /// than `patience`. One that hangs up gives what it has written.
    pub fn ask(mut self, request: &[u8], longest: u64, patience: Duration) -> io::Result<Vec<u8>> {
        self.0.set_read_timeout(Some(patience))?;
        self.0.write_all(request)?;
        self.0.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        self.0.take(longest).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

fn address(folder: &File, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_cut_at_its_bound_and_whoever_asks_is_known() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than a socket's address may be.
        let folder = dir.path().join("x".repeat(120));
        std::fs::create_dir(&folder).unwrap();
        let uid = rustix::process::getuid().as_raw();
        for (whose, is_own) in [(uid, true), (uid + 1, false)] {
            // The second takes the place of the first.
            let socket = PrivateSocket::open(&folder, "s", whose).unwrap();
            let door = Door::open(&folder, "s").unwrap();
            let asking = tokio::task::spawn_blocking(move || {
                let connection = door.connect().unwrap();
                connection.ask(b"question", 3, Duration::from_secs(5))
            });
            let mut caller = socket.accept().await;
            assert_eq!(caller.is_own(), is_own);
            assert_eq!(caller.request(5).await.unwrap(), b"quest");
            caller.answer(b"answer").await.unwrap();
            assert_eq!(asking.await.unwrap().unwrap(), b"ans");
        }
    }
}
