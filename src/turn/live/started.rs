//! What a live process was started with, kept beside it for the daemon that attaches to it.

use std::io::{self, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::agent::live::{LiveKind, LiveSpec, Since};
use crate::agent::{AgentSession, RestoreError, TurnSpec};
use crate::files;
use crate::spool::RunDir;
use crate::turn::context::TurnContext;

/// What a process was started with, for who attaches to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Started {
    /// What is said to it at its start.
    pub(super) spec: LiveSpec,
    /// What the session asked of it, whatever the conversation.
    settings: Settings,
}

impl Started {
    /// Keeps it in the run's folder.
    pub(super) fn write(
        context: &TurnContext,
        kind: &LiveKind,
        dir: &RunDir,
        spec: &LiveSpec,
    ) -> io::Result<()> {
        let started = Self {
            spec: spec.clone(),
            settings: Settings::of(context, kind),
        };
        files::create_private_dir(dir.path())?;
        // Cut off by a death of ours it is none, and the process is replaced.
        files::create_private(&file(dir))?.write_all(&serde_json::to_vec(&started)?)
    }

    /// What is kept there.
    pub(super) fn read(dir: &RunDir) -> Result<Self, RestoreError> {
        let text = std::fs::read(file(dir)).unwrap_or_default();
        Ok(serde_json::from_slice(&text)?)
    }

    /// Whether the session asks the same now.
    pub(super) fn is_as_now(&self, context: &TurnContext, kind: &LiveKind) -> bool {
        self.settings == Settings::of(context, kind)
    }
}

/// What a session asks of its process at its start and cannot change later: two that differ need
/// two processes.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    args: Vec<String>,
    spec: LiveSpec,
}

impl Settings {
    /// As they are now.
    fn of(context: &TurnContext, kind: &LiveKind) -> Self {
        // The same conversation for all, so that only settings differ.
        let mut spec = TurnSpec {
            agent_session: AgentSession::New(Uuid::nil()),
            ..context.spec_now()
        };
        let stays = |since: Since| since == Since::NextProcess;
        spec.model = spec.model.filter(|_| stays(kind.sets.model));
        spec.effort = spec.effort.filter(|_| stays(kind.sets.effort));
        let asks = context.approval.asks() && stays(kind.sets.consent);
        let plan = (kind.plan)(&spec, asks).ok();
        let plan = plan.map(|plan| Self {
            args: plan
                .launch
                .args
                .iter()
                .map(|arg| arg.to_string_lossy().into_owned())
                .collect(),
            spec: plan.spec,
        });
        plan.unwrap_or_default()
    }
}

fn file(dir: &RunDir) -> PathBuf {
    dir.path().join("live.json")
}
