//! The writing thread: bursts of writes, each one transaction, settled in order.

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::mpsc;

use super::{StoreError, Write};

/// The most writes in one transaction: bounds how long a reader's snapshot and an ACK wait.
const BURST: usize = 1_024;

/// Runs until every sender is gone and the queue is empty.
pub(super) fn run(db: &Connection, mut inbox: mpsc::Receiver<Box<dyn Write>>) {
    let mut burst: Vec<Box<dyn Write>> = Vec::with_capacity(BURST);
    let mut level = Level::Full; // SQLite's own default
    while inbox.blocking_recv_many(&mut burst, BURST) > 0 {
        let outcome = commit(db, &mut level, &mut burst).map_err(StoreError::from);
        if let Err(error) = &outcome {
            tracing::error!(%error, writes = burst.len(), "the Hub's store rolled a burst back; leads send it again");
        }
        for write in burst.drain(..) {
            write.settle(outcome.clone());
        }
    }
}

/// How far a commit goes before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Into the system's hands: survives the process.
    Normal,
    /// Onto the disk: survives the machine.
    Full,
}

fn commit(
    db: &Connection,
    level: &mut Level,
    burst: &mut [Box<dyn Write>],
) -> rusqlite::Result<()> {
    let (needed, name) = if burst.iter().any(|write| write.is_promise()) {
        (Level::Full, "FULL")
    } else {
        (Level::Normal, "NORMAL")
    };
    if *level != needed {
        // Cannot be changed inside a transaction.
        db.pragma_update(None, "synchronous", name)?;
        *level = needed;
    }
    let transaction = rusqlite::Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    for write in burst {
        write.apply(&transaction)?;
    }
    transaction.commit()
}
