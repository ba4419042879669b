//! Which session a command is for.

use std::path::Path;

use super::Client;
use crate::api::wire::{SessionList, SessionState, SessionSummary};
use crate::cli::{CliError, Exit};
use crate::ids::SessionId;

/// `--session`, for clap to flatten.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct Which {
    /// Session [default: the newest of this working directory]
    #[arg(long, value_name = "ID", env = "AGENT_RUNNER_SESSION")]
    session: Option<SessionId>,
}

impl Which {
    /// Whether one was named.
    pub(in crate::cli) const fn is_named(&self) -> bool {
        self.session.is_some()
    }

    /// The session that was named, or the newest that was started in `cwd`.
    pub(in crate::cli) async fn find(
        &self,
        client: &Client,
        cwd: &Path,
    ) -> Result<SessionId, CliError> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let list: SessionList = client.get("/v1/sessions").await?;
        choose(&list.sessions, cwd).map_err(|why| CliError::new(Exit::Usage, why))
    }
}

/// The newest session of this folder; no guess where another may be meant.
fn choose(sessions: &[SessionSummary], cwd: &Path) -> Result<SessionId, String> {
    let is_here = |session: &&SessionSummary| {
        let workspace = session.workspace.as_deref();
        Path::new(&session.cwd) == cwd || workspace.is_some_and(|path| cwd.starts_with(path))
    };
    let here: Vec<_> = sessions.iter().filter(is_here).collect();
    let is_busy = |session: &&&SessionSummary| session.state == SessionState::Running;
    match (here.first(), here.iter().filter(is_busy).count()) {
        (Some(newest), 0) => Ok(newest.id.clone()),
        (Some(newest), 1) if newest.state == SessionState::Running => Ok(newest.id.clone()),
        (Some(_), _) => Err(format!(
            "which session? More than one of this folder may be meant; give --session ID:\n{}",
            listing(here.into_iter())
        )),
        (None, _) if sessions.is_empty() => {
            Err("the daemon holds no session; `agent-runner start \"TASK\"` makes one".to_owned())
        }
        (None, _) => Err(format!(
            "which session? None was started in this folder; give --session ID:\n{}",
            listing(sessions.iter())
        )),
    }
}

fn listing<'a>(sessions: impl Iterator<Item = &'a SessionSummary>) -> String {
    let lines = sessions.map(|session| {
        let state = crate::cli::sessions::state_words(session.state);
        format!(
            "  {}  {}  {state}  {}",
            session.id, session.agent, session.cwd
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn session(id: &str, cwd: &str, state: SessionState) -> SessionSummary {
        SessionSummary {
            id: id.parse().unwrap(),
            agent: "claude".to_owned(),
            state,
            detail: None,
            cwd: cwd.to_owned(),
            workspace: Some(format!("/state/{id}")),
            created_at: Timestamp::from_millis(0),
            running: None,
            queued: 0,
            requests: 0,
            ended_at: None,
        }
    }

    #[test]
    fn the_newest_session_of_the_folder_is_meant_unless_an_older_one_runs() {
        use SessionState::{Idle, Running};
        let sessions = [
            session("c", "/b", Running),
            session("b", "/a", Idle),
            session("a", "/a", Idle),
        ];
        let chosen = |cwd: &str| choose(&sessions, Path::new(cwd)).map(|id| id.to_string());
        assert_eq!(chosen("/a").as_deref(), Ok("b"));
        assert_eq!(chosen("/b").as_deref(), Ok("c"));
        assert_eq!(chosen("/state/a/src").as_deref(), Ok("a"));
        let none = chosen("/elsewhere").unwrap_err();
        assert!(
            none.contains("--session ID") && none.contains("  c  claude"),
            "{none}"
        );
        let busy = [session("b", "/a", Idle), session("a", "/a", Running)];
        let two = choose(&busy, Path::new("/a")).unwrap_err();
        assert!(
            two.contains("  a  claude  running") && two.contains("  b  "),
            "{two}"
        );
        let none = choose(&[], Path::new("/a")).unwrap_err();
        assert!(none.contains("agent-runner start"), "{none}");
    }
}
