//! The Hub link against a small real WebSocket Hub that misbehaves in every way that one can.

// The settings for tests do not reach helpers of an integration test.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::print_stdout)] // seeds

#[path = "support/appears.rs"]
mod appears;
#[path = "hub_link/filed.rs"]
mod filed;
#[path = "hub_link/hub.rs"]
mod hub;
#[path = "hub_link/oracle.rs"]
mod oracle;
#[path = "hub_link/source.rs"]
mod source;
#[path = "hub_link/ways.rs"]
mod ways;

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::hub::link::{self, Inbound, LinkConfig, LinkHandle, LinkStatus, News};
use agent_runner::hub::{Command, HubAddress, Phase, StartError};
use agent_runner::tasks::Tasks;
use hub::{Event, Hub, Peer, Said};
use serde_json::{Value, json};
use source::{Source, seq, turn};
use tokio::sync::mpsc::Receiver;

/// The overall limit of one test.
const LIMIT: Duration = Duration::from_mins(2);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, test).await.expect("in time");
    });
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

#[test]
fn a_lead_says_who_it_is_and_sends_the_turn_in_order() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let last = source.add(1, &turn("fix"));
        let (handle, _inbound) = start(hub.config(), &source);
        let mut peer = hub.accept().await;
        for part in [
            "sessionId=s1",
            "role=lead",
            "driverMode=rpc",
            "driverInstanceId=driver-1",
            "orgId=org_1",
        ] {
            assert!(peer.uri.contains(part), "{}", peer.uri);
        }
        assert_eq!(peer.key_header.as_deref(), Some("agc_KEY"));
        assert_eq!(
            peer.auth,
            json!({"authorization": "agc_KEY", "org_id": "org_1"})
        );
        peer.init().await;
        let joined = handle.ready().await.unwrap();
        assert_eq!(joined.session.as_str(), "s1");
        assert_eq!(joined.init.task.as_deref(), Some("t"));
        let seen = whole_turn(&mut peer).await;
        assert_eq!(seen[0].name, "session_start");
        assert_eq!(seen[0].data["reason"], "startup");
        assert_eq!(seen[1].name, "rpc_ready");
        assert_eq!(state_ids(&seen), source.state_ids());
        assert!(seen.iter().all(|e| e.data["agentRole"] == "lead"));
        for event in &seen {
            peer.ack(&event.id).await;
        }
        source.stored(last).await;
        assert_eq!(handle.status().borrow().phase, Phase::Live);
    });
}

#[test]
fn a_refusal_before_the_first_init_ends_the_link() {
    run(async {
        for code in [4400, 4401, 4403, 4404, 4500] {
            let (hub, source) = (Hub::start().await, Source::new());
            let (handle, _inbound) = start(hub.config(), &source);
            hub.accept().await.close(code).await;
            if code == 4401 {
                // The key is tried in the URL, too.
                hub.accept().await.close(code).await;
            }
            let error = handle.ready().await.unwrap_err();
            assert!(matches!(&error, StartError::Refused(why) if why.contains(&code.to_string())));
        }
        let gone = json!({"type": "connection_rejected", "code": "session_expired",
            "message": "gone", "timestamp": 1});
        // What is about the key is tried with the key in the URL, too.
        for (frame, tries) in [(gone, 1), (json!({"error": "bad key"}), 2)] {
            let (hub, source) = (Hub::start().await, Source::new());
            let (handle, _inbound) = start(hub.config(), &source);
            for _ in 0..tries {
                let mut peer = hub.accept().await;
                peer.send(&frame).await;
                peer.close(1000).await;
            }
            let error = handle.ready().await.unwrap_err();
            assert!(matches!(error, StartError::Refused(_)), "{error}");
        }
    });
}

#[test]
fn an_absent_hub_is_waited_for_and_then_reported() {
    run(async {
        let hub = Hub::start().await;
        let config = hub.config();
        drop(hub);
        let (handle, _inbound) = start(config, &Source::new());
        let error = handle.ready().await.unwrap_err();
        assert!(matches!(error, StartError::Unreachable { .. }), "{error}");
        assert!(!error.to_string().contains("KEY"));
    });
}

#[test]
fn a_secure_address_without_tls_behind_it_is_reported() {
    run(async {
        let hub = Hub::start().await;
        let mut config = hub.config();
        let plain = config.address.to_string();
        config.address = HubAddress::parse(&plain.replace("ws://", "wss://")).unwrap();
        let (handle, _inbound) = start(config, &Source::new());
        tokio::select! {
            () = hub.hang_up() => {}
            error = handle.ready() => {
                let error = error.unwrap_err();
                assert!(matches!(error, StartError::Unreachable { .. }), "{error}");
            }
        }
    });
}

