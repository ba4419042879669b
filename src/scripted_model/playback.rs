//! What goes over the wire and when, in any dialect: the last pure step before the socket.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::engine::Performance;
use super::script::{Cut, CutKind, Pace, Step};

/// A response body in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Playback {
    /// In order.
    pub(super) actions: Vec<Action>,
    /// What follows the last action.
    pub(super) end: End,
}

/// A part of a playback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Send this.
    Send(Bytes),
    /// Send this, which is content of the reply: cuts count these.
    SendContent(Bytes),
    /// Send nothing for a while.
    Wait(Duration),
}

/// How a response body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As HTTP has it.
    Regular,
    /// With a TCP reset.
    Reset,
}

impl Playback {
    /// A stream, cut where the script says so; `error` is what the vendor sends in mid-stream.
    pub(super) fn streamed(actions: Vec<Action>, cut: Option<Cut>, error: Bytes) -> Self {
        let mut playback = Self {
            actions,
            end: End::Regular,
        };
        if let Some(cut) = cut {
            playback.cut_after(cut.after);
            match cut.how {
                CutKind::End => {}
                CutKind::Reset => playback.end = End::Reset,
                CutKind::Error => playback.actions.push(Action::Send(error)),
            }
        }
        playback
    }

    /// One JSON object, after the waits of the performance; a cut one ends in the middle.
    pub(super) fn whole<T>(performance: &Performance<T>, body: &Value) -> Self {
        let mut body = Bytes::from(body.to_string());
        let mut end = End::Regular;
        if let Some(cut) = performance.cut {
            body.truncate(body.len() / 2);
            if cut.how == CutKind::Reset {
                end = End::Reset;
            }
        }
        let waits = performance.steps.iter().filter_map(|step| match step {
            Step::Wait(time) => Some(Action::Wait(*time)),
            _ => None,
        });
        let mut actions: Vec<_> = waits.collect();
        actions.push(Action::SendContent(body));
        Self { actions, end }
    }

    /// Leaves out everything from the content chunk number `after` (from 0) on.
    fn cut_after(&mut self, after: usize) {
        let mut seen = 0;
        let reached = self.actions.iter().position(|action| {
            let content = matches!(action, Action::SendContent(_));
            let over = content && seen == after;
            seen += usize::from(content);
            over
        });
        // A reply of fewer chunks: all of its content goes out, but not its end.
        let content = |action: &Action| matches!(action, Action::SendContent(_));
        let whole = || {
            self.actions
                .iter()
                .rposition(content)
                .map_or(0, |at| at + 1)
        };
        let kept = reached.unwrap_or_else(whole);
        self.actions.truncate(kept);
    }
}

/// Cuts a text into chunks of whole characters; none for an empty text.
fn chunks(text: &str, pace: Pace) -> Vec<&str> {
    let size = pace.chunk.map_or_else(
        || text.chars().count().div_ceil(USUAL_CHUNKS).max(USUAL_SIZE),
        std::num::NonZeroUsize::get,
    );
    let mut rest = text;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let end = rest
            .char_indices()
            .nth(size)
            .map_or(rest.len(), |(at, _)| at);
        let (chunk, after) = rest.split_at(end);
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

/// Sends a text in its pieces; `frame` puts one on the wire.
pub(super) fn push_chunks(
    text: &str,
    pace: Pace,
    actions: &mut Vec<Action>,
    mut frame: impl FnMut(&str) -> Bytes,
) {
    for (number, chunk) in chunks(text, pace).into_iter().enumerate() {
        if number > 0 && !pace.pause.is_zero() {
            actions.push(Action::Wait(pace.pause));
        }
        actions.push(Action::SendContent(frame(chunk)));
    }
}

/// A server-sent event without a name.
pub(super) fn unnamed_event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// A server-sent event whose name is its data's `type` too.
pub(super) fn typed_event(name: &str, mut data: Value) -> Bytes {
    if let Some(fields) = data.as_object_mut() {
        fields.insert("type".to_owned(), Value::from(name));
    }
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// Characters in a chunk where the script says nothing: a few words, as real models stream.
const USUAL_SIZE: usize = 24;

/// Chunks that a long text is cut into where the script says nothing, so that a text of a megabyte
/// is not forty thousand of them.
const USUAL_CHUNKS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &'static str) -> Action {
        Action::SendContent(Bytes::from_static(text.as_bytes()))
    }

    fn frame(text: &'static str) -> Action {
        Action::Send(Bytes::from_static(text.as_bytes()))
    }

    fn playback() -> Playback {
        Playback {
            actions: vec![
                frame("start"),
                content("a"),
                frame("between"),
                content("b"),
                frame("end"),
            ],
            end: End::Regular,
        }
    }

    #[test]
    fn chunks_join_to_the_text_and_never_split_a_character() {
        let pace = Pace {
            chunk: std::num::NonZeroUsize::new(2),
            ..Pace::default()
        };
        assert_eq!(chunks("añ🚀d", pace), ["añ", "🚀d"]);
        let long = "é🚀x".repeat(100_000);
        let parts = chunks(&long, Pace::default());
        assert!(parts.len() <= USUAL_CHUNKS);
        assert_eq!(parts.concat(), long);
        assert!(chunks("", Pace::default()).is_empty());
    }

    #[test]
    fn a_cut_counts_content_only() {
        let mut zero = playback();
        zero.cut_after(0);
        assert_eq!(zero.actions, [frame("start")]);
        let mut one = playback();
        one.cut_after(1);
        assert_eq!(
            one.actions,
            [frame("start"), content("a"), frame("between")]
        );
    }

    #[test]
    fn a_cut_after_more_chunks_than_there_are_still_takes_the_end() {
        let mut playback = playback();
        playback.cut_after(9);
        assert_eq!(playback.actions.last(), Some(&content("b")));
    }
}
