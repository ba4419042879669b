//! A Hub that keeps a ledger and misbehaves by script: whatever it does, every frame that changes
//! something arrives, the same each time, in order, with bounded memory and bounded haste.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::hub::Phase;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::hub::{Event, Hub, Peer, Said};
use crate::source::{Source, seq, turn};
use crate::{Dice, run, start, state_ids};

/// Turns that each script is played over.
const TURNS: u128 = 12;
/// Bad connections before the Hub comes to its senses.
const BAD: usize = 3;
/// Requests that may be unanswered at once, and the two that open a session.
const WINDOW: usize = 256 + 2;

/// What the Hub has seen.
#[derive(Default)]
struct Ledger {
    seen: Vec<Event>,
    data: HashMap<String, Value>,
    /// The most requests that one connection had unanswered.
    unanswered: usize,
}

impl Ledger {
    fn take(&mut self, event: &Event) {
        let first = self.data.entry(event.id.clone());
        let first = first.or_insert_with(|| event.data.clone());
        assert_eq!(*first, event.data, "{} came with other content", event.id);
        self.seen.push(event.clone());
    }

    /// Nothing is missing, and what came first came in order.
    fn judge(&self, source: &Source, what: &str) {
        let mut known = HashSet::new();
        let ids = state_ids(&self.seen).into_iter();
        let firsts: Vec<String> = ids.filter(|id| known.insert(id.clone())).collect();
        assert_eq!(firsts, source.state_ids(), "{what}");
        assert!(self.unanswered <= WINDOW, "{what}: {}", self.unanswered);
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    NoAck,
    Late,
    Twice,
    Reordered,
    OfAStranger,
    CloseBefore,
    CloseAfter,
    Code(u16),
    HalfOpen,
    Broken,
    Huge,
    Silence,
}

const FAULTS: [Fault; 24] = [
    Fault::NoAck,
    Fault::Late,
    Fault::Twice,
    Fault::Reordered,
    Fault::OfAStranger,
    Fault::CloseBefore,
    Fault::CloseAfter,
    Fault::Code(1000),
    Fault::Code(1001),
    Fault::Code(1011),
    Fault::Code(1012),
    Fault::Code(4000),
    Fault::Code(4400),
    Fault::Code(4401),
    Fault::Code(4403),
    Fault::Code(4404),
    Fault::Code(4408),
    Fault::Code(4409),
    Fault::Code(4410),
    Fault::Code(4429),
    Fault::HalfOpen,
    Fault::Broken,
    Fault::Huge,
    Fault::Silence,
];

/// One connection of the script.
async fn misbehave(fault: Fault, peer: &mut Peer, ledger: &mut Ledger, dice: &mut Dice) {
    let mut held = Vec::new();
    for _ in 0..(20 + dice.roll(60)) {
        let Said::Event(event) = peer.said().await else {
            return;
        };
        ledger.take(&event);
        held.push(event.id);
        ledger.unanswered = ledger.unanswered.max(held.len());
        match fault {
            Fault::NoAck | Fault::HalfOpen | Fault::Silence | Fault::CloseBefore => {}
            Fault::Late if held.len() < 15 => {}
            Fault::Reordered if held.len() < 8 => {}
            Fault::Reordered => {
                while !held.is_empty() {
                    let at = usize::try_from(dice.roll(held.len() as u64)).unwrap();
                    peer.ack(&held.swap_remove(at)).await;
                }
            }
            Fault::Twice => {
                for id in held.drain(..) {
                    peer.ack(&id).await;
                    peer.ack(&id).await;
                }
            }
            Fault::OfAStranger => {
                peer.ack("nobody/7").await;
                for id in held.drain(..) {
                    peer.ack(&id).await;
                }
            }
            _ => {
                for id in held.drain(..) {
                    peer.ack(&id).await;
                }
            }
        }
    }
    match fault {
        Fault::Code(code) => peer.close(code).await,
        Fault::CloseBefore | Fault::CloseAfter => peer.close(1012).await,
        Fault::Broken => peer.text("{\"id\":".to_owned()).await,
        Fault::Huge => peer.text(format!("\"{}\"", "x".repeat(9 << 20))).await,
        _ => {}
    }
}

/// Acknowledges until the lead has nothing left to say.
async fn behave(peer: &mut Peer, ledger: &mut Ledger) {
    loop {
        match peer.said().await {
            Said::Event(event) => {
                ledger.take(&event);
                peer.ack(&event.id).await;
            }
            Said::Other(_) => {}
            Said::Close(_) | Said::Gone => return,
        }
    }
}

async fn play(fault: Fault, seed: u64) {
    let (hub, source) = (Hub::start().await, Source::new());
    let mut last = seq(1);
    for n in 0..TURNS {
        last = source.add(n + 1, &turn(&format!("p{n}")));
    }
    let (_handle, _inbound) = start(hub.config(), &source);
    let (mut ledger, mut dice) = (Ledger::default(), Dice(seed));
    let script = async {
        // Connections that only the lead gives up stay open, as half-open ones do.
        let mut open = Vec::new();
        for _ in 0..BAD {
            let mut peer = hub.join().await;
            misbehave(fault, &mut peer, &mut ledger, &mut dice).await;
            open.push(peer);
            if matches!(fault, Fault::HalfOpen | Fault::Silence) {
                break; // each costs the time in which silence counts as death
            }
            if !matches!(
                fault,
                Fault::Code(_)
                    | Fault::CloseBefore
                    | Fault::CloseAfter
                    | Fault::Broken
                    | Fault::Huge
            ) {
                drop(open.pop());
            }
        }
        loop {
            behave(&mut hub.join().await, &mut ledger).await;
        }
    };
    tokio::select! {
        () = source.stored(last) => {}
        () = script => {}
    }
    ledger.judge(&source, &format!("{fault:?}, seed {seed}"));
}

#[test]
fn every_scripted_fault_leaves_the_ledger_whole_and_in_order() {
    run(async {
        let seed = std::env::var("ORACLE_SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(11);
        println!("ORACLE_SEED={seed}");
        let all = FAULTS.iter().map(|fault| play(*fault, seed));
        futures_util::future::join_all(all).await;
    });
}

#[test]
fn a_storm_of_restarts_is_survived() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let last = source.add(1, &turn("p"));
        let (handle, _inbound) = start(hub.config(), &source);
        let mut ledger = Ledger::default();
        let mut peer = hub.join().await;
        ledger.take(&peer.event().await);
        drop(peer);
        for n in 0..30 {
            let mut peer = hub.accept().await;
            if n % 3 != 0 {
                peer.init().await;
            }
            if n % 3 == 2 {
                ledger.take(&peer.event().await);
            }
        }
        tokio::select! {
            () = async { loop { behave(&mut hub.join().await, &mut ledger).await } } => {}
            () = source.stored(last) => {}
        }
        ledger.judge(&source, "storm");
        assert!(handle.status().borrow().losses >= 20);
    });
}

