//! The same text in fewer bytes: adjacent pieces of it as one event. Pure.
//!
//! An event of a few letters costs some two hundred bytes of header.

use crate::event::Event;

/// Joins adjacent deltas of the same message or tool call.
pub(super) fn join_deltas(events: &mut Vec<Event>) {
    let mut joined: Vec<Event> = Vec::with_capacity(events.len());
    for event in events.drain(..) {
        let rest = match joined.last_mut() {
            Some(last) => append(last, event),
            None => Some(event),
        };
        joined.extend(rest);
    }
    *events = joined;
}

/// Adds `next` to `last` where they are pieces of one text; `next` where they are not.
fn append(last: &mut Event, next: Event) -> Option<Event> {
    let (text, more) = match (last, &next) {
        (
            Event::Token {
                text,
                message_id,
                parent_call_id,
            },
            Event::Token {
                text: more,
                message_id: message,
                parent_call_id: parent,
            },
        )
        | (
            Event::Thinking {
                text,
                message_id,
                parent_call_id,
            },
            Event::Thinking {
                text: more,
                message_id: message,
                parent_call_id: parent,
            },
        ) if (&*message_id, &*parent_call_id) == (message, parent) => (text, more),
        (
            Event::ToolDelta {
                call_id,
                stream,
                text,
            },
            Event::ToolDelta {
                call_id: call,
                stream: side,
                text: more,
            },
        ) if (&*call_id, &*stream) == (call, side) => (text, more),
        _ => return Some(next),
    };
    text.push_str(more);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ToolStream;

    fn token(text: &str, message: &str) -> Event {
        Event::Token {
            text: text.to_owned(),
            message_id: Some(message.to_owned()),
            parent_call_id: None,
        }
    }

    fn delta(text: &str, call: &str) -> Event {
        Event::ToolDelta {
            call_id: call.to_owned(),
            stream: ToolStream::Output,
            text: text.to_owned(),
        }
    }

    #[test]
    fn adjacent_pieces_of_one_text_become_one_and_nothing_else_does() {
        let thought = Event::Thinking {
            text: "hm".to_owned(),
            message_id: Some("m".to_owned()),
            parent_call_id: None,
        };
        let mut events = vec![
            token("a", "m"),
            token("b", "m"),
            token("c", "n"),
            thought.clone(),
            token("d", "n"),
            delta("1", "x"),
            delta("2", "x"),
            delta("3", "y"),
        ];
        join_deltas(&mut events);
        let expected = [
            token("ab", "m"),
            token("c", "n"),
            thought,
            token("d", "n"),
            delta("12", "x"),
            delta("3", "y"),
        ];
        assert_eq!(events, expected);
    }
}
