//! Commands to a running shim, one at a time over a connection that is kept for the next.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::SandboxError;
use super::place::Place;
use crate::ids::SpoolOffset;
use crate::process::{Identity, PidFd};
use crate::spool::control::{Command, MAX_LINE, Notice, Request, Stop, address};
use crate::spool::{Phase, RunDir, Status};

/// A shim answers at once; one that does not is stopped or starved.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long the socket of a run that goes on may be missing.
const SOCKET_LIMIT: Duration = Duration::from_millis(500);
/// Between two looks for it.
const SOCKET_PAUSE: Duration = Duration::from_millis(5);

/// Commands a run; may be cloned and used from anywhere.
#[derive(Debug, Clone)]
pub struct RunControl {
    dir: RunDir,
    place: Place,
    shim: Identity,
    line: Arc<Line>,
}

/// The connection that the next command goes over. It is not here while a command is under way, and
/// comes back only with a whole answer: one that was given up leaves none that a later command
/// would take for its own.
#[derive(Debug, Default)]
struct Line(Mutex<Option<UnixStream>>);

impl Line {
    fn take(&self) -> Option<UnixStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, stream: UnixStream) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }
}

/// What a shim says of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunState {
    /// The length of the spool.
    pub spool_bytes: u64,
    /// Whether the CLI's output is left unread, because of the quota or the disk.
    pub held: bool,
}

/// A frame's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// How long the output was when it was sent.
    pub at: SpoolOffset,
    /// How long the record of the input is with it.
    pub end: SpoolOffset,
}

impl RunControl {
    pub(super) fn new(dir: &RunDir, place: &Place, shim: Identity) -> Self {
        Self {
            dir: dir.clone(),
            place: place.clone(),
            shim,
            line: Arc::default(),
        }
    }

    /// Starts to end the CLI and its tree, and returns; the run's end tells of the success.
    /// Without effect on a run that is over.
    pub async fn stop(&self, how: Stop) -> Result<(), SandboxError> {
        match self.ask(Command::Stop(how)).await {
            Ok(_) => Ok(()),
            Err(error) => self.stop_otherwise(error).await,
        }
    }

    /// Kills the shim itself, which takes the CLI with it: for a shim that does not do as it is
    /// told. The run then counts as vanished.
    pub async fn destroy(&self) {
        match &self.place {
            Place::Here => {
                if let Ok(Some(shim)) = PidFd::open(self.shim) {
                    // Gone meanwhile is as good.
                    let _outcome = shim.signal(Signal::KILL);
                }
            }
            Place::Container { .. } => self.place.remove().await,
        }
    }

