//! What a turn needs from outside, what it can be told, and how it leaves.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::approval::{AnswerError, Answered, Approval, Asides};
use super::briefing::Briefings;
use super::choices::Choices;
use super::live::LiveProcess;
use super::publish::Publishing;
use super::report::Expected;
use crate::agent::live::{LiveKind, LivePlan, Setting, Since};
use crate::agent::{AgentKind, AgentSession, LaunchError, LaunchPlan, TurnSpec};
use crate::clock::Clock;
use crate::config::Patience;
use crate::event::{Event, Outcome};
use crate::ids::{RunId, Seq, SessionId};
use crate::image::{self, Image};
use crate::journal::{Journal, JournalError};
use crate::process::{Environment, Identity, Reach};
use crate::redact::Redactor;
use crate::sandbox::{Sandbox, SandboxError};
use crate::spool::{Plan, RunDir, Stdout, User};
use crate::workspace::Authorship;

/// The plan's file of the system prompt where the Hub adds to that of the settings.
const SYSTEM_PROMPT: &str = "system-prompt.md";

/// What all turns of a session share.
#[derive(Debug)]
pub struct TurnContext {
    /// The Hub session.
    pub session: SessionId,
    /// Which CLI.
    pub agent: &'static AgentKind,
    /// Its program, as an absolute path.
    pub program: PathBuf,
    /// What the user chose for it; the conversation is set for each turn.
    pub spec: TurnSpec,
    /// What participants have chosen over that; the session's driver keeps it.
    pub choices: watch::Sender<Choices>,
    /// What the Hub says before a run begins.
    pub briefings: Briefings,
    /// What people are asked beside what the agent asks.
    pub asides: Asides,
    /// Its environment, complete but for what the launch plan adds.
    pub environment: Environment,
    /// Where it works.
    pub workspace: PathBuf,
    /// The folders of it that may be repositories: it itself, or those that were cloned into it.
    pub repositories: Vec<PathBuf>,
    /// Where everything durable is.
    pub state_dir: PathBuf,
    /// The folder that holds the state dir, or it itself: another user gets through from here on,
    /// to what is handed over and nothing else.
    pub state_root: PathBuf,
    /// The live form, where the session runs in that; else each turn has a process.
    pub live: Option<&'static LiveKind>,
    /// How long a live process is kept that nobody talks to; none: as long as the session.
    pub idle_timeout: Option<Duration>,
    /// Who consents to what the agent does.
    pub approval: Approval,
    /// PTY or pipe.
    pub stdout: Stdout,
    /// The user that it runs as; none: ours.
    pub user: Option<User>,
    /// The only files that it gets at besides those of its run; none: all that its user may.
    pub reach: Option<Reach>,
    /// Whether we are in a container.
    pub in_container: bool,
    /// This process, where no other one goes on with the session when it dies.
    pub alone: Option<Identity>,
    /// How long a turn may take.
    pub timeout: Option<Duration>,
    /// How long its agent may be silent.
    pub patience: Patience,
    /// The most that a run's spool may hold, in bytes.
    pub spool_quota: u64,
    /// Whether raw output is kept after its events are stored.
    pub spool_retain: bool,
    /// Whether each turn leaves a checkpoint of the workspace.
    pub checkpoints: bool,
    /// The reports that each turn is to leave in the workspace.
    pub expected: Vec<Expected>,
    /// Whom commits name.
    pub authorship: Authorship,
    /// What is pushed after each turn.
    pub publishing: Option<Publishing>,
    /// Starts runs.
    pub sandbox: Sandbox,
    /// Where events go.
    pub journal: Journal,
    /// Masks secrets.
    pub redactor: Arc<Redactor>,
    /// Stamps and ids.
    pub clock: Clock,
}

/// How a CLI is started.
#[derive(Debug)]
pub(super) enum Start {
    /// For one turn.
    Exec(Box<LaunchPlan>),
    /// For many.
    Live(Box<LivePlan>),
}

