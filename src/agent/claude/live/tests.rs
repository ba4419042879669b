use super::*;
use crate::agent::live::{Answer, Message};
use crate::event::Event;
use crate::ids::SpoolOffset;

fn receive(dialog: &mut ClaudeLive, line: &Value) -> Vec<Told> {
    let text = line.to_string();
    // the CLI writes the type first, which this map's order does not keep
    let kind = format!(r#""type":{}"#, line["type"]);
    let rest = text.replacen(&kind, "", 1).replace(",,", ",");
    let rest = rest.trim_start_matches('{').trim_start_matches(',');
    let text = format!("{{{kind},{rest}").replace(",}", "}");
    let mut out = Vec::new();
    let line = Line {
        start: SpoolOffset::START,
        end: SpoolOffset::new(1),
        bytes: text.as_bytes(),
        loss: Loss::None,
    };
    dialog.received(&line, &mut out);
    out
}

/// Sends the frames of a command.
fn give(dialog: &mut ClaudeLive, command: &Command) -> Vec<Value> {
    let frames = dialog.frames(command).unwrap();
    send(dialog, frames)
}

fn send(dialog: &mut ClaudeLive, frames: Vec<Vec<u8>>) -> Vec<Value> {
    let sent = frames.into_iter().map(|frame| {
        dialog.sent(&frame, &mut Vec::new());
        serde_json::from_slice(&frame).unwrap()
    });
    sent.collect()
}

fn message(id: &str) -> Message {
    Message {
        id: id.to_owned(),
        text: "Do it.".to_owned(),
        images: Vec::new(),
    }
}

fn success(request_id: &Value) -> Value {
    json!({"type": "control_response",
        "response": {"subtype": "success", "request_id": request_id}})
}

fn ready(asks: bool) -> ClaudeLive {
    let mut dialog = ClaudeLive::new(&LiveSpec {
        asks,
        ..LiveSpec::default()
    });
    let due = dialog.due();
    let sent = send(&mut dialog, due);
    assert_eq!(sent[0]["request"]["subtype"], "initialize");
    assert!(dialog.due().is_empty(), "due until sent");
    assert_eq!(
        receive(&mut dialog, &success(&sent[0]["request_id"])),
        [Told::Ready]
    );
    dialog
}

#[test]
fn a_prompt_waits_for_the_cli_and_for_the_turn_before() {
    let prompt = Command::Prompt(message("p-1"));
    let closed = ClaudeLive::new(&LiveSpec::default());
    assert_eq!(closed.frames(&prompt), Err(Refused::NotReady));
    let mut dialog = ready(false);
    let steer = Command::Steer(message("p-2"));
    assert_eq!(dialog.frames(&steer), Err(Refused::Resting));
    assert_eq!(dialog.frames(&Command::Interrupt), Err(Refused::Resting));
    assert_eq!(give(&mut dialog, &prompt)[0]["uuid"], "p-1");
    assert_eq!(dialog.frames(&prompt), Err(Refused::Busy));
    give(&mut dialog, &steer);
    let echo = |id: &str| {
        json!({"type": "user", "isReplay": true, "uuid": id,
            "message": {"role": "user", "content": []}})
    };
    let taken = |id: &str| {
        [Told::TakenUp {
            id: Some(id.to_owned()),
        }]
    };
    assert_eq!(receive(&mut dialog, &echo("p-1")), taken("p-1"));
    let over = receive(
        &mut dialog,
        &json!({"type": "result", "subtype": "success", "is_error": false, "result": "x"}),
    );
    assert!(matches!(over.last(), Some(Told::TurnOver { .. })));
    // the second message came too late: the CLI goes on with it by itself
    assert_eq!(dialog.phase(), Phase::Working);
    assert_eq!(receive(&mut dialog, &echo("p-2")), taken("p-2"));
}

#[test]
fn a_command_of_the_clis_own_is_taken_up_by_what_it_prints() {
    let mut dialog = ready(false);
    give(&mut dialog, &Command::Prompt(message("p-1")));
    let printed = json!({"type": "user", "isReplay": true, "uuid": "another",
        "message": {"role": "user", "content": "<local-command-stdout>Compacted </local-command-stdout>"}});
    let taken = Told::TakenUp {
        id: Some("p-1".to_owned()),
    };
    assert_eq!(receive(&mut dialog, &printed), [taken]);
    receive(
        &mut dialog,
        &json!({"type": "result", "subtype": "success", "is_error": false, "result": ""}),
    );
    assert_eq!(dialog.phase(), Phase::Resting);
}

#[test]
fn every_call_waits_for_consent_once_and_is_answered_once() {
    let mut dialog = ready(true);
    give(&mut dialog, &Command::Prompt(message("p-1")));
    let hook = json!({"type": "control_request", "request_id": "h-1",
        "request": {"subtype": "hook_callback", "callback_id": HOOK, "input": {}}});
    assert!(receive(&mut dialog, &hook).is_empty());
    // whoever comes after a restart owes the same answer
    let mut dialog: ClaudeLive = snapshot::load(VERSION, &dialog.snapshot()).unwrap();
    let due = dialog.due();
    let answer = send(&mut dialog, due).remove(0);
    let said = &answer["response"]["response"]["hookSpecificOutput"]["permissionDecision"];
    assert_eq!(*said, "ask");
    assert!(dialog.due().is_empty());
    let ask = json!({"type": "control_request", "request_id": "c-1", "request": {
        "subtype": "can_use_tool", "tool_name": "Bash", "tool_use_id": "t-1",
        "input": {"command": "ls"}}});
    let told = receive(&mut dialog, &ask);
    let [Told::Event(Event::PermissionRequest { tool, call_id, .. })] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((tool.as_str(), call_id.as_deref()), ("shell", Some("t-1")));
    let allow = Command::Answer {
        request_id: "c-1".to_owned(),
        answer: Answer::Allow { input: None },
    };
    let sent = give(&mut dialog, &allow).remove(0);
    let body = &sent["response"]["response"];
    assert_eq!(body["behavior"], "allow");
    assert_eq!(body["updatedInput"]["command"], "ls");
    assert_eq!(dialog.frames(&allow), Err(Refused::NotAsked));
    assert!(dialog.pending().is_empty());
}

#[test]
fn a_request_that_is_withdrawn_or_unknown_keeps_nobody_waiting() {
    let mut dialog = ready(true);
    let unknown = json!({"type": "control_request", "request_id": "m-1",
        "request": {"subtype": "mcp_message"}});
    receive(&mut dialog, &unknown);
    let due = dialog.due();
    let sent = send(&mut dialog, due).remove(0);
    assert_eq!(sent["response"]["error"], "not supported: mcp_message");
    let ask = json!({"type": "control_request", "request_id": "c-1",
        "request": {"subtype": "can_use_tool", "tool_name": "Read", "input": {}}});
    receive(&mut dialog, &ask);
    assert_eq!(dialog.pending().len(), 1);
    let cancel = json!({"type": "control_cancel_request", "request_id": "c-1"});
    let request_id = "c-1".to_owned();
    assert_eq!(
        receive(&mut dialog, &cancel),
        [Told::Withdrawn { request_id }]
    );
    assert!(dialog.pending().is_empty());
}

#[test]
fn an_interrupt_is_asked_for_once_and_ends_background_commands_too() {
    let mut dialog = ready(false);
    give(&mut dialog, &Command::Prompt(message("p-1")));
    let task = json!({"type": "system", "subtype": "task_started", "task_id": "b-1",
        "tool_use_id": "t-1"});
    receive(&mut dialog, &task);
    let sent = give(&mut dialog, &Command::Interrupt);
    let asked: Vec<_> = sent
        .iter()
        .map(|frame| &frame["request"]["subtype"])
        .collect();
    assert_eq!(asked, ["interrupt", "stop_task"]);
    assert_ne!(sent[0]["request_id"], sent[1]["request_id"]);
    let again = dialog.frames(&Command::Interrupt).unwrap();
    assert_eq!(again.len(), 1, "the task alone");
}

#[test]
fn a_tool_that_the_user_listed_needs_no_consent() {
    let mut dialog = ClaudeLive::new(&LiveSpec {
        asks: true,
        allowed_tools: vec!["Read".to_owned()],
        ..LiveSpec::default()
    });
    for (tool, decision) in [("Read", "allow"), ("Bash", "ask")] {
        let hook = json!({"type": "control_request", "request_id": tool, "request": {
            "subtype": "hook_callback", "callback_id": HOOK, "input": {"tool_name": tool}}});
        receive(&mut dialog, &hook);
        let due = dialog.due().pop().unwrap();
        let due: Value = serde_json::from_slice(&due).unwrap();
        let said = &due["response"]["response"]["hookSpecificOutput"]["permissionDecision"];
        assert_eq!(*said, decision);
    }
}

#[test]
fn an_effort_counts_when_the_cli_says_it_and_else_the_one_before() {
    let mut dialog = ready(false);
    let answer = |frame: &Value, effort: &str| {
        json!({"type": "control_response", "response": {"subtype": "success",
            "request_id": frame["request_id"], "response": {"applied": {"effort": effort}}}})
    };
    let mut set = |effort: &str, counts: &str| {
        let setting = Setting::Effort(effort.to_owned());
        let given = give(&mut dialog, &Command::Set(setting)).remove(0);
        assert!(receive(&mut dialog, &success(&given["request_id"])).is_empty());
        let due = dialog.due();
        let check = send(&mut dialog, due).remove(0);
        assert_eq!(check["request"]["subtype"], "get_settings");
        assert!(dialog.due().is_empty(), "it waits for the answer");
        let told = receive(&mut dialog, &answer(&check, counts));
        let Some(Told::Setting { refused, .. }) = told.first() else {
            panic!("{told:?}");
        };
        refused.clone()
    };
    assert_eq!(set("low", "low"), None);
    let refused = set("max", "low").unwrap();
    assert!(refused.contains("what counts is low"), "{refused}");
    let due = dialog.due();
    let back = send(&mut dialog, due).remove(0);
    assert_eq!(back["request"]["settings"]["effortLevel"], "low");
    assert!(dialog.due().is_empty());
    assert_eq!(dialog.settings().effort.as_deref(), Some("low"));
}

#[test]
fn what_the_cli_says_of_its_new_model_takes_up_no_message() {
    let mut dialog = ready(false);
    give(&mut dialog, &Command::Prompt(message("p-1")));
    let setting = Setting::Model("other".to_owned());
    let asked = give(&mut dialog, &Command::Set(setting.clone())).remove(0);
    let said = json!({"type": "user", "isReplay": true, "uuid": "another",
        "message": {"role": "user", "content": "<local-command-stdout>Set model to other"}});
    assert!(receive(&mut dialog, &said).is_empty());
    let told = receive(&mut dialog, &success(&asked["request_id"]));
    let refused = None;
    assert_eq!(told, [Told::Setting { setting, refused }]);
}
