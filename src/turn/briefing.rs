//! What the Hub says before a run begins: text for the agent's system prompt, or that it must not run.
//!
//! The turn that begins waits here, for a bounded time, and only while somebody is there to answer.
//! What was said counts until the next run begins, so that a further attempt of the turn is started
//! like the first. The CLI's own system prompt always stays: all of this is added to it.

use std::time::Duration;

use tokio::sync::watch;

use crate::ids::EventId;

/// The longest text that is added to a system prompt, in bytes. Longer ones are cut.
const MAX_TEXT: usize = 128 * 1024;

/// What was said of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Briefing {
    /// Text before the settings' own addition to the system prompt.
    pub before: Vec<String>,
    /// Text behind it.
    pub behind: Vec<String>,
    /// The settings' own addition is left out.
    pub replaces: bool,
    /// The run must not begin, for this reason.
    pub blocked: Option<String>,
}

/// Briefings on their way from the session's lead to its turns; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Briefings(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    /// Somebody is there to answer.
    attended: bool,
    /// How long they are waited for.
    limit: Duration,
    /// They did not answer the last time that they were waited for.
    silent: bool,
    /// People are being asked about this one: its answer comes, however late.
    held: Option<EventId>,
    /// Added to every run, around what is said of each.
    prefix: Option<String>,
    suffix: Option<String>,
    /// Who else the agent can be, or delegate to.
    roles: Option<String>,
    /// The newest answer and the event that it answers.
    said: Option<(EventId, Briefing)>,
    /// What counts for the run that began last.
    current: Briefing,
    /// The prompt of that run.
    begun: Option<EventId>,
}

impl State {
    /// Whether there is nothing to wait for any more.
    fn has_answer(&self, prompt: EventId) -> bool {
        !self.attended || matches!(&self.said, Some((said, _)) if *said == prompt)
    }

    /// The answer counts from here on; why the run must not begin.
    fn begin(&mut self, prompt: EventId) -> Option<String> {
        self.held = None;
        self.begun = Some(prompt);
        let said = self.said.take().filter(|(said, _)| *said == prompt);
        if said.is_none() && self.attended && !self.silent {
            // Once is enough: until it answers again, nobody waits for it.
            tracing::warn!(limit = ?self.limit, "the Hub did not answer to a run's begin in time");
            self.silent = true;
        }
        self.current = said.map(|(_, briefing)| briefing).unwrap_or_default();
        self.current.blocked.take()
    }
}

impl Briefings {
    /// Whether somebody is there to answer, and how long they are waited for.
    /// Whether they have just come.
    pub fn attend(&self, attended: bool, limit: Duration) -> bool {
        let mut came = false;
        self.0.send_if_modified(|state| {
            let changed = state.attended != attended || state.limit != limit;
            came = attended && !state.attended;
            (state.attended, state.limit) = (attended, limit);
            changed
        });
        came
    }

    /// Text that is added to every run.
    pub fn stand(&self, prefix: Option<String>, suffix: Option<String>) {
        self.0.send_modify(|state| {
            (state.prefix, state.suffix) = (prefix, suffix);
        });
    }

    /// What every run is told of other agents.
    pub fn describe(&self, roles: Option<String>) {
        self.0.send_modify(|state| state.roles = roles);
    }

    /// Answers the prompt that is this event.
    pub fn say(&self, prompt: EventId, briefing: Briefing) {
        self.0.send_modify(|state| {
            state.said = Some((prompt, briefing));
            state.silent = false;
        });
    }

    /// Whether the run of this prompt has begun, so that nothing said of it counts any more.
    pub fn has_begun(&self, prompt: EventId) -> bool {
        self.0.borrow().begun == Some(prompt)
    }

    /// The answer to this prompt takes longer, and comes for certain.
    pub fn hold(&self, prompt: EventId) {
        self.0.send_modify(|state| {
            state.held = Some(prompt);
            state.silent = false;
        });
    }

