//! The message that is being worked on, and what was used so far.
//!
//! A step is one request to the model and makes one message. When its stream breaks off, OpenCode
//! asks again within the same message: a second `step_start` comes, and what was said is said
//! again (1.18.33, seen with a stream that was reset behind a finished text).

use serde::{Deserialize, Serialize};

use crate::agent::lines::notice;
use crate::event::{Event, NoticeLevel, Usage};

/// The current message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Step {
    message: String,
    /// A request for it is under way.
    is_open: bool,
    /// The part that its last text was.
    text: Option<String>,
}

impl Step {
    /// Work is in this message.
    pub(super) fn enter(&mut self, message: &str) {
        if self.message != message {
            *self = Self {
                message: message.to_owned(),
                ..Self::default()
            };
        }
    }

    /// A request begins. Records of its parts may come before this one: they are newer by their
    /// ids, and are not taken back.
    pub(super) fn start(&mut self, part: &str, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.is_open, true) {
            let text = "the model's answer broke off; the CLI asks for it again".to_owned();
            out.push(notice(NoticeLevel::Warning, "api_retry", text));
            if self.text.as_deref().is_some_and(|text| text < part) {
                self.retract(out);
            }
        }
    }

    /// A text of the message.
    pub(super) fn text(&mut self, part: &str) {
        self.text = Some(part.to_owned());
    }

    /// The request is over.
    pub(super) fn finish(&mut self) {
        self.is_open = false;
    }

    /// What the message said so far is void.
    pub(super) fn retract(&mut self, out: &mut Vec<Event>) {
        if self.text.take().is_some() {
            out.push(Event::TextRetracted {
                message_id: self.message.clone(),
            });
        }
    }
}

/// Adds a request's tokens to the totals; gives what it left in the context.
pub(super) fn add(total: &mut Usage, request: &Usage, cost: Option<f64>) -> u64 {
    let pairs = [
        (&mut total.input_tokens, request.input_tokens),
        (&mut total.output_tokens, request.output_tokens),
        (&mut total.cache_read_tokens, request.cache_read_tokens),
        (&mut total.cache_write_tokens, request.cache_write_tokens),
    ];
    let mut context = 0_u64;
    for (sum, more) in pairs {
        *sum = sum.saturating_add(more);
        context = context.saturating_add(more);
    }
    if let Some(cost) = cost {
        total.cost_usd = Some(total.cost_usd.unwrap_or(0.0) + cost);
    }
    context
}
