//! What both agents have in common, by the example of Gemini's part.

use serde_json::{Value, json};

use super::*;
use crate::agent::live::Message;
use crate::agent::{AgentKind, gemini};
use crate::frame::Loss;
use crate::ids::SpoolOffset;

fn receive(dialog: &mut dyn Dialog, frame: &Value) -> Vec<Told> {
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

fn send(dialog: &mut dyn Dialog, frames: Vec<Vec<u8>>) -> (Vec<Value>, Vec<Told>) {
    let mut told = Vec::new();
    let sent = frames.into_iter().map(|frame| {
        dialog.sent(&frame, &mut told);
        serde_json::from_slice(&frame).unwrap()
    });
    (sent.collect(), told)
}

fn due(dialog: &mut dyn Dialog) -> Vec<Value> {
    let frames = dialog.due();
    send(dialog, frames).0
}

fn command(dialog: &mut dyn Dialog, command: &Command) -> (Vec<Value>, Vec<Told>) {
    let frames = dialog.frames(command).unwrap();
    send(dialog, frames)
}

fn prompt(id: &str) -> Command {
    Command::Prompt(Message {
        id: id.to_owned(),
        text: "Do it.".to_owned(),
        images: Vec::new(),
    })
}

fn result(request: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": request["id"], "result": result})
}

fn ready(agent: &AgentKind, spec: &LiveSpec) -> Box<dyn Dialog> {
    let mut dialog = (agent.live.as_ref().unwrap().open)(spec);
    let first = due(&mut *dialog).remove(0);
    assert_eq!(first["method"], "initialize");
    assert!(dialog.due().is_empty(), "it waits for the answer");
    receive(
        &mut *dialog,
        &result(&first, &json!({"protocolVersion": 1})),
    );
    let session = due(&mut *dialog).remove(0);
    assert!(dialog.due().is_empty());
    let told = receive(&mut *dialog, &result(&session, &json!({"sessionId": "s"})));
    let is_introduced = matches!(told.first(), Some(Told::Event(Event::Session { .. })));
    let is_set = dialog.phase() == Phase::Resting;
    assert_eq!(is_introduced, is_set, "with what was set");
    dialog
}

fn ask(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "session/request_permission", "params": {
        "sessionId": "s",
        "toolCall": {"toolCallId": "run_shell_command__1", "title": "ls", "status": "pending"},
        "options": [{"optionId": "yes", "kind": "allow_once", "name": ""},
            {"optionId": "no", "kind": "reject_once", "name": ""}],
    }})
}

