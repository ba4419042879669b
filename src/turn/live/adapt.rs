//! A process that waits for a turn and what is wanted of the CLI by now: the model, how hard it
//! thinks, who consents, its system prompt may have changed since it was started.

use std::time::Duration;

use super::process::LiveProcess;
use crate::agent::live::{Setting, Since};
use crate::turn::context::{TurnContext, TurnFault};

/// How long a process that still opens is waited for before it is replaced. Nobody can cancel the
/// turn meanwhile.
const OPENING: Duration = Duration::from_secs(3);

/// A process's system prompt; it may have none of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SystemPrompt(Option<String>);

impl SystemPrompt {
    /// The one that is wanted now.
    pub(super) fn now(context: &TurnContext) -> Self {
        Self(context.spec_now().system_prompt)
    }
}

impl LiveProcess {
    /// Whether its CLI works with what is wanted now. The system prompt of an earlier daemon's
    /// process is taken as it is.
    pub(in crate::turn) fn is_as_wanted(&self) -> bool {
        let now = SystemPrompt::now(&self.context);
        let is_told = self.system_prompt.as_ref().is_none_or(|told| *told == now);
        is_told && self.missing().is_some_and(|missing| missing.is_empty())
    }

    /// Has it take up what it can without a new process; whether it is as it is wanted then, but
    /// for the system prompt, which is the run's own.
    pub(in crate::turn) async fn adapt(&mut self) -> Result<bool, TurnFault> {
        let Some(missing) = self.missing() else {
            return Ok(false);
        };
        if !missing.is_empty() {
            // Another process would have to open, too.
            self.open_within(OPENING).await?;
        }
        for setting in missing {
            if self.kind.sets.since(&setting) == Since::NextProcess
                || !self.set_now(setting).await?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What its CLI is to be told; none where it works with something that is the CLI's own choice
    /// now, which no change brings back.
    fn missing(&self) -> Option<Vec<Setting>> {
        let (spec, has) = (self.context.spec_now(), self.dialog().settings());
        let is_lost =
            |wanted: &Option<String>, has: &Option<String>| wanted.is_none() && has.is_some();
        if is_lost(&spec.model, &has.model) || is_lost(&spec.effort, &has.effort) {
            return None;
        }
        let asks = self.context.approval.asks();
        // One that asks where nobody is to be asked does no harm: it is permitted what it asks for.
        let stays = !asks && self.kind.sets.consent == Since::NextProcess;
        let wanted = [
            spec.model.map(Setting::Model),
            spec.effort.map(Setting::Effort),
            Some(Setting::Consent(asks)).filter(|_| !stays),
        ];
        let missing = wanted.into_iter().flatten();
        Some(missing.filter(|setting| !has.has(setting)).collect())
    }
}
