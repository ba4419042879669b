//! Settings that change while a live process runs: the CLI is asked, and what it says counts.
//!
//! The change belongs to the process, so that it is answered whoever drives that meanwhile.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::process::LiveProcess;
use crate::agent::live::{Command, Phase, Setting, Since, Told};
use crate::sandbox::Change as Changed;
use crate::turn::attempt::until;
use crate::turn::context::{NotSet, SetAnswer, TurnFault};

/// How long a CLI may take to answer; they take milliseconds, also in the middle of a turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// A change that the CLI has not answered.
pub(super) struct Change {
    setting: Setting,
    until: Instant,
    done: oneshot::Sender<SetAnswer>,
}

/// Whether a CLI can be asked for a change.
enum Asking {
    /// It was asked, or has what it would be asked for.
    Asked,
    /// It cannot be asked now.
    CannotNow(oneshot::Sender<SetAnswer>),
}

impl LiveProcess {
    /// Asks the CLI for it. `done` is told what it says, or is dropped with the process. Where it
    /// cannot be asked now the change counts from the next turn on: that one adapts.
    pub(in crate::turn) async fn set(
        &mut self,
        setting: Setting,
        done: oneshot::Sender<SetAnswer>,
    ) -> Result<(), TurnFault> {
        match self.ask(setting, done).await? {
            Asking::Asked => {}
            Asking::CannotNow(done) => tell(done, Ok(Since::NextTurn)),
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        setting: Setting,
        done: oneshot::Sender<SetAnswer>,
    ) -> Result<Asking, TurnFault> {
        if self.dialog().settings().has(&setting) {
            tell(done, Ok(self.kind.sets.since(&setting)));
            return Ok(Asking::Asked);
        }
        let frames = self.dialog().frames(&Command::Set(setting.clone()));
        let (Ok(frames), true) = (frames, self.is_alive()) else {
            return Ok(Asking::CannotNow(done));
        };
        if let Some(earlier) = self.change.replace(Change {
            setting,
            until: Instant::now() + PATIENCE,
            done,
        }) {
            tell(earlier.done, Err(NotSet::Silent));
        }
        self.send(frames).await?;
        crash_point!("live.setting_sent");
        Ok(Asking::Asked)
    }

    /// Takes the CLI's answer from what it told, if it is there.
    pub(super) fn note_answer(&mut self, told: &[Told]) {
        for told in told {
            let Told::Setting { setting, refused } = told else {
                continue;
            };
            let is_it = |change: &mut Change| change.setting == *setting;
            if let Some(change) = self.change.take_if(is_it) {
                let since = self.kind.sets.since(setting);
                let answer = match refused {
                    None => Ok(since),
                    Some(why) => Err(NotSet::Refused(why.clone())),
                };
                tell(change.done, answer);
            }
        }
    }

    /// When the CLI's answer is given up.
    pub(super) fn change_due(&self) -> Option<Instant> {
        self.change.as_ref().map(|change| change.until)
    }

    /// Gives up an answer that is late.
    pub(super) fn drop_late_change(&mut self) {
        let now = Instant::now();
        if let Some(change) = self.change.take_if(|change| change.until <= now) {
            tracing::warn!(run = %self.run, setting = ?change.setting, "the agent does not answer");
            tell(change.done, Err(NotSet::Silent));
        }
    }

    /// Asks for a change and waits for the answer; whether it is made. One that is still being
    /// opened cannot be asked: it would begin with the setting that it was started with.
    pub(super) async fn set_now(&mut self, setting: Setting) -> Result<bool, TurnFault> {
        let (done, mut answer) = oneshot::channel();
        if let Asking::CannotNow(_) = self.ask(setting, done).await? {
            return Ok(false);
        }
        loop {
            let hears = self.hear().await?;
            match answer.try_recv() {
                Ok(answer) => return Ok(answer.is_ok()),
                Err(oneshot::error::TryRecvError::Closed) => return Ok(false),
                Err(oneshot::error::TryRecvError::Empty) if !hears => return Ok(false),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let due = self.change_due();
            tokio::select! {
                change = self.changed() => self.note(change?),
                () = until(due) => self.drop_late_change(),
            }
        }
    }

    /// Waits until the protocol is open, for that long at most.
    pub(super) async fn open_within(&mut self, limit: Duration) -> Result<(), TurnFault> {
        let late = Instant::now() + limit;
        while self.hear().await? && self.dialog().phase() == Phase::Opening {
            tokio::select! {
                change = self.changed() => self.note(change?),
                () = until(Some(late)) => break,
            }
        }
        Ok(())
    }

    /// Takes what the CLI has said, and says what the protocol itself wants said; whether the CLI
    /// still hears.
    async fn hear(&mut self) -> Result<bool, TurnFault> {
        while self.read()? {}
        Ok(self.send_due().await? && self.ending.is_none())
    }

    fn note(&mut self, change: Changed) {
        match change {
            Changed::Ended(ending) => self.ending = Some(ending),
            Changed::Spool { held, .. } => self.room.held(held),
        }
    }
}

/// Whoever asked may have gone.
fn tell(done: oneshot::Sender<SetAnswer>, answer: SetAnswer) {
    let _gone = done.send(answer);
}
