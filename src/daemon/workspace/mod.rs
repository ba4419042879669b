//! The session's workspace, and what its participants hear of its making.

pub(super) mod agents_git;
pub(super) mod ground;
pub(super) mod issued;
pub(super) mod made;
pub(super) mod publishing;
pub(super) mod repositories;
pub(super) mod setup_script;
pub(super) mod skills;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::process::{getegid, geteuid};
use secrecy::SecretString;
use tokio::sync::mpsc;

use self::made::MadeRepository;
use self::repositories::{Repo, Wanted, allowed, typed};
use crate::clock::Clock;
use crate::config::{CommandKind, Depth};
use crate::daemon::sessions::retention::own_workspace;
use crate::daemon::{DaemonError, Setup};
use crate::event::{Event, NoticeLevel};
use crate::ids::{EventId, SessionId};
use crate::journal::{Batch, Journal, NewEvent};
use crate::workspace::{self, Cache, CloneRequest, Credentials, Extent, Progress, Workspace};
use crate::{files, process};

/// A clone that takes longer is stuck.
const CLONE_LIMIT: Duration = Duration::from_mins(30);
/// The most that repositories may take which are kept for the next clone.
const CACHE_LIMIT: u64 = 10 << 30;
/// Steps of a clone that may wait for their event: each says all that those before it said.
const STEPS_QUEUE: usize = 8;
/// Between two progress events.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

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

/// Where a session works.
#[derive(Debug)]
pub(super) struct Place {
    /// The folder.
    pub(super) path: PathBuf,
    /// What was cloned into it.
    pub(super) repositories: Vec<MadeRepository>,
    /// Where tokens for them come from.
    pub(super) credentials: Credentials,
}

/// Makes the workspace, or finds it where an earlier start made it. `owner` is the user that the
/// agent runs as, where that is another one.
pub(super) async fn make(
    setup: &Setup<'_>,
    wanted: Wanted,
    log: &SetupLog,
    owner: Option<(u32, u32)>,
) -> Result<Place, DaemonError> {
    let config = setup.config;
    let own = || own_workspace(&config.state_dir, &log.session);
    let Wanted { repos, credentials } = wanted;
    if repos.is_empty() {
        let path = match (&config.workspace_dir, setup.command) {
            (Some(path), _) => path.clone(),
            // What a person starts works where they are.
            (None, CommandKind::Run | CommandKind::Start) => setup.cwd.clone(),
            (None, CommandKind::Daemon) => own(),
        };
        match owner {
            Some(_) if path == setup.cwd => {}
            Some(owner) => make_for(setup, &path, owner)?,
            None => make_folder(&path)?,
        }
        return Ok(Place {
            path,
            repositories: Vec::new(),
            credentials,
        });
    }
    let path = config.workspace_dir.clone().unwrap_or_else(own);
    let shared = match owner {
        Some(owner) if repos.len() > 1 => Shared::open(setup, &path, owner)?,
        _ => None,
    };
    let made = make_all(setup, repos, &path, &credentials, log, owner).await;
    if let Some(shared) = shared {
        shared.close(setup)?;
    }
    let repositories = made?;
    Ok(Place {
        path,
        repositories,
        credentials,
    })
}

async fn make_all(
    setup: &Setup<'_>,
    repos: Vec<Repo>,
    path: &Path,
    credentials: &Credentials,
    log: &SetupLog,
    owner: Option<(u32, u32)>,
) -> Result<Vec<MadeRepository>, DaemonError> {
    let several = repos.len() > 1;
    let mut repositories = Vec::new();
    for repo in repos {
        let into = if several {
            path.join(&repo.folder)
        } else {
            path.to_owned()
        };
        repositories.push(make_one(setup, repo, into, credentials, log, owner).await?);
    }
    Ok(repositories)
}

async fn make_one(
    setup: &Setup<'_>,
    repo: Repo,
    into: PathBuf,
    credentials: &Credentials,
    log: &SetupLog,
    owner: Option<(u32, u32)>,
) -> Result<MadeRepository, DaemonError> {
    let parent = into.parent().unwrap_or(Path::new("/")).to_owned();
    make_folder(&parent)?;
    // Within a workspace it may be the agent that has put something there.
    if owner.is_some() && into.is_symlink() {
        let error = std::io::Error::other("it is a link");
        return Err(folder_error(&into, &error));
    }
    log.step(format!("cloning {}", repo.url)).await?;
    let (url, reach) = (repo.url.to_string(), repo.url.reach());
    let token = credentials.token(&repo.url).await;
    let token = token.map_err(|error| DaemonError::Workspace(error.to_string()))?;
    let made = clone(setup, repo, token, into, log, owner).await?;
    if owner.is_some() {
        let passed = files::let_pass(setup.state_root, &parent);
        passed.map_err(|error| folder_error(&made.path, &error))?;
    }
    log.step(describe(&made)).await?;
    Ok(MadeRepository {
        path: made.path,
        url,
        reach,
        // One that was there may have been worked on.
        commit: made.commit.filter(|_| !made.reused),
    })
}

/// Whether the repositories of the settings have addresses that may be cloned from.
pub(super) fn check_repo(setup: &Setup<'_>) -> Result<(), DaemonError> {
    typed(setup).map(drop)
}

