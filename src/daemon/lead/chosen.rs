//! Which agent leads a session: its kind, its program and whom it runs as, known before anything is made.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Lead;
use crate::agent::{self, AgentKind};
use crate::config::{Approve, SandboxKind};
use crate::daemon::agent::launch::{form, turn_spec};
use crate::daemon::agent::program::{self, Program, RunsAs, runs_as};
use crate::daemon::agent::reach;
use crate::daemon::hub::source::JournalSource;
use crate::daemon::{DaemonError, HubAccess, Setup, State};
use crate::ids::SessionId;
use crate::spool::User;
use crate::tasks::Tasks;
use crate::turn::briefing::Briefings;
use crate::turn::report::Expected;

/// A session's agent: which CLI, its program or how that is got, and whom it runs as.
#[derive(Debug)]
pub struct Chosen {
    pub(in crate::daemon) kind: &'static AgentKind,
    pub(super) program: Program,
    pub(in crate::daemon) runs_as: RunsAs,
    sandbox: SandboxKind,
}

impl Chosen {
    /// Finds the agent's program, or that it can be installed. Makes nothing: everything that the
    /// CLI could be refused for is known before anything is made.
    pub fn check(setup: &Setup<'_>) -> Result<Self, DaemonError> {
        let agent = &setup.config.agent;
        let kind = agent::by_name(agent.name.as_str())
            .map_err(|error| DaemonError::Usage(error.to_string()))?;
        reach::check(setup)?;
        let sandbox = setup.config.sandbox.kind;
        let runs_as = runs_as(agent.user.as_deref(), sandbox)?;
        let spec = turn_spec(setup, kind, &runs_as)?;
        match form(kind, &setup.config.agent, false)? {
            Some(live) => {
                let asks = agent.approval.mode != Approve::Auto;
                (live.plan)(&spec, asks).map(drop)
            }
            None => (kind.plan)(&spec).map(drop),
        }
        .map_err(|error| DaemonError::Usage(error.to_string()))?;
        for report in &setup.config.expected {
            Expected::read(report).map_err(DaemonError::Usage)?;
        }
        let program = match sandbox {
            SandboxKind::Local => program::find(kind, agent, &setup.prefix, setup.env)?,
            SandboxKind::Docker => {
                let command = agent.command.clone();
                Program::InImage(command.unwrap_or_else(|| kind.command.into()))
            }
        };
        Ok(Self {
            kind,
            program,
            runs_as,
            sandbox,
        })
    }

    /// Whom the CLI runs as on this machine; none where it runs in a container, which shows it
    /// its own folders and no way to them.
    pub fn runs_here_as(&self) -> Option<&RunsAs> {
        Some(&self.runs_as).filter(|_| self.sandbox == SandboxKind::Local)
    }

    /// Makes sure that the agent's user can get to what will be theirs below `root`.
    pub(in crate::daemon) fn open_way(&self, root: &Path) -> Result<(), DaemonError> {
        if let Some(RunsAs::Other { user, name, .. }) = self.runs_here_as() {
            program::open_way(root, user, name)?;
        }
        Ok(())
    }

    /// The agent's user, where that is another one.
    pub(in crate::daemon) fn other_user(&self) -> Option<User> {
        match &self.runs_as {
            RunsAs::Other { user, .. } => Some(user.clone()),
            RunsAs::Ourselves | RunsAs::Root => None,
        }
    }

    /// Whether a session that has its workspace can go on without the Hub's help.
    pub(in crate::daemon) fn can_resume(&self) -> bool {
        !matches!(self.program, Program::ToInstall(_))
    }

    /// The agent's name.
    pub fn agent(&self) -> &'static str {
        self.kind.name
    }

    /// Begins to join `session`, for at most `patience`; returns at once.
    pub fn connect(
        self,
        state: &State,
        hub: &HubAccess,
        session: SessionId,
        patience: Duration,
        tasks: &Tasks,
    ) -> Lead {
        let source = JournalSource {
            journal: state.journal().clone(),
            agent: self.kind.name,
            state_dir: state.dir().to_owned(),
        };
        let (link, inbound) = hub.link(
            source,
            (session.clone(), Some(state.dir())),
            patience,
            tasks,
        );
        Lead {
            chosen: self,
            state: state.clone(),
            hub: hub.clone(),
            session,
            link: Arc::new(link),
            inbound: Some(inbound),
            briefings: Briefings::default(),
            images: Vec::new(),
            tasks: tasks.clone(),
        }
    }
}