impl Start {
    /// That of a live process.
    pub(super) fn into_live(self) -> Option<LivePlan> {
        match self {
            Self::Exec(_) => None,
            Self::Live(plan) => Some(*plan),
        }
    }

    /// The process.
    pub(super) fn launch(&self) -> &LaunchPlan {
        match self {
            Self::Exec(plan) => plan,
            Self::Live(plan) => &plan.launch,
        }
    }

    fn launch_mut(&mut self) -> &mut LaunchPlan {
        match self {
            Self::Exec(plan) => plan,
            Self::Live(plan) => &mut plan.launch,
        }
    }
}

impl TurnContext {
    /// A run's folder.
    pub(super) fn run_dir(&self, run: RunId) -> RunDir {
        RunDir::new(self.state_dir.join("runs").join(run.to_string()))
    }

    /// What is asked of the CLI now: the settings, what was chosen over them, what the Hub said of
    /// the run. The text of its system prompt is also a file of the plan's.
    pub(super) fn spec_now(&self) -> TurnSpec {
        self.spec_with(&self.choices.borrow())
    }

    /// The model and how hard it thinks, as asked for now.
    pub fn model_and_effort(&self) -> (Option<String>, Option<String>) {
        let spec = self.spec_now();
        (spec.model, spec.effort)
    }

    fn spec_with(&self, choices: &Choices) -> TurnSpec {
        let mut spec = self.spec.clone();
        spec.model = choices.model.clone().or(spec.model);
        spec.effort = choices.effort.clone().or(spec.effort);
        if let Some(text) = self.briefings.text(spec.system_prompt.as_deref()) {
            spec.system_prompt = Some(text);
        }
        spec
    }

    /// Whether the CLI can be started with these choices.
    pub fn fits(&self, choices: &Choices) -> Result<(), LaunchError> {
        let spec = TurnSpec {
            agent_session: AgentSession::New(uuid::Uuid::nil()),
            ..self.spec_with(choices)
        };
        match self.live {
            None => (self.agent.plan)(&spec).map(drop),
            Some(kind) => (kind.plan)(&spec, self.approval.asks()).map(drop),
        }
    }

    /// How the CLI is started for that conversation, in the session's form.
    pub(super) fn start(
        &self,
        agent_session: AgentSession,
        run: RunId,
    ) -> Result<Start, LaunchError> {
        let files = self.run_dir(run).launch_files();
        let mut spec = TurnSpec {
            agent_session,
            workspace: self.workspace.clone(),
            files,
            ..self.spec_now()
        };
        let told = (spec.system_prompt != self.spec.system_prompt).then(|| {
            spec.system_prompt_file = Some(spec.files.join(SYSTEM_PROMPT));
            spec.system_prompt.clone().unwrap_or_default()
        });
        let mut start = match self.live {
            None => Start::Exec(Box::new((self.agent.plan)(&spec)?)),
            Some(kind) => Start::Live(Box::new((kind.plan)(&spec, self.approval.asks())?)),
        };
        if let Some(text) = told {
            let file = (SYSTEM_PROMPT, text.into_bytes());
            start.launch_mut().files.push(file);
        }
        Ok(start)
    }

    /// What the shim is told; the environment travels beside it.
    pub(super) fn shim_plan(&self, launch: &LaunchPlan, dir: &RunDir) -> Result<Plan, String> {
        let args = launch.args.iter().map(|arg| {
            arg.to_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("the argument {} is no UTF-8", arg.display()))
        });
        let mut plan = Plan::new(
            &self.program,
            args.collect::<Result<_, _>>()?,
            &self.workspace,
            self.spool_quota,
        );
        plan.stdout = self.stdout;
        plan.user.clone_from(&self.user);
        plan.ends_with = self.alone;
        plan.reach.clone_from(&self.reach);
        if let Some(reach) = &mut plan.reach {
            reach.read.push(dir.launch_files());
        }
        plan.confined = self.in_container || self.sandbox.is_container();
        Ok(plan)
    }

    /// What the CLI, started by that plan, sees of a variable.
    pub(super) fn variable<'a>(&'a self, plan: &'a LaunchPlan, name: &str) -> Option<&'a OsStr> {
        let planned = plan.env.iter().find(|(known, _)| known == name);
        match planned {
            Some((_, value)) => Some(value),
            None => self.environment.value(name),
        }
    }

    /// The CLI's whole environment.
    pub(super) fn environment(&self, launch: &LaunchPlan) -> Result<Environment, String> {
        let mut environment = self.environment.clone();
        for (name, value) in &launch.env {
            environment
                .set(name, value)
                .map_err(|error| error.to_string())?;
        }
        Ok(environment)
    }
}

