//! Lines that are no single record: glued ones, noise in front, and a record inside another.
//!
//! Claude Code writes some records (seen: `rate_limit_event`) without a lock, so that one may land
//! in the middle of another, its newline cutting that one in two.

use super::record::Record;
use super::{Claude, text};
use crate::agent::Adapter as _;
use crate::agent::lines::{Piece, corrupt, pieces, raw};
use crate::event::Event;

/// The record types that may stand at the top of a line.
pub(super) const TYPES: &[&str] = &[
    "system",
    "assistant",
    "user",
    "stream_event",
    "result",
    "rate_limit_event",
    "tool_progress",
    "tool_use_summary",
    "auth_status",
    "prompt_suggestion",
    "conversation_reset",
    "control_request",
    "control_response",
    "control_cancel_request",
    "keep_alive",
];

/// The longest half of a cut record that is kept until its other half comes.
const FRAGMENT_LIMIT: usize = 1 << 20;

impl Claude {
    /// A line that is no record: noise, or records that were mixed up.
    pub(super) fn broken(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        if let Some(mut whole) = self.fragment.take() {
            let half = whole.len();
            whole.extend_from_slice(bytes);
            if is_record(&whole) {
                out.push(corrupt(
                    "a record that another one had cut in two was put together",
                ));
                self.piece(&whole, out);
                return;
            }
            whole.truncate(half);
            out.push(raw(&whole));
        }
        let pieces = pieces(bytes, is_record);
        let records = pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Record(_)));
        if records.count() == 0 {
            if bytes.starts_with(b"{\"") {
                out.push(corrupt("a record is incomplete; its text is kept as it is"));
            }
            out.push(raw(bytes));
            return;
        }
        out.push(corrupt(
            "several records, or a record and other output, share a line",
        ));
        match pieces.as_slice() {
            [Piece::Noise(head), Piece::Record(inner), Piece::Noise(tail)]
                if is_record(&[*head, *tail].concat()) =>
            {
                self.piece(inner, out);
                self.piece(&[*head, *tail].concat(), out);
            }
            [Piece::Noise(head), Piece::Record(inner)]
                if head.starts_with(b"{\"") && head.len() <= FRAGMENT_LIMIT =>
            {
                self.piece(inner, out);
                self.fragment = Some(head.to_vec());
            }
            _ => {
                for piece in pieces {
                    match piece {
                        Piece::Record(record) => self.piece(record, out),
                        Piece::Noise(noise) => out.push(raw(noise)),
                    }
                }
            }
        }
    }

    /// A record out of a broken line. It ends a turn only if it is of this conversation: what
    /// other programs print must not.
    fn piece(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        let text = text(bytes);
        let Ok(record) = serde_json::from_str::<Record<'_>>(&text) else {
            out.push(raw(bytes));
            return;
        };
        let ours = self.agent_session() == record.session_id.as_deref();
        if &*record.kind == "result" && !ours {
            out.push(raw(bytes));
        } else {
            self.record(&record, &text, out);
        }
    }
}

/// Whether `bytes` are one whole record of a known type.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Record<'_>>(bytes).is_ok_and(|record| TYPES.contains(&&*record.kind))
}
