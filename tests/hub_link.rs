//! The Hub link against a small real WebSocket Hub that misbehaves in every way that one can.

// The settings for tests do not reach helpers of an integration test.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::print_stdout)] // seeds

#[path = "support/appears.rs"]
mod appears;
#[path = "hub_link/delivery.rs"]
mod delivery;
#[path = "hub_link/faults.rs"]
mod faults;
#[path = "hub_link/filed.rs"]
mod filed;
#[path = "hub_link/hub.rs"]
mod hub;
#[path = "support/in_time.rs"]
mod in_time;
#[path = "hub_link/joining.rs"]
mod joining;
#[path = "hub_link/oracle.rs"]
mod oracle;
#[path = "source/mod.rs"]
mod project;
#[path = "hub_link/schemas.rs"]
mod schemas;
#[path = "hub_link/source.rs"]
mod source;
#[path = "hub_link/talk.rs"]
mod talk;
#[path = "hub_link/ways.rs"]
mod ways;

use std::future::Future;
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::hub::link::{self, Inbound, LinkConfig, LinkHandle};
use agent_runner::tasks::Tasks;
use hub::{Event, Peer};
use source::Source;
use tokio::sync::mpsc::Receiver;

/// The overall limit of one test.
const LIMIT: Duration = Duration::from_mins(2);

fn run(test: impl Future<Output = ()>) {
    in_time::run(LIMIT, test);
}

fn start(config: LinkConfig, source: &Source) -> (LinkHandle, Receiver<Inbound>) {
    link::start(config, source.clone(), &Tasks::new(), Clock)
}

/// The journal's frames among what a Hub saw.
fn journal(seen: &[Event]) -> Vec<&Event> {
    seen.iter()
        .filter(|e| !e.id.starts_with("driver-1/"))
        .collect()
}

fn state_ids(seen: &[Event]) -> Vec<String> {
    let delta =
        |e: &&&Event| !["message_update", "tool_execution_update"].contains(&e.name.as_str());
    journal(seen)
        .iter()
        .filter(delta)
        .map(|e| e.id.clone())
        .collect()
}

/// Reads events, without acknowledging, until the turn is over.
async fn whole_turn(peer: &mut Peer) -> Vec<Event> {
    peer.events_until("agent_end").await
}

/// A generator without dependencies: the test must be the same on each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}
