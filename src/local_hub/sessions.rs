//! All sessions: their records in the store and their live sides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::activity::{Activity, mark};
use super::entries::{Recorded, append_entries};
use super::file_entries::{self, FileEntries};
use super::frame;
use super::room::{Participant, Room};
use super::store::{
    FileResume, ParticipantRow, SessionRow, Store, StoreError, Write, archive_session,
    delete_session, file_content, file_lines, file_resume, find_session, insert_event,
    insert_participant, insert_session, leave_participant, marked_events, newest_event,
    update_session,
};
use crate::clock::{Clock, Timestamp};
use crate::hub::protocol::{CloseCode, Role};

/// The sessions of one Hub.
pub(crate) struct Sessions {
    pub(crate) store: Arc<Store>,
    rooms: Mutex<HashMap<String, Arc<Room>>>,
}

impl Sessions {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store: Arc::new(store),
            rooms: Mutex::default(),
        }
    }

    /// Makes a session of a create request's fields.
    pub(crate) async fn create(
        &self,
        task: String,
        spec: Map<String, Value>,
    ) -> Result<SessionRow, StoreError> {
        let now = Clock.wall();
        let label = ["label", "name"]
            .iter()
            .find_map(|key| spec.get(*key).and_then(Value::as_str))
            .filter(|label| !label.trim().is_empty());
        let mut row = SessionRow {
            key: 0,
            id: format!("codesess_{}", Clock.new_uuid().simple()),
            label: label.map_or_else(|| label_of(&task), str::to_owned),
            task,
            archived: false,
            lead_seen: false,
            created_at: now,
            updated_at: now,
            spec: Value::Object(spec).to_string(),
            home: None,
        };
        let insert = row.clone();
        row.key = self
            .store
            .call(move |db| insert_session(db, &insert))
            .await?;
        Ok(row)
    }

    /// A session's record.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<SessionRow>, StoreError> {
        let id = id.to_owned();
        self.store.read(move |db| find_session(db, &id)).await
    }

    /// A session's live side, if anything has needed it yet.
    pub(crate) fn peek(&self, id: &str) -> Option<Arc<Room>> {
        self.rooms().get(id).cloned()
    }

    /// A session's live side, made from the stored events where it does not exist yet. Nothing
    /// is written to a session before it has one, so what is read here is not outrun.
    pub(crate) async fn room(&self, row: &SessionRow) -> Result<Arc<Room>, StoreError> {
        if let Some(room) = self.peek(&row.id) {
            return Ok(room);
        }
        let key = row.key;
        let (published, activity) = self
            .store
            .read(move |db| {
                let newest = newest_event(db, key)?;
                let mut activity = Activity::default();
                marked_events(db, key, i64::MAX, |event| {
                    activity.apply(&event.name, &event.data, event.at);
                })?;
                Ok((newest.map_or(0, |(id, _)| id), activity))
            })
            .await?;
        let fresh = || Arc::new(Room::new(row.id.clone(), key, published, activity));
        Ok(Arc::clone(
            self.rooms().entry(row.id.clone()).or_insert_with(fresh),
        ))
    }

    /// Writes a changed record and tells the participants of a new label.
    pub(crate) async fn update(&self, row: SessionRow) -> Result<(), StoreError> {
        let (id, label) = (row.id.clone(), row.label.clone());
        let before = self.find(&id).await?;
        self.store.call(move |db| update_session(db, &row)).await?;
        let is_new = before.is_some_and(|before| before.label != label);
        if let Some(room) = self.peek(&id).filter(|_| is_new) {
            let (news, at) = (json!({"label": label}), Clock.wall());
            let name = "session_label_updated";
            room.tell_lead(frame::announcement(&id, name, &news, at).text);
            let event = HubEvent::new(&room, name, &news, at);
            self.store.push(Box::new(event)).await?;
        }
        Ok(())
    }

    /// Ends a session for good, its history kept.
    pub(crate) async fn archive(&self, row: SessionRow) -> Result<(), StoreError> {
        let (key, at) = (row.key, Clock.wall());
        self.store
            .call(move |db| archive_session(db, key, at))
            .await?;
        if let Some(room) = self.peek(&row.id) {
            room.close(CloseCode::FORBIDDEN, "the session is archived");
        }
        Ok(())
    }

    /// Removes a session and its history.
    pub(crate) async fn delete(&self, row: SessionRow) -> Result<(), StoreError> {
        // Closed first, so that nobody enters or writes while it is being removed.
        if let Some(room) = self.peek(&row.id) {
            room.close(CloseCode::SESSION_NOT_FOUND, "the session was deleted");
        }
        self.store
            .call(move |db| delete_session(db, row.key))
            .await?;
        self.rooms().remove(&row.id);
        Ok(())
    }

    /// The conversation up to an event.
    pub(crate) async fn conversation(
        &self,
        key: i64,
        upto: i64,
    ) -> Result<Conversation, StoreError> {
        self.store.read(move |db| conversation(db, key, upto)).await
    }

    /// Where an earlier lead's session file lies.
    pub(crate) async fn resume(&self, key: i64) -> Result<Option<FileResume>, StoreError> {
        self.store.read(move |db| file_resume(db, key)).await
    }

    /// The session file that was written to last: its path and its lines.
    pub(crate) async fn file(&self, key: i64) -> Result<Option<(String, String)>, StoreError> {
        self.store
            .read(move |db| match file_resume(db, key)? {
                Some(file) => {
                    let content = file_content(db, key, &file.path)?;
                    Ok(Some((file.path, content)))
                }
                None => Ok(None),
            })
            .await
    }

    /// Notes that someone has come.
    pub(crate) async fn note_join(
        &self,
        session: i64,
        participant: &Participant,
    ) -> Result<(), StoreError> {
        let role = match participant.role {
            Role::Lead => "lead",
            Role::SubAgent => "sub_agent",
            Role::Observer => "observer",
            Role::Controller => "controller",
        };
        let row = ParticipantRow {
            id: participant.id.clone(),
            role: role.to_owned(),
            transport: participant.transport.to_owned(),
            connected_at: participant.connected_at,
            disconnected_at: None,
        };
        let told = presence(participant);
        let note = Note(move |db: &_| insert_participant(db, session, &row, &told));
        self.store.push(Box::new(note)).await
    }

    /// Notes that someone has gone.
    pub(crate) async fn note_leave(&self, session: i64, participant: &Participant) {
        let (id, at) = (participant.id.clone(), Clock.wall());
        let told = presence(participant);
        let note = Note(move |db: &_| leave_participant(db, session, &id, &told, at));
        if let Err(error) = self.store.push(Box::new(note)).await {
            tracing::debug!(%error, "nobody is left to be told who went");
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<String, Arc<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The conversation of a session, and where it is from.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    /// What only the session file tells, from before the events.
    pub(crate) of_file: Vec<Value>,
    /// What the events tell.
    pub(crate) of_events: Vec<Value>,
}

impl Conversation {
    /// All of it, in order.
    pub(crate) fn entries(self) -> Vec<Value> {
        let mut entries = self.of_file;
        entries.extend(self.of_events);
        entries
    }
}

fn conversation(db: &rusqlite::Connection, key: i64, upto: i64) -> rusqlite::Result<Conversation> {
    let mut of_events = Vec::new();
    let mut first_message = None;
    marked_events(db, key, upto, |event| {
        let Ok(data) = serde_json::from_str::<Value>(&event.data) else {
            return;
        };
        if first_message.is_none() && event.name == "message_end" {
            first_message = data.get("message").and_then(file_entries::stamp);
        }
        let recorded = Recorded {
            id: event.id,
            event: &event.name,
            data: &data,
            at: event.at.millis(),
        };
        append_entries(recorded, &mut of_events);
    })?;
    let mut of_file = FileEntries::new(first_message);
    if let Some(file) = file_resume(db, key)? {
        file_lines(db, key, &file.path, |line| of_file.line(line))?;
    }
    Ok(Conversation {
        of_file: of_file.finish(),
        of_events,
    })
}

/// What history says of someone who comes or goes.
fn presence(participant: &Participant) -> String {
    json!({"participant": participant.to_json()}).to_string()
}

/// A write whose outcome nobody waits for.
pub(crate) struct Note<F>(pub(crate) F);

impl<F> Write for Note<F>
where
    F: Fn(&rusqlite::Connection) -> rusqlite::Result<()> + Send,
{
    fn apply(&mut self, db: &rusqlite::Connection) -> rusqlite::Result<()> {
        (self.0)(db)
    }

    fn settle(self: Box<Self>, _outcome: Result<(), StoreError>) {}
}

/// An event of the Hub's own making: stored like a lead's, then shown to all but who caused it.
pub(crate) struct HubEvent {
    room: Arc<Room>,
    request: String,
    name: &'static str,
    data: Box<RawValue>,
    except: Option<String>,
    at: Timestamp,
    stored: Option<i64>,
}

impl HubEvent {
    pub(crate) fn new(room: &Arc<Room>, name: &'static str, data: &Value, at: Timestamp) -> Self {
        Self {
            room: Arc::clone(room),
            request: format!("hub_{}", Clock.new_uuid().simple()),
            name,
            // A tree of JSON values is always JSON.
            data: to_raw_value(data).unwrap_or_default(),
            except: None,
            at,
            stored: None,
        }
    }

    /// Does not show it to this participant.
    pub(crate) fn but(mut self, participant: &Participant) -> Self {
        self.except = Some(participant.id.clone());
        self
    }
}

impl Write for HubEvent {
    fn apply(&mut self, db: &rusqlite::Connection) -> rusqlite::Result<()> {
        let event = (self.name, self.data.get());
        let mark = mark(self.name);
        self.stored = insert_event(db, self.room.key, &self.request, event, mark, self.at)?;
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), StoreError>) {
        if let (Ok(()), Some(id)) = (outcome, self.stored) {
            let except = self.except.as_deref();
            self.room
                .publish_event(id, self.name, &self.data, self.at, except);
        }
    }
}

/// A new participant.
pub(crate) fn participant(role: Role, transport: &'static str) -> Participant {
    Participant {
        id: format!("part_{}", Clock.new_uuid().simple()),
        role,
        transport,
        connected_at: Clock.wall(),
    }
}

/// A label for a session that was given none: the start of its task.
fn label_of(task: &str) -> String {
    let line = task.lines().find(|line| !line.trim().is_empty());
    let line = line.map_or("untitled", str::trim);
    if line.chars().count() > 60 {
        line.chars().take(59).chain(['…']).collect()
    } else {
        line.to_owned()
    }
}

/// The newest of a session's stamps.
pub(crate) fn last_activity(row: &SessionRow, newest: Option<(i64, Timestamp)>) -> Timestamp {
    newest.map_or(row.updated_at, |(_, at)| at.max(row.updated_at))
}
