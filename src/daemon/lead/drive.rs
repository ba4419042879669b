//! The tasks of a session that is led: its driver, what the Hub may ask, and what is kept for it.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Lead, Led};
use crate::daemon::actions::HubSide;
use crate::daemon::agent_version::agent_version;
use crate::daemon::commands::{self, Commands, Statuses};
use crate::daemon::ground::Ground;
use crate::daemon::housekeeping::Housekeeping;
use crate::daemon::{DaemonError, Setup, link_news};
use crate::session::{Prompt, Session};

impl Lead {
    pub(super) async fn drive(
        self,
        setup: &Setup<'_>,
        program: PathBuf,
        ground: Ground,
        task: Option<String>,
    ) -> Result<Led, DaemonError> {
        let workspace = ground.workspace.clone();
        let (context, handing) = self.context(setup, program, &ground)?;
        let context = Arc::new(context);
        HubSide::standing(&context, &self.link);
        let redactor = Arc::clone(&context.redactor);
        let sandbox = context.sandbox.clone();
        let agent_version = agent_version(&context.program);
        let (session, driver) = Session::start(Arc::clone(&context), &self.tasks).await?;
        crash_point!("daemon.session_started");
        let stored = self.state.journal().session(&self.session).await?;
        let untaken = stored.is_some_and(|row| !row.task_taken);
        if let Some(text) = task.filter(|_| untaken) {
            let prompt = Prompt {
                text,
                author: None,
                command_id: None,
                is_task: true,
            };
            session.prompt(prompt).await?;
        }
        crash_point!("daemon.task_queued");
        commands::clear(&context).await;
        let statuses = Statuses::default();
        let log = self.setup_log(setup);
        let commands = Commands {
            session: session.clone(),
            link: Arc::clone(&self.link),
            context: Arc::clone(&context),
            statuses: statuses.clone(),
            rest: self.hub.rest.clone(),
        };
        self.tasks
            .spawn("hub-commands", commands.serve(self.inbound));
        self.tasks
            .spawn("hub-news", link_news::tell(self.link.status(), log));
        if let Some(news) = self.link.news() {
            let hub = HubSide {
                session: session.clone(),
                link: Arc::clone(&self.link),
                approval: context.approval.clone(),
                context: Arc::clone(&context),
                gate: self.hub.gate,
                is_live: context.live.is_some(),
                statuses,
            };
            self.tasks.spawn("hub-actions", hub.serve(news));
        }
        let housekeeping = Housekeeping {
            journal: self.state.journal().clone(),
            session: Some((self.session.clone(), self.chosen.kind.name)),
            runs: setup.config.state_dir.join("runs"),
            sandbox,
            retain: setup.config.keeping.spool_retain,
        };
        let stop = self.tasks.stopping().child_token();
        if let Some(handing) = handing {
            let stop = stop.clone();
            self.tasks.spawn("git-tokens", async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = handing.serve() => {}
                }
            });
        }
        let keeping = housekeeping.clone().keep(stop.clone());
        self.tasks.spawn("housekeeping", keeping);
        Ok(Led {
            housekeeping,
            session_id: self.session,
            session,
            workspace,
            agent_version,
            redactor,
            state: self.state,
            link: self.link,
            driver,
            keeping: stop.drop_guard(),
        })
    }
}
