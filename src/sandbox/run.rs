//! A run that goes on, as the daemon sees it.

use std::io;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::SandboxError;
use super::attach::{Ending, ended, ending};
use super::control::{RunControl, connect};
use super::place::Place;
use crate::ids::SpoolOffset;
use crate::process::{Identity, PidFd};
use crate::spool::control::{Command, MAX_LINE, Notice, Request};
use crate::spool::{CONTRACT, Claim, RunDir, Status, Tail};

/// How often a run is looked at whose control socket was lost.
const SLOW_LOOK: Duration = Duration::from_millis(250);

/// Watches one run. Commands go through its [`RunControl`].
#[derive(Debug)]
pub struct RunHandle {
    dir: RunDir,
    place: Place,
    watch: Watch,
    known: u64,
}

/// What happened to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is more in the spool, or the reading of output stopped or went on.
    Spool {
        /// The length of the spool.
        bytes: u64,
        /// Whether the CLI's output is left unread, because of the quota or the disk.
        held: bool,
    },
    /// It is over. Nothing follows.
    Ended(Ending),
}

#[derive(Debug)]
enum Watch {
    Living(Living),
    Over(Ending),
}

#[derive(Debug)]
struct Living {
    shim: Identity,
    /// Shim and CLI; none in a container, where a pid is another process's than here.
    seen: Option<(Identity, Identity)>,
    gone: Gone,
    /// None once it is lost.
    socket: Option<Socket>,
}

/// How the end of a shim is known that does not say so itself.
#[derive(Debug)]
enum Gone {
    /// Readable then.
    Pid(AsyncFd<PidFd>),
    /// The lock on the run's folder is free then. For a shim whose process is not ours to see.
    Lock,
}

#[derive(Debug)]
struct Socket {
    stream: UnixStream,
    incoming: Vec<u8>,
}

/// What woke a watcher.
enum Woken {
    Notice(Notice),
    SocketLost,
    ShimGone,
    Time,
}

impl RunHandle {
    /// Opens a run whose record says that it goes on; `None` when its shim is gone by now.
    pub(super) async fn open(
        dir: &RunDir,
        place: &Place,
        status: &Status,
    ) -> Result<Option<Self>, SandboxError> {
        if status.contract != CONTRACT {
            return Err(SandboxError::UnknownContract {
                path: dir.path().to_owned(),
                contract: status.contract,
            });
        }
        let (Some(shim), Some(agent)) = (status.shim, status.agent) else {
            return Ok(None);
        };
        let unreachable = SandboxError::unreachable(dir);
        let gone = match place {
            Place::Here => {
                let Some(pidfd) = PidFd::open(shim).map_err(&unreachable)? else {
                    return Ok(None);
                };
                Gone::Pid(pidfd.watch().map_err(&unreachable)?)
            }
            Place::Container { .. } => Gone::Lock,
        };
        let seen = matches!(place, Place::Here).then_some((shim, agent));
        // Without its socket a run is still watched, only more slowly.
        let socket = Socket::open(dir).await.ok();
        Ok(Some(Self {
            dir: dir.clone(),
            place: place.clone(),
            known: 0,
            watch: Watch::Living(Living {
                shim,
                seen,
                gone,
                socket,
            }),
        }))
    }

    /// A run that was over before it could be watched.
    pub(super) fn ended(dir: &RunDir, ending: Ending) -> Result<Self, SandboxError> {
        if let Ending::SpawnFailed(failure) = ending {
            return Err(failure.into());
        }
        Ok(Self {
            dir: dir.clone(),
            place: Place::of(dir)?,
            known: 0,
            watch: Watch::Over(ending),
        })
    }

    /// The run's folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The shim and the CLI process, while there is something to say of them; none in a container.
    pub fn identities(&self) -> Option<(Identity, Identity)> {
        match &self.watch {
            Watch::Living(living) => living.seen,
            Watch::Over(_) => None,
        }
    }

    /// Whether it was over before it could be watched, or is known to be by now.
    pub fn is_over(&self) -> bool {
        matches!(self.watch, Watch::Over(_))
    }

    /// The means to command the run; `None` once it is over.
    pub fn control(&self) -> Option<RunControl> {
        match &self.watch {
            Watch::Living(living) => Some(RunControl::new(&self.dir, &self.place, living.shim)),
            Watch::Over(_) => None,
        }
    }