fn describe(made: &Workspace) -> String {
    let what = match (&made.branch, &made.commit) {
        (Some(branch), Some(commit)) => format!("{branch} at {}", short(commit)),
        (None, Some(commit)) => short(commit).to_owned(),
        (Some(branch), None) => branch.clone(),
        _ => "an empty repository".to_owned(),
    };
    let how = if made.reused { "found" } else { "cloned" };
    format!("{how} {what} in {}", made.path.display())
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

async fn clone(
    setup: &Setup<'_>,
    repo: Repo,
    token: Option<SecretString>,
    into: PathBuf,
    log: &SetupLog,
    owner: Option<(u32, u32)>,
) -> Result<Workspace, DaemonError> {
    let git = &setup.config.git;
    let request = CloneRequest {
        url: repo.url,
        revision: repo.revision,
        token,
        into,
        limit: CLONE_LIMIT,
        ca_file: setup.config.ca_file.clone(),
        cache: Some(Cache {
            path: setup.state_root.join("cache").join("git"),
            limit: CACHE_LIMIT,
        }),
        extent: Extent {
            depth: match git.depth {
                Depth::Commits(commits) => commits,
                Depth::Full => 0,
            },
            submodules: git.submodules.then(|| allowed(setup)).transpose()?,
            most: git.max_size,
            owner,
        },
    };
    let mut throttle = Throttle {
        clock: setup.clock,
        last: setup.clock.now(),
    };
    let (progress, mut steps) = mpsc::channel(STEPS_QUEUE);
    let telling = async {
        while let Some(step) = steps.recv().await {
            if throttle.is_due(step)
                && let Err(error) = log.step(words(step)).await
            {
                tracing::warn!(%error, "progress could not be stored");
            }
        }
    };
    let (made, ()) = tokio::join!(workspace::clone_apart(&request, progress), telling);
    made.map_err(|error| DaemonError::Workspace(error.to_string()))
}

struct Throttle {
    clock: Clock,
    last: std::time::Instant,
}

impl Throttle {
    fn is_due(&mut self, step: Progress) -> bool {
        let done = match step {
            Progress::Receiving { objects, total, .. } => total > 0 && objects == total,
            Progress::CheckingOut { files, total } => files == total,
        };
        let now = self.clock.now();
        let due = done || now - self.last >= PROGRESS_EVERY;
        if due {
            self.last = now;
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

fn make_folder(path: &Path) -> Result<(), DaemonError> {
    files::create_private_dir(path)
        // One that is there may be closed to us.
        .and_then(|()| Ok(access(path, Access::EXEC_OK)?))
        .map_err(|error| folder_error(path, &error))
}

/// Makes a folder for the agent's user; one that is there stays as it is, unless a crash came before
/// it was given.
fn make_for(setup: &Setup<'_>, path: &Path, owner: (u32, u32)) -> Result<(), DaemonError> {
    make_folder(path)?;
    let is_empty = || std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    if is_of(path, geteuid().as_raw()) && is_empty() {
        give(setup, path, owner)?;
    }
    Ok(())
}

fn is_of(path: &Path, uid: u32) -> bool {
    let found = path.symlink_metadata();
    found.is_ok_and(|found| found.uid() == uid)
}

/// The agent's folder of several repositories. While we clone into it nobody else may change what
/// is in it: a name there could be a link by the time that we write to it.
struct Shared {
    path: PathBuf,
    owner: (u32, u32),
}

impl Shared {
    /// None where it is somebody's who had it before: that one stays as it is.
    fn open(
        setup: &Setup<'_>,
        path: &Path,
        owner: (u32, u32),
    ) -> Result<Option<Self>, DaemonError> {
        let is_ours = !path.exists() || path.starts_with(setup.state_root);
        let is_theirs = is_of(path, owner.0);
        if !is_ours && !is_theirs {
            return Ok(None);
        }
        make_folder(path)?;
        let path = path.to_owned();
        let shared = Self { path, owner };
        if is_theirs {
            shared.give(setup, (geteuid().as_raw(), getegid().as_raw()))?;
        }
        Ok(Some(shared))
    }

    /// It is theirs from now on.
    fn close(&self, setup: &Setup<'_>) -> Result<(), DaemonError> {
        self.give(setup, self.owner)
    }

    fn give(&self, setup: &Setup<'_>, owner: (u32, u32)) -> Result<(), DaemonError> {
        let above = self.path.parent().unwrap_or(&self.path);
        let given = process::give_alone(&self.path, owner);
        given
            .and_then(|()| files::let_pass(setup.state_root, above))
            .map_err(|error| folder_error(&self.path, &error))
    }
}

/// Makes the folder that the CLI has as its home, where that is one of ours.
pub(super) fn make_home(
    setup: &Setup<'_>,
    home: &Path,
    owner: Option<(u32, u32)>,
) -> Result<(), DaemonError> {
    match owner {
        _ if !home.starts_with(&setup.config.state_dir) => Ok(()),
        Some(owner) => make_for(setup, home, owner),
        None => make_folder(home),
    }
}

/// Gives a folder to the agent's user.
fn give(setup: &Setup<'_>, path: &Path, owner: (u32, u32)) -> Result<(), DaemonError> {
    process::hand_over(setup.state_root, path, owner).map_err(|error| folder_error(path, &error))
}

fn folder_error(path: &Path, error: &std::io::Error) -> DaemonError {
    DaemonError::Workspace(format!(
        "the workspace {} cannot be used: {error}; mend its owner and mode, or name \
         another by --workspace-dir",
        path.display()
    ))
}