    /// Waits for the answer to the prompt that is this event, and lets it count; why the run must
    /// not begin, if it must not. Without an answer in time the run begins without one.
    pub async fn begin(&self, prompt: EventId) -> Result<(), String> {
        let mut news = self.0.subscribe();
        let limit = news.borrow().limit;
        let answer = news.wait_for(|state| state.silent || state.has_answer(prompt));
        if tokio::time::timeout(limit, answer).await.is_err() {
            let late = |state: &State| state.held != Some(prompt) || state.has_answer(prompt);
            // The state is ours: it does not go while we wait.
            drop(news.wait_for(late).await);
        }
        let mut blocked = None;
        self.0.send_modify(|state| blocked = state.begin(prompt));
        blocked.map_or(Ok(()), Err)
    }

    /// The whole text that is added to the CLI's own system prompt, around `own` of the settings;
    /// none where nothing is added to `own`.
    pub fn text(&self, own: Option<&str>) -> Option<String> {
        let state = self.0.borrow();
        let current = &state.current;
        let own = own.filter(|_| !current.replaces);
        let before = state.prefix.iter().chain(&current.before);
        let behind = state.roles.iter().chain(&current.behind);
        let behind = behind.chain(&state.suffix);
        let added = before.clone().chain(behind.clone()).next().is_some();
        if !added && !current.replaces {
            return None;
        }
        let parts = before.map(String::as_str).chain(own);
        let parts: Vec<&str> = parts.chain(behind.map(String::as_str)).collect();
        let mut text = parts.join("\n\n");
        let end = text.floor_char_boundary(MAX_TEXT);
        text.truncate(end);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn event(n: u64) -> EventId {
        EventId::derive(Uuid::nil(), n)
    }

    fn suffix(text: &str) -> Briefing {
        Briefing {
            behind: vec![text.to_owned()],
            ..Briefing::default()
        }
    }

    #[tokio::test]
    async fn a_run_waits_for_its_own_answer_only_while_somebody_is_there() {
        let briefings = Briefings::default();
        briefings.say(event(1), suffix("old"));
        assert_eq!(briefings.begin(event(2)).await, Ok(()));
        assert_eq!(briefings.text(Some("own")), None);

        let limit = Duration::from_millis(50);
        briefings.attend(true, limit);
        let waiting = briefings.begin(event(3));
        let answer = async { briefings.say(event(3), suffix("be brief")) };
        assert_eq!(tokio::join!(waiting, answer).0, Ok(()));
        let text = briefings.text(Some("own"));
        assert_eq!(text.as_deref(), Some("own\n\nbe brief"));

        assert_eq!(
            briefings.begin(event(4)).await,
            Ok(()),
            "in vain, and goes on"
        );
        briefings.attend(true, Duration::from_hours(1));
        assert_eq!(briefings.begin(event(5)).await, Ok(()), "in vain only once");
        briefings.hold(event(6));
        let held = briefings.begin(event(6));
        let answer = async { briefings.say(event(6), suffix("late")) };
        assert_eq!(tokio::join!(held, answer).0, Ok(()));
        assert_eq!(briefings.text(None).as_deref(), Some("late"));
        briefings.attend(false, Duration::ZERO);
        assert_eq!(briefings.begin(event(7)).await, Ok(()));
        assert_eq!(briefings.text(None), None, "each run has its own");
    }

    #[tokio::test]
    async fn what_stands_goes_around_what_is_said_and_own_text_can_be_replaced() {
        let briefings = Briefings::default();
        briefings.attend(true, Duration::from_secs(5));
        briefings.stand(Some("first".to_owned()), Some("last".to_owned()));
        assert_eq!(briefings.text(Some("own")).unwrap(), "first\n\nown\n\nlast");
        let replaced = Briefing {
            replaces: true,
            ..suffix("new")
        };
        briefings.say(event(1), replaced);
        briefings.begin(event(1)).await.unwrap();
        assert_eq!(briefings.text(Some("own")).unwrap(), "first\n\nnew\n\nlast");
    }

    #[tokio::test]
    async fn a_run_that_is_blocked_is_told_why() {
        let briefings = Briefings::default();
        briefings.attend(true, Duration::from_secs(5));
        let blocked = Briefing {
            blocked: Some("not today".to_owned()),
            ..Briefing::default()
        };
        briefings.say(event(1), blocked);
        assert!(!briefings.has_begun(event(1)));
        assert_eq!(briefings.begin(event(1)).await, Err("not today".to_owned()));
        assert!(
            briefings.has_begun(event(1)),
            "what is said now is too late"
        );
    }
}
