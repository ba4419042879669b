//! Waiting for what others write, by the kernel's word for it: no looking again and again.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use agent_runner::clock::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

/// What is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Itself,
    AllBelow,
}

/// Waits until that path is there; whether it came in time.
pub(crate) fn path(path: &Path, limit: Duration) -> bool {
    until(path.parent().unwrap(), Depth::Itself, limit, || {
        path.exists()
    })
}

/// Waits until `fits` is true of what lies below `folder`; whether it came to that in time.
#[allow(dead_code)] // not every suite needs it
pub(crate) fn below(folder: &Path, limit: Duration, fits: impl FnMut() -> bool) -> bool {
    until(folder, Depth::AllBelow, limit, fits)
}

fn until(folder: &Path, depth: Depth, limit: Duration, mut fits: impl FnMut() -> bool) -> bool {
    let deadline = Clock.now() + limit;
    let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    loop {
        follow(&watch, folder, depth);
        // whatever changes from here on wakes us
        if fits() {
            return true;
        }
        let left = deadline.saturating_duration_since(Clock.now());
        let left = Timespec::try_from(left).unwrap();
        let mut waited = [PollFd::new(&watch, PollFlags::IN)];
        if poll(&mut waited, Some(&left)).unwrap() == 0 {
            return false;
        }
        let mut changes = Reader::new(&watch, &mut buffer);
        while changes.next().is_ok() {}
    }
}

/// Where the folder is not there yet, the nearest above it that is gets watched.
fn follow(watch: &impl AsFd, folder: &Path, depth: Depth) {
    let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MODIFY;
    let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap();
    let mut folders = vec![there.to_owned()];
    while let Some(next) = folders.pop() {
        match add_watch(watch, &next, flags) {
            // it may be gone again
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => panic!("{} cannot be watched: {error}", next.display()),
        }
        if depth == Depth::AllBelow && next.starts_with(folder) {
            let entries = fs::read_dir(next).into_iter().flatten().flatten();
            let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
            folders.extend(entries.filter(is_dir).map(|entry| entry.path()));
        }
    }
}
