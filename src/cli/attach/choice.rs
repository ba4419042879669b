//! Which session is joined where none was named: never a guess where another may be meant.

use std::io::{self, BufRead, Write};
use std::path::Path;

use super::door::Door;
use super::terminal::Terminal;
use crate::cli::client::Which;
use crate::cli::render::summary;
use crate::cli::{CliError, Exit};
use crate::hub::rest::Listed;
use crate::ids::SessionId;

/// How many are listed: the newest.
const LISTED: usize = 20;

/// The daemon's newest session of the working directory; else the only one that runs; else a
/// person says which.
pub(super) async fn choose(door: &Door, cwd: &Path) -> Result<SessionId, CliError> {
    if let Some(daemon) = door.daemon()
        && let Ok(here) = Which::default().find(daemon, cwd).await
    {
        return Ok(here);
    }
    let sessions = door.sessions().await?;
    if let Some(only) = only_running(&sessions) {
        return Ok(only.session_id.clone());
    }
    if sessions.is_empty() {
        let message = "this Hub has no session to join; `agent-runner start \"TASK\"` makes one";
        return Err(CliError::new(Exit::Usage, message));
    }
    if Terminal::is_there() {
        return ask(&sessions, &mut io::stdin().lock(), &mut io::stderr());
    }
    let message = format!("which session? Name one:\n{}", listing(&sessions));
    Err(CliError::new(Exit::Usage, message))
}

fn only_running(sessions: &[Listed]) -> Option<&Listed> {
    let mut running = sessions.iter().filter(|one| one.runtime_available);
    running.next().filter(|_| running.next().is_none())
}

fn listing(sessions: &[Listed]) -> String {
    let numbered = sessions.iter().take(LISTED).zip(1..);
    let lines = numbered.map(|(one, number)| {
        let label = summary(&one.label);
        format!("{number:>4}  {}  {}  {label}", one.session_id, one.status)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Has a person choose, by number or id.
fn ask(
    sessions: &[Listed],
    typed: &mut impl BufRead,
    shown: &mut impl Write,
) -> Result<SessionId, CliError> {
    let fault = |error: io::Error| CliError::new(Exit::Internal, error.to_string());
    writeln!(shown, "{}", listing(sessions)).map_err(fault)?;
    loop {
        write!(shown, "which session? ").map_err(fault)?;
        shown.flush().map_err(fault)?;
        let mut line = String::new();
        if typed.read_line(&mut line).map_err(fault)? == 0 {
            return Err(CliError::new(Exit::Usage, "no session was chosen"));
        }
        let said = line.trim();
        let by_number = said.parse().ok().and_then(|number: usize| {
            let listed = sessions.iter().take(LISTED);
            listed.clone().nth(number.checked_sub(1)?)
        });
        let by_id = || sessions.iter().find(|one| one.session_id.as_str() == said);
        if let Some(chosen) = by_number.or_else(by_id) {
            return Ok(chosen.session_id.clone());
        }
        writeln!(shown, "there is no `{said}` in the list").map_err(fault)?;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(id: &str, runs: bool) -> Listed {
        let text = json!({"sessionId": id, "label": "Fix\nit", "status": "idle",
            "runtimeAvailable": runs});
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn the_only_one_that_runs_is_meant_and_no_other() {
        let [a, b, c] = [listed("a", false), listed("b", true), listed("c", true)];
        let only =
            |sessions: &[Listed]| only_running(sessions).map(|one| one.session_id.to_string());
        assert_eq!(only(&[a.clone(), b.clone()]).as_deref(), Some("b"));
        assert_eq!(only(&[b, c]), None);
        assert_eq!(only(&[a]), None);
    }

    #[test]
    fn a_person_chooses_by_number_or_id_and_is_asked_again() {
        let sessions = [listed("a", true), listed("b", true)];
        let chosen = |typed: &str| {
            let mut shown = Vec::new();
            let id = ask(&sessions, &mut typed.as_bytes(), &mut shown);
            let id = id
                .map(|id| id.to_string())
                .map_err(|error| error.to_string());
            (id, String::from_utf8(shown).unwrap())
        };
        let (id, shown) = chosen("0\n3\nx\n2\n");
        assert_eq!(id.as_deref(), Ok("b"));
        assert!(shown.contains("   1  a  idle  Fix"), "{shown}");
        assert_eq!(shown.matches("in the list").count(), 3, "{shown}");
        assert_eq!(chosen("a\n").0.as_deref(), Ok("a"));
        assert_eq!(chosen("").0, Err("no session was chosen".to_owned()));
    }
}
