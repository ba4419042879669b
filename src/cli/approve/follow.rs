//! What waits and what comes, until the person goes.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::ctrl_c;

use super::{Found, Said, Talk, Terminal, find, listing, send};
use crate::cli::CliError;
use crate::cli::client::{Client, ClientError};
use crate::cli::printing::{print, say, say_as_is};
use crate::ids::SessionId;

/// Between two looks: a person notices no less.
const LOOK: Duration = Duration::from_millis(300);

/// What was seen.
#[derive(Default)]
struct Seen {
    shown: BTreeSet<(SessionId, String)>,
    /// The daemon is gone, and that was said.
    gone: bool,
}

/// Shows requests as they come; at a terminal, asks for each.
pub(super) async fn run(
    client: &Client,
    session: Option<&SessionId>,
    json: bool,
) -> Result<ExitCode, CliError> {
    let asks = Terminal::is_there() && !json;
    let mut terminal = asks.then(Terminal::open).transpose()?;
    let mut seen = Seen::default();
    // Who is there at once is told at once that nobody is.
    find(client, session).await?;
    let following = async {
        loop {
            let waiting = look(client, session, &mut seen).await?;
            for found in seen.unseen(waiting) {
                match &mut terminal {
                    Some(terminal) => ask(client, &found, terminal, session).await?,
                    None => show(&found, json)?,
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        _ = ctrl_c() => Ok(ExitCode::SUCCESS),
        ended = following => ended,
    }
}

impl Seen {
    /// Those that were not shown yet.
    fn unseen(&mut self, waiting: Vec<Found>) -> Vec<Found> {
        let key = |found: &Found| (found.session_id.clone(), found.request.request_id.clone());
        let keys: BTreeSet<_> = waiting.iter().map(key).collect();
        let is_new = |found: &Found| !self.shown.contains(&key(found));
        let new = waiting.into_iter().filter(is_new).collect();
        self.shown = keys;
        new
    }
}

/// What waits; nothing while the daemon is gone.
async fn look(
    client: &Client,
    session: Option<&SessionId>,
    seen: &mut Seen,
) -> Result<Vec<Found>, ClientError> {
    match find(client, session).await {
        Ok(waiting) => {
            seen.gone = false;
            Ok(waiting)
        }
        Err(error) if error.is_passing() => {
            if !std::mem::replace(&mut seen.gone, true) {
                say!("agent-runner: waiting for the daemon: {error}");
            }
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn show(found: &Found, json: bool) -> Result<(), CliError> {
    let text = match (json, serde_json::to_string(found)) {
        (true, Ok(line)) => format!("{line}\n"),
        _ => listing(std::slice::from_ref(found)),
    };
    print(&text).map(drop)
}

/// Asks for one request, as long as it waits.
async fn ask(
    client: &Client,
    found: &Found,
    terminal: &mut Terminal,
    session: Option<&SessionId>,
) -> Result<(), CliError> {
    let mut talk = Talk::new(found.request.clone());
    terminal.forget();
    say_as_is(&format!("\nsession {}\n{}", found.session_id, talk.text()));
    loop {
        tokio::select! {
            line = terminal.line() => {
                let Some(line) = line else {
                    return Err(CliError::cancelled());
                };
                match talk.line(&line) {
                    Said::More(text) => say_as_is(&text),
                    Said::Answer(said) => {
                        if let Err(error) = send(client, found, &said).await {
                            say!("agent-runner: {error}");
                        }
                        return Ok(());
                    }
                }
            }
            () = tokio::time::sleep(LOOK) => {
                let waiting = find(client, session).await;
                let is_it = |other: &Found| other.request.request_id == found.request.request_id;
                if waiting.is_ok_and(|waiting| !waiting.iter().any(is_it)) {
                    say!("\n(it no longer waits)");
                    return Ok(());
                }
            }
        }
    }
}
