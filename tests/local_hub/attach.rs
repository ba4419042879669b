//! `agent-runner attach` with a lead that says exactly what a test says.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::HubProcess;
use crate::terminal::Terminal;

fn attach(hub: &HubProcess, session: &str, dir: &Path) -> Terminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
    command.args(["attach", session, "--hub", &hub.url()]);
    command.current_dir(dir).env_clear().env("HOME", dir);
    Terminal::start(&command)
}

#[tokio::test]
async fn questions_of_the_lead_are_answered_and_a_lost_hub_is_joined_again() {
    let state = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let session = hub.session().await;
    let mut lead = hub.lead(&session, "d1").await;
    let user = json!({"message": {"role": "user", "content": "Look around."}});
    lead.event("1", "message_end", user).await;
    lead.until(|frame| frame["id"] == "1").await;

    let mut person = attach(&hub, &session, home.path());
    person.shows("> Look around.");
    lead.send(
        json!({"type": "rpc_ui_request", "id": "u1", "method": "confirm",
        "params": {"title": "Run", "message": "rm x"}}),
    )
    .await;
    person.shows("? Run: rm x");
    person.shows("asked> ");
    person.press("/deny\r");
    let answer = lead.until(|f| f["type"] == "rpc_ui_response").await;
    assert_eq!(
        (&answer["id"], &answer["result"]),
        (&json!("u1"), &json!(false))
    );
    lead.send(
        json!({"type": "rpc_ui_request", "id": "u2", "method": "select",
        "params": {"title": "Which", "options": ["red", "blue"]}}),
    )
    .await;
    person.shows("2 blue");
    person.press("/answer 2\r");
    let answer = lead.until(|f| f["type"] == "rpc_ui_response").await;
    assert_eq!(
        (&answer["id"], &answer["result"]),
        (&json!("u2"), &json!("blue"))
    );

    // What happens while the Hub is away is shown when it is back, and nothing twice.
    let mark = person.mark();
    let hub = hub.restart(state.path());
    person.shows_since(mark, "trying again");
    let mut lead = hub.lead(&session, "d1").await;
    let said = json!({"message": {"role": "assistant",
        "content": [{"type": "text", "text": "All is well."}]}});
    lead.event("2", "message_end", said).await;
    person.shows_since(mark, "All is well.");
    let mark = person.mark();
    person.press("Go on.\r");
    let command = lead.until(|f| f["type"] == "rpc_command").await;
    assert_eq!(command["command"]["message"], "Go on.", "{command}");
    drop(lead);
    person.shows_since(mark, "the session is paused");
    person.press("/quit\r");
    let shown = person.text();
    assert_eq!(person.finish(), 0);
    assert_eq!(shown.matches("> Look around.").count(), 1, "{shown}");
    assert_eq!(shown.matches("All is well.").count(), 1, "{shown}");
}

#[tokio::test]
async fn what_a_hub_refuses_is_said_with_its_own_exit_code() {
    let state = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let unknown = attach(&hub, "codesess_unknown", home.path());
    unknown.shows("there is no session of this id");
    assert_eq!(unknown.finish(), 77);
    let url = hub.url();
    hub.kill();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
    command.args(["attach", "codesess_x", "--hub", &url, "--hub-wait", "1s"]);
    command.current_dir(home.path()).env_clear();
    let absent = Terminal::start(command.env("HOME", home.path()));
    absent.shows("is it running at this address?");
    assert_eq!(absent.finish(), 69);
}
