//! Work on files with another user's rights.

use std::io;

use rustix::process::Gid;
use rustix::thread::set_thread_groups;

/// Runs `work` in a thread of its own that reaches files as `uid` and `gid` do, without any other
/// group and without root's right to pass over permissions: a link that this user has planted
/// leads nowhere that the user could not go. The thread's other rights stay, so that the user can
/// neither signal nor trace it. Only root may do this.
pub fn as_user<T: Send>(
    (uid, gid): (u32, u32),
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("as-user".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            become_user(uid, gid)?;
            work()
        })?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// For the calling thread alone, and for good. The calls that set the two ids do not say whether
/// they did, but say what was before.
fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    use nix::unistd::{Gid as FsGid, Uid as FsUid, setfsgid, setfsuid};

    set_thread_groups(&[Gid::from_raw(gid)])?;
    setfsgid(FsGid::from_raw(gid));
    setfsuid(FsUid::from_raw(uid));
    let now = (
        setfsuid(FsUid::from_raw(uid)).as_raw(),
        setfsgid(FsGid::from_raw(gid)).as_raw(),
    );
    if now == (uid, gid) {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    /// Nobody's, on every Linux.
    const NOBODY: (u32, u32) = (65_534, 65_534);

    #[test]
    fn files_are_made_by_that_user_and_nothing_else_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        if dir.path().metadata().unwrap().uid() != 0 {
            return; // only root can
        }
        let private = dir.path().join("private");
        std::fs::write(&private, "root's").unwrap();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(dir.path(), open).unwrap();
        std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o640)).unwrap();
        let made = dir.path().join("made");
        as_user(NOBODY, || std::fs::write(&made, "nobody's")).unwrap();
        let owner = made.metadata().unwrap();
        assert_eq!((owner.uid(), owner.gid()), NOBODY);
        let refused = as_user(NOBODY, || std::fs::read(&private)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        // this thread is who it was
        assert_eq!(std::fs::read(&private).unwrap(), b"root's");
    }
}
