//! A process that waits for a turn and what is wanted of the CLI by now: the model, how hard it
//! thinks, its system prompt may have changed since it was started.

use super::process::LiveProcess;
use crate::agent::live::Command;
use crate::turn::context::{TurnContext, TurnFault};

/// What a process was started with and may be wanted otherwise later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::turn) struct Wanted {
    model: Option<String>,
    effort: Option<String>,
    system_prompt: Option<String>,
}

impl Wanted {
    /// What is wanted now.
    pub(super) fn of(context: &TurnContext) -> Self {
        let spec = context.spec_now();
        Self {
            model: spec.model,
            effort: spec.effort,
            system_prompt: spec.system_prompt,
        }
    }
}

impl LiveProcess {
    /// Whether it was started with what is wanted now. One of an earlier daemon is taken as it is.
    pub(in crate::turn) fn is_as_wanted(&self) -> bool {
        let now = Wanted::of(&self.context);
        self.wanted.as_ref().is_none_or(|wanted| *wanted == now)
    }

    /// Has it take up what it can without a new process; whether it is as it is wanted then, but
    /// for the system prompt, which is the run's own.
    pub(in crate::turn) async fn adapt(&mut self) -> Result<bool, TurnFault> {
        let now = Wanted::of(&self.context);
        let Some(wanted) = self.wanted.clone() else {
            return Ok(true);
        };
        if wanted.effort != now.effort {
            return Ok(false);
        }
        if wanted.model == now.model {
            return Ok(true);
        }
        let Some(model) = now.model.clone().filter(|_| self.kind.can_set_model) else {
            return Ok(false);
        };
        let command = Command::SetModel(model);
        let Ok(frames) = self.dialog().frames(&command) else {
            return Ok(false);
        };
        let said = self.send(frames).await?;
        self.wanted = Some(Wanted {
            model: now.model,
            ..wanted
        });
        Ok(said)
    }
}
