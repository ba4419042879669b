//! One connection after its `init`: events out, acknowledgements and commands in.

use std::collections::VecDeque;
use std::convert::Infallible;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::news::Points;
use super::socket::Socket;
use super::tool::Calls;
use super::{Answer, Closing, LinkConfig, LinkStatus, News, Reply, Word, frames};
use crate::clock::Clock;
use crate::hub::acks::Window;
use crate::hub::inbound::{Actions, Command, Inbound, Request};
use crate::hub::outbox::{Outgoing, SourceError};
use crate::hub::pi::{Class, Frame};
use crate::hub::state::Ended;
use crate::ids::Seq;

/// Messages that are written in one go.
const BURST: usize = 64;

/// How a live connection ended.
pub(super) enum Over {
    /// We closed it in order.
    Closed,
    /// It ended otherwise; to be taken up again.
    Lost(Ended),
}

/// Pings whose answer is still worth something.
const MAX_PINGS: usize = 64;

/// What outlives a connection.
pub(super) struct Shared<'a> {
    pub(super) config: &'a LinkConfig,
    pub(super) clock: Clock,
    pub(super) commands: &'a mpsc::Sender<super::Inbound>,
    pub(super) words: &'a mut mpsc::Receiver<Word>,
    pub(super) carried: &'a mut mpsc::Receiver<String>,
    pub(super) news: &'a mpsc::Sender<News>,
    pub(super) closing: &'a mut watch::Receiver<Option<Closing>>,
    pub(super) status: &'a watch::Sender<LinkStatus>,
    /// Frames that open the session: id, event, data. Empty once they are acknowledged.
    pub(super) opening: &'a mut Vec<(String, &'static str, Value)>,
    /// Deltas up to here are written.
    pub(super) written: &'a mut Option<Seq>,
}

/// A connection at work.
pub(super) struct Connection<'a> {
    socket: Socket,
    window: Window,
    shared: Shared<'a>,
    heard: Instant,
    pinged: Instant,
    /// The places that pings on their way will prove.
    pings: VecDeque<u64>,
    points: Points,
    /// What the Hub said of events and the lead has no room for yet: at most one for each event in
    /// flight.
    unheard: VecDeque<News>,
    calls: Calls,
    farewell: Option<Farewell>,
}

/// The stages of an orderly end.
enum Farewell {
    /// Waiting for the events up to here.
    Flushing { last: Option<Seq>, until: Instant },
    /// Waiting for `session_shutdown` to be acknowledged.
    Leaving { until: Instant },
}

impl<'a> Connection<'a> {
    pub(super) fn new(socket: Socket, acked: Option<Seq>, shared: Shared<'a>) -> Self {
        Self {
            socket,
            window: Window::new(acked),
            shared,
            heard: Instant::now(),
            pinged: Instant::now(),
            pings: VecDeque::new(),
            points: Points::default(),
            unheard: VecDeque::new(),
            calls: Calls::default(),
            farewell: None,
        }
    }

    /// Works until the connection ends. `outbox` fills `outgoing` and never ends by itself.
    pub(super) async fn run(
        mut self,
        outbox: impl Future<Output = Result<Infallible, SourceError>>,
        outgoing: &mut mpsc::Receiver<Outgoing>,
    ) -> (Over, Window) {
        let over = match self.work(outbox, outgoing).await {
            Ok(()) => {
                self.socket.finish().await;
                Over::Closed
            }
            Err(ended) => {
                self.socket.part(&ended).await;
                Over::Lost(ended)
            }
        };
        (over, self.window)
    }

    async fn work(
        &mut self,
        outbox: impl Future<Output = Result<Infallible, SourceError>>,
        outgoing: &mut mpsc::Receiver<Outgoing>,
    ) -> Result<(), Ended> {
        let mut outbox = std::pin::pin!(outbox);
        let mut ticks = self.ticks();
        self.open_session();
        loop {
            let until = self.farewell.as_ref().map(Farewell::until);
            let deadline = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let leaving = matches!(self.farewell, Some(Farewell::Leaving { .. }));
            tokio::select! {
                Err(error) = &mut outbox => return Err(Ended::Source(error.to_string())),
                inbound = self.socket.receive() => self.take(inbound?),
                Some(first) = outgoing.recv(), if self.has_room() && !leaving => {
                    self.give(first, outgoing)?;
                }
                Some(word) = self.shared.words.recv(), if self.socket.has_room() => {
                    self.say(word);
                }
                Some(frame) = self.shared.carried.recv() => {
                    self.window.ack(&frame);
                }
                Ok(permit) = self.shared.news.reserve(), if !self.unheard.is_empty() => {
                    if let Some(news) = self.unheard.pop_front() {
                        permit.send(news);
                    }
                }
                _ = ticks.tick() => self.tick()?,
                Ok(()) = self.shared.closing.changed(), if self.farewell.is_none() => self.close(),
                () = deadline => self.overtime(),
            }
            if self.window.wants_ping() && self.pings.is_empty() {
                self.ping();
            }
            self.tell();
            if self.advance_farewell() {
                return Ok(());
            }
        }
    }

