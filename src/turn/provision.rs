//! The files that a CLI is to find: those of the turn in its run's folder, those that it looks for
//! in its home.
//!
//! A home is in the hands of the user that the CLI runs as. Where that is another user, everything
//! in it is written with that user's rights: a link that it has planted there leads nowhere that
//! it could not go by itself.

mod locks;

use std::io::{self, Write as _};
use std::path::Path;

use super::context::TurnContext;
use super::history;
use crate::agent::{HomeLocks, HomeRename, LaunchPlan};
use crate::files;
use crate::process::{self, as_user};
use crate::spool::RunDir;

/// Writes all of them.
pub(super) fn write(context: &TurnContext, dir: &RunDir, launch: &LaunchPlan) -> io::Result<()> {
    write_files(context, dir, launch)?;
    let needs_home = [
        !launch.home_files.is_empty(),
        !launch.home_links.is_empty(),
        launch.home_rename.is_some(),
        !launch.home_defaults.is_empty(),
        launch.home_locks.is_some(),
    ];
    if !needs_home.contains(&true) {
        return Ok(());
    }
    let home = &context.spec.home;
    let is_ours = home.starts_with(&context.state_dir);
    // In a container a pid is another process's.
    let locks = launch
        .home_locks
        .filter(|_| !context.sandbox.is_container());
    let write = || {
        if is_ours {
            write_defaults(home, launch)?;
        }
        if let Some(locks) = locks {
            release_locks(home, locks);
        }
        write_home_files(home, launch)
    };
    match &context.user {
        Some(user) => as_user((user.uid, user.gid), write),
        None => write(),
    }
}

/// Each is there whole or not at all, also where this process dies here, or another turn writes the
/// same right now.
fn write_defaults(home: &Path, launch: &LaunchPlan) -> io::Result<()> {
    for (place, content) in &launch.home_defaults {
        let path = home.join(place);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        if let Some(folder) = path.parent() {
            files::create_private_dir(folder)?;
        }
        // No two threads have the same number at a time: one that is there is a dead one's.
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let new = home.join(format!("{place}.{thread}.new"));
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        files::create_private(&new)?.write_all(content)?;
        std::fs::rename(&new, &path)?;
    }
    Ok(())
}

/// The CLI gets past them by itself, only later.
fn release_locks(home: &Path, locks: &HomeLocks) {
    if let Err(error) = locks::release(home, locks) {
        tracing::warn!(home = %home.display(), %error, "locks of dead processes cannot be removed");
    }
}

fn write_files(context: &TurnContext, dir: &RunDir, launch: &LaunchPlan) -> io::Result<()> {
    if launch.files.is_empty() {
        return Ok(());
    }
    let folder = dir.launch_files();
    files::create_private_dir(&folder)?;
    for (name, content) in &launch.files {
        files::create_private(&folder.join(name))?.write_all(content)?;
    }
    if let Some(user) = &context.user {
        process::hand_over(&context.state_root, &folder, (user.uid, user.gid))?;
    }
    Ok(())
}

