//! Masking of secrets that the model streams in pieces.
//!
//! A line is masked before it is parsed, but a secret may be spread over the deltas of several
//! lines. So the end of a piece that could be the start of a secret is held back until the next
//! piece of the same text shows what it is, or something else happens. Order stays: words never
//! move past a tool call or past other words.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::redact::Redactor;

/// What is held back. Part of a snapshot: at most the start of a secret, never a whole one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Hold(Vec<Held>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Held {
    /// The event that the text belongs to, without the text.
    of: Event,
    text: String,
}

impl Hold {
    /// Passes an event on to `out`, as far as it may go.
    pub(super) fn pass(&mut self, redactor: &Redactor, mut event: Event, out: &mut Vec<Event>) {
        let Some(text) = streamed(&mut event).map(std::mem::take) else {
            if orders(&event) {
                self.release(out);
            }
            out.push(event);
            return;
        };
        let mut joined = match self.0.iter().position(|held| held.of == event) {
            Some(at) => self.0.remove(at).text,
            None => String::new(),
        };
        joined.push_str(&text);
        if !matches!(event, Event::ToolDelta { .. }) {
            self.release_words(out);
        }
        let (free, held) = redactor.streamed(&joined);
        push(event.clone(), free, out);
        if !held.is_empty() {
            self.0.push(Held {
                of: event,
                text: held,
            });
        }
    }

    /// Lets go of everything: no more pieces will come.
    pub(super) fn release(&mut self, out: &mut Vec<Event>) {
        for held in self.0.drain(..) {
            push(held.of, held.text, out);
        }
    }

    fn release_words(&mut self, out: &mut Vec<Event>) {
        let is_words = |held: &mut Held| !matches!(held.of, Event::ToolDelta { .. });
        for held in self.0.extract_if(.., is_words) {
            push(held.of, held.text, out);
        }
    }
}

/// The text of an event that is one piece of a longer text.
fn streamed(event: &mut Event) -> Option<&mut String> {
    match event {
        Event::Token { text, .. }
        | Event::Thinking { text, .. }
        | Event::ToolDelta { text, .. } => Some(text),
        _ => None,
    }
}

/// Whether pieces of text must not move past the event. What the CLI says aside (a rate limit, a
/// notice) may come in the middle of a sentence.
fn orders(event: &Event) -> bool {
    !matches!(
        event,
        Event::Notice { .. } | Event::RateLimit { .. } | Event::Raw { .. } | Event::Session { .. }
    )
}

fn push(mut event: Event, text: String, out: &mut Vec<Event>) {
    if text.is_empty() {
        return;
    }
    if let Some(slot) = streamed(&mut event) {
        *slot = text;
    }
    out.push(event);
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::event::NoticeLevel;

    fn token(id: &str, text: &str) -> Event {
        Event::Token {
            text: text.to_owned(),
            message_id: Some(id.to_owned()),
            parent_call_id: None,
        }
    }

    fn notice() -> Event {
        Event::Notice {
            level: NoticeLevel::Info,
            code: "x".to_owned(),
            text: String::new(),
        }
    }

    fn passed(events: &[Event]) -> Vec<Event> {
        let redactor = Redactor::new(&[SecretString::from("hunter2-hunter2")]).unwrap();
        let mut hold = Hold::default();
        let mut out = Vec::new();
        for event in events {
            hold.pass(&redactor, event.clone(), &mut out);
            let state = serde_json::to_vec(&hold).unwrap();
            hold = serde_json::from_slice(&state).unwrap();
        }
        hold.release(&mut out);
        out
    }

    #[test]
    fn a_secret_in_pieces_is_masked() {
        let pieces = [
            token("a", "it is hun"),
            notice(),
            token("a", "ter2-hunt"),
            token("a", "er2."),
        ];
        assert_eq!(
            passed(&pieces),
            [token("a", "it is "), notice(), token("a", "***.")]
        );
    }

    #[test]
    fn what_only_began_like_a_secret_comes_whole_and_in_order() {
        let pieces = [
            token("a", "a hunt"),
            token("a", "ing dog h"),
            token("b", "x"),
        ];
        assert_eq!(
            passed(&pieces),
            [
                token("a", "a "),
                token("a", "hunting dog "),
                token("a", "h"),
                token("b", "x")
            ]
        );
        let end = Event::TextRetracted {
            message_id: "a".to_owned(),
        };
        assert_eq!(
            passed(&[token("a", "hunter2"), end.clone()]),
            [token("a", "hunter2"), end]
        );
    }
}
