//! What every turn of a session is given, from the settings and from what was made for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::Lead;
use super::offer::Taken;
use crate::config::{Gate, Push, Stdio};
use crate::daemon::agent::launch::{Variable, environment, form, turn_spec};
use crate::daemon::agent::{reach, sandbox};
use crate::daemon::workspace::ground::Ground;
use crate::daemon::workspace::publishing;
use crate::daemon::{DaemonError, HubAccess, Setup};
use crate::process::Environment;
use crate::spool::{Stdout, Window};
use crate::turn::TurnContext;
use crate::turn::approval::{Approval, Asides};
use crate::workspace::Handing;

/// What the agent is served while its session is led.
pub(super) struct Served {
    /// Tokens for its git.
    pub(super) handing: Option<Handing>,
    /// What the Hub offers.
    pub(super) offer: Taken,
}

impl Lead {
    pub(super) fn context(
        &self,
        setup: &Setup<'_>,
        program: PathBuf,
        ground: &Ground,
    ) -> Result<(TurnContext, Served), DaemonError> {
        let config = setup.config;
        let variables = environment(setup, self.chosen.kind, &self.chosen.runs_as)?;
        let mut spec = turn_spec(setup, self.chosen.kind, &self.chosen.runs_as)?;
        let git = self.agents_git(setup, ground);
        git.make_folder()?;
        let places = (ground.workspace.as_path(), spec.home.as_path());
        let mut reach = reach::reach(setup, &program, places, &git.folder);
        let user = self.chosen.other_user();
        let names = variables.iter().filter_map(|(name, _)| name.to_str());
        spec.variables = names.map(str::to_owned).collect();
        let mut environment = plain(variables)?;
        let approval = approval(setup, &self.hub, &ground.workspace);
        let offer = self.take_offer(setup, &mut spec, &mut reach, approval.asks())?;
        let sandbox = sandbox::sandbox(setup, &self.session, &ground.workspace, &spec.home)?;
        let expected = ground.expected(setup)?;
        let hands = config.git.push == Some(Push::Agent);
        let authorship = git.authorship(&mut environment)?;
        let credentials = Some(&ground.credentials).filter(|_| hands);
        let handing = git.tell(&mut environment, credentials)?;
        let Ground {
            made, credentials, ..
        } = ground;
        let publishing = publishing::by_daemon(setup, &self.session, made, credentials)?;
        let context = TurnContext {
            session: self.session.clone(),
            agent: self.chosen.kind,
            program,
            spec,
            choices: watch::Sender::default(),
            briefings: self.briefings.clone(),
            asides: Asides::default(),
            environment,
            repositories: ground.repositories(),
            live: form(self.chosen.kind, &config.agent, is_gated(&self.hub))?,
            idle_timeout: config.idle_timeout,
            approval,
            workspace: ground.workspace.clone(),
            state_dir: config.state_dir.clone(),
            state_root: setup.state_root.to_owned(),
            stdout: stdout(config.agent.stdio),
            user,
            reach,
            in_container: setup.in_container,
            alone: setup
                .alone()
                .map_err(|error| DaemonError::Internal(error.to_string()))?,
            timeout: config.timeout,
            patience: config.patience,
            spool_quota: config.keeping.spool_quota,
            spool_retain: config.keeping.spool_retain,
            checkpoints: config.keeping.checkpoints,
            sandbox,
            expected,
            publishing,
            authorship,
            journal: self.state.journal().clone(),
            redactor: Arc::clone(&ground.redactor),
            clock: setup.clock,
        };
        Ok((context, Served { handing, offer }))
    }
}

fn plain(variables: Vec<Variable>) -> Result<Environment, DaemonError> {
    let mut environment = Environment::new();
    for (name, value) in variables {
        environment
            .set(name, value)
            .map_err(|error| DaemonError::Usage(error.to_string()))?;
    }
    Ok(environment)
}

fn stdout(stdio: Stdio) -> Stdout {
    match stdio {
        Stdio::Pty => Stdout::Pty(Window::default()),
        Stdio::Pipe => Stdout::Pipe,
    }
}

/// Who consents to what the agent does, the Hub included.
fn approval(setup: &Setup<'_>, hub: &HubAccess, workspace: &Path) -> Approval {
    Approval::new(&setup.config.agent.approval, workspace).gated(is_gated(hub))
}

/// Whether tool calls wait for the Hub's word.
fn is_gated(hub: &HubAccess) -> bool {
    hub.gate.gate == Gate::Ask
}
