//! A session that is led, until it is closed.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

use crate::daemon::state::housekeeping::Housekeeping;
use crate::daemon::{DaemonError, State};
use crate::hub::link::LinkHandle;
use crate::ids::{Seq, SessionId};
use crate::redact::Redactor;
use crate::session::Session;
use crate::turn::TurnFault;

/// A session that is led.
#[derive(Debug)]
pub struct Led {
    /// Its id.
    pub session_id: SessionId,
    /// What it can be asked.
    pub session: Session,
    /// Where the agent works.
    pub workspace: PathBuf,
    /// The version of its agent's CLI, where that is known.
    pub(in crate::daemon) agent_version: Option<String>,
    /// Masks its secrets.
    pub(in crate::daemon) redactor: Arc<Redactor>,
    /// The state dir is ours until this goes.
    pub(super) state: State,
    pub(super) link: Arc<LinkHandle>,
    pub(super) housekeeping: Housekeeping,
    pub(super) driver: JoinHandle<Result<(), TurnFault>>,
    /// The housekeeping goes on until this goes.
    pub(super) keeping: DropGuard,
}

impl Led {
    /// Waits until the driver has given up, which it does only when it cannot go on.
    pub async fn fault(&mut self) -> DaemonError {
        match (&mut self.driver).await {
            Ok(Err(fault)) => fault.into(),
            Ok(Ok(())) => DaemonError::Internal("the session's driver ended by itself".to_owned()),
            Err(error) => DaemonError::Internal(format!("the session's driver died: {error}")),
        }
    }

    /// Ends in order: what the Hub does not have yet is sent, within its time; then farewell.
    pub async fn close(self) {
        // Its process goes, if one is left; a session that was paused has none.
        self.session.pause(false).await;
        crash_point!("daemon.before_close");
        let last = self.state.journal().last_seq(&self.session_id).await;
        self.link.close(last.ok().and_then(Seq::new)).await;
        drop(self.keeping);
        self.housekeeping.look().await;
        crash_point!("daemon.closed");
    }
}