/// A setting that the agent's CLI did not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSet {
    /// It says why.
    #[error("{0}")]
    Refused(String),
    /// It says nothing.
    #[error("it does not answer")]
    Silent,
}

/// From when on a setting counts, in the CLI's own form, or why it is as it was.
pub type SetAnswer = Result<Since, NotSet>;

/// A message into the running turn.
#[derive(Debug)]
pub struct Steering {
    /// What the user says.
    pub text: String,
    /// The images that go with it.
    pub images: Vec<Image>,
    /// The asker's own id for it.
    pub prompt_id: Option<String>,
    /// On whose behalf, as an event says it.
    pub author: Option<String>,
}

impl Steering {
    /// The event that tells of it.
    pub(super) fn event(&self) -> Event {
        Event::Prompt {
            text: self.text.clone(),
            prompt_id: self.prompt_id.clone(),
            author: self.author.clone(),
            images: image::notes(&self.images),
        }
    }
}

/// An order to a running turn.
#[derive(Debug)]
pub enum TurnCommand {
    /// Interrupt, and go on with this message.
    Steer {
        /// What the user says.
        message: Steering,
        /// Told once the message is in the journal; dropped when the turn takes it no more.
        accepted: oneshot::Sender<()>,
    },
    /// Answer a request of the agent that waits.
    Answer {
        /// Which, and what is said to it.
        answer: Answered,
        /// Told once the answer is durable, or why it counts for nothing.
        done: oneshot::Sender<Result<(), AnswerError>>,
    },
    /// Ask the CLI for another setting.
    Set {
        /// Which.
        setting: Setting,
        /// Told what the CLI says; dropped where it is not asked: the next turn adapts.
        done: oneshot::Sender<SetAnswer>,
    },
    /// Look again at the requests that wait: somebody else consents now.
    Reconsider,
    /// Cancel.
    Abort {
        /// Without giving the CLI time.
        at_once: bool,
    },
    /// Interrupt, and leave the turn open for the next daemon.
    Pause {
        /// Without giving the CLI time.
        at_once: bool,
    },
}

impl TurnCommand {
    /// Orders that may wait for a turn: it takes them between two chunks of output.
    pub const QUEUE: usize = 8;
}

/// How a turn left its task.
#[derive(Debug, Default)]
pub struct TurnEnd {
    /// Its verdict; none when it was paused and stays open.
    pub outcome: Option<Outcome>,
    /// The CLI's own session id, if it said one.
    pub agent_session: Option<String>,
    /// The place of its last event.
    pub last_seq: Option<Seq>,
    /// Its process, where that goes on.
    pub process: Option<Box<LiveProcess>>,
}

/// Why a turn cannot be driven any further: the daemon has to restart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TurnFault {
    /// Nothing can be stored any more.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run cannot be read or watched.
    #[error("cannot follow a run")]
    Run(#[from] SandboxError),
    /// The spool cannot be read.
    #[error("cannot read the spool")]
    Spool(#[from] std::io::Error),
    /// An event has no JSON.
    #[error("cannot encode an event")]
    Encode(#[from] serde_json::Error),
    /// A broken invariant.
    #[error("{0}")]
    Internal(String),
}
