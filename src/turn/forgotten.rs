//! A conversation that goes on, and of which its CLI has forgotten the last: what is told next then
//! begins with a recap of that.
//!
//! Only what the CLI's own record of the conversation shows counts ([`crate::agent::Forgets`]): where
//! that says nothing, nothing is assumed, and the agent is told what it is told else.

use super::context::{TurnContext, TurnFault};
use super::history;
use super::recap::BUDGET;
use super::seen::Seen;
use super::stored::last_said;
use crate::event::{Event, NoticeLevel, Outcome};
use crate::ids::{RunId, TurnId};
use crate::image::ImageNote;

/// What the agent is to be told next, in a conversation that goes on.
pub(super) struct Next<'a> {
    /// The turn.
    pub(super) turn: TurnId,
    /// The text.
    pub(super) text: &'a str,
    /// The turn so far.
    pub(super) seen: &'a Seen,
    /// The turn has been cut off before: else its predecessor may have been.
    pub(super) is_cut_off: bool,
}

/// The same, with what was forgotten.
pub(super) struct Recalled {
    /// The recap and the text.
    pub(super) text: String,
    /// The images of what was forgotten of the same turn.
    pub(super) images: Vec<ImageNote>,
    /// What is said of that.
    pub(super) notice: Event,
}

/// What is to be told where the conversation `session` has lost anything.
pub(super) async fn recalled(
    context: &TurnContext,
    run: RunId,
    session: &str,
    next: Next<'_>,
) -> Result<Option<Recalled>, TurnFault> {
    // A command of the CLI's own is none with anything before it.
    if context.agent.forgets.is_none() || next.text.trim_start().starts_with('/') {
        return Ok(None);
    }
    if !next.is_cut_off && !was_cut_off(context).await? {
        return Ok(None);
    }
    let Some(said) = last_said(context, run, session).await else {
        return Ok(None);
    };
    let unheard: Vec<&str> = next.seen.unheard().map(|said| said.text.as_str()).collect();
    let now = (next.turn, unheard.as_slice());
    let (recap, images) = history::recap_since(context, &said, now).await?;
    let text = recap.before(BUDGET, next.text);
    Ok(text.map(|text| Recalled {
        text,
        images,
        notice: notice(),
    }))
}

/// Whether the turn that ended last did not come to its own end.
async fn was_cut_off(context: &TurnContext) -> Result<bool, TurnFault> {
    let last = context.journal.last_outcome(&context.session).await?;
    Ok(last.is_some_and(|outcome| outcome != Outcome::Completed))
}

fn notice() -> Event {
    Event::Notice {
        level: NoticeLevel::Warning,
        code: "turn_forgotten".to_owned(),
        text: "the agent's CLI has taken what was cut off out of its conversation, by its own \
               record of that; the agent is told a recap of it"
            .to_owned(),
    }
}
