//! What turns did to a workspace: shown, and undone.

mod place;

use std::io::{self, Write as _};
use std::process::ExitCode;

use self::place::Place;
use super::printing::{print, say};
use super::{CliError, Exit};
use crate::clock::Timestamp;
use crate::clock::iso;
use crate::workspace::{CheckpointError, Checkpoints, Form, Listed, START};

/// The name of what `restore` keeps before it changes anything.
const BEFORE: &str = "before-restore";

/// What `diff` takes.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArguments {
    /// The checkpoint, by the id of its turn or by its place, whose own changes to show; without it,
    /// all changes since the session began
    #[arg(value_name = "TURN")]
    checkpoint: Option<String>,
    /// Show a line for each file, not each changed line
    #[arg(long)]
    stat: bool,
    /// Show which checkpoints there are
    #[arg(long, conflicts_with_all = ["checkpoint", "stat"])]
    list: bool,
    #[command(flatten)]
    place: Place,
}

/// What `restore` takes.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArguments {
    /// The checkpoint, by the id of its turn or by its place; `start` is before the first turn
    #[arg(value_name = "TURN")]
    checkpoint: String,
    #[command(flatten)]
    place: Place,
}

/// Shows what changed.
pub(super) fn diff(arguments: &DiffArguments) -> Result<ExitCode, CliError> {
    let checkpoints = arguments.place.open()?;
    let session = arguments.place.session();
    let mut out = io::stdout().lock();
    let shown = if arguments.list {
        list(&checkpoints, session, &mut out)
    } else {
        let form = if arguments.stat {
            Form::Stat
        } else {
            Form::Patch
        };
        match &arguments.checkpoint {
            Some(wanted) => checkpoints
                .find(wanted, session)
                .and_then(|found| checkpoints.write_of(&found, form, &mut out)),
            None => first(&checkpoints, session)
                .and_then(|found| checkpoints.write_since(&found, form, &mut out)),
        }
    };
    match shown.and_then(|()| out.flush().map_err(CheckpointError::from)) {
        // a closed pipe (`diff … | head`) is nobody's error
        Err(CheckpointError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        shown => shown.map_err(|error| repo(&error))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the files what they were.
pub(super) fn restore(arguments: &RestoreArguments) -> Result<ExitCode, CliError> {
    let checkpoints = arguments.place.open()?;
    let session = arguments.place.session();
    let to = checkpoints.find(&arguments.checkpoint, session);
    let to = to.map_err(|error| repo(&error))?;
    let next = checkpoints
        .list(Some(&to.session))
        .map_err(|error| repo(&error))?;
    let place = next.last().map_or(0, |last| last.ordinal) + 1;
    let undo = format!("{BEFORE}-{place}");
    let kept = checkpoints
        .restore(&to, &undo)
        .map_err(|error| repo(&error))?;
    let mut told = format!(
        "restored {} to {} of session {}; undo with: agent-runner restore {place} --session {}\n",
        checkpoints.path().display(),
        to.name,
        to.session,
        to.session
    );
    for path in kept.left_out {
        told = format!("{told}not touched, as checkpoints leave it out: {path}\n");
    }
    print(&told)
}

/// Where the session began: before its first turn, or the oldest that is kept.
fn first(checkpoints: &Checkpoints, session: Option<&str>) -> Result<Listed, CheckpointError> {
    match checkpoints.find(START, session) {
        Err(CheckpointError::Unknown { session, .. }) => {
            let kept = checkpoints.list(session.as_deref())?;
            kept.into_iter().next().ok_or(CheckpointError::Unknown {
                wanted: START.to_owned(),
                session,
            })
        }
        found => found,
    }
}

fn list(
    checkpoints: &Checkpoints,
    session: Option<&str>,
    out: &mut dyn io::Write,
) -> Result<(), CheckpointError> {
    let kept = checkpoints.list(session)?;
    if kept.is_empty() {
        // an empty list is an answer, for scripts; people want to know that it is one
        say!("{}", checkpoints.without(session));
    }
    for listed in kept {
        let Listed {
            session,
            ordinal,
            name,
            at,
            ..
        } = listed;
        let at = Timestamp::from_millis(at.unsigned_abs().saturating_mul(1_000));
        writeln!(out, "{ordinal}\t{name}\t{session}\t{}", iso(at))?;
    }
    Ok(())
}

fn repo(error: &CheckpointError) -> CliError {
    CliError::new(Exit::Repo, error.to_string())
}
