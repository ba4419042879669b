//! A session that an earlier daemon has made goes on without waiting for its Hub. What the Hub alone
//! knows of it is taken up as soon as it can be asked: the token of the session's environment, which
//! is masked from then on, and the skills that it sends now.

use std::path::PathBuf;
use std::sync::Arc;

use crate::daemon::DaemonError;
use crate::daemon::workspace::SetupLog;
use crate::daemon::workspace::made::Made;
use crate::daemon::workspace::skills::{self, Skill};
use crate::hub::link::LinkHandle;
use crate::hub::rest::RestClient;
use crate::workspace::Credentials;

/// What is to be taken up.
pub(super) struct Renewal {
    pub(in crate::daemon) link: Arc<LinkHandle>,
    pub(in crate::daemon) rest: RestClient,
    pub(in crate::daemon) credentials: Credentials,
    pub(in crate::daemon) state_dir: PathBuf,
    pub(in crate::daemon) workspace: PathBuf,
    /// The skills of the settings.
    pub(in crate::daemon) skills: Vec<Skill>,
    /// The agent's user, where that is another one.
    pub(in crate::daemon) owner: Option<(u32, u32)>,
    pub(in crate::daemon) log: SetupLog,
}

impl Renewal {
    /// Waits for the Hub.
    pub(in crate::daemon) async fn run(self) {
        if self.link.ready().await.is_err() {
            return;
        }
        let session = self.log.session.clone();
        if let Err(why) = self.credentials.learn().await {
            tracing::warn!(%session, %why, "the session's token is not known");
        }
        if let Err(error) = self.skills().await {
            tracing::warn!(%session, %error, "the session's skills are as they were");
        }
    }

    async fn skills(self) -> Result<(), DaemonError> {
        let log = &self.log;
        let detail = self.rest.session(&log.session).await;
        let detail = detail.map_err(crate::daemon::hub::rest_error)?;
        let wanted = skills::with_sent(self.skills, Some(&detail))?;
        let mut made = Made::read(&self.state_dir, &log.session)?;
        let placed = &mut made.skills;
        let changes = skills::put(
            log.agent,
            &self.workspace,
            &wanted,
            false,
            placed,
            self.owner,
        )?;
        let words = changes.words();
        if !words.is_empty() {
            made.keep(&self.state_dir, &log.session)?;
        }
        for text in words {
            log.setup("skills", "stdout", text).await?;
        }
        Ok(())
    }
}
