//! A session that goes on without its Hub's word, until the Hub says whose it is.
//!
//! Its work may go on elsewhere, and would be done twice. So as soon as the Hub says that another
//! driver leads, nothing is begun here; and once it has said so for as long as a start would wait
//! (an old socket of ours is gone by then), what runs is paused. Whoever is let in goes on with all of
//! it. A driver that was let in once is not concerned: what it does is its own (ADR 0033).

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::hub::Phase;
use crate::hub::link::LinkStatus;
use crate::session::{Hold, Session};

/// Holds the session back while another driver leads it, until the Hub lets us in.
pub(super) async fn wait(
    session: Session,
    mut status: watch::Receiver<LinkStatus>,
    patience: Duration,
) {
    let mut hold = Hold::Nothing;
    let mut until = None;
    loop {
        let phase = status.borrow_and_update().phase;
        match phase {
            Phase::Live => {
                session.hold(Hold::Nothing).await;
                return;
            }
            Phase::Closed => return,
            Phase::Fenced if until.is_none() => {
                until = Some(Instant::now() + patience);
                hold = Hold::New;
            }
            Phase::Fenced | Phase::Connecting | Phase::Backoff | Phase::Rejected => {}
        }
        session.hold(hold).await;
        let is_due = until.filter(|_| hold == Hold::New);
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            () = reached(is_due) => hold = Hold::All,
        }
    }
}

async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
