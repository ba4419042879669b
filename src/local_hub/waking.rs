//! Waking: having what leads a session started again, when somebody resumes it.
//!
//! Guarantees: at most one start for a session at a time; after one that failed, none for a while;
//! what failed stands in the session, in its conversation and as its `error`. A session counts as
//! woken when a lead has come, not when a program has said that it did well.
//!
//! How something is started is not the Hub's to know: it is given a [`Waker`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::room::Room;
use super::server::Hub;
use super::sessions::HubEvent;
use super::store::{SessionRow, StoreError};
use crate::clock::Clock;

/// How long a lead may take to come. The longest part is an agent CLI that has to be installed.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long nothing is started for a session after a start that failed.
const PAUSE: Duration = Duration::from_secs(10);

/// How long whoever asked for a start waits for word of it: official clients give up after 5 s at
/// the earliest.
const MOMENT: Duration = Duration::from_secs(3);

/// How often it is looked whether what was started is still there, and the lead has come.
const LOOK: Duration = Duration::from_millis(50);

/// Starts what leads a session.
pub trait Waker: Send + Sync {
    /// Whether it can do so for a session whose last lead said that it lives in `home`.
    fn can_wake(&self, home: Option<&Path>) -> bool;

    /// Starts it; returns at once. Blocking for no longer than a fork and an exec.
    fn wake(&self, session: &str, home: Option<&Path>) -> Result<Box<dyn Woken>, String>;
}

/// What was started.
pub trait Woken: Send {
    /// How it ended, if it has: in order, or with these words. Does not block.
    fn ended(&mut self) -> Option<Result<(), String>>;

    /// It is not waited for any more: no lead has come, and none must come later.
    fn give_up(self: Box<Self>);
}

/// The sessions that are being woken, and those that could not be.
#[derive(Default)]
pub(crate) struct Waking {
    waker: Option<Arc<dyn Waker>>,
    attempts: Mutex<HashMap<String, Attempt>>,
}

enum Attempt {
    Running,
    Failed { at: Instant, why: String },
}

/// What became of a request to wake a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is being started, by this request or an earlier one.
    Running,
    /// The last start has failed just now.
    TooSoon,
    /// Nothing here can start it: it runs again when a lead connects.
    Cannot,
}

impl Waking {
    pub(crate) fn new(waker: Option<Arc<dyn Waker>>) -> Self {
        Self {
            waker,
            attempts: Mutex::default(),
        }
    }

    /// Whether a session can be woken once it is paused.
    pub(crate) fn is_possible(&self, session: &SessionRow) -> bool {
        let waker = self.waker.as_ref();
        waker.is_some_and(|waker| waker.can_wake(session.home.as_deref()))
    }

    /// Whether a session is being woken.
    pub(crate) fn is_running(&self, session: &str) -> bool {
        matches!(self.attempts().get(session), Some(Attempt::Running))
    }

    /// Why the last start failed, until another one.
    pub(crate) fn failure(&self, session: &str) -> Option<String> {
        match self.attempts().get(session) {
            Some(Attempt::Failed { why, .. }) => Some(why.clone()),
            _ => None,
        }
    }

    /// Forgets why an earlier start failed: the session is led.
    pub(crate) fn lead_came(&self, session: &str) {
        self.end(session, None, Clock.now());
    }

    fn begin(&self, session: &SessionRow, now: Instant) -> Result<Arc<dyn Waker>, Begun> {
        let waker = self.waker.as_ref().ok_or(Begun::Cannot)?;
        if !waker.can_wake(session.home.as_deref()) {
            return Err(Begun::Cannot);
        }
        let mut attempts = self.attempts();
        match attempts.get(&session.id) {
            Some(Attempt::Running) => return Err(Begun::Running),
            Some(Attempt::Failed { at, .. }) if now.saturating_duration_since(*at) < PAUSE => {
                return Err(Begun::TooSoon);
            }
            _ => {}
        }
        attempts.insert(session.id.clone(), Attempt::Running);
        Ok(Arc::clone(waker))
    }

