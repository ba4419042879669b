//! What a running turn shows to whoever looks at its session.

use tokio::sync::watch;

use super::activity::Doing;
use super::approval::Waiting;
use crate::clock::Timestamp;

/// A turn's state as others see it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Showing {
    /// What the agent is doing, and since when; `None` while there is no process.
    pub doing: Option<(Doing, Timestamp)>,
    /// Requests of the agent that wait for an answer, the oldest first.
    pub asked: Vec<Waiting>,
}

/// Shows it. Nobody may look.
#[derive(Debug, Clone)]
pub struct Shown(watch::Sender<Showing>);

impl Shown {
    /// Nothing yet; and where it is seen.
    pub fn new() -> (Self, watch::Receiver<Showing>) {
        let (sender, receiver) = watch::channel(Showing::default());
        (Self(sender), receiver)
    }

    pub(super) fn doing(&self, doing: Doing, now: Timestamp) {
        self.0
            .send_modify(|showing| showing.doing = Some((doing, now)));
    }

    pub(super) fn asked(&self, asked: Vec<Waiting>) {
        self.0.send_modify(|showing| showing.asked = asked);
    }

    /// There is no process any more.
    pub(super) fn nothing(&self) {
        self.0.send_replace(Showing::default());
    }
}