#[test]
fn model_and_effort_are_set_before_prompts_are_taken() {
    let spec = LiveSpec {
        model: Some("a/b".to_owned()),
        effort: Some("high".to_owned()),
        ..LiveSpec::default()
    };
    let mut dialog = ready(&crate::agent::opencode::KIND, &spec);
    assert_eq!(dialog.frames(&prompt("p")), Err(Refused::NotReady));
    let settings = due(&mut *dialog);
    let set: Vec<_> = settings
        .iter()
        .map(|frame| (&frame["params"]["configId"], &frame["params"]["value"]))
        .collect();
    assert_eq!(
        set,
        [
            (&json!("model"), &json!("a/b")),
            (&json!("effort"), &json!("high"))
        ]
    );
    let told = receive(&mut *dialog, &result(&settings[0], &json!({})));
    assert!(matches!(told[..], [Told::Setting { refused: None, .. }]));
    let told = receive(&mut *dialog, &result(&settings[1], &json!({})));
    let [
        Told::Setting { .. },
        Told::Event(Event::Session { model, .. }),
        Told::Ready,
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!(model.as_deref(), Some("a/b"));
}

#[test]
fn a_message_is_taken_up_by_the_first_that_is_said_of_its_turn() {
    let mut dialog = ready(&gemini::KIND, &LiveSpec::default());
    let (sent, _) = command(&mut *dialog, &prompt("p-1"));
    assert_eq!(dialog.frames(&prompt("p-2")), Err(Refused::Busy));
    let steer = Command::Steer(Message {
        id: "p-3".to_owned(),
        text: "x".to_owned(),
        images: Vec::new(),
    });
    assert_eq!(dialog.frames(&steer), Err(Refused::NotLive));
    let chunk = json!({"jsonrpc": "2.0", "method": "session/update", "params": {
        "sessionId": "s", "update": {"sessionUpdate": "agent_message_chunk",
            "content": {"type": "text", "text": "Hello"}}}});
    let told = receive(&mut *dialog, &chunk);
    let id = Some("p-1".to_owned());
    assert_eq!(told.first(), Some(&Told::TakenUp { id }));
    let Some(Told::Event(Event::Token { message_id, .. })) = told.get(1) else {
        panic!("{told:?}")
    };
    assert_eq!(message_id.as_deref(), Some("p-1#0"));
    let told = receive(
        &mut *dialog,
        &result(&sent[0], &json!({"stopReason": "end_turn"})),
    );
    assert!(matches!(
        told.last(),
        Some(Told::TurnOver {
            evidence: Evidence::Completed,
            ..
        })
    ));
    // what comes now belongs to no turn
    assert!(receive(&mut *dialog, &chunk).is_empty());
}

#[test]
fn an_interrupt_answers_what_waits_and_is_asked_for_once() {
    let spec = LiveSpec {
        asks: true,
        ..LiveSpec::default()
    };
    let mut dialog = ready(&gemini::KIND, &spec);
    let (prompted, _) = command(&mut *dialog, &prompt("p-1"));
    receive(&mut *dialog, &ask(0));
    assert_eq!(dialog.pending().len(), 1);
    let (sent, told) = command(&mut *dialog, &Command::Interrupt);
    assert_eq!(sent[0]["method"], "session/cancel");
    assert_eq!(sent[1]["result"]["outcome"]["outcome"], "cancelled");
    let request_id = "0".to_owned();
    assert_eq!(
        told,
        [Told::Answered {
            request_id,
            decision: "cancel"
        }]
    );
    assert_eq!(dialog.frames(&Command::Interrupt), Ok(Vec::new()));
    let told = receive(
        &mut *dialog,
        &result(&prompted[0], &json!({"stopReason": "cancelled"})),
    );
    assert!(matches!(
        told.last(),
        Some(Told::TurnOver {
            evidence: Evidence::Interrupted,
            ..
        })
    ));
}

#[test]
fn where_nobody_is_asked_a_call_may_go_on_and_the_answer_is_due_until_it_was_sent() {
    let mut dialog = ready(&gemini::KIND, &LiveSpec::default());
    command(&mut *dialog, &prompt("p-1"));
    receive(&mut *dialog, &ask(7));
    assert!(dialog.pending().is_empty(), "nobody has to decide");
    let live = gemini::KIND.live.as_ref().unwrap();
    let mut dialog = (live.restore)(&dialog.snapshot()).unwrap();
    let sent = due(&mut *dialog);
    assert_eq!(sent[0]["id"], 7);
    assert_eq!(sent[0]["result"]["outcome"]["optionId"], "yes");
    assert!(dialog.due().is_empty());
    // a request of another kind is refused, under the id that it came with
    let read = json!({"jsonrpc": "2.0", "id": "f", "method": "fs/read_text_file", "params": {}});
    receive(&mut *dialog, &read);
    let sent = due(&mut *dialog);
    assert_eq!(
        (&sent[0]["id"], &sent[0]["error"]["code"]),
        (&json!("f"), &json!(-32601))
    );
}

#[test]
fn thoughts_with_subjects_stand_apart_and_one_without_goes_on() {
    let mut dialog = ready(&gemini::KIND, &LiveSpec::default());
    command(&mut *dialog, &prompt("p-1"));
    let mut think = |text: &str| {
        let chunk = json!({"jsonrpc": "2.0", "method": "session/update", "params": {
            "sessionId": "s", "update": {"sessionUpdate": "agent_thought_chunk",
                "content": {"type": "text", "text": text}}}});
        let told = receive(&mut *dialog, &chunk);
        let Some(Told::Event(Event::Thinking { text, .. })) = told.last() else {
            panic!("{told:?}")
        };
        text.clone()
    };
    assert_eq!(think("**Plan**\nFirst"), "**Plan**\nFirst");
    assert_eq!(think("****\n, then."), ", then.");
    assert_eq!(think("**Doubt**\nOr"), "\n\n**Doubt**\nOr");
}

#[test]
fn a_call_begins_with_the_request_and_is_over_when_it_is_denied() {
    let spec = LiveSpec {
        asks: true,
        ..LiveSpec::default()
    };
    let mut dialog = ready(&gemini::KIND, &spec);
    command(&mut *dialog, &prompt("p-1"));
    let kinds = |told: &[Told]| -> Vec<&'static str> {
        let kind = |told: &Told| match told {
            Told::Event(Event::ToolStart { .. }) => "tool_start",
            Told::Event(Event::ToolEnd { .. }) => "tool_end",
            Told::Event(Event::PermissionRequest { .. }) => "permission_request",
            Told::Answered { decision, .. } => decision,
            Told::TakenUp { .. } => "taken up",
            other => panic!("{other:?}"),
        };
        told.iter().map(kind).collect()
    };
    let told = receive(&mut *dialog, &ask(0));
    assert_eq!(
        kinds(&told),
        ["taken up", "tool_start", "permission_request"]
    );
    let deny = Command::Answer {
        request_id: "0".to_owned(),
        answer: crate::agent::live::Answer::Deny {
            message: "no".to_owned(),
        },
    };
    let (_, told) = command(&mut *dialog, &deny);
    assert_eq!(kinds(&told), ["deny", "tool_end"]);
    // One that is permitted is told once, and ends when the CLI says so.
    let told = receive(&mut *dialog, &ask(1));
    assert_eq!(kinds(&told), ["tool_start", "permission_request"]);
    let allow = Command::Answer {
        request_id: "1".to_owned(),
        answer: crate::agent::live::Answer::Allow { input: None },
    };
    let (_, told) = command(&mut *dialog, &allow);
    assert_eq!(kinds(&told), ["allow"]);
    let done = json!({"jsonrpc": "2.0", "method": "session/update", "params": {
        "sessionId": "s", "update": {"sessionUpdate": "tool_call_update", "title": "ls",
            "toolCallId": "run_shell_command__1", "status": "completed"}}});
    assert_eq!(kinds(&receive(&mut *dialog, &done)), ["tool_end"]);
}
