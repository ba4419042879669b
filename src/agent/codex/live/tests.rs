use super::*;
use crate::agent::live::Answer;
use crate::agent::live::Message;
use crate::agent::live::Setting;
use crate::frame::Loss;
use crate::ids::SpoolOffset;

fn receive(dialog: &mut CodexLive, frame: &Value) -> Vec<Told> {
    let text = frame.to_string();
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

fn send(dialog: &mut CodexLive, frames: Vec<Vec<u8>>) -> Vec<Value> {
    let sent = frames.into_iter().map(|frame| {
        dialog.sent(&frame, &mut Vec::new());
        serde_json::from_slice(&frame).unwrap()
    });
    sent.collect()
}

fn due(dialog: &mut CodexLive) -> Vec<Value> {
    let frames = dialog.due();
    send(dialog, frames)
}

fn prompt(id: &str) -> Command {
    Command::Prompt(Message {
        id: id.to_owned(),
        text: "Do it.".to_owned(),
        images: Vec::new(),
    })
}

/// A dialog whose thread is `t`.
fn ready(spec: &LiveSpec) -> (CodexLive, Value) {
    let mut dialog = CodexLive::new(spec);
    let first = due(&mut dialog).remove(0);
    assert_eq!(first["method"], "initialize");
    assert!(due(&mut dialog).is_empty(), "it waits for the answer");
    receive(&mut dialog, &json!({"id": first["id"], "result": {}}));
    assert_eq!(due(&mut dialog)[0]["method"], "initialized");
    let thread = due(&mut dialog).remove(0);
    assert!(due(&mut dialog).is_empty());
    let told = receive(
        &mut dialog,
        &json!({"id": thread["id"], "result": {"thread": {"id": "t"}, "model": "m"}}),
    );
    assert_eq!(told.last(), Some(&Told::Ready));
    (dialog, thread)
}

/// A dialog in a turn `u`.
fn working() -> CodexLive {
    let (mut dialog, _) = ready(&LiveSpec::default());
    let frames = dialog.frames(&prompt("p-1")).unwrap();
    let start = send(&mut dialog, frames).remove(0);
    assert_eq!(start["params"]["clientUserMessageId"], "p-1");
    let begun = json!({"id": start["id"], "result": {"turn": {"id": "u"}}});
    receive(&mut dialog, &begun);
    dialog
}

#[test]
fn a_thread_is_begun_or_gone_on_with() {
    let (_, begun) = ready(&LiveSpec::default());
    assert_eq!(begun["method"], "thread/start");
    assert_eq!(begun["params"]["approvalPolicy"], "never");
    let (_, resumed) = ready(&LiveSpec {
        resume: Some("old".to_owned()),
        asks: true,
        ..LiveSpec::default()
    });
    assert_eq!(resumed["method"], "thread/resume");
    assert_eq!(resumed["params"]["threadId"], "old");
    assert_eq!(resumed["params"]["approvalPolicy"], "untrusted");
}

#[test]
fn a_thread_that_is_not_there_is_said_and_the_process_is_of_no_use() {
    let mut dialog = CodexLive::new(&LiveSpec::default());
    let first = due(&mut dialog).remove(0);
    receive(&mut dialog, &json!({"id": first["id"], "result": {}}));
    due(&mut dialog);
    let thread = due(&mut dialog).remove(0);
    let fault = json!({"id": thread["id"], "error": {"code": -1, "message": "no rollout found"}});
    let told = receive(&mut dialog, &fault);
    assert!(matches!(told.as_slice(), [Told::Failed { .. }]), "{told:?}");
    assert_eq!(dialog.phase(), Phase::Refused);
    assert_eq!(dialog.frames(&prompt("p")), Err(Refused::NotReady));
}

#[test]
fn a_turn_is_steered_by_its_id_and_interrupted_to_the_last_process() {
    let mut dialog = working();
    assert_eq!(dialog.frames(&prompt("p-2")), Err(Refused::Busy));
    let steer = Command::Steer(Message {
        id: "s-1".to_owned(),
        text: "And that.".to_owned(),
        images: Vec::new(),
    });
    let frames = dialog.frames(&steer).unwrap();
    let steer = send(&mut dialog, frames).remove(0);
    assert_eq!(steer["params"]["expectedTurnId"], "u");
    let item = json!({"type": "userMessage", "id": "i", "clientId": "s-1"});
    let shown = json!({"method": "item/started", "params": {"threadId": "t", "item": item}});
    let id = Some("s-1".to_owned());
    assert_eq!(receive(&mut dialog, &shown), [Told::TakenUp { id }]);
    let frames = dialog.frames(&Command::Interrupt).unwrap();
    send(&mut dialog, frames);
    assert_eq!(dialog.frames(&Command::Interrupt), Ok(Vec::new()));
    let over = json!({"method": "turn/completed",
        "params": {"threadId": "t", "turn": {"id": "u", "status": "interrupted"}}});
    let told = receive(&mut dialog, &over);
    let evidence = Evidence::Interrupted;
    let background = false;
    assert_eq!(
        told,
        [Told::TurnOver {
            evidence,
            background
        }]
    );
    // also for whoever comes after a restart
    let mut dialog: CodexLive = snapshot::load(VERSION, &dialog.snapshot()).unwrap();
    assert_eq!(due(&mut dialog)[0]["method"], CLEAN);
    assert!(dialog.due().is_empty());
}

#[test]
fn a_request_is_answered_once_under_the_id_that_it_came_with() {
    let mut dialog = working();
    let ask = json!({"id": 0, "method": "item/commandExecution/requestApproval", "params":
        {"threadId": "t", "itemId": "c", "command": "/bin/bash -lc 'rm x'"}});
    let told = receive(&mut dialog, &ask);
    let [Told::Event(Event::PermissionRequest { tool, input, .. })] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        (tool.as_str(), &input["command"]),
        ("shell", &json!("rm x"))
    );
    let answer = Command::Answer {
        request_id: "0".to_owned(),
        answer: Answer::Deny {
            message: "no".to_owned(),
        },
    };
    let frames = dialog.frames(&answer).unwrap();
    let sent = send(&mut dialog, frames).remove(0);
    assert_eq!(sent, json!({"id": 0, "result": {"decision": "decline"}}));
    assert_eq!(dialog.frames(&answer), Err(Refused::NotAsked));
    let unknown = json!({"id": "x", "method": "currentTime/read", "params": {}});
    receive(&mut dialog, &unknown);
    let sent = due(&mut dialog).remove(0);
    assert_eq!(
        (&sent["id"], &sent["error"]["code"]),
        (&json!("x"), &json!(-32601))
    );
}

