//! Who a lead says that it is, and what becomes of a Hub that does not let it in.

use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::hub::{HubAddress, Phase, StartError};
use serde_json::json;

use crate::hub::Hub;
use crate::source::{Source, turn};
use crate::{run, start, state_ids, whole_turn};

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
fn a_hub_that_takes_the_connection_and_says_nothing_is_given_up_in_time() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let mut config = hub.config();
        config.timing.init = Duration::from_millis(300);
        config.timing.hub_wait = Duration::from_secs(20);
        let (handle, _inbound) = start(config, &source);
        let since = Clock.now();
        let silent = hub.accept().await; // open, and without a word
        let _second = hub.join().await;
        let took = since.elapsed();
        assert!(took >= Duration::from_millis(290), "{took:?}");
        handle.ready().await.unwrap();
        drop(silent);
    });
}
