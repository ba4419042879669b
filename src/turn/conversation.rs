//! Which of the CLI's conversations a turn belongs to: gone on with where it is there and sound,
//! begun anew with a recap where it is not.

use uuid::Uuid;

use super::context::{Start, TurnContext, TurnFault};
use super::forgotten::{Next, recalled};
use super::history;
use super::pump::Closing;
use super::recap::BUDGET;
use super::seen::Seen;
use crate::agent::live::LivePlan;
use crate::agent::{AgentSession, LaunchError};
use crate::event::{Event, NoticeLevel};
use crate::ids::RunId;
use crate::image::ImageNote;
use crate::journal::TurnRow;

/// The CLI's conversation, as far as the turn knows it.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// The CLI's own session id.
    id: Option<String>,
    /// Why it cannot be gone on with.
    lost: Option<String>,
    /// The one that the current attempt was to go on with.
    resumed: Option<String>,
}

/// How an attempt is started and what it tells the agent.
pub(super) struct Opening {
    pub(super) plan: Result<Start, LaunchError>,
    /// Which conversation that is.
    pub(super) agent_session: AgentSession,
    pub(super) prompt: String,
    /// The images that go with it.
    pub(super) images: Vec<ImageNote>,
    /// What is said of a conversation that was lost.
    pub(super) notice: Option<Event>,
}

/// What an attempt tells the agent.
pub(super) struct Said {
    pub(super) prompt: String,
    /// The images that go with it.
    pub(super) images: Vec<ImageNote>,
    /// What is said of what was forgotten.
    pub(super) notice: Option<Event>,
}

impl Opening {
    /// The same conversation, with what is asked of the CLI now.
    pub(super) fn plan_again(&mut self, context: &TurnContext, run: RunId) {
        self.plan = context.start(self.agent_session.clone(), run);
    }
}

impl Conversation {
    /// The one of the turns before, if there is one.
    pub(super) fn new(id: Option<String>) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    /// The CLI's own session id.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether the current attempt was to go on with an earlier one.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed.is_some()
    }

    /// It cannot be gone on with.
    pub(super) fn lose(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Whether it cannot be gone on with.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// The attempt goes on with it in a process that has it already. What it tells the agent.
    pub(super) async fn go_on(
        &mut self,
        context: &TurnContext,
        row: &TurnRow,
        seen: &Seen,
        run: RunId,
    ) -> Result<Said, TurnFault> {
        self.resumed.clone_from(&self.id);
        self.said(context, row, seen, run).await
    }

    /// What an attempt that goes on with it tells the agent.
    async fn said(
        &self,
        context: &TurnContext,
        row: &TurnRow,
        seen: &Seen,
        run: RunId,
    ) -> Result<Said, TurnFault> {
        let mut said = Said {
            prompt: seen.next_prompt(),
            images: seen.next_images(),
            notice: None,
        };
        let Some(id) = &self.id else {
            return Ok(said);
        };
        let next = Next {
            turn: row.id,
            text: &said.prompt,
            seen,
            is_cut_off: row.attempt > 1,
        };
        if let Some(recalled) = recalled(context, run, id, next).await? {
            said.prompt = recalled.text;
            said.images.splice(0..0, recalled.images);
            said.notice = Some(recalled.notice);
        }
        Ok(said)
    }

    /// How a process for a turn that may come is started; none where that turn has to decide.
    pub(super) fn warm(context: &TurnContext, id: Option<&str>, run: RunId) -> Option<LivePlan> {
        let session = match id {
            Some(id) => AgentSession::Resume(id.to_owned()),
            None => AgentSession::New(Uuid::new_v4()),
        };
        let Ok(Start::Live(plan)) = context.start(session, run) else {
            return None;
        };
        let is_there = |id| history::has_conversation(context, &plan.launch, id);
        id.is_none_or(is_there).then_some(*plan)
    }

    /// Decides between the conversation so far and a fresh one. `row` is the turn's.
    pub(super) async fn open(
        &mut self,
        context: &TurnContext,
        row: &TurnRow,
        seen: &Seen,
        run: RunId,
    ) -> Result<Opening, TurnFault> {
        self.resumed = None;
        if let (None, Some(id)) = (&self.lost, &self.id) {
            let agent_session = AgentSession::Resume(id.clone());
            let plan = context.start(agent_session.clone(), run);
            // A plan that cannot be made is the turn's end, whatever the conversation.
            let there = |plan: &Start| history::has_conversation(context, plan.launch(), id);
            if plan.as_ref().map_or(true, there) {
                self.resumed = Some(id.clone());
                let said = self.said(context, row, seen, run).await?;
                return Ok(Opening {
                    plan,
                    agent_session,
                    prompt: said.prompt,
                    images: said.images,
                    notice: said.notice,
                });
            }
            self.lost = Some(format!(
                "the agent's CLI has no record of its conversation {id} any more"
            ));
        }
        if self.id.is_none() && self.lost.is_none() && history::is_from_elsewhere(context)? {
            let why = "the session was led from elsewhere, and its conversation is not here";
            self.lost = Some(why.to_owned());
        }
        let agent_session = AgentSession::New(Uuid::new_v4());
        let mut opening = Opening {
            plan: context.start(agent_session.clone(), run),
            agent_session,
            prompt: seen.next_prompt(),
            images: seen.next_images(),
            notice: None,
        };
        if let Some(why) = self.lost.take() {
            self.id = None;
            let recap = history::recap(context).await?;
            // Where there is nothing to tell, nothing was lost.
            if let Some(prompt) = recap.prompt(BUDGET, &row.prompt, seen) {
                opening.prompt = prompt;
                if seen.unheard().next().is_none() {
                    // The turn's own words are told again.
                    opening.images.clone_from(&row.images);
                }
                opening.notice = Some(resume_lost(format!(
                    "{why}; it goes on in a fresh one, which is told a recap"
                )));
            }
        }
        Ok(opening)
    }

    /// Notes to which conversation an attempt that is over belonged.
    pub(super) fn learn(&mut self, closing: &mut Closing) -> serde_json::Result<()> {
        let Some(id) = closing.agent_session.clone() else {
            return Ok(());
        };
        if let Some(asked) = self.resumed.take_if(|asked| *asked != id) {
            closing.add(&resume_lost(format!(
                "the agent's CLI did not go on with its conversation {asked}, it began {id}: the \
                 agent did not know what was before"
            )))?;
        }
        self.id = Some(id);
        Ok(())
    }
}

fn resume_lost(text: String) -> Event {
    Event::Notice {
        level: NoticeLevel::Warning,
        code: "resume_lost".to_owned(),
        text,
    }
}