#[test]
fn a_patch_of_several_files_is_asked_for_with_all_of_them() {
    let mut dialog = working();
    let change = |path: &str| json!({"path": path, "kind": {"type": "add"}, "diff": "x"});
    let item = json!({"type": "fileChange", "id": "p", "status": "inProgress",
        "changes": [change("/w/a"), change("/w/b")]});
    let started = json!({"method": "item/started", "params": {"threadId": "t", "item": item}});
    receive(&mut dialog, &started);
    let ask = json!({"id": 0, "method": "item/fileChange/requestApproval",
        "params": {"threadId": "t", "itemId": "p", "grantRoot": "/w"}});
    receive(&mut dialog, &ask);
    let asked = dialog.pending().remove(0);
    assert_eq!(asked.tool, "edit");
    assert_eq!(asked.input["file_paths"], json!(["/w/a", "/w/b"]));
    assert_eq!(asked.input["grant_root"], "/w");
}

#[test]
fn a_question_is_asked_and_answered_by_its_names() {
    let mut dialog = working();
    let questions = json!([{"id": "q", "header": "H", "question": "Which?", "options": null}]);
    let ask = json!({"id": 5, "method": "item/tool/requestUserInput",
        "params": {"threadId": "t", "itemId": "c", "questions": questions}});
    receive(&mut dialog, &ask);
    let asked = dialog.pending().remove(0);
    assert!(asked.is_question());
    assert_eq!(asked.input["questions"], questions);
    let input = json!({"answers": {"q": {"answers": ["this"]}}});
    let answer = Command::Answer {
        request_id: asked.request_id,
        answer: Answer::Allow {
            input: Some(input.clone()),
        },
    };
    let frames = dialog.frames(&answer).unwrap();
    assert_eq!(
        send(&mut dialog, frames).remove(0),
        json!({"id": 5, "result": input})
    );
}