#[test]
fn a_hub_that_has_no_time_yet_is_joined_later() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let mut config = hub.config();
        config.timing.hub_wait = Duration::from_secs(20);
        let (handle, _inbound) = start(config, &source);
        for code in [4408, 4429, 4409, 1001] {
            hub.accept().await.close(code).await;
        }
        let _peer = hub.join().await;
        handle.ready().await.unwrap();
    });
}

#[test]
fn acknowledgements_may_come_late_twice_and_in_any_order() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let last = source.add(1, &turn("p"));
        let (_handle, _inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
        let seen = whole_turn(&mut peer).await;
        for event in seen.iter().rev().chain(&seen) {
            peer.ack(&event.id).await;
        }
        peer.ack("never sent").await;
        source.stored(last).await;
        let next = source.add(2, &turn("q"));
        let more = whole_turn(&mut peer).await;
        assert_eq!(more[0].name, "before_agent_start", "nothing is repeated");
        for event in &more {
            peer.ack(&event.id).await;
        }
        source.stored(next).await;
    });
}

#[test]
fn what_was_not_acknowledged_comes_again_with_the_same_ids_and_without_stale_deltas() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let last = source.add(1, &turn("p"));
        let mut config = hub.config();
        config.timing.ack = Duration::from_mins(1);
        let (handle, _inbound) = start(config, &source);
        let mut peer = hub.join().await;
        let first = whole_turn(&mut peer).await;
        // The opening, the prompt, the begin of an event, and one beyond the hole.
        for event in first[..8].iter().chain([&first[10]]) {
            peer.ack(&event.id).await;
        }
        let mut status = handle.status();
        let taken = |s: &LinkStatus| s.acked == Some(seq(1)) && s.in_flight == first.len() - 9;
        status.wait_for(taken).await.unwrap();
        drop(peer);
        let mut peer = hub.join().await;
        let again = whole_turn(&mut peer).await;
        let expected: Vec<&str> = first[8..]
            .iter()
            .filter(|e| e.id != first[10].id && e.name != "message_update")
            .map(|e| e.id.as_str())
            .collect();
        let got: Vec<&str> = again.iter().map(|e| e.id.as_str()).collect();
        let got: Vec<&str> = got
            .into_iter()
            .filter(|id| !first[..8].iter().any(|e| e.id == *id))
            .collect();
        assert_eq!(got, expected);
        for event in &again {
            let before = first.iter().find(|e| e.id == event.id).unwrap();
            assert_eq!(before.data, event.data);
            peer.ack(&event.id).await;
        }
        source.stored(last).await;
    });
}

#[test]
fn a_new_daemon_goes_on_in_the_middle_of_a_turn() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let events = turn("p");
        let middle = source.add(1, &events[..4]);
        let (handle, _inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
        let mut seen = Vec::new();
        let serve = async { peer.serve(&mut seen).await };
        let close = async {
            source.stored(middle).await;
            handle.close(Some(middle)).await;
        };
        let (end, ()) = tokio::join!(serve, close);
        assert!(matches!(end, Said::Close(1000)), "{end:?}");
        assert_eq!(seen.pop().unwrap().name, "session_shutdown");

        let last = source.add(1, &events[4..]);
        let (_handle, _inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
        let rest = whole_turn(&mut peer).await;
        assert_eq!(rest[0].data["reason"], "resume");
        let mut ids = state_ids(&seen);
        ids.extend(state_ids(&rest));
        assert_eq!(ids, source.state_ids(), "each once, in order");
        for event in &rest {
            peer.ack(&event.id).await;
        }
        source.stored(last).await;
    });
}

#[test]
fn a_hub_that_never_acknowledges_but_lives_gets_everything() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let mut last = None;
        for n in 0..150 {
            last = Some(source.add(n + 1, &turn("p")));
        }
        let (handle, _inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
        let expected = source.state_ids();
        let mut seen = Vec::new();
        while state_ids(&seen).len() < expected.len() {
            seen.extend(whole_turn(&mut peer).await);
        }
        assert_eq!(state_ids(&seen), expected);
        let rest = async { while !matches!(peer.said().await, Said::Gone) {} };
        tokio::select! {
            () = rest => panic!("the link left"),
            () = source.stored(last.unwrap()) => {}
        }
        assert!(handle.status().borrow().unanswered > 0);
        assert_eq!(handle.status().borrow().losses, 0);
    });
}