    fn end(&self, session: &str, failure: Option<&str>, at: Instant) {
        let mut attempts = self.attempts();
        match failure {
            None => drop(attempts.remove(session)),
            Some(why) => {
                let why = why.to_owned();
                attempts.insert(session.to_owned(), Attempt::Failed { at, why });
            }
        }
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<String, Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits a moment for what becomes of a start, so that whoever asked for it hears of one that fails
/// at once: why it has failed, and nothing where the lead is there or may still come.
pub(crate) async fn settle(hub: &Hub, session: &str) -> Result<(), String> {
    let deadline = Clock.now() + MOMENT;
    while hub.waking.is_running(session) && Clock.now() < deadline {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = hub.tasks.stopping().cancelled() => return Ok(()),
        }
    }
    hub.waking.failure(session).map_or(Ok(()), Err)
}

/// Has a session that nobody leads started again; returns at once.
pub(crate) async fn wake(hub: &Arc<Hub>, session: &SessionRow) -> Result<Begun, StoreError> {
    let room = hub.sessions.room(session).await?;
    let waker = match hub.waking.begin(session, Clock.now()) {
        Ok(waker) => waker,
        Err(begun) => return Ok(begun),
    };
    let (waking, session) = (Arc::clone(hub), session.clone());
    hub.tasks.spawn("hub-wake", async move {
        let id = session.id.clone();
        let failure = attempt(&waking, waker, session.home, &room).await.err();
        waking.waking.end(&id, failure.as_deref(), Clock.now());
        if let Some(why) = failure {
            tracing::warn!(session = %id, %why, "a session could not be woken");
            tell(&waking, &room, &why).await;
        }
    });
    Ok(Begun::Running)
}

/// Starts it and waits for its lead.
async fn attempt(
    hub: &Hub,
    waker: Arc<dyn Waker>,
    home: Option<PathBuf>,
    room: &Room,
) -> Result<(), String> {
    let id = room.id.clone();
    let started = tokio::task::spawn_blocking(move || waker.wake(&id, home.as_deref())).await;
    let mut woken = started.map_err(|error| error.to_string())??;
    let deadline = Clock.now() + PATIENCE;
    while !room.snapshot().lead_connected {
        if let Some(Err(why)) = woken.ended() {
            return Err(why);
        }
        if Clock.now() >= deadline {
            woken.give_up();
            let waited = PATIENCE.as_secs();
            return Err(format!("no lead has come within {waited} s of its start"));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = hub.tasks.stopping().cancelled() => return Ok(()),
        }
    }
    Ok(())
}

/// Puts the failure into the conversation.
async fn tell(hub: &Hub, room: &Arc<Room>, why: &str) {
    let error = format!("the session could not be resumed: {why}");
    let data = json!({"type": "session_error", "error": error});
    let event = HubEvent::new(room, "session_error", &data, Clock.wall());
    if let Err(error) = hub.sessions.store.push(Box::new(event)).await {
        tracing::warn!(%error, "a session's failure to wake is not in its history");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Any;

    impl Waker for Any {
        fn can_wake(&self, home: Option<&Path>) -> bool {
            home.is_some()
        }

        fn wake(&self, _: &str, _: Option<&Path>) -> Result<Box<dyn Woken>, String> {
            Err("never asked".to_owned())
        }
    }

    fn session(home: Option<&str>) -> SessionRow {
        SessionRow {
            key: 1,
            id: "s".to_owned(),
            label: String::new(),
            task: String::new(),
            archived: false,
            lead_seen: true,
            created_at: Clock.wall(),
            updated_at: Clock.wall(),
            spec: "{}".to_owned(),
            home: home.map(PathBuf::from),
        }
    }

    #[test]
    fn a_session_is_started_once_and_after_a_failure_not_for_a_while() {
        let waking = Waking::new(Some(Arc::new(Any)));
        let session = session(Some("/state"));
        let now = Clock.now();
        assert!(waking.begin(&session, now).is_ok());
        assert_eq!(waking.begin(&session, now).err(), Some(Begun::Running));
        waking.end("s", Some("it broke"), now);
        assert_eq!(waking.failure("s").as_deref(), Some("it broke"));
        assert_eq!(waking.begin(&session, now).err(), Some(Begun::TooSoon));
        assert!(waking.begin(&session, now + PAUSE).is_ok());
        assert_eq!(waking.failure("s"), None);
        waking.end("s", None, now);
        assert!(!waking.is_running("s"));
    }

    #[test]
    fn a_session_of_which_nothing_is_known_is_not_started() {
        let waking = Waking::new(Some(Arc::new(Any)));
        let now = Clock.now();
        assert_eq!(waking.begin(&session(None), now).err(), Some(Begun::Cannot));
        assert!(!waking.is_possible(&session(None)));
        assert_eq!(
            Waking::default().begin(&session(Some("/state")), now).err(),
            Some(Begun::Cannot)
        );
    }
}
