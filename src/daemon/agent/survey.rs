//! What a lead would start from, found out without making, joining or installing anything.

use std::ffi::OsString;
use std::path::PathBuf;

use super::launch;
use super::program::{self, Program, RunsAs};
use crate::agent;
use crate::daemon::{DaemonError, Setup};

/// How the agent of the settings would be started.
pub struct Survey {
    /// Its program.
    pub program: Result<Program, DaemonError>,
    /// Whom it runs as.
    pub runs_as: RunsAs,
    /// Its home folder.
    pub home: PathBuf,
    /// Its environment. Values may be secrets, for which reason this cannot be printed.
    pub environment: Vec<(OsString, OsString)>,
}

/// Looks around; an error where the settings would be refused.
pub fn survey(setup: &Setup<'_>) -> Result<Survey, DaemonError> {
    let config = setup.config;
    let kind = agent::by_name(config.agent.name.as_str())
        .map_err(|error| DaemonError::Usage(error.to_string()))?;
    let runs_as = program::runs_as(config.agent.user.as_deref(), config.sandbox.kind)?;
    Ok(Survey {
        program: program::find(kind, &config.agent, &setup.prefix, setup.env),
        home: launch::agent_home(setup, &runs_as),
        environment: launch::environment(setup, kind, &runs_as)?,
        runs_as,
    })
}
