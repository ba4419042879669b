//! The session's workspace, and what its participants hear of its making.

use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{DaemonError, Setup};
use crate::clock::Clock;
use crate::config::CommandKind;
use crate::event::{Event, NoticeLevel};
use crate::files;
use crate::hub::rest::SessionDetail;
use crate::ids::{EventId, SessionId};
use crate::journal::{Batch, Journal, NewEvent};
use crate::workspace::{self, CloneRequest, Progress, RepoUrl, Revision, Workspace};

/// A clone that takes longer is stuck.
const CLONE_LIMIT: Duration = Duration::from_mins(30);
/// Between two progress events.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Progress that waits to be stored; the clone skips what does not fit.
const PROGRESS_QUEUE: usize = 16;

/// Writes events that belong to the session as a whole.
#[derive(Debug, Clone)]
pub(super) struct SetupLog {
    pub(super) journal: Journal,
    pub(super) session: SessionId,
    pub(super) agent: &'static str,
    pub(super) clock: Clock,
}

impl SetupLog {
    /// Stores one event.
    pub(super) async fn event(&self, event: &Event) -> Result<(), DaemonError> {
        let id = EventId::derive(self.clock.new_uuid(), 0);
        let event = NewEvent::encode(event, id, self.clock.wall(), None)
            .map_err(|error| DaemonError::Internal(error.to_string()))?;
        let mut batch = Batch::new(&self.session, self.agent);
        batch.events.push(event);
        self.journal.commit(batch).await?;
        Ok(())
    }

    /// Stores a notice.
    pub(super) async fn notice(
        &self,
        level: NoticeLevel,
        code: &str,
        text: String,
    ) -> Result<(), DaemonError> {
        self.event(&Event::Notice {
            level,
            code: code.to_owned(),
            text,
        })
        .await
    }

    async fn step(&self, text: String) -> Result<(), DaemonError> {
        self.setup("clone", "stdout", text).await
    }

    /// Stores a step of what comes before the first turn.
    pub(super) async fn setup(
        &self,
        step: &str,
        stream: &str,
        text: String,
    ) -> Result<(), DaemonError> {
        let (step, stream) = (step.to_owned(), stream.to_owned());
        self.event(&Event::Setup { step, stream, text }).await
    }
}

/// A repository to clone.
#[derive(Debug)]
struct Repo {
    url: RepoUrl,
    revision: Option<Revision>,
    token: Option<SecretString>,
}

/// Makes the workspace, or finds it where an earlier start made it. `detail` is the Hub's view of
/// the session, `trusted` whether that Hub may name any address that a user could type. `owner`
/// is the user that the agent runs as, where that is another one.
pub(super) async fn make(
    setup: &Setup<'_>,
    detail: Option<&SessionDetail>,
    trusted: bool,
    log: &SetupLog,
    owner: Option<(u32, u32)>,
) -> Result<PathBuf, DaemonError> {
    let config = setup.config;
    let own = || {
        config
            .state_dir
            .join("workspaces")
            .join(log.session.as_str())
    };
    let Some(repo) = repo(setup, detail, trusted)? else {
        let path = match (&config.workspace_dir, setup.command) {
            (Some(path), _) => path.clone(),
            (None, CommandKind::Run) => return Ok(setup.cwd.clone()),
            (None, CommandKind::Daemon | CommandKind::Start) => own(),
        };
        let fresh = !path.exists();
        files::create_private_dir(&path).map_err(|error| folder_error(&path, &error))?;
        if let Some(owner) = owner.filter(|_| fresh) {
            hand_over(config.state_dir.as_path(), &path, owner)?;
        }
        return Ok(path);
    };
    let into = config.workspace_dir.clone().unwrap_or_else(own);
    let parent = into.parent().unwrap_or(Path::new("/"));
    files::create_private_dir(parent).map_err(|error| folder_error(parent, &error))?;
    log.step(format!("cloning {}", repo.url)).await?;
    let made = clone(setup, repo, into, log).await?;
    if let Some(owner) = owner.filter(|_| !made.reused) {
        hand_over(config.state_dir.as_path(), &made.path, owner)?;
    }
    log.step(describe(&made)).await?;
    Ok(made.path)
}

