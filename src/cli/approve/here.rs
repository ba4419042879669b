//! The person at the terminal of a `run`, asked by the command that leads the session itself.

use std::time::Duration;

use tokio::sync::watch;

use super::{Said, Talk, Terminal};
use crate::agent::live::Asked;
use crate::api;
use crate::cli::CliError;
use crate::cli::printing::{say, say_as_is};
use crate::cli::render::duration;
use crate::clock::Clock;
use crate::event::{Envelope, Event};
use crate::session::SessionState;
use crate::turn::approval::{Answered, Answerer, Waiting};

/// How long a request waits for its line in the transcript before it is put without one.
const LINE_PATIENCE: Duration = Duration::from_secs(1);

/// Whoever may answer the session's requests here.
pub(in crate::cli) struct Here {
    state: watch::Receiver<SessionState>,
    limit: Option<Duration>,
    terminal: Option<Terminal>,
    asking: Option<(Asked, Talk)>,
    /// That nobody can be asked was said.
    said: bool,
    /// A transcript shows each request as well, and is to do so first.
    has_transcript: bool,
    /// Requests that it has shown and that were not put yet.
    shown: Vec<String>,
    /// The request that waits for its line there.
    early: Option<String>,
}

impl Here {
    /// For the session with that state, whose requests wait so long. `has_transcript`: its events
    /// are shown to the same person, and told to [`Here::hear`].
    pub(in crate::cli) const fn new(
        state: watch::Receiver<SessionState>,
        limit: Option<Duration>,
        has_transcript: bool,
    ) -> Self {
        Self {
            state,
            limit,
            terminal: None,
            asking: None,
            said: false,
            has_transcript,
            shown: Vec::new(),
            early: None,
        }
    }

    /// An event was shown.
    pub(in crate::cli) fn hear(&mut self, envelope: &Envelope) {
        if let Event::PermissionRequest { request_id, .. } = &envelope.event {
            self.shown.push(request_id.clone());
        }
    }

    /// The next answer that is given here. May be called off at any time.
    pub(in crate::cli) async fn answer(&mut self) -> Result<Answered, CliError> {
        loop {
            self.look()?;
            let (Some((asked, talk)), Some(terminal)) = (&mut self.asking, &mut self.terminal)
            else {
                self.news().await;
                continue;
            };
            let line = tokio::select! {
                line = terminal.line() => line,
                Ok(()) = self.state.changed() => continue,
            };
            let Some(line) = line else {
                // the terminal is gone, and with it the person
                self.terminal = None;
                self.news().await;
                continue;
            };
            match talk.line(&line) {
                Said::More(text) => say_as_is(&text),
                Said::Answer(said) => match api::answer_of(asked, said) {
                    Ok(answer) => {
                        return Ok(Answered {
                            request_id: asked.request_id.clone(),
                            answer,
                            by: Answerer::Local,
                        });
                    }
                    Err(why) => say!("{why}"),
                },
            }
        }
    }

    /// Puts the oldest request to the person, if it is another one than before.
    fn look(&mut self) -> Result<(), CliError> {
        let first = self.state.borrow_and_update().asked.first().cloned();
        let Some(waiting) = first else {
            self.asking = None;
            return Ok(());
        };
        let known = self.asking.as_ref();
        if known.is_some_and(|(asked, _)| asked.request_id == waiting.asked.request_id) {
            return Ok(());
        }
        let id = &waiting.asked.request_id;
        if self.has_transcript && !self.shown.contains(id) {
            // The question would stand in front of what it is about, and its line be typed behind it.
            self.early = Some(id.clone());
            self.asking = None;
            return Ok(());
        }
        self.early = None;
        self.shown.retain(|shown| shown != id);
        if !Terminal::is_there() {
            self.say_that_nobody_is_here();
            return Ok(());
        }
        let terminal = match self.terminal.take() {
            Some(terminal) => terminal,
            None => Terminal::open()?,
        };
        let terminal = self.terminal.insert(terminal);
        terminal.forget();
        self.asking = Some(put(waiting));
        Ok(())
    }

    fn say_that_nobody_is_here(&mut self) {
        if std::mem::replace(&mut self.said, true) {
            return;
        }
        let then = match self.limit {
            Some(limit) => {
                let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                format!("it is denied after {}", duration(millis))
            }
            None => "it waits until the turn ends".to_owned(),
        };
        say!(
            "agent-runner: the agent waits for consent, and nobody can be asked here (no \
             terminal): {then}; --approve policy decides by rules"
        );
    }

    async fn news(&mut self) {
        let over = tokio::select! {
            changed = self.state.changed() => changed.is_err(),
            () = tokio::time::sleep(LINE_PATIENCE), if self.early.is_some() => {
                self.shown.extend(self.early.take());
                false
            }
        };
        if over {
            // the session is over: nothing will be asked any more
            std::future::pending::<()>().await;
        }
    }
}

fn put(waiting: Waiting) -> (Asked, Talk) {
    let asked = waiting.asked.clone();
    let talk = Talk::new(api::request_waiting(waiting, Clock.wall().millis()));
    say_as_is(&format!("\n{}", talk.text()));
    (asked, talk)
}
