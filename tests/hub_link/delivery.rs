//! Events on their way: acknowledged in any order, sent again where they were not.

use std::time::Duration;

use agent_runner::hub::link::LinkStatus;

use crate::hub::{Hub, Said};
use crate::source::{Source, seq, turn};
use crate::{run, start, state_ids, whole_turn};

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
