//! The tasks of a session that is led: its driver, what the Hub may ask, and what is kept for it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::apart;
use super::context::Served;
use super::offer::Taken;
use super::{Lead, Led};
use crate::daemon::agent::version::agent_version;
use crate::daemon::hub::actions::HubSide;
use crate::daemon::hub::commands::{self, Commands, Statuses};
use crate::daemon::hub::{link_news, tools};
use crate::daemon::state::housekeeping::Housekeeping;
use crate::daemon::workspace::ground::Ground;
use crate::daemon::{DaemonError, Setup};
use crate::event::NoticeLevel;
use crate::session::{Prompt, Session};
use crate::turn::TurnContext;

impl Lead {
    pub(super) async fn drive(
        mut self,
        setup: &Setup<'_>,
        program: PathBuf,
        ground: Ground,
        task: Option<String>,
    ) -> Result<Led, DaemonError> {
        let workspace = ground.workspace.clone();
        let (context, mut served) = self.context(setup, program, &ground)?;
        let context = Arc::new(context);
        let log = self.setup_log(setup);
        for (level, code, text) in std::mem::take(&mut served.offer.notices) {
            log.notice(level, code, text).await?;
        }
        HubSide::standing(&context, &self.link);
        let agent_version = agent_version(&context.program);
        let stop = self.tasks.stopping().child_token();
        // The CLI may be started at once, and asks for them then.
        self.serve_agent(served, &context, &stop);
        let (session, driver) = Session::start(Arc::clone(&context), &self.tasks).await?;
        crash_point!("daemon.session_started");
        let statuses = Statuses::default();
        let commands = self.commands(&session, &context, &statuses);
        if let Some(joined) = self.link.joined() {
            for why in commands.begin_as(&joined.init).await {
                let text = format!("the session does not begin as the Hub says: {why}");
                log.notice(NoticeLevel::Warning, "hub_init_refused", text)
                    .await?;
            }
        }
        self.begin_with(&session, task).await?;
        crash_point!("daemon.task_queued");
        commands::clear(&context).await;
        if let Some(inbound) = self.inbound.take() {
            self.tasks.spawn("hub-commands", commands.serve(inbound));
        }
        self.hear_hub(&session, &context, statuses);
        self.tasks
            .spawn("hub-news", link_news::tell(self.link(), log));
        if self.link.joined().is_none() {
            let waiting = apart::wait(session.clone(), self.link.status(), self.hub.wait);
            self.tasks.spawn("hub-place", waiting);
        }
        let housekeeping = Housekeeping {
            journal: self.state.journal().clone(),
            session: Some((self.session.clone(), self.chosen.kind.name)),
            runs: setup.config.state_dir.join("runs"),
            sandbox: context.sandbox.clone(),
            retain: setup.config.keeping.spool_retain,
        };
        let keeping = housekeeping.clone().keep(stop.clone());
        self.tasks.spawn("housekeeping", keeping);
        Ok(Led {
            housekeeping,
            session_id: self.session,
            session,
            workspace,
            agent_version,
            redactor: Arc::clone(&context.redactor),
            state: self.state,
            link: self.link,
            driver,
            keeping: stop.drop_guard(),
        })
    }

    /// The session's first task, once in its life.
    async fn begin_with(
        &mut self,
        session: &Session,
        task: Option<String>,
    ) -> Result<(), DaemonError> {
        let stored = self.state.journal().session(&self.session).await?;
        let untaken = stored.is_some_and(|row| !row.task_taken);
        if let Some(text) = task.filter(|_| untaken) {
            let prompt = Prompt {
                text,
                author: None,
                images: std::mem::take(&mut self.images),
                command_id: None,
                is_task: true,
            };
            session.prompt(prompt).await?;
        }
        Ok(())
    }

    fn commands(
        &self,
        session: &Session,
        context: &Arc<TurnContext>,
        statuses: &Statuses,
    ) -> Commands {
        Commands {
            session: session.clone(),
            link: Arc::clone(&self.link),
            context: Arc::clone(context),
            statuses: statuses.clone(),
            rest: self.hub.rest.clone(),
        }
    }

    /// What the Hub makes of events.
    fn hear_hub(&self, session: &Session, context: &Arc<TurnContext>, statuses: Statuses) {
        if let Some(news) = self.link.news() {
            let hub = HubSide {
                session: session.clone(),
                link: Arc::clone(&self.link),
                approval: context.approval.clone(),
                context: Arc::clone(context),
                gate: self.hub.gate,
                is_live: context.live.is_some(),
                statuses,
            };
            self.tasks.spawn("hub-actions", hub.serve(news));
        }
    }

    /// What the agent asks the daemon for itself.
    fn serve_agent(&self, served: Served, context: &Arc<TurnContext>, stop: &CancellationToken) {
        if let Some(handing) = served.handing {
            let stop = stop.clone();
            self.tasks.spawn("git-tokens", async move {
                stop.run_until_cancelled(handing.serve()).await;
            });
        }
        let Taken {
            tools, is_known, ..
        } = served.offer;
        if tools.is_some() || is_known {
            let (stop, context) = (stop.clone(), Arc::clone(context));
            self.tasks.spawn("hub-tools", async move {
                if is_known {
                    stop.run_until_cancelled(tools::end_left(&context)).await;
                }
                if let Some(tools) = tools {
                    tools.serve(&context, &stop).await;
                }
            });
        }
    }
}
