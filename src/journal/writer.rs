//! The writer thread: the only code that writes the journal.
//!
//! Group commit without a timer: it takes what waits, commits it in one transaction, and while
//! that runs the next group grows by itself. A lone batch waits for nothing; a flood is cheap.
//!
//! A failed write poisons the journal: after a failed fsync nobody knows what is on the disk, so
//! retrying could lose data silently. The daemon restarts and reads the spools again. So it is where
//! the file is not at its place any more. A full disk
//! is the exception, because SQLite then rolls back cleanly: the group is kept until it is stored
//! (`hold`).

mod hold;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::apply::{Block, Numbered};
use super::ballast::Ballast;
use super::failed;
use super::open::{Opened, note_boot};
use super::places::Places;
use super::prune::{self, Goal};
use super::standing::Standing;
use super::store::{seal_session, signed};
use super::tail::Feeds;
use super::{Batch, JournalError, Options, Room, StoredBatch};
use crate::clock::Clock;
use crate::ids::{Seq, SessionId};

/// Batches joined in one transaction at most.
const GROUP_BATCHES: usize = 64;
/// Bytes of events joined in one transaction, about.
const GROUP_BYTES: usize = 1 << 20;
/// A session's places are reserved by so many: one sync for each, and the most that a power cut
/// makes it skip.
const RESERVE: u64 = 1 << 16;
/// Bytes between two looks at the quota: a hundredth of the smallest.
const LOOK: usize = 256 * 1024;

/// A batch and whoever waits for it.
pub(super) struct Commit {
    pub(super) batch: Batch,
    pub(super) done: Done,
}

type Done = oneshot::Sender<Result<Option<Seq>, JournalError>>;

/// Batches that are stored together, and whoever waits for each.
struct Group {
    batches: Vec<Numbered>,
    waiting: Vec<Done>,
}