#[test]
fn a_half_open_connection_is_given_up_and_taken_up_again() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let last = source.add(1, &turn("p"));
        let (handle, _inbound) = start(hub.config(), &source);
        let _silent = hub.join().await; // reads nothing, says nothing, closes nothing
        let mut peer = hub.join().await;
        let seen = whole_turn(&mut peer).await;
        assert_eq!(state_ids(&seen), source.state_ids());
        for event in &seen {
            peer.ack(&event.id).await;
        }
        source.stored(last).await;
        assert_eq!(handle.status().borrow().losses, 1);
    });
}

#[test]
fn after_the_first_init_every_close_code_is_survived() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, _inbound) = start(hub.config(), &source);
        let mut status = handle.status();
        for (code, phase) in [
            (4409, Phase::Fenced),
            (4410, Phase::Fenced),
            (4401, Phase::Rejected),
            (4400, Phase::Rejected),
            (4403, Phase::Rejected),
            (4404, Phase::Rejected),
            (4500, Phase::Rejected),
            (4999, Phase::Rejected),
            (4408, Phase::Backoff),
            (4429, Phase::Backoff),
            (1000, Phase::Backoff),
            (1001, Phase::Backoff),
            (1011, Phase::Backoff),
            (1012, Phase::Backoff),
        ] {
            let mut peer = hub.join().await;
            status.wait_for(|s| s.phase == Phase::Live).await.unwrap();
            peer.close(code).await;
            let now = status
                .wait_for(|s| ![Phase::Live, Phase::Connecting].contains(&s.phase))
                .await
                .unwrap();
            assert_eq!(now.phase, phase, "{code}");
            assert!(now.last_error.as_ref().unwrap().contains(&code.to_string()));
        }
        let last = source.add(1, &turn("p"));
        let mut peer = hub.join().await;
        let mut seen = Vec::new();
        tokio::select! {
            end = peer.serve(&mut seen) => panic!("{end:?}"),
            () = source.stored(last) => {}
        }
        assert_eq!(state_ids(&seen), source.state_ids());
    });
}

#[test]
fn nonsense_is_refused_politely_and_the_session_goes_on() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (_handle, _inbound) = start(hub.config(), &source);
        for (text, code) in [
            ("{broken".to_owned(), 1008),
            ("[]".to_owned(), 1008),
            (format!("\"{}\"", "x".repeat(9 << 20)), 1009),
        ] {
            let mut peer = hub.join().await;
            peer.text(text).await;
            let end = loop {
                match peer.said().await {
                    Said::Event(_) | Said::Other(_) => {}
                    end => break end,
                }
            };
            assert!(
                matches!(end, Said::Close(got) if got == code),
                "{code}: {end:?}"
            );
        }
        let mut peer = hub.join().await;
        peer.send(&json!({"type": "from the future", "x": [1, 2]}))
            .await;
        let last = source.add(1, &turn("p"));
        let mut seen = Vec::new();
        tokio::select! {
            end = peer.serve(&mut seen) => panic!("{end:?}"),
            () = source.stored(last) => {}
        }
    });
}

async fn response(peer: &mut Peer) -> Value {
    loop {
        if let Said::Other(frame) = peer.said().await
            && frame["type"] == "rpc_response"
        {
            return frame["response"].clone();
        }
    }
}

