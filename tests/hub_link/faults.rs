//! Connections that end badly, and what is left of them: nothing.

use std::collections::HashSet;

use agent_runner::hub::Phase;
use serde_json::json;

use crate::hub::{Event, Hub, Said};
use crate::source::{Source, seq, turn};
use crate::{Dice, run, start, state_ids, whole_turn};

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
