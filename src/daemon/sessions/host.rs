//! The daemon as its API sees it.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::api::{
    CreateError, Created, DaemonFacts, EndError, Host, HostedSession, HubDoor, NewSession,
};
use crate::daemon::{DaemonError, Registry};
use crate::ids::SessionId;
use crate::journal::JournalError;

impl Host for Registry {
    fn daemon(&self) -> DaemonFacts {
        DaemonFacts {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_at: self.started_at(),
            state_dir: self.state().dir().to_owned(),
            hub: Some(self.hub().address().to_string()),
            room: *self.state().journal().room().borrow(),
        }
    }

    fn hub(&self) -> HubDoor {
        HubDoor {
            address: self.hub().address().to_string(),
            key: self.hub().lent_key(),
        }
    }

    fn sessions(&self) -> Vec<HostedSession> {
        let journal = self.state().journal();
        let all = self.all().into_iter().filter(|hosted| !hosted.is_ended());
        all.map(|hosted| hosted.show(journal)).collect()
    }

    fn ended(&self) -> Vec<HostedSession> {
        let journal = self.state().journal();
        let all = self.all().into_iter().filter(|hosted| hosted.is_ended());
        all.map(|hosted| hosted.show(journal)).collect()
    }

    fn session(&self, id: &SessionId) -> Option<HostedSession> {
        Some(self.find(id)?.show(self.state().journal()))
    }

    fn create(&self, new: NewSession) -> BoxFuture<'_, Result<Created, CreateError>> {
        // On a task of its own: whoever asks may go, and what was begun is not left half done.
        let registry = self.clone();
        let making = async move { registry.create(new).await };
        let made = self.tasks().spawn("create-session", making);
        async move {
            made.await
                .unwrap_or_else(|error| Err(CreateError::Internal(error.to_string())))
        }
        .boxed()
    }

    fn end(&self, id: &SessionId) -> BoxFuture<'_, Option<Result<HostedSession, EndError>>> {
        let (registry, hosted) = (self.clone(), self.find(id));
        async move {
            let hosted = hosted?;
            let session = Arc::clone(&hosted);
            let ending = async move { registry.end(&session).await };
            let ended = self.tasks().spawn("end-session", ending).await;
            Some(match ended {
                Ok(Ok(())) => Ok(hosted.show(self.state().journal())),
                Ok(Err(error)) => Err(error),
                // The task was dropped with the daemon's others.
                Err(_) => Err(EndError::Stopping),
            })
        }
        .boxed()
    }
}

impl From<DaemonError> for CreateError {
    fn from(error: DaemonError) -> Self {
        let message = error.to_string();
        match error {
            DaemonError::Usage(_) => Self::Invalid(message),
            DaemonError::Agent { .. } => Self::Agent(message),
            DaemonError::HubUnreachable(_) => Self::HubUnreachable(message),
            DaemonError::HubRefused(_) => Self::HubRefused(message),
            DaemonError::Workspace(_) => Self::Repo(message),
            DaemonError::Journal(JournalError::Full(_)) => Self::NoRoom(message),
            _ => Self::Internal(message),
        }
    }
}
