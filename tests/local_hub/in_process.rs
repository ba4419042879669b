//! The Hub inside another program, as `run` holds it.

use agent_runner::local_hub::{LocalHub, StoreError};
use agent_runner::tasks::Tasks;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::request;

#[tokio::test]
async fn a_program_holds_a_hub_and_lets_it_go_again() {
    let state = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let hub = LocalHub::open(state.path(), None, &tasks).await.unwrap();
    let again = LocalHub::open(state.path(), None, &tasks).await;
    assert!(matches!(again, Err(StoreError::InUse(_))));
    let Value::Object(fields) = json!({"repo": {"cloneUrl": "file:///r"}}) else {
        unreachable!("it is an object")
    };
    let session = hub.create_session("fix it", fields).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hub.serve(listener).unwrap().to_string();
    let path = format!("/api/hub/session/{session}");
    let (status, body) = request(&address, "GET", &path, &[], None).await;
    assert_eq!(status, 200);
    let detail: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(detail["task"], "fix it");
    assert_eq!(detail["repo"]["cloneUrl"], "file:///r");
    hub.stop().await;
    let reopened = LocalHub::open(state.path(), None, &tasks).await.unwrap();
    reopened.stop().await;
}
