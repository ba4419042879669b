//! What a session's turns have used so far.
//!
//! A turn's last `usage` holds its totals. Those of ended turns are looked up once and kept; only
//! the turn that runs is looked at again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::event::{Envelope, Event, Usage};
use crate::ids::{SessionId, TurnId};
use crate::journal::{Journal, JournalError, TurnSpan};

/// The sums of sessions that were asked for.
#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<HashMap<SessionId, Tally>>);

/// A session's ended turns, up to one of them.
#[derive(Debug, Clone, Default)]
struct Tally {
    up_to: Option<TurnId>,
    sum: Usage,
}

impl Tallies {
    /// What the session has used up to `last_seq`, as far as its events are kept.
    pub(super) async fn total(
        &self,
        journal: &Journal,
        session: &SessionId,
        last_seq: u64,
    ) -> Result<Usage, JournalError> {
        let mut tally = self.lock().get(session).cloned().unwrap_or_default();
        let spans = journal.turn_spans(session, tally.up_to).await?;
        let mut running = Usage::default();
        let mut is_counted = true;
        for (index, span) in spans.iter().enumerate() {
            let next = spans.get(index + 1).map(|next| next.first.get() - 1);
            let used = used(journal, session, *span, next.unwrap_or(last_seq)).await?;
            // A turn that has not ended is looked at again, and so is all after it.
            is_counted &= span.is_ended;
            if is_counted {
                add(&mut tally.sum, &used);
                tally.up_to = Some(span.id);
            } else {
                add(&mut running, &used);
            }
        }
        let mut total = tally.sum.clone();
        add(&mut total, &running);
        self.lock().insert(session.clone(), tally);
        Ok(total)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Tally>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn used(
    journal: &Journal,
    session: &SessionId,
    span: TurnSpan,
    last: u64,
) -> Result<Usage, JournalError> {
    let pick = move |line: &[u8]| {
        memchr::memmem::find(line, br#""type":"usage""#)?;
        let envelope = Envelope::parse(line).ok()?;
        match envelope.event {
            Event::Usage(usage) if envelope.header.turn_id == Some(span.id) => Some(usage),
            _ => None,
        }
    };
    let range = (span.first.get(), last);
    Ok(journal
        .search_back(session, range, pick)
        .await?
        .unwrap_or_default())
}

fn add(sum: &mut Usage, more: &Usage) {
    sum.input_tokens += more.input_tokens;
    sum.output_tokens += more.output_tokens;
    sum.cache_read_tokens += more.cache_read_tokens;
    sum.cache_write_tokens += more.cache_write_tokens;
    if let Some(cost) = more.cost_usd {
        *sum.cost_usd.get_or_insert(0.0) += cost;
    }
}
