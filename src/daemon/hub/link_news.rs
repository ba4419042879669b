//! What becomes of the Hub link, as notices among the session's events: whoever watches the session
//! elsewhere than at the Hub should know that the Hub hears nothing.

use std::sync::Arc;

use crate::daemon::workspace::SetupLog;
use crate::event::NoticeLevel;
use crate::hub::Phase;
use crate::hub::link::LinkHandle;

/// Writes them until the link is closed.
pub(in crate::daemon) async fn tell(link: Arc<LinkHandle>, log: SetupLog) {
    let mut status = link.status();
    let mut told = None;
    loop {
        let (phase, error) = {
            let status = status.borrow_and_update();
            (status.phase, status.last_error.clone())
        };
        if phase == Phase::Closed {
            return;
        }
        let (why, was_in) = (error.unwrap_or_default(), link.joined().is_some());
        if let Some((code, text)) = news(&mut told, phase, &why, was_in) {
            let level = if told.is_some() {
                NoticeLevel::Warning
            } else {
                NoticeLevel::Info
            };
            if let Err(error) = log.notice(level, code, text).await {
                tracing::warn!(%error, "what became of the Hub link is not among the events");
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// What is new: each state is told once, and that it is over. `was_in`: the Hub has let us in before.
fn news(
    told: &mut Option<Phase>,
    phase: Phase,
    why: &str,
    was_in: bool,
) -> Option<(&'static str, String)> {
    match phase {
        Phase::Fenced | Phase::Rejected if *told != Some(phase) => {
            *told = Some(phase);
            let (code, what) = if phase == Phase::Fenced {
                ("hub_fenced", "another driver leads this session at the Hub")
            } else {
                ("hub_rejected", "the Hub refuses this driver")
            };
            let goes_on = if phase == Phase::Fenced && !was_in {
                "it may go on there, so nothing is begun here until the Hub lets us in"
            } else {
                "the Hub is told nothing more; the work goes on here"
            };
            Some((code, format!("{what} ({why}): {goes_on}")))
        }
        Phase::Live if told.take().is_some() => {
            let text = "the Hub has let us in again, and is told what it has missed";
            Some(("hub_back", text.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_told_once_and_its_end() {
        let mut told = None;
        let mut codes = Vec::new();
        for phase in [
            Phase::Connecting,
            Phase::Live,
            Phase::Backoff,
            Phase::Live,
            Phase::Fenced,
            Phase::Connecting,
            Phase::Fenced,
            Phase::Rejected,
            Phase::Connecting,
            Phase::Live,
            Phase::Live,
        ] {
            codes.extend(news(&mut told, phase, "why", true).map(|(code, _)| code));
        }
        assert_eq!(codes, ["hub_fenced", "hub_rejected", "hub_back"]);
    }
}
