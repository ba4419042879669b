//! What was said in the session, read from the journal when somebody asks.
//!
//! Nothing is read while nobody asks; a second question reads only what is new.

use serde_json::json;

use super::Answer;
use crate::event::Envelope;
use crate::hub::history::{History, Page};
use crate::ids::Seq;
use crate::turn::TurnContext;

/// What was said, as far as it was read.
#[derive(Default)]
pub(super) struct Told(History);

impl Told {
    /// As far as it was read.
    pub(super) fn history(&self) -> &History {
        &self.0
    }

    /// Reads what is new.
    pub(super) async fn catch_up(&mut self, context: &TurnContext) -> Result<(), String> {
        read(&mut self.0, context).await
    }

    /// The newest messages before that one.
    pub(super) async fn messages(
        &mut self,
        context: &TurnContext,
        before: Option<u64>,
        limit: Option<u64>,
    ) -> Answer {
        self.catch_up(context).await?;
        let total = self.0.counts().messages();
        let page = match (self.0.page(before, limit), before) {
            (Some(page), _) => Some(page),
            (None, Some(before)) => {
                let mut older = History::until(before);
                read(&mut older, context).await?;
                older.page(Some(before), limit)
            }
            (None, None) => None,
        };
        let Page { first, messages } = page.unwrap_or(Page {
            first: 0,
            messages: Vec::new(),
        });
        let mut answer = json!({"messages": messages});
        if let Some(answer) = answer
            .as_object_mut()
            .filter(|_| first > 0 || before.is_some())
        {
            // Where to go on from, for clients that want to see all of it.
            answer.insert("first".to_owned(), first.into());
            answer.insert("total".to_owned(), total.into());
        }
        Ok(Some(answer))
    }
}

async fn read(history: &mut History, context: &TurnContext) -> Result<(), String> {
    let (journal, session) = (&context.journal, &context.session);
    let said = |error: crate::journal::JournalError| error.to_string();
    let last = journal.last_seq(session).await.map_err(said)?;
    let mut tail = journal.tail(session, history.last().map_or(0, Seq::get));
    while tail.position() < last {
        let Some(batch) = tail.try_next().await.map_err(said)? else {
            break;
        };
        for line in batch.lines() {
            match Envelope::parse(line) {
                Ok(envelope) => history.take(&envelope),
                Err(error) => tracing::warn!(%error, "a line of the journal is no event"),
            }
        }
    }
    Ok(())
}
