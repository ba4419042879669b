//! Git over ssh, by the machine's own ssh program: with the keys, the agent and the known hosts that
//! the person who runs us has set up for it, and no ssh library of ours.
//!
//! Guarantees: a host whose key is not known is refused, nothing is asked (no password, no passphrase),
//! and neither the ssh agent nor anything else is forwarded to the other side. `GIT_SSH_COMMAND` and
//! `GIT_SSH` name another program, as they do for git. Blocks; a silent server is left after a minute.

mod address;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{ErrorClass, ErrorCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(super) use address::SshAddress;

use super::url::RepoUrl;

/// What every call is given, above any configuration of ssh.
const OPTIONS: [&str; 11] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RequestTTY=no",
    "ControlMaster=no",
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
];
/// No server is silent for longer while it has anything to say: it counts objects aloud.
const SILENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};
/// What is kept of the words of ssh and of the other side.
const MOST_WORDS: u64 = 8 * 1024;

/// One call, from its beginning to its end.
pub(super) struct Call {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    words: Option<JoinHandle<String>>,
    host: String,
}

impl Call {
    /// Begins `service` (`git-upload-pack`, `git-receive-pack`) on the other side.
    pub(super) fn begin(address: &SshAddress, service: &str) -> io::Result<Self> {
        Self::with_words(address, address.words(service, ""))
    }

    /// Asks `service` for what it says of `operation`; it is told nothing else.
    pub(super) fn ask(address: &SshAddress, service: &str, operation: &str) -> io::Result<Self> {
        let mut call = Self::with_words(address, address.words(service, operation))?;
        call.finish_writing();
        Ok(call)
    }

    fn with_words(address: &SshAddress, words: Vec<String>) -> io::Result<Self> {
        let mut command = program();
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        command
            .args(words)
            // Its words are read for what they mean.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::other(
                "there is no program `ssh` on PATH: install OpenSSH's client, or use the https \
                 form of the address with --git-token-file",
            ),
            _ => error,
        });
        let mut child = child?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take();
        let words = std::thread::spawn(move || {
            let mut words = Vec::new();
            if let Some(mut stderr) = stderr {
                // The rest is read as well: nobody waits for room.
                drop((&mut stderr).take(MOST_WORDS).read_to_end(&mut words));
                drop(io::copy(&mut stderr, &mut io::sink()));
            }
            String::from_utf8_lossy(&words).into_owned()
        });
        Ok(Self {
            child,
            stdin,
            stdout: stdout.ok_or(io::ErrorKind::BrokenPipe)?,
            words: Some(words),
            host: address.host().to_owned(),
        })
    }

    /// Nothing more is said to the other side.
    pub(super) fn finish_writing(&mut self) {
        self.stdin = None;
    }

    /// Why the call ended early, in ssh's words and with what to do next.
    fn failure(&mut self) -> io::Error {
        self.stdin = None;
        let words = self.words.take().and_then(|words| words.join().ok());
        let words = words.unwrap_or_default();
        let lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
        let said: Vec<_> = lines.collect();
        let said = said.iter().rev().take(3).rev().copied();
        let said: String = said.collect::<Vec<_>>().join("; ");
        let said: String = said.chars().filter(|c| !c.is_control()).collect();
        let host = &self.host;
        let next = if words.contains("Host key verification failed") {
            format!(
                "; compare the host's key (ssh-keyscan {host}) and add it to ~/.ssh/known_hosts"
            )
        } else if words.contains("Permission denied") {
            format!("; give {host} a public key of yours, and load its private key (ssh-add)")
        } else {
            String::new()
        };
        let said = if said.is_empty() {
            "ssh ended without a word".to_owned()
        } else {
            said
        };
        io::Error::other(format!("{said}{next}"))
    }
}

/// As git finds it.
fn program() -> Command {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(words) = named("GIT_SSH_COMMAND") {
        let mut script: OsString = words;
        script.push(" \"$@\"");
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).arg("ssh");
        return command;
    }
    Command::new(named("GIT_SSH").unwrap_or_else(|| "ssh".into()))
}

impl Read for Call {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut waited = [PollFd::from_borrowed_fd(self.stdout.as_fd(), PollFlags::IN)];
        if poll(&mut waited, Some(&SILENCE))? == 0 {
            let text = format!("{} says nothing for a minute", self.host);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        let count = self.stdout.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            // It has closed its output; whoever still had something to say would be cut off.
            self.stdin = None;
            if !self.child.wait()?.success() {
                return Err(self.failure());
            }
        }
        Ok(count)
    }
}

impl Write for Call {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stdin) = &mut self.stdin else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        match stdin.write_all(bytes) {
            // Why it has gone is more telling.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(self.failure()),
            written => written.map(|()| bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdin.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.stdin = None;
        // One that has ended is only taken off the process table.
        drop(self.child.kill().and_then(|()| self.child.wait()));
        if let Some(words) = self.words.take() {
            drop(words.join());
        }
    }
}

/// A transport for [`git2::transport::register`].
pub(super) fn transport(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    Transport::smart(remote, false, Calls)
}

/// Makes calls for libgit2, which goes on in one for as long as a service takes.
struct Calls;

impl SmartSubtransport for Calls {
    fn action(
        &self,
        url: &str,
        service: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let failed = |why: &dyn std::fmt::Display| {
            git2::Error::new(ErrorCode::GenericError, ErrorClass::Ssh, why.to_string())
        };
        let name = match service {
            Service::UploadPackLs | Service::UploadPack => "git-upload-pack",
            Service::ReceivePackLs | Service::ReceivePack => "git-receive-pack",
        };
        let address = RepoUrl::parse(url, std::path::Path::new("/"));
        let address = address.map_err(|error| failed(&error))?;
        let address = address
            .ssh()
            .ok_or_else(|| failed(&"it is no ssh address"))?;
        let call = Call::begin(address, name).map_err(|error| failed(&error))?;
        Ok(Box::new(call))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}
