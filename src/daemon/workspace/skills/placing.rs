//! Skills in a workspace: put there, brought up to date, taken away.
//!
//! Only what was put there by us, and that nobody has changed since, is replaced or removed. All of it
//! is done with the rights of the agent's user, through real folders alone, and each skill that is put
//! is kept out of the repository's commits.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, statat};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Skill;

/// A longer list of what is excluded is somebody else's.
const LONGEST_EXCLUDE: u64 = 1 << 20;

/// A skill that was put into a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct Placed {
    name: String,
    /// Whether the Hub sent it.
    sent: bool,
    /// Of what was put there.
    digest: Uuid,
}

/// What became of the skills, by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::daemon) struct Changes {
    put: Vec<String>,
    updated: Vec<String>,
    removed: Vec<String>,
    /// Not touched: the workspace has its own, or somebody has changed ours.
    left: Vec<String>,
}

impl Changes {
    /// In words, one line for each kind.
    pub(in crate::daemon) fn words(&self) -> Vec<String> {
        let lists = [
            ("skills for the agent", &self.put),
            ("skills brought up to date", &self.updated),
            ("skills taken away", &self.removed),
            ("skills left as the workspace has them", &self.left),
        ];
        let some = lists.into_iter().filter(|(_, names)| !names.is_empty());
        some.map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect()
    }
}

/// The place of skills in one workspace.
pub(super) struct Shelf<'a> {
    root: File,
    place: &'a Path,
}

impl<'a> Shelf<'a> {
    pub(super) fn open(workspace: &Path, place: &'a Path) -> io::Result<Self> {
        let root = File::open(workspace)?;
        Ok(Self { root, place })
    }

    /// Makes the shelf hold what is wanted. With `keeps_sent`, those that the Hub sent stay, whether
    /// they are wanted or not: it was not asked.
    pub(super) fn hold(
        &self,
        wanted: &[Skill],
        keeps_sent: bool,
        placed: &mut Vec<Placed>,
    ) -> io::Result<Changes> {
        let mut changes = Changes::default();
        let is_wanted = |known: &Placed| {
            (keeps_sent && known.sent) || wanted.iter().any(|skill| skill.name == known.name)
        };
        for known in std::mem::take(placed) {
            if is_wanted(&known) {
                placed.push(known);
            } else if self.digest(&known.name) == Some(known.digest) {
                self.remove(&known.name)?;
                changes.removed.push(known.name);
            } else if self.has(&known.name) {
                changes.left.push(known.name);
            }
        }
        for skill in wanted {
            let digest = skill.digest();
            let known = placed.iter().position(|known| known.name == skill.name);
            let is = self.digest(&skill.name);
            let ours = known
                .and_then(|at| placed.get(at))
                .map(|known| known.digest);
            if is == Some(digest) && known.is_some() {
                continue;
            }
            let list = match ours {
                _ if !self.has(&skill.name) => &mut changes.put,
                Some(ours) if is == Some(ours) => {
                    self.remove(&skill.name)?;
                    &mut changes.updated
                }
                _ => {
                    changes.left.push(skill.name.clone());
                    continue;
                }
            };
            list.push(skill.name.clone());
            self.put(skill)?;
            if let Some(at) = known {
                placed.remove(at);
            }
            placed.push(Placed {
                name: skill.name.clone(),
                sent: skill.sent,
                digest,
            });
        }
        Ok(changes)
    }

    fn folder(&self) -> io::Result<File> {
        folder_in(&self.root, self.place)
    }

    fn has(&self, name: &str) -> bool {
        let folder = open_folder(&self.root, self.place);
        folder.is_ok_and(|folder| statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// Of what is there under that name, where that could be a skill of ours.
    fn digest(&self, name: &str) -> Option<Uuid> {
        let folder = open_folder(&self.root, self.place).ok()?;
        let own = open_folder(&folder, Path::new(name)).ok()?;
        super::read(&way_to(&own, Path::new(".")), name)
            .ok()
            .map(|skill| skill.digest())
    }

    fn put(&self, skill: &Skill) -> io::Result<()> {
        let own = folder_in(&self.folder()?, Path::new(&skill.name))?;
        for file in &skill.files {
            let parent = file.path.parent().unwrap_or(Path::new(""));
            let name = file.path.file_name();
            let name = name.ok_or(io::ErrorKind::InvalidFilename)?;
            let parent = folder_in(&own, parent)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = if file.is_program { 0o755 } else { 0o644 };
            let opened = openat(&parent, name, flags, Mode::from_raw_mode(mode))?;
            File::from(opened).write_all(&file.content)?;
        }
        self.exclude(&skill.name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_dir_all(way_to(&self.folder()?, Path::new(name)))?;
        self.include(name)
    }

    /// How the repository's list of what it does not track names a skill.
    fn line(&self, name: &str) -> String {
        format!("/{}/", self.place.join(name).display())
    }

    fn list(&self) -> Option<io::Result<(File, PathBuf)>> {
        let git = open_folder(&self.root, Path::new(".git")).ok()?;
        let info = folder_in(&git, Path::new("info"));
        Some(info.map(|info| {
            let path = way_to(&info, Path::new("exclude"));
            (info, path)
        }))
    }

    /// Keeps it out of what the repository calls untracked, where the workspace is one.
    fn exclude(&self, name: &str) -> io::Result<()> {
        let Some(list) = self.list() else {
            return Ok(());
        };
        let (info, path) = list?;
        let line = self.line(name);
        let known = read_list(&path);
        if known.lines().any(|known| known == line) {
            return Ok(());
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&info, "exclude", flags, Mode::from_raw_mode(0o644))?;
        // In one write: the agent's git may read it.
        File::from(file).write_all(format!("\n{line}\n").as_bytes())
    }

    /// What has this name from now on is the repository's own affair.
    fn include(&self, name: &str) -> io::Result<()> {
        let Some(list) = self.list() else {
            return Ok(());
        };
        let (info, path) = list?;
        let line = self.line(name);
        let known = read_list(&path);
        if !known.lines().any(|known| known == line) {
            return Ok(());
        }
        let kept = known.lines().filter(|known| *known != line);
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        let new = "exclude.agent-runner";
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&info, new, flags, Mode::from_raw_mode(0o644))?;
        File::from(file).write_all(kept.as_bytes())?;
        Ok(rustix::fs::renameat(&info, new, &info, "exclude")?)
    }
}

fn read_list(path: &Path) -> String {
    let mut text = String::new();
    let read = crate::files::open_plain(path)
        .and_then(|file| file.take(LONGEST_EXCLUDE).read_to_string(&mut text));
    if read.is_err() {
        text.clear();
    }
    text
}

/// A path that begins at an open folder.
fn way_to(folder: &File, path: &Path) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(path)
}

/// A folder below another, made where it is missing; a link on the way is refused.
fn folder_in(root: &File, path: &Path) -> io::Result<File> {
    walk(root, path, |at, name| {
        match mkdirat(at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

/// The same, where it is there.
fn open_folder(root: &File, path: &Path) -> io::Result<File> {
    walk(root, path, |_, _| Ok(()))
}

fn walk(
    root: &File,
    path: &Path,
    before: impl Fn(&File, &std::ffi::OsStr) -> io::Result<()>,
) -> io::Result<File> {
    let mut at = root.try_clone()?;
    for part in path.components() {
        let Component::Normal(name) = part else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        before(&at, name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = File::from(openat(&at, name, flags, Mode::empty())?);
    }
    Ok(at)
}
