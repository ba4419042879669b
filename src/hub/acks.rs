//! Which frames the Hub has: what is in flight, and up to which event everything has arrived.
//!
//! The acknowledged position only grows, and only over a contiguous prefix, whatever the order in
//! which acknowledgements come. A frame whose acknowledgement stays out counts as arrived once it
//! is overdue *and* the Hub has proved, by answering something that was sent later on the same
//! socket, that it has read it: a Hub that answers only some requests, or none, does not stop us.
//! A frame that is answered with more than an acknowledgement counts as arrived when that is carried
//! out: until then it would be sent again, and its answer be asked for again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::Seq;

/// Frames in flight: at 256 KiB a frame the bytes bound comes first, at a typical 1 KiB this one.
const MAX_FRAMES: usize = 256;
/// Bytes in flight.
const MAX_BYTES: usize = 1 << 20;
/// Frames remembered, with those that are acknowledged beyond a hole.
const MAX_ENTRIES: usize = 4096;

#[derive(Debug)]
struct Sent {
    id: String,
    /// The event that it speaks of; none for what is not in the journal.
    seq: Option<Seq>,
    bytes: usize,
    at: Instant,
    /// Its place on this socket.
    place: u64,
    arrived: bool,
    /// It was answered, and what the answer asks for is being done.
    held: bool,
}

#[derive(Debug)]
enum Entry {
    Sent(Sent),
    /// A frame that nobody acknowledges: it has arrived when something later is answered.
    Told {
        bytes: usize,
        place: u64,
    },
    /// All frames of events up to this one come before.
    Mark(Seq),
}

/// One connection's window.
#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    frames: usize,
    bytes: usize,
    places: u64,
    /// The Hub has read everything that was sent before this place.
    read: u64,
    acked: Option<Seq>,
    unanswered: u64,
    silent: bool,
}

impl Window {
    pub(super) fn new(acked: Option<Seq>) -> Self {
        Self {
            entries: VecDeque::new(),
            frames: 0,
            bytes: 0,
            places: 0,
            read: 0,
            acked,
            unanswered: 0,
            silent: false,
        }
    }