#[test]
fn a_tool_of_an_mcp_server_waits_for_consent_and_a_servers_own_question_is_refused() {
    let mut dialog = working();
    let item = json!({"type": "mcpToolCall", "id": "m", "server": "lab", "tool": "echo",
        "arguments": {"text": "hi"}, "status": "inProgress"});
    receive(
        &mut dialog,
        &json!({"method": "item/started", "params": {"threadId": "t", "item": item}}),
    );
    let ask = |id: u64, meta: Value| {
        json!({"id": id, "method": "mcpServer/elicitation/request", "params": {
            "threadId": "t", "serverName": "lab", "mode": "form", "message": "?", "_meta": meta}})
    };
    let meta = json!({"codex_approval_kind": "mcp_tool_call", "tool_name": "echo",
        "tool_params": {"text": "hi"}});
    receive(&mut dialog, &ask(0, meta));
    let asked = dialog.pending().remove(0);
    assert_eq!(asked.tool, "mcp__lab__echo");
    assert_eq!(asked.call_id.as_deref(), Some("m"));
    assert_eq!(asked.input, json!({"text": "hi"}));
    let answer = Command::Answer {
        request_id: asked.request_id,
        answer: Answer::Deny {
            message: String::new(),
        },
    };
    let frames = dialog.frames(&answer).unwrap();
    let mut told = Vec::new();
    dialog.sent(&frames[0], &mut told);
    let request_id = "0".to_owned();
    assert_eq!(
        told,
        [Told::Answered {
            request_id,
            decision: "deny"
        }]
    );
    receive(&mut dialog, &ask(1, Value::Null));
    assert!(dialog.pending().is_empty());
    assert_eq!(due(&mut dialog)[0]["error"]["code"], -32601);
}

fn command(method: &str, status: &str) -> Value {
    let item = json!({"type": "commandExecution", "id": "c", "status": status,
        "command": "/bin/bash -lc 'make'", "aggregatedOutput": "made\n"});
    json!({"method": method, "params": {"threadId": "t", "turnId": "u", "item": item}})
}

fn turn_over(status: &str) -> Value {
    let turn = json!({"id": "u", "status": status});
    json!({"method": "turn/completed", "params": {"threadId": "t", "turn": turn}})
}

#[test]
fn a_turn_goes_on_as_long_as_what_it_left_running() {
    let mut dialog = working();
    receive(&mut dialog, &command("item/started", "inProgress"));
    let told = receive(&mut dialog, &turn_over("completed"));
    let is_over = |told: &[Told], in_background: bool| match told.last() {
        Some(Told::TurnOver { background, .. }) => *background == in_background,
        _ => false,
    };
    assert!(is_over(&told, true), "{told:?}");
    let told = receive(&mut dialog, &command("item/completed", "completed"));
    assert!(
        matches!(&told[0], Told::Event(Event::ToolEnd { output: Some(text), .. })
        if text == "made\n")
    );
    assert!(is_over(&told, false), "{told:?}");
}

#[test]
fn what_an_interrupt_has_left_ends_in_no_turn() {
    let mut dialog = working();
    receive(&mut dialog, &command("item/started", "inProgress"));
    let child = json!({"method": "turn/started", "params": {"threadId": "child",
        "turn": {"id": "v"}}});
    receive(&mut dialog, &child);
    let frames = dialog.frames(&Command::Interrupt).unwrap();
    let sent = send(&mut dialog, frames);
    let threads: Vec<_> = sent
        .iter()
        .map(|frame| &frame["params"]["threadId"])
        .collect();
    assert_eq!(threads, ["t", "child"]);
    receive(&mut dialog, &turn_over("interrupted"));
    assert!(receive(&mut dialog, &command("item/completed", "failed")).is_empty());
    let said = json!({"method": "item/agentMessage/delta",
        "params": {"threadId": "child", "itemId": "m", "delta": "late"}});
    assert!(receive(&mut dialog, &said).is_empty());
}

#[test]
fn a_setting_counts_when_the_cli_has_answered() {
    let mut dialog = working();
    for (setting, field) in [
        (Setting::Model("other".to_owned()), "model"),
        (Setting::Effort("low".to_owned()), "effort"),
        (Setting::Consent(true), "approvalPolicy"),
    ] {
        let frames = dialog.frames(&Command::Set(setting.clone())).unwrap();
        let sent = send(&mut dialog, frames).remove(0);
        assert!(sent["params"][field].is_string(), "{sent}");
        assert!(!dialog.settings().has(&setting));
        let told = receive(&mut dialog, &json!({"id": sent["id"], "result": {}}));
        let refused = None;
        assert_eq!(
            told,
            [Told::Setting {
                setting: setting.clone(),
                refused
            }]
        );
        assert!(dialog.settings().has(&setting));
    }
}