#[test]
fn a_thousand_disconnects_at_any_message_lose_nothing() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let mut last = seq(1);
        for n in 0..1_000 {
            last = source.add(n + 1, &turn(&format!("p{n}")));
        }
        let mut config = hub.config();
        config.timing.backoff = Duration::from_millis(1);
        config.timing.backoff_cap = Duration::from_millis(2);
        config.timing.join = Duration::from_millis(1);
        let (handle, _inbound) = start(config, &source);
        let (mut ledger, mut dice) = (Ledger::default(), Dice(5));
        let script = async {
            for _ in 0..1_000 {
                let mut peer = hub.join().await;
                for _ in 0..dice.roll(8) {
                    let Said::Event(event) = peer.said().await else {
                        continue;
                    };
                    ledger.take(&event);
                    // A third of the acknowledgements are lost, a third come twice.
                    for _ in 0..dice.roll(3) {
                        peer.ack(&event.id).await;
                    }
                }
            }
            loop {
                behave(&mut hub.join().await, &mut ledger).await;
            }
        };
        tokio::select! {
            () = source.stored(last) => {}
            () = script => {}
        }
        ledger.judge(&source, "a thousand disconnects");
        assert!(handle.status().borrow().losses >= 990);
    });
}

/// Carries bytes to the Hub at a pace, and back as they come.
async fn slow_way(to: std::net::SocketAddr, bytes_a_second: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[allow(clippy::disallowed_methods)] // it ends with the test's runtime
    tokio::spawn(async move {
        let (lead, _) = listener.accept().await.unwrap();
        let (mut from, mut back) = lead.into_split();
        let (mut answers, mut hub) = TcpStream::connect(to).await.unwrap().into_split();
        let slow = async {
            let mut pause = tokio::time::interval(Duration::from_millis(10));
            let mut chunk = vec![0; bytes_a_second / 100];
            loop {
                pause.tick().await;
                let count = from.read(&mut chunk).await.unwrap_or(0);
                if count == 0 || hub.write_all(&chunk[..count]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = slow => {}
            _ = tokio::io::copy(&mut answers, &mut back) => {}
        }
    });
    address
}

/// This process's own memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

#[test]
fn a_hub_that_reads_a_trickle_is_served_without_haste_and_without_memory() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        for n in 0..4_000 {
            source.add(n + 1, &turn(&format!("p{n}")));
        }
        let mut config = hub.config();
        // A 1 KiB/s reader and 30 s of patience, both forty times as fast.
        let way = slow_way(hub.address(), 40 * 1024).await;
        config.address = agent_runner::hub::HubAddress::parse(&format!("http://{way}")).unwrap();
        config.timing.dead = Duration::from_millis(750);
        let (handle, _inbound) = start(config, &source);
        let mut ledger = Ledger::default();
        let mut peer = hub.join().await;
        handle.ready().await.unwrap();
        let before = resident();
        let until = Clock.now() + Duration::from_secs(4);
        let mut held = 0;
        while Clock.now() < until {
            let Said::Event(event) = peer.said().await else {
                continue;
            };
            ledger.take(&event);
            peer.ack(&event.id).await;
            held = held.max(handle.status().borrow().in_flight);
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 16 << 10, "{grown} KiB more");
        assert!(held <= WINDOW, "{held}");
        assert!(ledger.seen.len() > 60, "{}", ledger.seen.len());
        assert_eq!(handle.status().borrow().losses, 0, "it lives");
    });
}

