use super::*;

fn shown(events: &[Event]) -> String {
    let mut transcript = Transcript::new(false);
    let mut out = Vec::new();
    for event in events {
        transcript.show(event, &mut out).unwrap();
    }
    String::from_utf8(out).unwrap()
}

fn token(text: &str) -> Event {
    Event::Token {
        text: text.to_owned(),
        message_id: None,
        parent_call_id: None,
    }
}

#[test]
fn a_turn_reads_as_text_calls_and_a_verdict() {
    let text = shown(&[
        token("I'll run "),
        token("the tests."),
        Event::ToolStart {
            call_id: "1".to_owned(),
            name: "shell".to_owned(),
            native_name: "Bash".to_owned(),
            input: serde_json::json!({"command": "sh test.sh"}),
            parent_call_id: None,
        },
        Event::ToolEnd {
            call_id: "1".to_owned(),
            name: "shell".to_owned(),
            output: Some("Exit code 1\nFAIL: greet".to_owned()),
            is_error: true,
            exit_code: Some(1),
            duration_ms: None,
        },
        Event::Usage(Usage {
            input_tokens: 668,
            output_tokens: 35,
            cache_read_tokens: 1800,
            cache_write_tokens: 0,
            cost_usd: Some(0.015_365),
        }),
        Event::End {
            outcome: Outcome::Completed,
            error: None,
            duration_ms: Some(3210),
        },
    ]);
    assert_eq!(
        text,
        "I'll run the tests.\n● shell  sh test.sh\n  ✗ exit 1 · FAIL: greet · 2 lines\n\
         completed in 3.2 s · 2,468 tokens in (1,800 cached), 35 out · $0.0154\n"
    );
}

#[test]
fn a_failure_says_why_before_its_verdict() {
    let error = TurnError::new(crate::event::ErrorClass::Auth, "Invalid API key");
    let end = Event::End {
        outcome: Outcome::Failed,
        error: Some(error),
        duration_ms: Some(900),
    };
    assert_eq!(
        shown(&[token("x"), end]),
        "x\nInvalid API key\nfailed in 0.9 s\n"
    );
}

#[test]
fn an_error_that_the_agent_has_just_said_is_not_said_again() {
    let end = || Event::End {
        outcome: Outcome::Failed,
        error: Some(TurnError::new(
            crate::event::ErrorClass::Auth,
            "Not logged in",
        )),
        duration_ms: None,
    };
    let (half, rest) = (token("Not log"), token("ged in"));
    assert_eq!(shown(&[half, rest, end()]), "Not logged in\nfailed\n");
    let plan = Event::Plan { items: Vec::new() };
    assert_eq!(
        shown(&[token("So.\n"), plan, end()]),
        "So.\nNot logged in\nfailed\n"
    );
}

#[test]
fn what_an_agent_asks_is_shown_with_the_answer() {
    let ask = |tool: &str, input| Event::PermissionRequest {
        request_id: "1".to_owned(),
        call_id: None,
        tool: tool.to_owned(),
        input,
        options: Vec::new(),
    };
    let answer = |decision: &str, by: &str| Event::PermissionResponse {
        request_id: "1".to_owned(),
        decision: decision.to_owned(),
        by: by.to_owned(),
    };
    let question = serde_json::json!({"questions": [{"question": "Which?"}]});
    let text = shown(&[
        ask("shell", serde_json::json!({"command": "ls"})),
        answer("allow", "local"),
        ask("AskUserQuestion", question),
        answer("deny", "timeout"),
    ]);
    assert_eq!(
        text,
        "? shell  ls\n  permitted by a person here\n? AskUserQuestion  Which?\n  denied as \
         nobody answered in time\n"
    );
}

fn call(id: &str, name: &str) -> Event {
    Event::ToolStart {
        call_id: id.to_owned(),
        name: name.to_owned(),
        native_name: name.to_owned(),
        input: serde_json::json!({"command": "\x1b[8mls"}),
        parent_call_id: None,
    }
}

fn end_of(id: &str, name: &str, output: &str) -> Event {
    Event::ToolEnd {
        call_id: id.to_owned(),
        name: name.to_owned(),
        output: Some(output.to_owned()),
        is_error: false,
        exit_code: None,
        duration_ms: None,
    }
}

#[test]
fn agent_text_cannot_drive_the_terminal() {
    let ask = Event::PermissionRequest {
        request_id: "1".to_owned(),
        call_id: None,
        tool: "\x1b]0;tool\x07".to_owned(),
        input: Value::Null,
        options: Vec::new(),
    };
    let error = TurnError::new(crate::event::ErrorClass::Unknown, "\x1b]0;cut");
    let text = shown(&[
        token("\x1b]0;title\x07 \x1b[2J \x1b["),
        call("1", "evil\x1b[31m\x1b]0;name\x07\nname"),
        end_of("2", "\x1b[2J\nname", "\x1b[31mred\x1b[0m \x07"),
        ask,
        Event::End {
            outcome: Outcome::Failed,
            error: Some(error),
            duration_ms: None,
        },
    ]);
    let hostile = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(hostile), "{text:?}");
    assert_eq!(text.lines().count(), 6, "{text:?}");
}

#[test]
fn calls_side_by_side_end_by_their_names() {
    let text = shown(&[
        call("1", "shell"),
        call("2", "shell"),
        end_of("2", "shell", "b"),
        end_of("1", "shell", "\x1b[32ma\x1b[0m"),
    ]);
    assert_eq!(
        text,
        "● shell  \u{fffd}[8mls\n● shell  \u{fffd}[8mls\n  ✓ b\n  ✓ shell  a\n"
    );
}

#[test]
fn of_a_tools_error_its_last_words_are_shown() {
    assert_eq!(last_words("Exit code 1\nFAIL: x\n"), "FAIL: x");
    assert_eq!(
        last_words("<tool_use_error>No such tool</tool_use_error>"),
        "No such tool"
    );
    let json =
        "<tool_use_error>Invalid: [\n  {\n    \"message\": \"Required\"\n  }\n]</tool_use_error>";
    assert_eq!(last_words(json), "    \"message\": \"Required\"");
    assert_eq!(last_words("]\n"), "");
}

#[test]
fn prompts_are_shown_to_whom_did_not_type_them() {
    let prompt = |author: Option<&str>| Event::Prompt {
        text: "Fix \x1b]0;t\x07the tests\nand more".to_owned(),
        prompt_id: None,
        author: author.map(str::to_owned),
        images: Vec::new(),
    };
    let events = [
        token("Done."),
        prompt(None),
        prompt(Some("Ada <a@example.com>")),
    ];
    assert_eq!(shown(&events), "Done.");
    let mut transcript = Transcript::new(false).with_prompts();
    let mut out = Vec::new();
    for event in &events {
        transcript.show(event, &mut out).unwrap();
    }
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "Done.\n> Fix the tests…\nAda <a@example.com>> Fix the tests…\n"
    );
}

#[test]
fn an_agent_that_goes_on_as_it_was_is_not_said_to_be_ready_again() {
    let session = |model: &str| Event::Session {
        id: "s".to_owned(),
        model: Some(model.to_owned()),
        cwd: Some("/here".to_owned()),
        tools: None,
        at_work: false,
    };
    let text = shown(&[session("one"), session("one"), session("two")]);
    assert_eq!(text, "agent ready, one\nagent ready, two\n");
}
