//! Finds an agent's program, asks its version, looks for its login.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::Subject;
use super::super::agent::{AgentFacts, CredentialFacts, HomeFacts, ProgramFacts};
use crate::agent::AgentKind;
use crate::config::{AgentHome, EnvMap};
use crate::daemon::{self, DaemonError, Program, Setup, Survey};
use crate::files;
use crate::install::{self, Environment};

/// The slowest CLI takes 2 s of processor time.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// Looks at an agent; an error where the settings are refused for it.
pub(in super::super) fn agent(subject: &Subject<'_>) -> Result<AgentFacts, DaemonError> {
    let Subject {
        kind,
        chosen,
        run,
        daemon,
    } = subject;
    // Not the daemon's: with its settings a missing program is one to install.
    let survey = daemon::survey(run)?;
    let daemons = daemon::survey(daemon)?;
    let release = install::release(kind.name).ok();
    let program = program(kind, run, &survey);
    let tested = match (&program, release) {
        (
            ProgramFacts::Found {
                version: Ok(said), ..
            },
            Some(release),
        ) => release.is_named_in(said),
        _ => false,
    };
    Ok(AgentFacts {
        name: kind.name,
        chosen: *chosen,
        pinned: release.map(|release| release.version),
        tested,
        program,
        credentials: CredentialFacts {
            known: kind.credentials.env,
            env: set(kind.credentials.env, &survey),
            homes: homes(kind, (run, &survey), &daemons),
            login: kind.credentials.login,
        },
    })
}

fn program(kind: &AgentKind, setup: &Setup<'_>, survey: &Survey) -> ProgramFacts {
    let environment = Environment::new(setup.env.variables());
    match (&survey.program, &setup.config.agent.command) {
        (Ok(Program::Found { path, by }), _) => ProgramFacts::Found {
            path: path.clone(),
            by: *by,
            version: ask_version(path, setup.env),
        },
        (_, Some(command)) => ProgramFacts::Unusable {
            command: command.clone(),
        },
        (_, None) => ProgramFacts::Missing {
            prefix: setup.prefix.clone(),
            install: match install::release(kind.name) {
                Ok(release) => install::check(release, &environment)
                    .map(|()| kind.install)
                    .map_err(|error| error.to_string()),
                Err(_) => Ok(kind.install),
            },
        },
    }
}

/// Asks any program for its version, in an empty home.
pub(super) fn ask_version(program: &Path, env: &EnvMap) -> Result<String, String> {
    let base = env.value("TMPDIR").unwrap_or_else(|| "/tmp".as_ref());
    let id = crate::clock::Clock.new_uuid();
    let folder = PathBuf::from(base).join(format!("agent-runner-doctor-{id}"));
    files::create_private_dir(&folder)
        .map_err(|error| format!("could not be asked: {}: {error}", folder.display()))?;
    let environment = Environment::new(env.variables());
    let never = CancellationToken::new();
    let said = install::ask_version(program, &folder, &environment, VERSION_LIMIT, &never);
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::warn!(%error, folder = %folder.display(), "a folder could not be removed");
    }
    let said = said.map_err(|error| error.to_string())?;
    // A CLI may print warnings first; none has its version elsewhere than on one line.
    Ok(said.lines().collect::<Vec<_>>().join(" "))
}

/// The variables of `known` that the agent would get.
fn set(known: &[&'static str], survey: &Survey) -> Vec<&'static str> {
    let is_set = |name: &&&str| {
        let mut environment = survey.environment.iter();
        environment.any(|(set, value)| set == **name && !value.is_empty())
    };
    known.iter().filter(is_set).copied().collect()
}

fn homes(kind: &AgentKind, run: (&Setup<'_>, &Survey), daemon: &Survey) -> Vec<HomeFacts> {
    let look = |command, path: &Path, fresh| {
        let files = kind.credentials.files.iter().map(|file| path.join(file));
        HomeFacts {
            command,
            path: path.to_owned(),
            fresh,
            files: files.filter(|file| file.is_file()).collect(),
        }
    };
    let (setup, survey) = run;
    if setup.config.agent.home == AgentHome::State {
        // Each run has a state dir of its own, and so a new home.
        let runs = setup
            .config
            .state_dir
            .join("runs/NEW/agents")
            .join(kind.name);
        return vec![
            look("run", &runs, true),
            look("daemon", &daemon.home, false),
        ];
    }
    if survey.home == daemon.home {
        return vec![look("run, daemon", &survey.home, false)];
    }
    vec![
        look("run", &survey.home, false),
        look("daemon", &daemon.home, false),
    ]
}
