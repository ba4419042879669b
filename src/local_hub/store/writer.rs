//! The writing thread: bursts of writes, each one transaction, settled in order.

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::mpsc;

use super::{StoreError, Write};

/// The most writes in one transaction: bounds how long a reader's snapshot and an ACK wait.
const BURST: usize = 1_024;

/// Runs until every sender is gone and the queue is empty.
pub(super) fn run(db: &Connection, mut inbox: mpsc::Receiver<Box<dyn Write>>) {
    let mut burst: Vec<Box<dyn Write>> = Vec::with_capacity(BURST);
    while inbox.blocking_recv_many(&mut burst, BURST) > 0 {
        let outcome = commit(db, &mut burst).map_err(StoreError::from);
        if let Err(error) = &outcome {
            tracing::error!(%error, writes = burst.len(), "the Hub's store rolled a burst back; leads send it again");
        }
        for write in burst.drain(..) {
            write.settle(outcome.clone());
        }
    }
}

fn commit(db: &Connection, burst: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
    let promised = burst.iter().any(|write| write.is_promise());
    let level = if promised { "FULL" } else { "NORMAL" };
    // Cannot be changed inside a transaction.
    db.pragma_update(None, "synchronous", level)?;
    let transaction = rusqlite::Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    for write in burst {
        write.apply(&transaction)?;
    }
    transaction.commit()
}
