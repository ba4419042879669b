//! An agent that is held for want of room is not taken for one that hangs.

use std::time::Duration;

use agent_runner::config::Patience;
use agent_runner::ids::SessionId;
use agent_runner::journal::{Batch, Change};

use crate::bench::Bench;
use crate::cli;

const LIMIT: Duration = Duration::from_secs(1);

fn patience() -> Patience {
    Patience {
        model: Some(LIMIT),
        linger: LIMIT,
        ..Patience::default()
    }
}

#[tokio::test]
async fn an_agent_whose_journal_is_full_for_longer_than_its_limits_is_left_alone() {
    let script = "pad=$(head -c 60000 /dev/zero | tr '\\0' x); n=0\n\
        while [ ! -e \"$HOME/full\" ]; do n=$((n+1)); answer \"m$n\" \"$pad\"; sleep 0.005; done\n\
        answer held Waiting.; sleep 3; answer last Done.; result; \
        sleep 3; touch \"$HOME/over\"\n";
    let mut bench = Bench::with_cli(&cli(script)).await;
    bench.patience = patience();
    bench.journal_quota = 8 << 20;
    let mut running = bench.start().await;
    running.prompt("Make it.").await;
    let mut room = running.journal.room();
    room.wait_for(|room| room.is_full()).await.unwrap();
    std::fs::write(bench.path("home/full"), "").unwrap();
    bench.made("home/over").await;
    assert!(room.borrow().is_full());
    let session: SessionId = "s1".parse().unwrap();
    let seq = running.journal.last_seq(&session).await.unwrap();
    let acked = Batch::new(&session, "claude").with(Change::Acked { seq });
    running.journal.commit(acked).await.unwrap();
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 1, "{end}");
    assert!(running.all("agent_crashed").is_empty());
    running.stop().await;
    bench.stop().await;
}

#[tokio::test]
async fn an_agent_whose_raw_output_is_at_its_quota_is_left_alone_and_can_be_cancelled() {
    let script = "pad=$(head -c 60000 /dev/zero | tr '\\0' x); n=0\n\
        while :; do n=$((n+1)); answer \"m$n\" \"$pad\"; done\n";
    let mut bench = Bench::with_cli(&cli(script)).await;
    bench.patience = patience();
    bench.spool_quota = 1 << 20;
    bench.spool_retain = true;
    let mut running = bench.start().await;
    running.prompt("Make it.").await;
    while running.event("notice").await["code"] != "output_held" {}
    let crash = tokio::time::timeout(3 * LIMIT, running.event("agent_crashed"));
    assert!(crash.await.is_err(), "it was taken for one that hangs");
    running.session.cancel(false).await;
    let end = running.event("end").await;
    assert_eq!(end["outcome"], "cancelled", "{end}");
    assert_eq!(bench.lines("home/pids").len(), 1);
    running.stop().await;
    bench.stop().await;
}
