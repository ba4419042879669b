//! Who may lead, and what a lead's events become.

use serde_json::json;

use crate::support::HubProcess;

#[tokio::test]
async fn an_event_sent_twice_is_acknowledged_twice_and_shown_once() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut observer = hub.viewer(&session, "observer").await;
    let mut lead = hub.lead(&session, "d1").await;
    for id in ["a", "a", "b", "a"] {
        lead.event(id, "turn_start", json!({"type": "turn_start", "of": id}))
            .await;
        let ack = lead.until(|frame| frame["id"] == id).await;
        assert_eq!(ack, json!({"id": id, "actions": [{"action": "ACK"}]}));
    }
    let shown = |of: &'static str| move |f: &serde_json::Value| f["data"]["of"] == of;
    observer.until(shown("a")).await;
    let next = observer.until(|f| f["event"] == "turn_start").await;
    assert_eq!(next["data"]["of"], "b");
    assert_eq!(hub.history(&session).await.len(), 2);
}

#[tokio::test]
async fn a_second_lead_is_refused_while_the_first_is_there() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let _first = hub.lead(&session, "d1").await;
    let mut second = hub
        .connect(&format!("sessionId={session}&driverInstanceId=d2"), &[])
        .await;
    let (rejection, code) = second.closed().await;
    assert_eq!(code, 4409);
    assert_eq!(rejection["type"], "connection_rejected");
    assert_eq!(rejection["code"], "session_active");
    assert_eq!(rejection["sessionId"], session);
}

#[tokio::test]
async fn a_driver_replaces_its_own_old_socket() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut old = hub.lead(&session, "d1").await;
    let mut new = hub.lead(&session, "d1").await;
    assert_eq!(old.closed().await.1, 1001);
    new.event("1", "agent_start", json!({})).await;
    new.until(|frame| frame["id"] == "1").await;
}

#[tokio::test]
async fn a_superseded_driver_never_leads_again_even_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut observer = hub.viewer(&session, "observer").await;
    let is_leave = |f: &serde_json::Value| f["event"] == "session_leave";
    drop(hub.lead(&session, "d1").await);
    observer.until(is_leave).await;
    drop(hub.lead(&session, "d2").await);
    observer.until(is_leave).await;
    let query = format!("sessionId={session}&role=lead&driverInstanceId=d1");
    assert_eq!(hub.connect(&query, &[]).await.closed().await.1, 4410);
    hub.kill();
    let hub = HubProcess::start(state.path());
    assert_eq!(hub.connect(&query, &[]).await.closed().await.1, 4410);
    hub.lead(&session, "d2").await;
}

#[tokio::test]
async fn unknown_and_archived_sessions_are_refused_by_frame_and_code() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    for role in ["lead", "observer", "controller"] {
        let query = format!("sessionId=codesess_none&role={role}");
        let (rejection, code) = hub.connect(&query, &[]).await.closed().await;
        assert_eq!(
            (code, &rejection["code"]),
            (4404, &json!("session_not_found"))
        );
    }
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    let archive = format!("/api/hub/session/{session}/archive");
    assert_eq!(hub.call("POST", &archive, None).await.0, 200);
    assert_eq!(lead.closed().await.1, 4403);
    let query = format!("sessionId={session}&role=observer");
    let (rejection, code) = hub.connect(&query, &[]).await.closed().await;
    assert_eq!(
        (code, &rejection["type"]),
        (4403, &json!("connection_rejected"))
    );
    assert_eq!(
        hub.connect("role=observer", &[]).await.closed().await.1,
        4400
    );
    assert_eq!(hub.connect("role=king", &[]).await.closed().await.1, 4400);
}

#[tokio::test]
async fn a_frame_that_is_not_understood_is_named_and_the_connection_stays() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    lead.send(json!({"id": "1", "type": "event", "event": "x", "data": []}))
        .await;
    let complaint = lead.next().await;
    assert_eq!(complaint["type"], "protocol_error");
    assert!(
        complaint["message"]
            .as_str()
            .unwrap()
            .contains("data must be an object")
    );
    lead.send(json!({"type": "from_the_future"})).await;
    lead.send(json!({"id": "t", "type": "tool", "name": "x", "toolCallId": "c", "params": {}}))
        .await;
    assert_eq!(lead.next().await["actions"][0]["action"], "RETURN");
    lead.send(json!({"type": "ping", "timestamp": 5})).await;
    assert_eq!(lead.next().await["echoedTimestamp"], 5);
}

#[tokio::test]
async fn a_lead_that_comes_back_is_told_where_its_session_file_is() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    let header = r#"{"type":"session","version":3,"id":"pi-1","cwd":"/w"}"#;
    let content = format!("{header}\n");
    lead.send(json!({"type": "session_write", "path": "/w/s.jsonl", "content": content}))
        .await;
    lead.send(json!({"type": "session_entry", "path": "/w/s.jsonl", "line": "{}"}))
        .await;
    lead.event("1", "turn_end", json!({})).await;
    lead.until(|frame| frame["id"] == "1").await;
    let query = format!("sessionId={session}&role=lead&driverInstanceId=d1");
    let init = hub.connect(&query, &[]).await.next().await;
    let resume = json!({"sessionFile": "/w/s.jsonl", "piSessionId": "pi-1", "cwd": "/w"});
    assert_eq!(init["resume"], resume);
}