#[test]
fn a_hub_that_floods_and_does_not_read_costs_no_memory_and_no_event() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let last = source.add(1, &turn("p"));
        let (handle, inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
        handle.ready().await.unwrap();
        let before = resident();
        let command = json!({"type": "rpc_command", "command": {"type": "prompt",
            "message": "x".repeat(2_000), "id": "a".repeat(40)}});
        for _ in 0..20_000 {
            peer.send(&command).await;
            // The frame itself, for nobody to read.
            if handle.status().borrow().losses > 0 {
                break;
            }
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 16 << 10, "{grown} KiB more");
        assert!(inbound.len() <= 64);
        drop(peer);
        let mut ledger = Ledger::default();
        tokio::select! {
            () = async { loop { behave(&mut hub.join().await, &mut ledger).await } } => {}
            () = source.stored(last) => {}
        }
        ledger.judge(&source, "flood");
    });
}

#[test]
fn a_link_on_which_nothing_is_heard_is_given_up_in_time_also_while_it_sends() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        for n in 0..3_000 {
            source.add(n + 1, &turn(&"long ".repeat(400)));
        }
        let mut config = hub.config();
        // Thirty seconds of silence, ten times as fast.
        config.timing.dead = Duration::from_secs(3);
        config.timing.ping = Duration::from_secs(1);
        config.timing.ack = Duration::from_secs(3);
        let (_handle, _inbound) = start(config, &source);
        let silent = hub.join().await; // the socket fills up and nobody says a word
        let since = Clock.now();
        let _next = hub.accept().await;
        let took = since.elapsed();
        assert!(took >= Duration::from_millis(2_900), "{took:?}");
        assert!(took <= Duration::from_millis(3_500 + 1_000), "{took:?}");
        drop(silent);
    });
}

#[test]
fn a_superseded_lead_sends_nothing_of_what_happens_later() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, _inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
        peer.events_until("rpc_ready").await;
        peer.close(4410).await;
        let mut status = handle.status();
        let fenced = status.wait_for(|status| status.phase == Phase::Fenced);
        assert!(
            fenced
                .await
                .unwrap()
                .last_error
                .as_ref()
                .unwrap()
                .contains("superseded")
        );
        source.add(1, &turn("p"));
        let end = peer.said().await;
        assert!(matches!(end, Said::Close(_) | Said::Gone), "{end:?}");
    });
}
