//! Where the API's Unix socket lies, and taking that place.
//!
//! A socket's address holds 107 bytes. Where the state dir's path is too long for that, the socket
//! lies in a private folder of the runtime dir, and the file `api` in the state dir says where.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket};
use uuid::Uuid;

use crate::files;

/// The longest path that a socket's address holds.
const LONGEST: usize = 107;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// Why the API cannot be reached or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// A daemon serves there.
    #[error("{0} is served by another daemon; talk to that one, or give another --state-dir")]
    InUse(PathBuf),
    /// The place cannot be used.
    #[error("the API cannot be served at {path}: {source}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The socket's path for clients: what the state dir says, which is as much as they can know.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    match std::fs::read_to_string(state_dir.join("api")) {
        Ok(path) if !path.trim().is_empty() => PathBuf::from(path.trim()),
        _ => state_dir.join("api.sock"),
    }
}

/// The socket, gone from its folder when this is dropped.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    /// Which file it is: a daemon after us may have put its own there.
    inode: u64,
}

impl Bound {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let is_ours = self
            .path
            .symlink_metadata()
            .is_ok_and(|found| found.ino() == self.inode);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the API's socket stays behind");
        }
    }
}

/// Takes the socket's place, from a daemon that is dead if need be. The caller holds the state
/// dir's lock, so that nobody else does the same at this time.
pub(super) fn bind(
    state_dir: &Path,
    runtime_dir: &Path,
) -> Result<(UnixListener, Bound), SocketError> {
    let path = place(state_dir, runtime_dir)?;
    let unusable = |source| SocketError::Unusable {
        path: path.clone(),
        source,
    };
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(SocketError::InUse(path));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
        _ => {}
    }
    let listen = || {
        let socket = UnixSocket::new_stream()?;
        socket.bind(&path)?;
        // Nobody can connect before `listen`, and after it only who may.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok((socket.listen(BACKLOG)?, path.symlink_metadata()?.ino()))
    };
    let (listener, inode) = listen().map_err(unusable)?;
    Ok((listener, Bound { path, inode }))
}

/// Decides where the socket lies, and records it where clients cannot tell by themselves.
fn place(state_dir: &Path, runtime_dir: &Path) -> Result<PathBuf, SocketError> {
    let usual = state_dir.join("api.sock");
    let record = state_dir.join("api");
    let unusable = |source| SocketError::Unusable {
        path: record.clone(),
        source,
    };
    if usual.as_os_str().len() <= LONGEST {
        return match std::fs::remove_file(&record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(error)),
            _ => Ok(usual),
        };
    }
    let uid = rustix::process::geteuid().as_raw();
    let folder = runtime_dir.join(format!("agent-runner-{uid}"));
    private_folder(&folder, uid).map_err(|source| SocketError::Unusable {
        path: folder.clone(),
        source,
    })?;
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, state_dir.as_os_str().as_bytes());
    let short = folder.join(format!("{}.sock", id.simple()));
    let text = format!("{}\n", short.display());
    files::replace_durably(&record, text.as_bytes()).map_err(unusable)?;
    Ok(short)
}

/// The runtime dir is open to every user where it is `/tmp`: what is found there must be ours.
fn private_folder(folder: &Path, uid: u32) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = folder.symlink_metadata()?;
    if found.is_dir() && found.uid() == uid && found.mode().trailing_zeros() >= 6 {
        return Ok(());
    }
    Err(io::Error::other(
        "it belongs to another user or is open to others; remove it, or set XDG_RUNTIME_DIR",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as a daemon that was killed leaves it");
        let (listener, bound) = bind(dir.path(), dir.path()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let refused = bind(dir.path(), dir.path()).unwrap_err();
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        drop((listener, bound));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_long_state_dir_has_its_socket_elsewhere_and_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("s".repeat(120));
        std::fs::create_dir(&state).unwrap();
        let (_listener, bound) = bind(&state, dir.path()).unwrap();
        assert!(bound.path().as_os_str().len() <= LONGEST);
        assert_eq!(socket_path(&state), bound.path());
        std::os::unix::net::UnixStream::connect(bound.path()).unwrap();
        std::fs::set_permissions(
            bound.path().parent().unwrap(),
            std::fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        let other = dir.path().join("t".repeat(120));
        std::fs::create_dir(&other).unwrap();
        assert!(bind(&other, dir.path()).is_err(), "a folder open to others");
    }
}
