//! Who is let in, and what a wrong start says.

use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use crate::support::{HubProcess, hub_command};

#[tokio::test]
async fn a_key_is_taken_in_every_form_that_clients_send_it() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start_with_key(state.path(), "agc_secret");
    let list = "/api/hub/sessions";
    for headers in [
        [("Authorization", "Bearer agc_secret")],
        [("x-agentuity-auth-api-key", "agc_secret")],
    ] {
        assert_eq!(hub.request("GET", list, &headers, None).await.0, 200);
    }
    assert_eq!(hub.call("GET", list, None).await.0, 401);
    let wrong = [("Authorization", "Bearer agc_secre")];
    assert_eq!(hub.request("GET", list, &wrong, None).await.0, 401);
    let (status, created) = hub
        .call(
            "POST",
            "/api/hub/session?token=agc_secret",
            Some(json!({"task": ""})),
        )
        .await;
    assert_eq!(status, 201);
    let session = created["sessionId"].as_str().unwrap();

    let base = format!("sessionId={session}&role=observer");
    for name in ["api_key", "token", "apiKey"] {
        let query = format!("{base}&{name}=agc_secret");
        assert_eq!(hub.connect(&query, &[]).await.next().await["type"], "init");
    }
    let bearer = [("authorization", "Bearer agc_secret")];
    assert_eq!(
        hub.connect(&base, &bearer).await.next().await["type"],
        "init"
    );
    let mut by_frame = hub.connect(&base, &[]).await;
    by_frame
        .send(json!({"authorization": "agc_secret", "org_id": "o"}))
        .await;
    assert_eq!(by_frame.next().await["type"], "init");

    let mut refused = vec![hub.connect(&format!("{base}&api_key=no"), &[]).await];
    let mut wrong_frame = hub.connect(&base, &[]).await;
    wrong_frame.send(json!({"authorization": "no"})).await;
    refused.push(wrong_frame);
    let mut no_frame = hub.connect(&base, &[]).await;
    no_frame.send(json!({"type": "ping", "timestamp": 1})).await;
    refused.push(no_frame);
    for mut socket in refused {
        let (rejection, code) = socket.closed().await;
        assert_eq!(code, 4401);
        assert_eq!(rejection["type"], "connection_rejected");
        assert_eq!(rejection["code"], "auth_required");
    }
    let events = format!("/api/hub/session/{session}/events");
    assert_eq!(hub.call("GET", &events, None).await.0, 401);
}

#[tokio::test]
async fn without_a_key_foreign_hosts_and_origins_are_refused() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let list = "/api/hub/sessions";
    let rebound = [("Host", "evil.example")];
    assert_eq!(hub.request("GET", list, &rebound, None).await.0, 403);
    let cross = [("Origin", "http://evil.example")];
    assert_eq!(hub.request("GET", list, &cross, None).await.0, 403);
    let local = [("Origin", "http://localhost:5173")];
    assert_eq!(hub.request("GET", list, &local, None).await.0, 200);
    let session = hub.session().await;
    let query = format!("sessionId={session}&role=controller");
    match hub
        .try_connect(&query, &[("origin", "https://evil.example")])
        .await
    {
        Err(Error::Http(response)) => assert_eq!(response.status(), 403),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a foreign page was let in"),
    }
}

#[test]
fn a_hub_for_others_needs_a_key() {
    let state = tempfile::tempdir().unwrap();
    let output = hub_command(state.path())
        .args(["--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--api-key-file"), "{said}");
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn a_state_dir_in_use_or_not_writable_is_said_so() {
    let state = tempfile::tempdir().unwrap();
    let _hub = HubProcess::start(state.path());
    let listen = ["--listen", "127.0.0.1:0"];
    let second = hub_command(state.path()).args(listen).output().unwrap();
    assert_eq!(second.status.code(), Some(73));
    assert!(String::from_utf8(second.stderr).unwrap().contains("in use"));
    let file = state.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let under_a_file = hub_command(&file.join("x")).args(listen).output().unwrap();
    assert_eq!(under_a_file.status.code(), Some(73));
    assert!(
        String::from_utf8(under_a_file.stderr)
            .unwrap()
            .contains("--state-dir")
    );
}

#[tokio::test]
async fn bad_requests_say_which_field_and_what_it_must_be() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    for (body, said) in [
        (json!({}), "task must be a string"),
        (
            json!({"task": "t", "tags": "x"}),
            "tags must be a list of strings",
        ),
        (
            json!({"task": "t", "visibility": "all"}),
            "visibility must be one of private, organization, collaborate",
        ),
        (json!({"task": "t", "repo": "x"}), "repo must be an object"),
        (json!([]), "the body must be a JSON object"),
    ] {
        let (status, answer) = hub.call("POST", "/api/hub/session", Some(body)).await;
        assert_eq!(status, 400);
        assert!(
            answer["message"].as_str().unwrap().contains(said),
            "{answer}"
        );
        assert_eq!(answer["error"], answer["message"]);
    }
    let (status, answer) = hub.call("GET", "/api/hub/session/none", None).await;
    assert_eq!(
        (status, &answer["code"]),
        (404, &json!("CODER_SESSION_NOT_FOUND"))
    );
    let (status, _) = hub.call("GET", "/api/hub/sessions?limit=x", None).await;
    assert_eq!(status, 400);
}
