//! Asynchronous tests that end: in time, or by failing.

use std::future::Future;
use std::time::Duration;

/// Runs a test on two threads, for as long as `limit` at most.
pub(crate) fn run(limit: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(limit, test).await.expect("in time");
    });
}
