//! Holding on while there is no room: nothing is lost, nobody is told that it was stored.
//!
//! What was being stored waits here; what comes after it waits in the queue, and so do the pumps
//! behind that, the spools, and in the end the agents in their next write. Prompts are refused.
//! Acknowledgements are taken: they are what makes room.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::{Commit, Group, Writer, answer_all};
use crate::clock::Clock;
use crate::event::NoticeLevel;
use crate::ids::{Seq, SessionId};
use crate::journal::apply::{Block, Numbered};
use crate::journal::room::Patience;
use crate::journal::{JournalError, Room, WRITER_QUEUE, own};

/// How soon something new in the queue is looked at: there is no blocking wait with a limit.
const LOOK: Duration = Duration::from_millis(20);
/// Between two looks at the quota, when nobody has acknowledged anything.
const QUOTA_WAIT: Duration = Duration::from_secs(1);

/// Why a wait is over.
enum Woken {
    Time,
    /// Something was acknowledged.
    Acked,
    /// All handles are gone.
    Closed,
}

impl Writer {
    /// Returns when there is room and the group is stored, or when nobody is left to hold for.
    pub(super) fn hold(
        &mut self,
        why: Room,
        mut group: Group,
        commits: &mut mpsc::Receiver<Commit>,
    ) {
        tracing::warn!("{why}");
        if why == Room::DiskFull {
            self.ballast.give_up();
        }
        self.tell_room(why);
        refuse_prompts(why, &mut group);
        self.add_notices(why, &mut group);
        let mut patience = Patience::new();
        loop {
            match self.try_on(why, &mut group) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) if error.is_full() => {}
                Err(error) => return self.poison(group.waiting, &error),
            }
            let limit = match why {
                Room::DiskFull => patience.next(),
                _ => QUOTA_WAIT,
            };
            match self.wait(why, limit, commits) {
                Woken::Closed => return answer_all(group.waiting, &JournalError::Closed),
                Woken::Time | Woken::Acked => {}
            }
            if self.poisoned {
                return answer_all(group.waiting, &JournalError::Poisoned);
            }
        }
        let room = self.level().map_or(Room::Enough, |(_, room)| room);
        self.tell_room(room);
        tracing::info!("there is room again");
    }

    /// Stores the group, prunes; whether all is well again.
    fn try_on(&mut self, why: Room, group: &mut Group) -> Result<bool, JournalError> {
        if !group.batches.is_empty() {
            self.store(&group.batches)?;
            self.publish(std::mem::replace(group, Group::empty()));
        }
        let (used, _) = self.level()?;
        self.prune(used, why)?;
        Ok(match why {
            Room::DiskFull => self.ballast.take(),
            _ => !self.level()?.1.is_full(),
        })
    }

    /// Says in each session that was active what holds it.
    fn add_notices(&self, why: Room, group: &mut Group) {
        let mut active = self.active.clone();
        for batch in group.batches.iter().filter(|batch| batch.events.is_some()) {
            active.insert(batch.session.clone(), batch.agent.clone());
        }
        for (session, agent) in active {
            let of_session = |batch: &&Numbered| batch.session == session;
            let waiting = group.batches.iter().rev().find(of_session);
            let stored = || self.last.get(&session).copied().unwrap_or(0);
            let before = waiting.map_or_else(stored, Numbered::after);
            group.batches.extend(notice(why, session, agent, before));
        }
    }

    fn wait(&mut self, why: Room, limit: Duration, commits: &mut mpsc::Receiver<Commit>) -> Woken {
        let until: Instant = Clock.now() + limit;
        loop {
            while self.parked.len() < WRITER_QUEUE {
                match commits.try_recv() {
                    Ok(commit) => {
                        if self.admit(why, commit) {
                            return Woken::Acked;
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Woken::Closed,
                }
            }
            let left = until.saturating_duration_since(Clock.now());
            if left.is_zero() {
                return Woken::Time;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Takes what makes room, refuses prompts, lets the rest wait; whether something was taken.
    fn admit(&mut self, why: Room, commit: Commit) -> bool {
        if commit.batch.accepts_prompt() {
            answer_all([commit.done], &JournalError::Full(why));
            return false;
        }
        if !commit.batch.makes_room() {
            self.parked.push_back(commit);
            return false;
        }
        let Commit { batch, done } = commit;
        let before = self.last.get(&batch.session).copied().unwrap_or(0);
        let stored = Numbered::new(batch, before).and_then(|batch| self.store(&[batch]));
        match stored {
            Ok(()) => {
                drop(done.send(Ok(None)));
                true
            }
            // An acknowledgement is told again: the Hub has it.
            Err(error) if error.is_full() => {
                answer_all([done], &JournalError::Full(why));
                false
            }
            Err(error) => {
                self.poison(vec![done], &error);
                true
            }
        }
    }
}

/// A prompt that is not stored yet was promised to nobody.
fn refuse_prompts(why: Room, group: &mut Group) {
    let asks = |batch: &Numbered| batch.events.is_none() && batch.queues_turn();
    if !group.batches.iter().any(asks) {
        return;
    }
    let whole = std::mem::replace(group, Group::empty());
    for (batch, done) in whole.batches.into_iter().zip(whole.waiting) {
        if asks(&batch) {
            answer_all([done], &JournalError::Full(why));
        } else {
            group.batches.push(batch);
            group.waiting.push(done);
        }
    }
}

fn notice(why: Room, session: SessionId, agent: String, before: u64) -> Option<Numbered> {
    let code = match why {
        Room::DiskFull => "disk_full",
        _ => "journal_full",
    };
    let notice = own::notice(NoticeLevel::Warning, code, why.to_string());
    let (at, seq) = (Clock.wall(), Seq::new(before + 1)?);
    let line = own::line(&session, &agent, seq.get(), at, &notice).ok()?;
    let events = Block {
        first: seq,
        last: seq,
        at,
        body: line.into(),
    };
    Some(Numbered {
        session,
        agent,
        changes: Vec::new(),
        events: Some(events),
        before,
        synced: false,
    })
}