    fn ticks(&self) -> Interval {
        // Silence is noticed a sixth of its limit late at most, half a minute's after 35 s.
        let timing = &self.shared.config.timing;
        let period = timing.ping.min(timing.dead / 6).min(timing.ack);
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// `session_start` and what goes with it, until it is acknowledged once.
    fn open_session(&mut self) {
        if self.shared.closing.borrow().is_some() {
            self.close();
        }
        for (id, event, data) in self.shared.opening.clone() {
            self.send_event(id, None, event, &data.to_string());
        }
    }

    fn has_room(&self) -> bool {
        self.window.has_room() && self.socket.has_room()
    }

    /// Sends `first` and what else is ready, within the window.
    fn give(
        &mut self,
        first: Outgoing,
        outgoing: &mut mpsc::Receiver<Outgoing>,
    ) -> Result<(), Ended> {
        let mut next = Some(first);
        for _ in 0..BURST {
            match next {
                Some(Outgoing::Frame(frame)) => self.send_frame(frame),
                Some(Outgoing::Told(text)) => self.send_told(text),
                Some(Outgoing::Mark(seq)) => self.window.mark(seq),
                None => break,
            }
            // A Hub that has parted with us is heard before anything more is sent.
            if let Some(inbound) = self.socket.try_receive() {
                self.take(inbound?);
            }
            next = if self.has_room() {
                outgoing.try_recv().ok()
            } else {
                None
            };
        }
        match next {
            Some(Outgoing::Frame(frame)) => self.send_frame(frame),
            Some(Outgoing::Told(text)) => self.send_told(text),
            Some(Outgoing::Mark(seq)) => self.window.mark(seq),
            None => {}
        }
        Ok(())
    }

    fn send_frame(&mut self, frame: Frame) {
        if frame.class == Class::Delta {
            *self.shared.written = Some(frame.seq).max(*self.shared.written);
        }
        self.points.sent(&frame);
        crash_point!("hub.before_frame");
        self.send_event(frame.id, Some(frame.seq), frame.event, &frame.data);
    }

    fn send_told(&mut self, text: String) {
        crash_point!("hub.before_file_line");
        self.window.told(text.len());
        self.socket.queue(text);
    }

    fn send_event(&mut self, id: String, seq: Option<Seq>, event: &'static str, data: &str) {
        let text = frames::event(&id, event, data);
        self.window.sent(id, seq, text.len(), Instant::now());
        self.socket.queue(text);
    }

    fn take(&mut self, inbound: Inbound) {
        self.heard = Instant::now();
        match inbound {
            Inbound::Response { id, actions } => self.answered(id, actions),
            Inbound::UiResponse { id, result } => self.hand_over(News::UiResponse { id, result }),
            Inbound::Joined(role) => self.hand_over(News::Joined(role)),
            Inbound::Renamed(label) => self.hand_over(News::Renamed(label)),
            Inbound::Pong => {
                if let Some(place) = self.pings.pop_front() {
                    self.window.proved(place);
                    let limit = self.shared.config.timing.ack;
                    self.window.settle(Instant::now(), limit);
                }
            }
            Inbound::Command(Request { id, name, command }) => {
                crash_point!("hub.command_received");
                let reply = Reply { id, name };
                match command {
                    Ok(command) => self.command(command, reply),
                    Err(why) => {
                        let result = Err(why);
                        self.answer(Answer { reply, result });
                    }
                }
            }
            Inbound::Rejected { said, .. } => tracing::warn!(said, "the Hub complains"),
            // A second init on the same socket changes nothing.
            Inbound::Init(_) | Inbound::Ignored => {}
        }
    }

    /// The Hub answers an event, or a call of one of its tools.
    fn answered(&mut self, id: String, mut actions: Actions) {
        self.shared.opening.retain(|(own, _, _)| *own != id);
        crash_point!("hub.ack_received");
        if self.calls.answered(&id, &mut actions) {
            if let Some(news) = self.points.answered(id, actions) {
                self.hand_over(news);
            }
            return;
        }
        let is_plain = actions.is_plain();
        if is_plain && !self.window.ack(&id) {
            tracing::debug!(id, "an acknowledgement came late or twice");
        }
        let is_held = !is_plain && self.window.hold(&id);
        match self.points.answered(id, actions) {
            Some(news) if is_held => self.unheard.push_back(news),
            Some(news) => self.hand_over(news),
            None => {}
        }
    }

    fn command(&mut self, command: Command, reply: Reply) {
        let inbound = super::Inbound { command, reply };
        let (why, inbound) = match self.shared.commands.try_send(inbound) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(inbound)) => {
                ("busy: too many commands wait already", inbound)
            }
            Err(mpsc::error::TrySendError::Closed(inbound)) => ("the session is ending", inbound),
        };
        let result = Err(why.to_owned());
        let reply = inbound.reply;
        self.answer(Answer { reply, result });
    }

    fn say(&mut self, word: Word) {
        match word {
            Word::Answer(answer) => self.answer(answer),
            Word::Ui(request) => self.socket.queue(frames::ui_request(request)),
            Word::Tool(request) => {
                if let Some(frame) = self.calls.begin(request) {
                    self.socket.queue(frame);
                }
            }
        }
    }

    fn answer(&mut self, answer: Answer) {
        crash_point!("hub.before_answer");
        self.socket.queue(frames::response(answer));
    }

    /// The lead takes what the Hub says as fast as the journal; a Hub that says more is not heard.
    fn hand_over(&self, news: News) {
        if let Err(error) = self.shared.news.try_send(news) {
            tracing::warn!(%error, "what the Hub said was not heard");
        }
    }

    fn tick(&mut self) -> Result<(), Ended> {
        let timing = &self.shared.config.timing;
        let now = Instant::now();
        if now.saturating_duration_since(self.heard) >= timing.dead {
            return Err(Ended::Silent);
        }
        self.window.settle(now, timing.ack);
        if now.saturating_duration_since(self.pinged) >= timing.ping && self.socket.has_room() {
            self.ping();
        }
        Ok(())
    }

    fn ping(&mut self) {
        self.pinged = Instant::now();
        // An answer is taken for the oldest ping that is remembered, so it never proves too much.
        if self.pings.len() < MAX_PINGS {
            self.pings.push_back(self.window.place());
        }
        let timestamp = self.shared.clock.wall();
        self.socket.queue(frames::ping(timestamp));
    }

    fn close(&mut self) {
        let closing = *self.shared.closing.borrow();
        if let Some(Closing { last }) = closing {
            let until = Instant::now() + self.shared.config.timing.flush;
            self.farewell = Some(Farewell::Flushing { last, until });
        }
    }

    /// The time of a stage of the farewell is up.
    fn overtime(&mut self) {
        if let Some(Farewell::Flushing { last, .. }) = &mut self.farewell {
            tracing::warn!(?last, acked = ?self.window.acked(), "leaving before the Hub has all events");
            *last = None;
            self.leave();
        }
    }

    fn leave(&mut self) {
        let until = Instant::now() + self.shared.config.timing.flush;
        self.farewell = Some(Farewell::Leaving { until });
        crash_point!("hub.before_farewell");
        let id = format!("{}/shutdown", self.shared.config.driver_instance_id);
        let data = json!({"type": "session_shutdown", "reason": "quit", "agentRole": "lead"});
        self.send_event(id, None, "session_shutdown", &data.to_string());
    }

    /// Goes on with the orderly end; true when it is done.
    fn advance_farewell(&mut self) -> bool {
        match &self.farewell {
            None => false,
            Some(Farewell::Flushing { last, .. }) => {
                if *last <= self.window.acked() {
                    self.leave();
                }
                false
            }
            Some(Farewell::Leaving { until }) => {
                let id = format!("{}/shutdown", self.shared.config.driver_instance_id);
                !self.window.has(&id) || Instant::now() >= *until
            }
        }
    }

    fn tell(&self) {
        self.shared.status.send_if_modified(|status| {
            let (acked, in_flight) = (self.window.acked(), self.window.in_flight());
            let unanswered = self.window.unanswered();
            let changed = (status.acked, status.in_flight, status.unanswered)
                != (acked, in_flight, unanswered);
            (status.acked, status.in_flight, status.unanswered) = (acked, in_flight, unanswered);
            changed
        });
    }
}

impl Farewell {
    const fn until(&self) -> Instant {
        match self {
            Self::Flushing { until, .. } | Self::Leaving { until } => *until,
        }
    }
}
