//! Nothing acknowledged is lost, nothing is out of order, and the slow slow nobody.

use serde_json::{Value, json};

use crate::support::{HubProcess, Socket};

/// Sends `count` events of `size` bytes without waiting, reading the ACKs as they come.
pub(crate) async fn flood(lead: &mut Socket, count: usize, size: usize) {
    let padding = "x".repeat(size);
    let mut acked = 0;
    for n in 0..count {
        let data = json!({"n": n, "padding": padding});
        lead.event(&n.to_string(), "message_update", data).await;
        // A lead that never reads its ACKs would be disconnected: keep 256 in flight.
        while n - acked >= 256 {
            acked = acknowledged(lead, acked).await;
        }
    }
    while acked < count {
        acked = acknowledged(lead, acked).await;
    }
}

async fn acknowledged(lead: &mut Socket, expected: usize) -> usize {
    let ack = lead.until(|frame| frame["actions"].is_array()).await;
    assert_eq!(ack["id"], expected.to_string(), "ACKs come in order");
    expected + 1
}

fn numbers(events: &[Value], data: &str) -> Vec<u64> {
    let of = |event: &Value| event[data]["n"].as_u64().unwrap();
    events.iter().map(of).collect()
}

#[tokio::test]
async fn an_observer_that_stops_reading_misses_nothing_and_holds_nobody_up() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut slow = hub.viewer(&session, "observer").await;
    let mut stuck = hub.viewer(&session, "controller").await;
    let mut lead = hub.lead(&session, "d1").await;
    // Far more than all queues and socket buffers on the way hold.
    flood(&mut lead, 3_000, 16 * 1_024).await;
    let mut seen = Vec::new();
    while seen.len() < 3_000 {
        seen.push(slow.until(|frame| frame["event"] == "message_update").await);
    }
    assert_eq!(numbers(&seen, "data"), (0..3_000).collect::<Vec<_>>());
    lead.event("end", "agent_end", json!({"messages": []}))
        .await;
    slow.until(|frame| frame["event"] == "agent_end").await;
    // A controller's answers are not stored, so it has to come back instead.
    assert_eq!(stuck.closed().await.1, 4408);
}

#[tokio::test]
async fn viewers_that_come_at_any_moment_see_every_event_once() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    let turns = async {
        for n in 0..400_u64 {
            let message = json!({"role": "user", "content": n.to_string()});
            let data = json!({"n": n, "message": message});
            let id = n.to_string();
            lead.event(&id, "message_end", data).await;
            lead.until(|frame| frame["id"] == id.as_str()).await;
        }
    };
    let joins = async {
        let mut viewers = Vec::new();
        for _ in 0..10 {
            let query = format!("sessionId={session}&role=observer");
            viewers.push(hub.connect(&query, &[]).await);
        }
        viewers
    };
    let ((), viewers) = tokio::join!(turns, joins);
    for mut viewer in viewers {
        let hydration = viewer.until(|f| f["type"] == "session_hydration").await;
        let entries = hydration["entries"].as_array().unwrap();
        let text = |entry: &Value| entry["content"].as_str().unwrap().parse::<u64>().unwrap();
        let mut seen: Vec<u64> = entries.iter().map(text).collect();
        while seen.last() != Some(&399) {
            let frame = viewer.until(|frame| frame["event"] == "message_end").await;
            seen.push(frame["data"]["n"].as_u64().unwrap());
        }
        assert_eq!(seen, (0..400).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let state = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut sent = 0_u64;
    for round in 0..5_u64 {
        let mut lead = hub.lead(&session, "d1").await;
        let first = sent;
        for n in first..first + 500 {
            lead.event(&n.to_string(), "turn_start", json!({"n": n}))
                .await;
        }
        // Killed with the rest in flight.
        let last = (first + 50 * (round + 1)).to_string();
        lead.until(|frame| frame["id"] == last.as_str()).await;
        hub.kill();
        hub = HubProcess::start(state.path());
        let kept = numbers(&hub.history(&session).await, "payload");
        let whole: Vec<u64> = (0..kept.len() as u64).collect();
        assert_eq!(kept, whole, "no gap, no repetition");
        assert!(
            kept.last() >= last.parse().ok().as_ref(),
            "an acknowledged event is gone"
        );
        // Sends again what may be there already, as a lead does that has lost its ACKs.
        sent = first + 50 * (round + 1);
    }
    let (_, detail) = hub
        .call("GET", &format!("/api/hub/session/{session}"), None)
        .await;
    assert_eq!(detail["status"], "paused");
    let path = format!("/api/hub/session/{session}/participants");
    let (_, present) = hub.call("GET", &path, None).await;
    assert_eq!(present["participants"], json!([]));
}

#[tokio::test]
async fn a_terminated_hub_says_goodbye_and_ends_in_order() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    let mut observer = hub.viewer(&session, "observer").await;
    let ended = tokio::task::spawn_blocking(move || hub.terminate());
    assert_eq!(lead.closed().await.1, 1001);
    assert_eq!(observer.closed().await.1, 1001);
    assert_eq!(ended.await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_not_swallowed() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    lead.event("big", "tool_result", json!({"text": "x".repeat(7 << 20)}))
        .await;
    lead.until(|frame| frame["id"] == "big").await;
    let mut other = hub.viewer(&session, "controller").await;
    other
        .send(json!({"type": "rpc_command", "command": {"type": "prompt", "message": "x".repeat(9 << 20)}}))
        .await;
    assert_eq!(other.closed().await.1, 4400);
}

#[tokio::test]
async fn an_observer_chooses_what_it_sees_and_commands_nobody() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    let mut observer = hub.viewer(&session, "observer").await;
    observer
        .send(json!({"type": "rpc_command", "command": {"type": "abort"}}))
        .await;
    let refused = observer.until(|f| f["type"] == "rpc_command_error").await;
    assert!(refused["error"].as_str().unwrap().contains("controller"));
    observer
        .send(json!({"type": "subscribe", "patterns": ["tool", "turn_*"]}))
        .await;
    // Frames of one socket are handled in order: after the pong the filter holds.
    observer.send(json!({"type": "ping", "timestamp": 1})).await;
    observer.until(|f| f["type"] == "pong").await;
    for (id, event) in [
        "agent_start",
        "turn_start",
        "message_end",
        "tool_call",
        "turn_end",
    ]
    .iter()
    .enumerate()
    {
        lead.event(&id.to_string(), event, json!({})).await;
    }
    for event in ["turn_start", "tool_call", "turn_end"] {
        assert_eq!(observer.next().await["event"], event);
    }
}

