//! Events in memory, with the journal's interface.

use std::sync::{Arc, Mutex};

use agent_runner::clock::Timestamp;
use agent_runner::event::{Envelope, Event, Header};
use agent_runner::hub::outbox::{Batch, EventSource, EventTail, SourceError};
use agent_runner::hub::pi::{Class, Mapper};
use agent_runner::ids::{EventId, Seq, SessionId, TurnId};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

/// An event's turn and its enveloped line.
type Line = (TurnId, Vec<u8>);

#[derive(Clone)]
pub struct Source {
    lines: Arc<Mutex<Vec<Line>>>,
    durable: Arc<watch::Sender<usize>>,
    acked: Arc<watch::Sender<Option<Seq>>>,
}

pub struct Tail {
    source: Source,
    at: usize,
}

pub fn seq(n: usize) -> Seq {
    Seq::new(n as u64).unwrap()
}

impl Source {
    pub fn new() -> Self {
        Self {
            lines: Arc::default(),
            durable: Arc::new(watch::channel(0).0),
            acked: Arc::new(watch::channel(None).0),
        }
    }

    /// Adds events to turn `turn`; returns the last one's place.
    pub fn add(&self, turn: u128, events: &[Value]) -> Seq {
        let mut lines = self.lines.lock().unwrap();
        for event in events {
            let at = lines.len() + 1;
            let turn = TurnId::from_uuid(Uuid::from_u128(turn));
            let header = Header {
                seq: seq(at),
                event_id: EventId::derive(Uuid::from_u128(99), at as u64),
                at: Timestamp::from_millis(1_795_220_000_000 + at as u64),
                session_id: "s1".parse().unwrap(),
                turn_id: Some(turn),
                attempt: Some(1),
                agent: "claude".into(),
            };
            let mut line = Vec::new();
            header.write_line(&typed(event), &mut line).unwrap();
            lines.push((turn, line));
        }
        let last = lines.len();
        drop(lines);
        self.durable.send_replace(last);
        seq(last)
    }

    /// Ids of the state frames of everything so far, in order.
    pub fn state_ids(&self) -> Vec<String> {
        let mut mapper = Mapper::new();
        let mut frames = Vec::new();
        for (_, line) in self.lines.lock().unwrap().iter() {
            mapper.map(&Envelope::parse(line).unwrap(), &mut frames);
        }
        mapper.flush(&mut frames);
        let state = frames.into_iter().filter(|f| f.class == Class::State);
        state.map(|f| f.id).collect()
    }

    /// Waits until everything up to `seq` is stored as acknowledged.
    pub async fn stored(&self, seq: Seq) {
        let mut acked = self.acked.subscribe();
        acked.wait_for(|acked| *acked >= Some(seq)).await.unwrap();
    }

    pub fn stored_now(&self) -> Option<Seq> {
        *self.acked.borrow()
    }
}

/// A turn of text, a tool and text again.
pub fn turn(text: &str) -> Vec<Value> {
    vec![
        json!({"type": "prompt", "text": text}),
        json!({"type": "session", "id": "c1", "model": "m"}),
        json!({"type": "token", "text": "I look. ", "message_id": "m1"}),
        json!({"type": "tool_start", "call_id": "t1", "name": "shell", "native_name": "Bash",
            "input": {"command": "ls"}}),
        json!({"type": "tool_end", "call_id": "t1", "name": "shell", "output": "a",
            "is_error": false}),
        json!({"type": "token", "text": "Done.", "message_id": "m2"}),
        json!({"type": "end", "outcome": "completed"}),
    ]
}

/// The bytes that the typed event has, so that a test's JSON cannot differ from them.
fn typed(event: &Value) -> Vec<u8> {
    let event: Event = serde_json::from_value(event.clone()).unwrap();
    serde_json::to_vec(&event).unwrap()
}

impl EventSource for Source {
    type Tail = Tail;

    async fn acked(&self, _: &SessionId) -> Result<Option<Seq>, SourceError> {
        Ok(self.stored_now())
    }

    async fn set_acked(&self, _: &SessionId, seq: Seq) -> Result<(), SourceError> {
        self.acked.send_if_modified(|acked| {
            assert!(*acked <= Some(seq), "the position went back");
            *acked = Some(seq);
            true
        });
        Ok(())
    }

    async fn turn_start(&self, _: &SessionId, of: Seq) -> Result<Seq, SourceError> {
        let lines = self.lines.lock().unwrap();
        let turn = lines[usize::try_from(of.get()).unwrap() - 1].0;
        let first = lines.iter().position(|(own, _)| *own == turn).unwrap();
        Ok(seq(first + 1))
    }

    async fn workspace(&self, _: &SessionId) -> Result<String, SourceError> {
        Ok("/w".to_owned())
    }

    fn tail(&self, _: &SessionId, after: Option<Seq>) -> Tail {
        Tail {
            source: self.clone(),
            at: after.map_or(0, |seq| usize::try_from(seq.get()).unwrap()),
        }
    }
}

impl EventTail for Tail {
    async fn next(&mut self) -> Result<Batch, SourceError> {
        let mut durable = self.source.durable.subscribe();
        durable.wait_for(|last| *last > self.at).await?;
        let lines = self.source.lines.lock().unwrap();
        let last = lines.len().min(self.at + 50);
        let bodies: Vec<&[u8]> = lines[self.at..last]
            .iter()
            .map(|(_, l)| l.as_slice())
            .collect();
        let batch = Batch {
            first: seq(self.at + 1),
            last: seq(last),
            body: bodies.join(&b'\n').into(),
        };
        self.at = last;
        Ok(batch)
    }
}
