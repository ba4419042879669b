//! The begin of runs: what the Hub adds to their system prompt, and whether they may begin.

use std::time::Duration;

use tokio::time::Instant;

use super::consent::Do;
use super::dialogue::Dialogue;
use super::{About, Held, HubSide, Memory, deny_reason};
use crate::hub::link::LinkHandle;
use crate::hub::protocol::InitConfig;
use crate::hub::{Actions, Phase, Place};
use crate::ids::{EventId, TurnId};
use crate::turn::TurnContext;
use crate::turn::briefing::Briefing;

/// How long a run waits for the Hub's word on its begin.
pub(super) const BRIEFING: Duration = Duration::from_secs(5);
/// How long people are waited for before what the Hub wants confirmed counts as refused.
pub(super) const CONFIRMATION: Duration = Duration::from_mins(5);

/// A run that the Hub has refused, until it is over.
pub(super) struct Refused {
    /// The frame whose answer refused it.
    pub(super) frame: String,
    prompt: EventId,
    turn: Option<TurnId>,
    reason: String,
    /// When it should have been heard; none once it was.
    until: Option<Instant>,
}

impl Refused {
    pub(super) fn due(&self) -> Option<Instant> {
        self.until
    }

    /// Another turn runs, or none: those of the ones before have ended.
    pub(super) fn turn_over(memory: &mut Memory, now: Option<TurnId>, todo: &mut Vec<Do>) {
        memory.refused.retain(|refused| {
            let goes_on = refused.turn.is_some() && refused.turn == now;
            if !goes_on {
                todo.push(Do::Settled(refused.frame.clone()));
            }
            goes_on
        });
    }
}

impl HubSide {
    /// Adds what the first `init` says to every run's system prompt.
    pub(in crate::daemon) fn standing(context: &TurnContext, link: &LinkHandle) {
        let Some(joined) = link.joined() else { return };
        let config: InitConfig = joined.init.config.clone().unwrap_or_default();
        let text = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        context.briefings.stand(
            text(config.system_prompt_prefix),
            text(config.system_prompt_suffix),
        );
    }

    /// Runs wait for the Hub only while it is there. Whether it has just come.
    pub(super) fn attend(&self, phase: Phase) -> bool {
        Self::standing(&self.context, &self.link);
        self.context
            .briefings
            .attend(phase == Phase::Live, BRIEFING)
    }

    /// The Hub has its word on a run that begins, or has begun already.
    pub(super) async fn run_begins(
        &self,
        frame: String,
        event: &str,
        actions: Actions,
        memory: &mut Memory,
        todo: &mut Vec<Do>,
    ) {
        let Ok(prompt) = event.parse() else {
            todo.push(Do::Settled(frame));
            return;
        };
        let briefing = briefing(&actions);
        if briefing.blocked.is_some() || actions.confirm.is_empty() {
            self.brief(frame, prompt, briefing, memory, todo).await;
            return;
        }
        let about = if self.context.briefings.has_begun(prompt) {
            About::UnderWay {
                what: "the run, which had begun already".to_owned(),
            }
        } else {
            self.context.briefings.hold(prompt);
            About::Run { prompt, briefing }
        };
        let deny_reason = actions.confirm.iter().find_map(deny_reason);
        let dialogue = Dialogue::before_run(event, actions.confirm);
        todo.extend(dialogue.request().map(Do::Ask));
        memory.held.push(Held {
            frame,
            about,
            dialogue,
            until: Instant::now() + CONFIRMATION,
            deny_reason,
        });
    }

    /// Tells a run what was decided; a refusal counts as carried out when the run is over.
    pub(super) async fn brief(
        &self,
        frame: String,
        prompt: EventId,
        briefing: Briefing,
        memory: &mut Memory,
        todo: &mut Vec<Do>,
    ) {
        let Some(reason) = briefing.blocked.clone() else {
            self.context.briefings.say(prompt, briefing);
            todo.push(Do::Settled(frame));
            return;
        };
        if self.context.briefings.has_begun(prompt) {
            let what = "the run, which had begun already";
            self.too_late(&frame, what, &reason, memory).await;
            todo.push(Do::Settled(frame));
            return;
        }
        self.context.briefings.say(prompt, briefing);
        memory.refused.push(Refused {
            frame,
            prompt,
            turn: memory.turn,
            reason,
            until: Some(Instant::now() + BRIEFING),
        });
    }

    /// A run that goes on in a later attempt, as after the death of a daemon, asks nobody again.
    pub(super) async fn look_at_refused(
        &self,
        now: Instant,
        memory: &mut Memory,
        todo: &mut Vec<Do>,
    ) {
        let due = |refused: &Refused| refused.until.is_some_and(|until| until <= now);
        while let Some(at) = memory.refused.iter().position(due) {
            let mut refused = memory.refused.swap_remove(at);
            if self.context.briefings.has_begun(refused.prompt) {
                refused.until = None;
                memory.refused.push(refused);
                continue;
            }
            let what = "the run, which had begun already";
            self.too_late(&refused.frame, what, &refused.reason, memory)
                .await;
            todo.push(Do::Settled(refused.frame));
        }
    }
}

fn briefing(actions: &Actions) -> Briefing {
    let mut briefing = Briefing {
        blocked: actions.block.clone(),
        ..Briefing::default()
    };
    for prompt in &actions.system_prompts {
        match prompt.place {
            Place::Before => briefing.before.insert(0, prompt.text.clone()),
            Place::Behind => briefing.behind.push(prompt.text.clone()),
            Place::Instead => {
                briefing.replaces = true;
                briefing.before.clear();
                briefing.behind = vec![prompt.text.clone()];
            }
        }
    }
    briefing
}
