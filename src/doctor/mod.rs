//! Says whether an agent can run here, and what to do where it cannot.
//!
//! ```text
//! settings, machine ─► probe (effects) ─► facts (plain data) ─► judge (pure) ─► checks
//! ```
//!
//! Guarantees: it makes, joins and installs nothing; each probe is bounded in time; no credential
//! is read, only whether there is one, and proxies and addresses are shown without theirs. Every
//! check has an id that stays the same between versions (`docs/doctor.md`).
//!
//! Deliberately not here: mending. It names the command; whoever runs it knows the machine.

mod agent;
mod check;
mod hub;
mod machine;
mod probe;
mod state;

pub use check::{Check, Fatal, Status};

use crate::agent::AgentKind;
use crate::daemon::{self, Setup};

/// The settings of one agent, as each command would have them.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The agent.
    pub kind: &'static AgentKind,
    /// It is the one that the settings choose: its faults are fatal.
    pub chosen: bool,
    /// What `run` would start from.
    pub run: &'a Setup<'a>,
    /// What `daemon` would start from.
    pub daemon: &'a Setup<'a>,
}

/// Looks at an agent: program, version, credentials. Runs its `--version`, for 20 s at most.
pub fn examine_agent(subject: &Subject<'_>) -> Vec<Check> {
    match probe::agent(subject) {
        Ok(facts) => agent::judge(&facts),
        Err(why) => vec![agent::refused(
            subject.kind.name,
            subject.chosen,
            why.to_string(),
        )],
    }
}

/// Asks the Hub of a daemon's settings whether it takes us, for 10 s at most.
pub async fn examine_hub(setup: &Setup<'_>) -> Check {
    hub::judge(&probe::hub(setup).await)
}

/// Looks at everything that all agents share but the Hub.
pub fn examine_machine(setup: &Setup<'_>) -> Vec<Check> {
    let runs_as = daemon::runs_as(
        setup.config.agent.user.as_deref(),
        setup.config.sandbox.kind,
    );
    let runs_as = runs_as.as_ref().map_err(ToString::to_string);
    vec![
        state::judge(&probe::state(&setup.config.state_dir)),
        machine::kernel(&probe::kernel(setup)),
        machine::user(probe::uid(), runs_as),
        machine::container(setup.in_container),
        machine::cgroup(&probe::cgroup()),
        machine::git(probe::git(setup).as_ref()),
        machine::docker(&probe::docker(setup.env)),
        machine::proxy(&probe::proxies(setup.env)),
        machine::ca(&probe::ca(setup)),
    ]
}