    /// The same for who cannot wait: at once for a run on this machine, in a container after a
    /// moment in which the calling thread stands still.
    pub fn destroy_at_once(&self) {
        let apart = Self {
            place: self.place.apart(),
            ..self.clone()
        };
        let ends = || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build();
            // Without a thread or a runtime the run ends by its own time limit.
            if let Ok(runtime) = runtime {
                runtime.block_on(apart.destroy());
            }
        };
        // A thread that drives tasks may not wait for one.
        std::thread::scope(|scope| drop(scope.spawn(ends).join()));
    }

    /// Sends one signal to the CLI process.
    pub async fn signal(&self, number: i32) -> Result<(), SandboxError> {
        self.ask(Command::Signal { number }).await.map(drop)
    }

    /// Sends a frame to the CLI's stdin, where that is a pipe. When this returns the frame is
    /// recorded and on its way, behind all earlier ones.
    pub async fn write_stdin(&self, frame: &[u8]) -> Result<Sent, SandboxError> {
        let data = base64::engine::general_purpose::STANDARD.encode(frame);
        match self.ask(Command::Stdin { data }).await? {
            Notice::Sent {
                spool_bytes,
                input_bytes,
                ..
            } => Ok(Sent {
                at: SpoolOffset::new(spool_bytes),
                end: SpoolOffset::new(input_bytes),
            }),
            other => Err(self.refused(format!("it answered {other:?}"))),
        }
    }

    /// Kills what the CLI has started since that tick of the kernel's clock, and not the CLI.
    pub async fn sweep(&self, since: u64) -> Result<(), SandboxError> {
        self.ask(Command::Sweep { since }).await.map(drop)
    }

    /// Closes the CLI's stdin, behind all frames.
    pub async fn close_stdin(&self) -> Result<(), SandboxError> {
        self.ask(Command::CloseStdin).await.map(drop)
    }

    /// Changes how many bytes the spool may hold; a CLI that was held by the old quota goes on.
    pub async fn set_quota(&self, bytes: u64) -> Result<(), SandboxError> {
        self.ask(Command::Quota { bytes }).await.map(drop)
    }

    /// Asks how the run is.
    pub async fn stat(&self) -> Result<RunState, SandboxError> {
        match self.ask(Command::Stat).await? {
            Notice::State {
                spool_bytes, held, ..
            } => Ok(RunState { spool_bytes, held }),
            other => Err(self.refused(format!("it answered {other:?}"))),
        }
    }

    /// The way to stop a shim that cannot be reached: its SIGTERM is an orderly stop. One in a
    /// container is nobody's whom we know by pid.
    async fn stop_otherwise(&self, error: SandboxError) -> Result<(), SandboxError> {
        let over = matches!(
            Status::read(&self.dir)?,
            Some(Status { phase, .. }) if phase != Phase::Started
        );
        if over {
            return Ok(());
        }
        if let Place::Container { .. } = &self.place {
            self.place.remove().await;
            return Ok(());
        }
        let shim = PidFd::open(self.shim).ok().flatten();
        match shim.map(|shim| shim.signal(Signal::TERM)) {
            // A shim that is gone has taken its CLI with it.
            None | Some(Ok(_)) => Ok(()),
            Some(Err(_)) => Err(error),
        }
    }

    async fn ask(&self, command: Command) -> Result<Notice, SandboxError> {
        let exchange = self.exchange(Request { id: 1, command });
        let answer = tokio::time::timeout(ANSWER_LIMIT, exchange)
            .await
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(SandboxError::unreachable(&self.dir))?;
        match answer {
            Notice::Refused { reason, .. } => Err(self.refused(reason)),
            notice => Ok(notice),
        }
    }

    async fn exchange(&self, request: Request) -> io::Result<Notice> {
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        if line.len() > MAX_LINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the frame is too large: {} bytes of {MAX_LINE}", line.len()),
            ));
        }
        let mut stream = self.told(&line).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.line.keep(stream);
        Ok(serde_json::from_slice(&answer)?)
    }

    /// The connection over which the shim was told this line.
    async fn told(&self, line: &[u8]) -> io::Result<UnixStream> {
        // One that the shim has closed has taken nothing: a line counts when it is whole.
        if let Some(mut kept) = self.line.take()
            && kept.write_all(line).await.is_ok()
        {
            return Ok(kept);
        }
        let mut stream = self.reach().await?;
        stream.write_all(line).await?;
        Ok(stream)
    }

    /// Connects. A shim makes its socket a moment after it has let its CLI go.
    async fn reach(&self) -> io::Result<UnixStream> {
        let mut patience = SOCKET_LIMIT;
        loop {
            let missing = match connect(&self.dir).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => error,
                reached => return reached,
            };
            let runs = Status::read(&self.dir)
                .is_ok_and(|last| last.is_some_and(|last| last.phase == Phase::Started));
            let Some(left) = patience.checked_sub(SOCKET_PAUSE).filter(|_| runs) else {
                return Err(missing);
            };
            patience = left;
            tokio::time::sleep(SOCKET_PAUSE).await;
        }
    }

    fn refused(&self, reason: String) -> SandboxError {
        SandboxError::Refused {
            path: self.dir.path().to_owned(),
            reason,
        }
    }
}

/// Connects to the shim of a run.
pub(super) async fn connect(dir: &RunDir) -> io::Result<UnixStream> {
    let folder = dir.open()?;
    UnixStream::connect(address(&folder)).await
}