#[test]
fn commands_reach_the_driver_and_its_answers_the_hub() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, mut inbound) = start(hub.config(), &source);
        let mut peer = hub.join().await;
        let command = |command: Value| json!({"type": "rpc_command", "command": command});
        peer.send(&command(
            json!({"type": "prompt", "message": "go", "id": "q1"}),
        ))
        .await;
        let got = inbound.recv().await.unwrap();
        let said = agent_runner::hub::Said {
            text: "go".to_owned(),
            author: None,
        };
        assert_eq!(got.command, Command::Prompt(said));
        handle.respond(got.reply, Ok(None));
        assert_eq!(
            response(&mut peer).await,
            json!({"type": "response", "id": "q1", "command": "prompt", "success": true})
        );
        peer.send(&command(json!({"type": "get_state", "id": 2})))
            .await;
        let got = inbound.recv().await.unwrap();
        handle.respond(got.reply, Ok(Some(json!({"isStreaming": false}))));
        assert_eq!(
            response(&mut peer).await["data"],
            json!({"isStreaming": false})
        );
        for refused in [
            json!({"type": "from_the_future", "id": "x"}),
            json!({"type": "prompt", "message": "", "id": "x"}),
        ] {
            peer.send(&command(refused)).await;
            let answer = response(&mut peer).await;
            assert_eq!(
                (&answer["success"], &answer["id"]),
                (&json!(false), &json!("x"))
            );
            assert!(answer["error"].is_string());
        }
        // What the Hub itself puts into the session is a prompt, too, and wants no answer.
        source.add(1, &turn("p"));
        let mut news = handle.news().unwrap();
        let event = peer.event().await;
        let message = json!({"role": "user", "content": "and then?"});
        let inject = json!({"action": "INJECT_MESSAGE", "message": message});
        peer.send(&json!({"id": event.id, "actions": [inject]}))
            .await;
        match news.recv().await.unwrap() {
            News::Answered { frame, actions, .. } => {
                assert_eq!(frame, event.id);
                assert_eq!(actions.injected, ["and then?"]);
            }
            other => panic!("{other:?}"),
        }
        peer.send(&json!({"type": "rpc_ui_response", "id": "u1", "result": true}))
            .await;
        let answer = news.recv().await.unwrap();
        assert!(matches!(answer, News::UiResponse { id, result } if id == "u1" && result == true));
        // Nobody takes commands: the link answers for the driver and stays alive.
        for n in 0..70 {
            peer.send(&command(
                json!({"type": "prompt", "message": "go", "id": n}),
            ))
            .await;
        }
        let busy = response(&mut peer).await;
        assert!(
            busy["error"].as_str().unwrap().starts_with("busy"),
            "{busy}"
        );
    });
}

#[test]
fn an_orderly_end_waits_for_the_hub_but_not_for_ever() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let last = source.add(1, &turn("p"));
        let mut config = hub.config();
        config.timing.flush = Duration::from_millis(100);
        config.timing.ack = Duration::from_mins(1);
        let (handle, _inbound) = start(config, &source);
        let mut peer = hub.join().await;
        whole_turn(&mut peer).await;
        let close = handle.close(Some(last));
        let deaf = async {
            let farewell = peer.event().await;
            assert_eq!(farewell.name, "session_shutdown");
            assert_eq!(farewell.data["reason"], "quit");
            peer.said().await
        };
        let ((), end) = tokio::join!(close, deaf);
        assert!(matches!(end, Said::Close(1000)), "{end:?}");
        assert_eq!(source.stored_now(), None);
    });
}

#[test]
fn a_link_that_waits_for_its_hub_can_be_closed() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, _inbound) = start(hub.config(), &source);
        drop(hub.join().await);
        drop(hub);
        let mut status = handle.status();
        status
            .wait_for(|s| s.phase == Phase::Backoff)
            .await
            .unwrap();
        handle.close(None).await;
        assert_eq!(status.borrow().phase, Phase::Closed);
    });
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

#[test]
fn nothing_is_lost_whatever_the_hub_does() {
    run(async {
        for seed in 1..=4 {
            let (hub, source) = (Hub::start().await, Source::new());
            let mut dice = Dice(seed);
            let mut last = seq(1);
            for n in 0..30 {
                last = source.add(n + 1, &turn(&format!("p{n}")));
            }
            let (handle, _inbound) = start(hub.config(), &source);
            // What a Hub has taken, in order; an acknowledgement is a promise to keep it.
            let mut kept: Vec<Event> = Vec::new();
            let done = source.stored(last);
            let misbehave = async {
                loop {
                    let mut peer = hub.join().await;
                    let mut held = Vec::new();
                    let life = 1 + dice.roll(120);
                    for _ in 0..life {
                        let Said::Event(event) = peer.said().await else {
                            continue;
                        };
                        let id = event.id.clone();
                        kept.push(event);
                        match dice.roll(10) {
                            0 => {}
                            1 | 2 => held.push(id),
                            3 => {
                                peer.ack(&id).await;
                                peer.ack(&id).await;
                            }
                            4 => {
                                held.push(id);
                                while let Some(id) = held.pop() {
                                    peer.ack(&id).await;
                                }
                            }
                            _ => peer.ack(&id).await,
                        }
                    }
                    if dice.roll(2) == 0 {
                        peer.close(1012).await;
                    }
                }
            };
            tokio::select! {
                () = done => {}
                () = misbehave => {}
            }
            let mut known = HashSet::new();
            let firsts = state_ids(&kept)
                .into_iter()
                .filter(|id| known.insert(id.clone()));
            let firsts: Vec<String> = firsts.collect();
            assert_eq!(firsts, source.state_ids(), "seed {seed}");
            assert!(handle.status().borrow().losses > 0);
        }
    });
}