fn describe(made: &Workspace) -> String {
    let what = match (&made.branch, &made.commit) {
        (Some(branch), Some(commit)) => format!("{branch} at {}", short(commit)),
        (None, Some(commit)) => short(commit).to_owned(),
        _ => "an empty repository".to_owned(),
    };
    let how = if made.reused { "found" } else { "cloned" };
    format!("{how} {what} in {}", made.path.display())
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// What to clone: the user's own word, else the Hub's.
fn repo(
    setup: &Setup<'_>,
    detail: Option<&SessionDetail>,
    trusted: bool,
) -> Result<Option<Repo>, DaemonError> {
    let fault = |error: &dyn std::fmt::Display| DaemonError::Workspace(error.to_string());
    let parse = |url: &str, revision: Option<&str>, token| {
        let url = RepoUrl::parse(url, &setup.cwd).map_err(|error| fault(&error))?;
        let revision = revision
            .map(Revision::parse)
            .transpose()
            .map_err(|error| fault(&error))?;
        Ok(Some(Repo {
            url,
            revision,
            token,
        }))
    };
    if let Some(repo) = &setup.config.repo {
        return parse(&repo.url, repo.branch.as_deref(), repo.token.clone());
    }
    let Some(sent) = detail.and_then(|detail| detail.repo.as_ref()) else {
        return Ok(None);
    };
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| sent.get(name).and_then(Value::as_str))
            .filter(|t| !t.is_empty())
    };
    let Some(url) = first(&["cloneUrl", "url"]) else {
        return Ok(None);
    };
    if !trusted && !url.starts_with("https://") {
        return Err(DaemonError::Workspace(format!(
            "the Hub asks for the repository `{url}`: from a Hub on another machine only https:// \
             addresses are taken; give --repo to allow another"
        )));
    }
    parse(
        url,
        first(&["commit", "ref", "branch", "defaultBranch"]),
        None,
    )
}

async fn clone(
    setup: &Setup<'_>,
    repo: Repo,
    into: PathBuf,
    log: &SetupLog,
) -> Result<Workspace, DaemonError> {
    let request = CloneRequest {
        url: repo.url,
        revision: repo.revision,
        token: repo.token,
        into,
        limit: CLONE_LIMIT,
        ca_file: setup.config.ca_file.clone(),
    };
    let (progress, mut steps) = mpsc::channel(PROGRESS_QUEUE);
    let cancelled = CancelOnDrop(Arc::default());
    let (clock, flag) = (setup.clock, Arc::clone(&cancelled.0));
    let cloning = tokio::task::spawn_blocking(move || {
        let mut throttle = Throttle { clock, last: None };
        workspace::clone(&request, clock, &flag, &mut |step| {
            if throttle.is_due(step) {
                // A full queue only means that the next one says more.
                let _full = progress.try_send(step);
            }
        })
    });
    while let Some(step) = steps.recv().await {
        log.step(words(step)).await?;
    }
    let made = cloning
        .await
        .map_err(|error| DaemonError::Internal(error.to_string()))?;
    made.map_err(|error| DaemonError::Workspace(error.to_string()))
}

/// A clone that nobody waits for any more ends soon.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Throttle {
    clock: Clock,
    last: Option<std::time::Instant>,
}

impl Throttle {
    fn is_due(&mut self, step: Progress) -> bool {
        let done = match step {
            Progress::Receiving { objects, total, .. } => total > 0 && objects == total,
            Progress::CheckingOut { files, total } => files == total,
        };
        let now = self.clock.now();
        let due = done || self.last.is_none_or(|last| now - last >= PROGRESS_EVERY);
        if due {
            self.last = Some(now);
        }
        due
    }
}

fn words(step: Progress) -> String {
    match step {
        Progress::Receiving {
            objects,
            total,
            bytes,
        } => {
            format!(
                "receiving {objects} of {total} objects ({} KiB)",
                bytes / 1024
            )
        }
        Progress::CheckingOut { files, total } => format!("checking out {files} of {total} files"),
    }
}

/// Gives a folder and all in it to the agent's user, and lets that user pass through the state
/// dir to it. The folders above stay closed to reading, and all files in them are private.
pub(super) fn hand_over(
    state_dir: &Path,
    path: &Path,
    (uid, gid): (u32, u32),
) -> Result<(), DaemonError> {
    let mut pending = vec![path.to_owned()];
    while let Some(next) = pending.pop() {
        let kind = next
            .symlink_metadata()
            .map_err(|error| folder_error(&next, &error))?;
        if kind.is_dir() {
            for entry in std::fs::read_dir(&next).map_err(|error| folder_error(&next, &error))? {
                pending.push(entry.map_err(|error| folder_error(&next, &error))?.path());
            }
        }
        lchown(&next, Some(uid), Some(gid)).map_err(|error| folder_error(&next, &error))?;
    }
    let above = path
        .ancestors()
        .skip(1)
        .take_while(|folder| folder.starts_with(state_dir));
    for folder in above {
        let passable = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(folder, passable).map_err(|error| folder_error(folder, &error))?;
    }
    Ok(())
}

fn folder_error(path: &Path, error: &std::io::Error) -> DaemonError {
    DaemonError::Workspace(format!(
        "the workspace {} cannot be used: {error}; mend it, or name another by --workspace-dir",
        path.display()
    ))
}