    /// Whether one more frame may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.frames < MAX_FRAMES && self.bytes < MAX_BYTES && self.entries.len() < MAX_ENTRIES
    }

    /// How many frames are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.frames
    }

    /// Everything up to here has arrived.
    pub(super) fn acked(&self) -> Option<Seq> {
        self.acked
    }

    /// How many frames counted as arrived without an acknowledgement.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// The Hub acknowledges nothing, or nothing is left that it would: ask it, by a ping, whether
    /// it keeps up.
    pub(super) fn wants_ping(&self) -> bool {
        let waits = self.frames == 0 && self.is_unsure();
        waits || (self.silent && !self.has_room())
    }

    /// A frame was sent.
    pub(super) fn sent(&mut self, id: String, seq: Option<Seq>, bytes: usize, at: Instant) {
        self.frames += 1;
        self.bytes += bytes;
        self.entries.push_back(Entry::Sent(Sent {
            id,
            seq,
            bytes,
            at,
            place: self.places,
            arrived: false,
            held: false,
        }));
        self.places += 1;
    }

    /// A frame was sent that is never acknowledged itself.
    pub(super) fn told(&mut self, bytes: usize) {
        self.bytes += bytes;
        let place = self.places;
        self.entries.push_back(Entry::Told { bytes, place });
        self.places += 1;
    }

    /// Whether frames are on their way of which nobody will say that they arrived.
    fn is_unsure(&self) -> bool {
        let told = |entry: &Entry| matches!(entry, Entry::Told { .. });
        self.entries.iter().any(told)
    }

    /// All frames of events up to `seq` were sent (or need not be).
    pub(super) fn mark(&mut self, seq: Seq) {
        if let Some(Entry::Mark(last)) = self.entries.back_mut() {
            *last = seq;
        } else {
            self.entries.push_back(Entry::Mark(seq));
        }
        self.advance();
    }

    /// The place that a ping sent now proves, when it is answered.
    pub(super) fn place(&self) -> u64 {
        self.places
    }

    /// The Hub answered something that was sent at `place`.
    pub(super) fn proved(&mut self, place: u64) {
        self.read = self.read.max(place);
        self.advance();
    }

    /// An acknowledgement came. False when nothing in flight has this id (late, or a second one).
    pub(super) fn ack(&mut self, id: &str) -> bool {
        let found = self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Sent(sent) if !sent.arrived && sent.id == id => Some(sent),
            _ => None,
        });
        let Some(sent) = found else {
            return false;
        };
        sent.arrived = true;
        self.frames -= 1;
        self.bytes -= sent.bytes;
        self.read = self.read.max(sent.place);
        self.silent = false;
        self.advance();
        true
    }

    /// A frame of an event was answered, and waits until that is carried out. False for one that
    /// waits already or is not in flight, and for what is in no journal: that is acknowledged.
    pub(super) fn hold(&mut self, id: &str) -> bool {
        let found = self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Sent(sent) if !sent.arrived && sent.id == id => Some(sent),
            _ => None,
        });
        match found {
            Some(sent) if sent.held => false,
            Some(sent) if sent.seq.is_some() => {
                sent.held = true;
                self.read = self.read.max(sent.place);
                self.silent = false;
                true
            }
            _ => {
                self.ack(id);
                false
            }
        }
    }

    /// Whether a frame is in flight.
    pub(super) fn has(&self, id: &str) -> bool {
        let is = |entry: &Entry| matches!(entry, Entry::Sent(s) if !s.arrived && s.id == id);
        self.entries.iter().any(is)
    }

    /// Lets go of frames whose acknowledgement is overdue although the Hub has read them.
    pub(super) fn settle(&mut self, now: Instant, limit: Duration) {
        let limit = if self.silent { Duration::ZERO } else { limit };
        let mut settled = 0;
        for entry in &mut self.entries {
            if let Entry::Sent(sent) = entry
                && !sent.arrived
                && !sent.held
                && sent.place < self.read
                && now.saturating_duration_since(sent.at) >= limit
            {
                sent.arrived = true;
                self.frames -= 1;
                self.bytes -= sent.bytes;
                settled += 1;
            }
        }
        if settled > 0 {
            self.unanswered += settled;
            self.silent = true;
            self.advance();
        }
    }

    /// Moves over whole events only: what arrived of the next one must be known after a loss.
    fn advance(&mut self) {
        let mut whole = 0;
        for (at, entry) in self.entries.iter_mut().enumerate() {
            match entry {
                Entry::Sent(sent) if !sent.arrived => break,
                Entry::Sent(_) => {}
                Entry::Told { place, .. } if *place >= self.read => break,
                Entry::Told { bytes, .. } => self.bytes -= std::mem::take(bytes),
                Entry::Mark(seq) => {
                    self.acked = self.acked.max(Some(*seq));
                    whole = at + 1;
                }
            }
        }
        self.entries.drain(..whole);
    }

    /// The connection is lost: what has arrived beyond the prefix.
    pub(super) fn into_arrived(self) -> HashMap<String, Seq> {
        let arrived = |entry| match entry {
            Entry::Sent(Sent {
                id, seq, arrived, ..
            }) if arrived => seq.map(|seq| (id, seq)),
            _ => None,
        };
        self.entries.into_iter().filter_map(arrived).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u64) -> Option<Seq> {
        Seq::new(n)
    }

    fn window() -> Window {
        let mut window = Window::new(None);
        for n in 1..=3 {
            window.sent(format!("{n}/0"), seq(9), 10, Instant::now());
            window.mark(Seq::new(n).unwrap());
        }
        window
    }

    #[test]
    fn the_position_follows_the_contiguous_prefix_only() {
        let mut window = window();
        assert!(window.ack("2/0"));
        assert_eq!(window.acked(), None);
        assert!(window.ack("1/0"));
        assert_eq!(window.acked(), seq(2));
        assert!(!window.ack("1/0"), "a second one is not news");
        assert!(!window.ack("x"));
        assert!(window.ack("3/0"));
        assert_eq!((window.acked(), window.in_flight()), (seq(3), 0));
    }

    #[test]
    fn an_event_of_several_frames_has_arrived_when_all_have() {
        let mut window = Window::new(seq(4));
        window.sent("a/0".into(), seq(9), 1, Instant::now());
        window.sent("a/1".into(), seq(9), 1, Instant::now());
        window.mark(Seq::new(5).unwrap());
        window.mark(Seq::new(6).unwrap());
        window.ack("a/0");
        assert_eq!(window.acked(), seq(4));
        assert!(!window.has("a/0") && window.has("a/1"));
        window.ack("a/1");
        assert_eq!(window.acked(), seq(6));
    }

    #[test]
    fn an_overdue_frame_counts_only_when_it_was_surely_read() {
        let mut window = window();
        let late = Instant::now() + Duration::from_secs(31);
        let limit = Duration::from_secs(30);
        window.settle(late, limit);
        assert_eq!((window.acked(), window.in_flight()), (None, 3));
        window.ack("2/0"); // sent after 1/0, on the same socket
        window.settle(Instant::now(), limit);
        assert_eq!(window.acked(), None, "not overdue yet");
        window.settle(late, limit);
        assert_eq!(window.acked(), seq(2));
        window.proved(window.place()); // a pong
        window.settle(Instant::now(), limit);
        assert_eq!((window.acked(), window.unanswered()), (seq(3), 2));
    }

    #[test]
    fn a_frame_whose_answer_is_being_carried_out_has_not_arrived() {
        let mut window = window();
        assert!(window.hold("1/0"));
        assert!(!window.hold("1/0"), "only once");
        window.ack("3/0");
        let late = Instant::now() + Duration::from_mins(5);
        window.settle(late, Duration::from_secs(30));
        assert_eq!((window.acked(), window.in_flight()), (None, 1));
        window.ack("1/0");
        assert_eq!(window.acked(), seq(3));
        window.sent("farewell".into(), None, 1, Instant::now());
        assert!(!window.hold("farewell"), "in no journal");
        assert_eq!(window.in_flight(), 0);
    }

    #[test]
    fn the_window_is_bounded_by_frames_and_by_bytes() {
        let mut window = Window::new(None);
        let mut n = 0;
        while window.has_room() {
            window.sent(n.to_string(), seq(9), 1, Instant::now());
            n += 1;
        }
        assert_eq!(n, 256);
        let mut window = Window::new(None);
        window.sent("big".into(), seq(9), MAX_BYTES, Instant::now());
        assert!(!window.has_room());
        window.ack("big");
        assert!(window.has_room());
    }

    #[test]
    fn what_nobody_acknowledges_has_arrived_when_something_later_is_answered() {
        let mut window = Window::new(None);
        window.sent("a/0".into(), seq(1), 10, Instant::now());
        window.told(90);
        window.mark(Seq::new(1).unwrap());
        window.ack("a/0");
        assert_eq!((window.acked(), window.is_unsure()), (None, true));
        assert!(window.wants_ping());
        window.sent("b/0".into(), seq(2), 10, Instant::now());
        window.mark(Seq::new(2).unwrap());
        window.ack("b/0");
        assert_eq!((window.acked(), window.is_unsure()), (seq(2), false));
        window.told(90);
        window.mark(Seq::new(3).unwrap());
        window.proved(window.place());
        assert_eq!((window.acked(), window.bytes), (seq(3), 0));
    }

    #[test]
    fn what_arrived_of_a_broken_event_is_known_after_a_loss() {
        let mut window = Window::new(seq(4));
        window.sent("a/0".into(), seq(5), 1, Instant::now());
        window.sent("a/1".into(), seq(5), 1, Instant::now());
        window.ack("a/0");
        assert!(window.into_arrived().contains_key("a/0"));
    }

    #[test]
    fn what_arrived_beyond_a_hole_is_known_after_a_loss() {
        let mut window = window();
        window.ack("3/0");
        assert_eq!(
            window.into_arrived(),
            HashMap::from([("3/0".to_owned(), Seq::new(9).unwrap())])
        );
    }
}
