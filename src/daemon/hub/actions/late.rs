//! What the Hub would have held, and what nothing can hold: it is told, once, and ended where it
//! must be.

use tokio::time::Instant;

use super::consent::{Do, Word};
use super::dialogue::Dialogue;
use super::runs::CONFIRMATION;
use super::words::notice_of;
use super::{About, Held, HubSide, Memory, deny_reason, event_of};
use crate::event::{Envelope, NoticeLevel};
use crate::ids::Seq;
use crate::journal::JournalError;

/// The codes of what is told here.
const UNHELD: &str = "hub_unheld";
const BLOCKED: &str = "hub_blocked";
const RETURN_UNUSED: &str = "hub_return_unused";
/// All of them.
pub(super) const CODES: [&str; 3] = [UNHELD, BLOCKED, RETURN_UNUSED];

impl HubSide {
    /// The Hub would have held a call that runs, or has run: a refusal ends its turn, people are
    /// asked all the same.
    pub(super) async fn unheld(&self, word: Word, memory: &mut Memory, todo: &mut Vec<Do>) {
        let event = event_of(&word.frame).to_owned();
        let what = format!(
            "the call {}, which this form of the agent cannot hold",
            word.call
        );
        if let Some(reason) = &word.actions.block {
            self.too_late(&word.frame, &what, reason, memory).await;
            todo.push(Do::Settled(word.frame));
            return;
        }
        let text = format!(
            "the Hub wants consent for {what}: it goes on while people are asked, and a refusal \
             interrupts the turn"
        );
        self.warn(UNHELD, &word.frame, text, memory).await;
        let deny_reason = word.actions.confirm.iter().find_map(deny_reason);
        let dialogue = Dialogue::before_run(&event, word.actions.confirm);
        todo.extend(dialogue.request().map(Do::Ask));
        memory.held.push(Held {
            frame: word.frame,
            about: About::UnderWay { what },
            dialogue,
            until: Instant::now() + CONFIRMATION,
            deny_reason,
        });
    }

    /// All that is left is to end the turn, if it still is that of the frame's event.
    pub(super) async fn too_late(
        &self,
        frame: &str,
        what: &str,
        reason: &str,
        memory: &mut Memory,
    ) {
        let Some((turn, _)) = self.session.state().borrow().running else {
            return;
        };
        match self.turn_has(event_of(frame)).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, %turn, "whether what was blocked is of this turn is not known");
                return;
            }
        }
        let text = format!("the Hub blocked {what}: the turn is interrupted ({reason})");
        self.warn(BLOCKED, frame, text, memory).await;
        self.session.cancel(false).await;
    }

    /// The Hub gave back another result than the tool's.
    pub(super) async fn cannot_replace(&self, frame: &str, call: &str, memory: &mut Memory) {
        let text = format!(
            "the Hub returned another result of the call {call} ({frame}): the agent's CLI has told its \
             model already, and nothing was replaced"
        );
        self.warn(RETURN_UNUSED, frame, text, memory).await;
    }

    /// Once for each frame, however often the Hub answers it. What stays untold is told by the log
    /// at least.
    async fn warn(&self, code: &'static str, frame: &str, text: String, memory: &mut Memory) {
        let id = notice_of(frame, code, 0);
        if memory.has_echo(&id.to_string()) {
            return;
        }
        if let Err(error) = self
            .note(NoticeLevel::Warning, code, text, id, memory)
            .await
        {
            tracing::warn!(%error, code, "a notice is not stored");
        }
    }

    /// Whether the event is one of the newest turn's.
    async fn turn_has(&self, event: &str) -> Result<bool, JournalError> {
        let (journal, session) = (&self.context.journal, &self.context.session);
        let last = journal.last_seq(session).await?;
        let Some(at) = Seq::new(last) else {
            return Ok(false);
        };
        let first = journal.turn_start(session, at).await?;
        let mut tail = journal.tail(session, first.map_or(0, |first| first.get() - 1));
        while tail.position() < last {
            let Some(batch) = tail.try_next().await? else {
                break;
            };
            let has = |line| {
                let envelope = Envelope::parse(line);
                envelope.is_ok_and(|envelope| envelope.header.event_id.to_string() == event)
            };
            if batch.lines().any(has) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
