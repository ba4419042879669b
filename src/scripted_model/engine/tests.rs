use super::*;
use crate::scripted_model::script::FailureKind;

const SCRIPT: &str = r#"
[[scenario]]
match = "alpha"
[[scenario.reply]]
steps = [{ say = "a1" }]
[[scenario.reply]]
fail = { status = 529, times = 2 }
cut = { after = 1, times = 1 }
steps = [{ say = "a2" }]

[[scenario]]
match = "paths"
[[scenario.reply]]
steps = [{ write = "./x", content = "{{cwd}} {{prompt}} {{other}}" }, { tool = "T", input = { in = ["{{cwd}}/y"] } }]
[[scenario.reply]]
steps = [{ read = "rel" }]

[[reply]]
steps = [{ say = "d1" }]
[[reply]]
steps = [{ say = "d2" }]
"#;

fn conversation(turns: &[&str]) -> Conversation {
    let turn = |text: &&str| match *text {
        "" => Turn::Reply,
        prompt => Turn::Prompt(prompt.to_owned()),
    };
    Conversation {
        id: "s1".to_owned(),
        turns: turns.iter().map(turn).collect(),
        cwd: Some("/repo".to_owned()),
        subagent: false,
    }
}

fn script() -> Script {
    Script::parse("test.toml", SCRIPT).unwrap()
}

fn ask(conversation: &Conversation, attempt: u32) -> Answer {
    let id = request_id(conversation);
    answer(&script(), conversation, id, attempt).unwrap()
}

fn played(conversation: &Conversation, attempt: u32) -> Performance {
    match ask(conversation, attempt) {
        Answer::Play(performance) => performance,
        Answer::Fail(failure) => panic!("{failure:?}"),
    }
}

fn said(turns: &[&str]) -> String {
    match &played(&conversation(turns), 0).steps[..] {
        [Step::Say(text, _)] => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replies_follow_the_conversation_and_not_the_order_of_requests() {
    assert_eq!(said(&["hello", ""]), "d2");
    assert_eq!(said(&["hello"]), "d1");
}

#[test]
fn a_prompt_that_matches_nothing_goes_on_with_what_is_played() {
    assert_eq!(said(&["hello", "", "go on"]), "d2");
    assert_eq!(said(&["alpha", "alpha again"]), "a1");
}

#[test]
fn a_follow_up_that_matches_starts_its_scenario_whatever_came_before() {
    assert_eq!(said(&["hello", "", "", "", "now alpha"]), "a1");
}

#[test]
fn a_script_that_has_run_out_says_so_and_names_itself() {
    let text = said(&["hello", "", ""]);
    assert!(text.contains("(2 were played)"), "{text}");
    assert!(
        text.contains("test.toml") && text.contains("No model"),
        "{text}"
    );
}

#[test]
fn a_subagent_is_answered_only_by_a_scenario_that_matches_it() {
    let mut sub = conversation(&["hello"]);
    sub.subagent = true;
    let Step::Say(text, _) = &played(&sub, 0).steps[0] else {
        panic!("no text")
    };
    assert!(text.starts_with("No scenario of test.toml"), "{text}");
    sub.turns = vec![Turn::Prompt("alpha".to_owned())];
    assert!(matches!(&played(&sub, 0).steps[0], Step::Say(text, _) if text == "a1"));
}

#[test]
fn a_reply_fails_then_is_cut_then_is_whole() {
    let asked = conversation(&["alpha", ""]);
    let overloaded = FailureKind::Status {
        status: 529,
        name: None,
    };
    for attempt in 0..2 {
        assert!(
            matches!(ask(&asked, attempt), Answer::Fail(failure) if failure.kind == overloaded)
        );
    }
    assert!(played(&asked, 2).cut.is_some());
    assert_eq!(played(&asked, 3).cut, None);
}

#[test]
fn attempts_are_counted_per_request_and_never_without_bound() {
    let mut attempts = Attempts::default();
    let (one, two) = (conversation(&["alpha"]), conversation(&["alpha", ""]));
    let mut other_session = one.clone();
    other_session.id = "s2".to_owned();
    assert_eq!(attempts.count(request_id(&one)), 0);
    assert_eq!(attempts.count(request_id(&one)), 1);
    assert_eq!(attempts.count(request_id(&two)), 0);
    assert_eq!(attempts.count(request_id(&other_session)), 0);
    for number in 0..=ATTEMPTS_KEPT {
        let name = number.to_be_bytes();
        attempts.count(Uuid::new_v5(&Uuid::NAMESPACE_OID, &name));
    }
    assert!(attempts.0.len() <= ATTEMPTS_KEPT);
}

#[test]
fn each_repetition_has_its_own_id() {
    let asked = conversation(&["hello"]);
    assert_eq!(played(&asked, 0).id, played(&asked, 0).id);
    assert_ne!(played(&asked, 0).id, played(&asked, 1).id);
}

#[test]
fn placeholders_are_filled_and_other_braces_left() {
    let performance = played(&conversation(&["paths {{cwd}}"]), 0);
    let write = Tool::Write {
        path: "/repo/x".to_owned(),
        content: "/repo paths {{cwd}} {{other}}".to_owned(),
    };
    assert_eq!(performance.steps[0], Step::Call(write, Pace::default()));
    let Step::Call(Tool::Native { input, .. }, _) = &performance.steps[1] else {
        panic!("no native tool")
    };
    assert_eq!(*input, serde_json::json!({"in": ["/repo/y"]}));
    assert_eq!(performance.stop, Stop::ToolUse);
}

#[test]
fn without_a_working_directory_paths_stay_relative_and_its_placeholder_is_an_error() {
    let mut asked = conversation(&["paths"]);
    asked.cwd = None;
    let error = answer(&script(), &asked, request_id(&asked), 0).unwrap_err();
    assert!(error.to_string().contains("{{cwd}}"), "{error}");
    assert!(error.to_string().contains("test.toml"), "{error}");
    asked.turns.push(Turn::Reply);
    let path = "rel".to_owned();
    let read = Step::Call(Tool::Read { path }, Pace::default());
    assert_eq!(played(&asked, 0).steps, [read]);
}