fn write_home_files(home: &Path, launch: &LaunchPlan) -> io::Result<()> {
    for (place, content) in &launch.home_files {
        let path = home.join(place);
        if files::holds(&path, content) {
            continue;
        }
        replace(&path, content).map_err(|error| {
            let text = format!("cannot write {} for the agent: {error}", path.display());
            io::Error::new(error.kind(), text)
        })?;
    }
    for link in &launch.home_links {
        if link.is_folder {
            files::create_private_dir(&link.target)?;
        }
        // another turn may be making it right now
        match std::os::unix::fs::symlink(&link.target, home.join(&link.place)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    launch.home_rename.as_ref().map_or(Ok(()), rename)
}

fn rename(wanted: &HomeRename) -> io::Result<()> {
    let files = history::files_of(&wanted.file)?;
    let Some(file) = files.first() else {
        return Ok(());
    };
    let renamed = file.with_file_name(&wanted.name);
    if renamed.try_exists()? {
        return Ok(());
    }
    std::fs::rename(file, renamed)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        files::create_private_dir(folder)?;
    }
    files::replace_durably(path, content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::agent::ConversationFile;

    /// Nobody's, on every Linux.
    const NOBODY: (u32, u32) = (65_534, 65_534);
    const ROUNDS: usize = 300;

    fn launch() -> LaunchPlan {
        LaunchPlan {
            command: "x",
            args: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            home_files: vec![("folder/file".into(), b"ours".to_vec())],
            home_links: Vec::new(),
            home_rename: None,
            home_locks: None,
            home_defaults: Vec::new(),
            env_pass: &[],
            env_fallback: Vec::new(),
        }
    }

    #[test]
    fn a_conversation_gets_another_name_once() {
        let dir = tempfile::tempdir().unwrap();
        let chats = dir.path().join("project/chats");
        std::fs::create_dir_all(&chats).unwrap();
        let wanted = HomeRename {
            file: ConversationFile {
                folder: dir.path().to_owned(),
                depth: 2,
                name_end: "-abc.jsonl".to_owned(),
            },
            name: "0-abc.jsonl".to_owned(),
        };
        rename(&wanted).unwrap();
        for name in ["2-abc.jsonl", "1-abc.jsonl", "1-abd.jsonl"] {
            std::fs::write(chats.join(name), name).unwrap();
        }
        for _ in 0..2 {
            rename(&wanted).unwrap();
            let renamed = std::fs::read_to_string(chats.join("0-abc.jsonl")).unwrap();
            assert_eq!(renamed, "1-abc.jsonl", "the first of them");
            assert!(chats.join("2-abc.jsonl").exists());
        }
    }

    #[test]
    fn a_home_begins_with_its_defaults_and_keeps_what_is_made_of_them() {
        let home = tempfile::tempdir().unwrap();
        let mut launch = launch();
        launch.home_defaults = vec![("settings/lock", b"ours"), ("settings/other", b"too")];
        write_defaults(home.path(), &launch).unwrap();
        let lock = home.path().join("settings/lock");
        std::fs::write(&lock, "theirs").unwrap();
        write_defaults(home.path(), &launch).unwrap();
        assert_eq!(std::fs::read(&lock).unwrap(), b"theirs");
        assert_eq!(
            std::fs::read(home.path().join("settings/other")).unwrap(),
            b"too"
        );
        let names = std::fs::read_dir(home.path().join("settings")).unwrap();
        assert_eq!(names.count(), 2, "nothing else is left");
    }

    #[test]
    fn links_that_come_and_go_in_a_home_lead_our_rights_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        if dir.path().metadata().unwrap().uid() != 0 {
            return; // only root runs a CLI as another user
        }
        let (home, private) = (dir.path().join("home"), dir.path().join("private"));
        files::create_passable_dir(&home).unwrap();
        files::create_private_dir(&private).unwrap();
        std::fs::set_permissions(
            dir.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o711),
        )
        .unwrap();
        chown(&home, Some(NOBODY.0), Some(NOBODY.1)).unwrap();
        let write = || as_user(NOBODY, || write_home_files(&home, &launch()));
        let entries = || std::fs::read_dir(&private).unwrap().count();
        let done = AtomicBool::new(false);
        let folder = home.join("folder");
        symlink(&private, &folder).unwrap();
        assert!(write().is_err());
        assert_eq!(entries(), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                as_user(NOBODY, || {
                    while !done.load(Ordering::Relaxed) {
                        drop(symlink(&private, &folder));
                        drop(std::fs::remove_file(&folder));
                        drop(std::fs::create_dir(&folder));
                        drop(std::fs::remove_dir_all(&folder));
                    }
                    Ok(())
                })
            });
            for _ in 0..ROUNDS {
                // the other one is in its way more often than not
                drop(write());
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(entries(), 0);
        std::fs::remove_file(&folder)
            .or_else(|_| std::fs::remove_dir_all(&folder))
            .ok();
        write().unwrap();
        assert_eq!(folder.join("file").metadata().unwrap().uid(), NOBODY.0);
    }
}