/// Owns the writing connection.
pub(super) struct Writer {
    connection: Connection,
    file: Standing,
    feeds: Feeds,
    options: Options,
    places: Places,
    ballast: Ballast,
    /// The last `seq` of each session.
    last: HashMap<SessionId, u64>,
    /// Up to where each session's places are reserved, on the disk.
    reserved: HashMap<SessionId, u64>,
    room: watch::Sender<Room>,
    /// Sessions of the last group that held events, and their agents.
    active: BTreeMap<SessionId, String>,
    /// Taken from the queue while nothing could be stored.
    parked: VecDeque<Commit>,
    full_sync: bool,
    poisoned: bool,
    /// Bytes since the quota was looked at.
    unseen: usize,
    /// When it was last looked for what may be pruned.
    pruned: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        opened: Opened,
        options: Options,
        feeds: Feeds,
        room: watch::Sender<Room>,
    ) -> Self {
        Self {
            connection: opened.writer,
            file: opened.file,
            feeds,
            options,
            places: opened.places,
            ballast: opened.ballast,
            last: opened.last,
            reserved: opened.reserved,
            room,
            active: BTreeMap::new(),
            parked: VecDeque::new(),
            full_sync: false,
            poisoned: false,
            unseen: 0,
            pruned: None,
        }
    }

    /// Serves until every handle to the journal is gone.
    pub(super) fn run(mut self, mut commits: mpsc::Receiver<Commit>) {
        if !self.ballast.take() {
            self.hold(Room::DiskFull, Group::empty(), &mut commits);
        }
        self.tend(&mut commits);
        while let Some(first) = self.next(&mut commits) {
            let mut bytes = first.batch.size();
            let mut group = vec![first];
            while group.len() < GROUP_BATCHES && bytes < GROUP_BYTES {
                let next = self.parked.pop_front().or_else(|| commits.try_recv().ok());
                let Some(next) = next else { break };
                bytes += next.batch.size();
                group.push(next);
            }
            self.unseen += bytes;
            self.commit_group(group, &mut commits);
            self.tend(&mut commits);
        }
        if !self.poisoned
            && let Err(error) = self.close()
        {
            tracing::warn!(%error, "the journal was not closed in order");
        }
    }

    fn next(&mut self, commits: &mut mpsc::Receiver<Commit>) -> Option<Commit> {
        self.parked.pop_front().or_else(|| commits.blocking_recv())
    }

    /// Says that nothing is lost, and leaves one file behind where that costs nothing; a reader may
    /// still hold the log open.
    fn close(&mut self) -> Result<(), JournalError> {
        crash_point!("journal.before_checkpoint");
        self.sync_fully(true)?;
        note_boot(&self.connection, "")?;
        self.connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        crash_point!("journal.checkpointed");
        Ok(())
    }

    fn commit_group(&mut self, commits: Vec<Commit>, queue: &mut mpsc::Receiver<Commit>) {
        if self.poisoned {
            return answer_all(
                commits.into_iter().map(|commit| commit.done),
                &JournalError::Poisoned,
            );
        }
        let group = match self.number(commits) {
            Ok(group) => group,
            Err((waiting, error)) => return self.poison(waiting, &error),
        };
        match self.store(&group.batches) {
            Ok(()) => self.publish(group),
            Err(error) if error.is_full() => self.hold(Room::DiskFull, group, queue),
            Err(error) => self.poison(group.waiting, &error),
        }
    }

    /// Gives all events their places.
    fn number(&self, commits: Vec<Commit>) -> Result<Group, (Vec<Done>, JournalError)> {
        let mut last: HashMap<SessionId, u64> = HashMap::new();
        let mut group = Group::empty();
        let mut fault = None;
        for Commit { batch, done } in commits {
            group.waiting.push(done);
            let known = last.get(&batch.session);
            let before = known.or_else(|| self.last.get(&batch.session));
            match Numbered::new(batch, before.copied().unwrap_or(0)) {
                Ok(numbered) => {
                    last.insert(numbered.session.clone(), numbered.after());
                    group.batches.push(numbered);
                }
                Err(error) => fault = Some(error),
            }
        }
        match fault {
            None => Ok(group),
            Some(error) => Err((group.waiting, error)),
        }
    }

    /// Stores all of it, or nothing.
    fn store(&mut self, batches: &[Numbered]) -> Result<(), JournalError> {
        self.file.check()?;
        let mut reserved: HashMap<SessionId, u64> = HashMap::new();
        for batch in batches {
            let (session, after) = (&batch.session, batch.after());
            if batch.forgets() {
                // Before its rows: a place without rows would be taken for events that were lost.
                self.places
                    .forget(session)
                    .map_err(JournalError::file("journal.seq".as_ref()))?;
                continue;
            }
            self.places
                .reach(session, &batch.agent, after)
                .map_err(JournalError::file("journal.seq".as_ref()))?;
            let so_far = reserved.get(session).or_else(|| self.reserved.get(session));
            if batch.ends_turn() {
                // All of it is synced: a power cut from here on loses nothing.
                reserved.insert(session.clone(), after);
            } else if after > so_far.copied().unwrap_or(0) {
                reserved.insert(session.clone(), after + RESERVE);
            }
        }
        self.sync_fully(!reserved.is_empty() || batches.iter().any(|batch| batch.synced))?;
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for batch in batches {
            batch.store(&transaction)?;
        }
        for (session, seq) in &reserved {
            transaction
                .prepare_cached("UPDATE session SET reserved_seq = ?2 WHERE id = ?1")?
                .execute(rusqlite::params![session.as_str(), signed(*seq)])?;
            seal_session(&transaction, session)?;
        }
        crash_point!("journal.before_commit");
        transaction.commit()?;
        crash_point!("journal.committed");
        self.reserved.extend(reserved);
        Ok(())
    }

    fn sync_fully(&mut self, full: bool) -> Result<(), JournalError> {
        if full != self.full_sync {
            let level = if full { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.full_sync = full;
        }
        Ok(())
    }

    /// Tells everybody of what is stored.
    fn publish(&mut self, group: Group) {
        let mut waiting = group.waiting.into_iter();
        if group.batches.iter().any(|batch| batch.events.is_some()) {
            self.active.clear();
        }
        for batch in group.batches {
            let stored = batch.events.as_ref().map(|events| events.last);
            if batch.forgets() {
                self.last.remove(&batch.session);
                self.reserved.remove(&batch.session);
                self.feeds.forget(&batch.session);
            }
            if let Some(last) = stored {
                self.active
                    .insert(batch.session.clone(), batch.agent.clone());
                self.last.insert(batch.session.clone(), last.get());
                if let Err(error) = self.places.gave(&batch.session, last.get()) {
                    tracing::warn!(%error, "journal.seq cannot be written");
                }
                let (ends_turn, feed) = (batch.ends_turn(), self.feeds.of(&batch.session));
                if let Some(events) = batch.events {
                    feed.publish(events.into());
                }
                if ends_turn {
                    feed.settle();
                }
            }
            crash_point!("journal.before_answer");
            // Whoever asked may have gone; the commit stands. A notice of ours has nobody.
            if let Some(done) = waiting.next() {
                drop(done.send(Ok(stored)));
            }
        }
    }

    fn poison(&mut self, waiting: Vec<Done>, error: &JournalError) {
        tracing::error!(%error, "a journal write failed; nothing more is accepted");
        if error.is_corruption() {
            // What is read of it may be right; it cannot be written any more.
            self.places.condemn();
        }
        failed::note(self.file.path(), error);
        self.poisoned = true;
        answer_all(waiting, &error.of_write(self.file.path()));
    }

    /// Looks at what is kept, and at how much room there is.
    fn tend(&mut self, commits: &mut mpsc::Receiver<Commit>) {
        let now = Clock.now();
        let due = self
            .pruned
            .is_none_or(|at| now.duration_since(at) >= self.options.look_every);
        if self.poisoned || (self.unseen < LOOK && !due) {
            return;
        }
        self.unseen = 0;
        let looked = self.level().and_then(|(used, room)| {
            if due || room != Room::Enough {
                self.pruned = Some(now);
                self.prune(used, room)?;
                return self.level();
            }
            Ok((used, room))
        });
        match looked {
            Ok((_, room)) if room.is_full() => self.hold(room, Group::empty(), commits),
            Ok((_, room)) => self.tell_room(room),
            Err(error) if error.is_full() => self.hold(Room::DiskFull, Group::empty(), commits),
            // Damaged events' pages: their readers are told. Nothing was written.
            Err(error) if error.is_corruption() => {
                tracing::warn!(%error, "the journal cannot be pruned");
            }
            Err(error) => self.poison(Vec::new(), &error),
        }
    }

    fn level(&self) -> Result<(u64, Room), JournalError> {
        let used = prune::used(&self.connection)?;
        Ok((used, self.room.borrow().of_quota(used, self.options.quota)))
    }

    fn tell_room(&self, room: Room) {
        self.room
            .send_if_modified(|known| std::mem::replace(known, room) != room);
    }

    /// Lets go of what need not be kept; of more when room is short.
    fn prune(&mut self, used: u64, room: Room) -> Result<(), JournalError> {
        let retain = u64::try_from(self.options.retain.as_millis()).unwrap_or(u64::MAX);
        let mut goal = Goal {
            before: Clock.wall().millis().saturating_sub(retain),
            bytes: used.saturating_sub(self.options.retain_bytes),
            pressed: room.is_full(),
        };
        match room {
            Room::DiskFull => goal.bytes = u64::MAX,
            Room::QuotaReached | Room::Tight => {
                goal.bytes = goal.bytes.max(used.saturating_sub(self.options.quota / 2));
            }
            Room::Enough => {}
        }
        let mut freed = 0;
        loop {
            let step = prune::step(&mut self.connection, goal)?;
            freed += step;
            goal.bytes = goal.bytes.saturating_sub(step);
            if step == 0 {
                break;
            }
        }
        if freed > 0 {
            prune::shrink(&self.connection)?;
        }
        Ok(())
    }
}

impl Group {
    const fn empty() -> Self {
        Self {
            batches: Vec::new(),
            waiting: Vec::new(),
        }
    }
}

impl Batch {
    pub(super) fn size(&self) -> usize {
        self.events.iter().map(|event| event.json.len() + 256).sum()
    }
}

impl From<Block> for StoredBatch {
    fn from(block: Block) -> Self {
        Self {
            first: block.first,
            last: block.last,
            body: block.body,
        }
    }
}

fn answer_all(waiting: impl IntoIterator<Item = Done>, error: &JournalError) {
    for done in waiting {
        // Whoever asked may have gone.
        drop(done.send(Err(error.clone())));
    }
}