#[tokio::test]
async fn a_restarted_hub_knows_that_a_run_is_open() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    lead.event("1", "agent_start", json!({"agentName": "lead"}))
        .await;
    lead.until(|frame| frame["id"] == "1").await;
    hub.kill();
    let hub = HubProcess::start(state.path());
    let _lead = hub.lead(&session, "d1").await;
    let path = format!("/api/hub/session/{session}");
    assert_eq!(hub.call("GET", &path, None).await.1["status"], "active");
}

#[tokio::test]
async fn who_came_and_went_is_in_the_history_also_after_kill_9() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut observer = hub.viewer(&session, "observer").await;
    let is = |event: &'static str| move |f: &Value| f["event"] == event;
    drop(hub.lead(&session, "d1").await);
    observer.until(is("session_leave")).await;
    let path = format!("/api/hub/session/{session}");
    let (_, before) = hub.call("GET", &path, None).await;
    drop(hub.viewer(&session, "controller").await);
    observer.until(is("session_leave")).await;
    let came = ["+observer", "+lead", "-lead", "+controller"];
    // That somebody has gone is told at once, and stored a moment later.
    while hub.presence(&session).await.len() < 5 {}
    let mut all: Vec<_> = came.into_iter().chain(["-controller"]).collect();
    assert_eq!(hub.presence(&session).await, all);
    let (_, after) = hub.call("GET", &path, None).await;
    assert_eq!(before["lastActivityAt"], after["lastActivityAt"]);
    hub.kill();
    let hub = HubProcess::start(state.path());
    all.push("-observer");
    assert_eq!(hub.presence(&session).await, all);
}

/// Fifty that read, one that does not, and none of them sees anything but all of it in its order.
#[tokio::test]
async fn every_one_of_many_viewers_sees_every_event_beside_one_that_does_not_read() {
    const EVENTS: usize = 1_500;
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut slow = hub.viewer(&session, "observer").await;
    let mut lead = hub.lead(&session, "d1").await;
    let mut viewers = Vec::new();
    for n in 0..50 {
        let role = if n % 2 == 0 { "observer" } else { "controller" };
        viewers.push(hub.viewer(&session, role).await);
    }
    let mut watched = tokio::task::JoinSet::new();
    for mut viewer in viewers {
        watched.spawn(async move {
            let mut seen = Vec::with_capacity(EVENTS);
            while seen.len() < EVENTS {
                let frame = viewer.until(|f| f["event"] == "message_update").await;
                seen.push(frame["data"]["n"].as_u64().unwrap());
            }
            seen
        });
    }
    flood(&mut lead, EVENTS, 8 * 1_024).await;
    let all: Vec<u64> = (0..EVENTS as u64).collect();
    for seen in watched.join_all().await {
        assert_eq!(seen, all);
    }
    let mut late = Vec::with_capacity(EVENTS);
    while late.len() < EVENTS {
        let frame = slow.until(|f| f["event"] == "message_update").await;
        late.push(frame["data"]["n"].as_u64().unwrap());
    }
    assert_eq!(late, all);
}

#[tokio::test]
async fn a_page_of_history_without_a_place_is_the_newest() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    for n in 0..20_u64 {
        lead.event(&n.to_string(), "turn_start", json!({"n": n}))
            .await;
    }
    lead.until(|frame| frame["id"] == "19").await;
    let page = async |query: &str| {
        let path = format!("/api/hub/session/{session}/events/history?{query}");
        hub.call("GET", &path, None).await.1["events"].take()
    };
    let newest = page("limit=3").await;
    assert_eq!(numbers(newest.as_array().unwrap(), "payload"), [17, 18, 19]);
    let before = page(&format!("limit=2&beforeId={}", newest[0]["id"])).await;
    assert_eq!(numbers(before.as_array().unwrap(), "payload"), [15, 16]);
    let first = page("limit=3&offset=0").await;
    assert_eq!(first[0]["event"], "session_join");
}