#[tokio::test]
async fn what_only_the_session_file_tells_is_in_replay_and_hydration() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    let message = |role: &str, text: &str, at: u64| json!({"role": role, "content": [{"type": "text", "text": text}], "timestamp": at});
    let line = |role: &str, text: &str, at: u64| {
        json!({"type": "message", "id": "1", "message": message(role, text, at)}).to_string()
    };
    let past = [
        line("user", "Long ago.", 1),
        line("assistant", "It was.", 2),
    ];
    let content = past.join("\n");
    lead.send(json!({"type": "session_write", "path": "/s.jsonl", "content": content}))
        .await;
    lead.event("1", "session_start", json!({})).await;
    lead.until(|frame| frame["id"] == "1").await;
    let path = format!("/api/hub/session/{session}/replay");
    let texts = |entries: &serde_json::Value| -> Vec<String> {
        let entries = entries.as_array().unwrap().iter();
        entries
            .map(|entry| entry["content"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_, alone) = hub.call("GET", &path, None).await;
    assert_eq!(alone["entriesSource"], "session_entries", "{alone}");
    assert_eq!(texts(&alone["entries"]), ["Long ago.", "It was."]);

    // From its first message on, the events tell what the file repeats.
    let now = line("user", "And now?", 3);
    lead.event(
        "2",
        "message_end",
        json!({"message": message("user", "And now?", 3)}),
    )
    .await;
    lead.send(json!({"type": "session_entry", "path": "/s.jsonl", "line": now}))
        .await;
    lead.event("3", "agent_end", json!({"messages": []})).await;
    lead.until(|frame| frame["id"] == "3").await;
    let (_, both) = hub.call("GET", &path, None).await;
    assert_eq!(both["entriesSource"], "event_history", "{both}");
    let counts = json!({"durableStream": 0, "sessionEntries": 2, "eventHistory": 1});
    assert_eq!(both["sourceCounts"], counts);
    let all = ["Long ago.", "It was.", "And now?"];
    assert_eq!(texts(&both["entries"]), all);
    let query = format!("sessionId={session}&role=observer");
    let mut observer = hub.connect(&query, &[]).await;
    let hydration = observer.until(|f| f["type"] == "session_hydration").await;
    assert_eq!(texts(&hydration["entries"]), all);
}

#[tokio::test]
async fn a_question_that_waits_is_told_to_each_controller_once() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    let mut first = hub.viewer(&session, "controller").await;
    let is_question = |f: &serde_json::Value| f["event"] == "rpc_ui_request";
    let ask = |id: &str, method: &str, params: serde_json::Value| json!({"type": "rpc_ui_request", "id": id, "method": method, "params": params});
    let confirm = ask("u1", "confirm", json!({"title": "T", "message": "M"}));
    lead.send(confirm.clone()).await;
    let asked = first.until(is_question).await;

    // Whoever comes later is asked the same, also by a lead that asks again for them.
    let mut second = hub.viewer(&session, "controller").await;
    assert_eq!(second.until(is_question).await["data"], asked["data"]);
    lead.send(confirm).await;
    lead.send(ask("u2", "input", json!({"title": "N"}))).await;
    for viewer in [&mut first, &mut second] {
        assert_eq!(viewer.until(is_question).await["data"]["id"], "u2");
    }

    // Null is no answer; an answer, and a word of the lead that none is needed, end the waiting.
    for result in [json!(null), json!(true)] {
        let answer = json!({"type": "rpc_ui_response", "id": "u1", "result": result});
        first.send(answer).await;
        let heard = lead.until(|f| f["type"] == "rpc_ui_response").await;
        assert_eq!(heard["result"], result);
    }
    let mut third = hub.viewer(&session, "controller").await;
    assert_eq!(third.until(is_question).await["data"]["id"], "u2");
    let over = ask(
        "n1",
        "notify",
        json!({"message": "over", "requestId": "u2"}),
    );
    lead.send(over).await;
    third.until(is_question).await;
    lead.send(ask("u3", "select", json!({"title": "S", "options": ["a"]})))
        .await;
    third.until(is_question).await;
    let mut fourth = hub.viewer(&session, "controller").await;
    assert_eq!(fourth.until(is_question).await["data"]["id"], "u3");

    // Nor does any outlive its run, or its lead.
    lead.event("e1", "agent_end", json!({"messages": []})).await;
    lead.until(|f| f["id"] == "e1").await;
    lead.send(ask("u4", "confirm", json!({"title": "T"}))).await;
    let mut fifth = hub.viewer(&session, "controller").await;
    assert_eq!(fifth.until(is_question).await["data"]["id"], "u4");
    drop(lead);
    fifth.until(|f| f["event"] == "session_leave").await;
    let mut lead = hub.lead(&session, "d1").await;
    let mut sixth = hub.viewer(&session, "controller").await;
    lead.send(ask("u5", "confirm", json!({"title": "T"}))).await;
    assert_eq!(sixth.until(is_question).await["data"]["id"], "u5");
}