    /// Reads the spool from `offset` on.
    pub fn tail(&self, offset: SpoolOffset) -> Result<Tail, SandboxError> {
        let path = self.dir.spool();
        Tail::open(&path, offset).map_err(SandboxError::file(path))
    }

    /// Waits for the next change; after the end it gives the end again. May be dropped and called
    /// anew at any time: nothing is lost.
    pub async fn changed(&mut self) -> Result<Change, SandboxError> {
        loop {
            let woken = match &mut self.watch {
                Watch::Over(ending) => return Ok(Change::Ended(ending.clone())),
                Watch::Living(living) => living.wait(&self.dir).await,
            };
            match woken {
                Woken::Notice(
                    Notice::Spool { bytes, held }
                    | Notice::State {
                        spool_bytes: bytes,
                        held,
                        ..
                    },
                ) => {
                    self.known = bytes;
                    return Ok(Change::Spool { bytes, held });
                }
                // The shim itself puts its folder in order.
                Woken::Notice(Notice::Exited) => {
                    let last = Status::read(&self.dir)?;
                    let ending = match last {
                        Some(status) => ending(&self.place, status).await,
                        None => Ending::vanished(),
                    };
                    return Ok(self.over(ending));
                }
                Woken::ShimGone => {
                    let last = Status::read(&self.dir)?;
                    let ending = ended(&self.dir, &self.place, last).await;
                    return Ok(self.over(ending));
                }
                Woken::Notice(
                    Notice::Done { .. } | Notice::Sent { .. } | Notice::Refused { .. },
                ) => {}
                Woken::SocketLost => self.lose_socket(),
                Woken::Time => {
                    let bytes = self.spool_bytes();
                    if bytes != self.known {
                        self.known = bytes;
                        return Ok(Change::Spool { bytes, held: false });
                    }
                }
            }
        }
    }

    fn lose_socket(&mut self) {
        if let Watch::Living(living) = &mut self.watch {
            living.socket = None;
        }
    }

    fn spool_bytes(&self) -> u64 {
        std::fs::metadata(self.dir.spool()).map_or(0, |metadata| metadata.len())
    }

    fn over(&mut self, ending: Ending) -> Change {
        self.watch = Watch::Over(ending.clone());
        Change::Ended(ending)
    }
}

impl Living {
    /// Cancel-safe: a part of a notice stays in the socket's buffer.
    async fn wait(&mut self, dir: &RunDir) -> Woken {
        let Some(socket) = &mut self.socket else {
            if self.gone.is_so(dir) {
                return Woken::ShimGone;
            }
            return tokio::select! {
                biased;
                () = self.gone.readable() => Woken::ShimGone,
                () = tokio::time::sleep(SLOW_LOOK) => Woken::Time,
            };
        };
        tokio::select! {
            // The socket first: what it still holds came before the shim's end.
            biased;
            notice = socket.next() => notice.map_or(Woken::SocketLost, Woken::Notice),
            () = self.gone.readable() => Woken::ShimGone,
        }
    }
}

impl Gone {
    /// Never, for a lock: whoever holds it says nothing when it lets go.
    async fn readable(&self) {
        match self {
            Self::Pid(pidfd) => drop(pidfd.readable().await),
            Self::Lock => std::future::pending().await,
        }
    }

    fn is_so(&self, dir: &RunDir) -> bool {
        match self {
            Self::Pid(_) => false,
            Self::Lock => !matches!(Claim::take(dir), Ok(None)),
        }
    }
}

impl Socket {
    async fn open(dir: &RunDir) -> io::Result<Self> {
        let mut stream = connect(dir).await?;
        let hello = Request {
            id: 0,
            command: Command::Hello { contract: CONTRACT },
        };
        let mut line = serde_json::to_vec(&hello)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        Ok(Self {
            stream,
            incoming: Vec::new(),
        })
    }

    async fn next(&mut self) -> io::Result<Notice> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.incoming) {
                let rest = self.incoming.split_off(end + 1);
                let line = std::mem::replace(&mut self.incoming, rest);
                return Ok(serde_json::from_slice(&line)?);
            }
            let read = self.stream.read_buf(&mut self.incoming).await?;
            if read == 0 || self.incoming.len() > MAX_LINE {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
