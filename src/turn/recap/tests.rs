use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::CrashCause;

fn asked(text: &str) -> Event {
    Event::Prompt {
        text: text.to_owned(),
        prompt_id: None,
        author: None,
        images: Vec::new(),
    }
}

fn said(text: &str) -> Event {
    Event::Token {
        text: text.to_owned(),
        message_id: Some("m".to_owned()),
        parent_call_id: None,
    }
}

fn started(id: &str, command: &str) -> Event {
    Event::ToolStart {
        call_id: id.to_owned(),
        name: "shell".to_owned(),
        native_name: "Bash".to_owned(),
        input: json!({"command": command}),
        parent_call_id: None,
    }
}

fn ended(id: &str, code: i32) -> Event {
    Event::ToolEnd {
        call_id: id.to_owned(),
        name: "shell".to_owned(),
        output: Some("secret output".to_owned()),
        is_error: code != 0,
        exit_code: Some(code),
        duration_ms: None,
    }
}

fn changed(path: &str) -> Event {
    Event::FileChange {
        path: path.to_owned(),
        kind: FileChangeKind::Edit,
        diff: None,
        call_id: None,
    }
}

fn crashed() -> Event {
    Event::AgentCrashed {
        message: "the agent's process was killed by signal 9".to_owned(),
        cause: CrashCause::Signal,
        exit_code: None,
        signal: Some(9),
        output: String::new(),
        will_resume: true,
    }
}

fn finished() -> Event {
    Event::End {
        outcome: Outcome::Completed,
        error: None,
        duration_ms: None,
    }
}

/// The prompt that follows on earlier turns' events and the running turn's.
fn prompt(earlier: &[Event], turn: &[Event], task: &str, budget: usize) -> Option<String> {
    let mut recap = Recap::default();
    let mut seen = Seen::default();
    for event in earlier {
        recap.event(event);
    }
    for event in turn {
        recap.event(event);
        seen.event(event);
    }
    seen.begin_attempt();
    recap.prompt(budget, task, &seen)
}

#[test]
fn an_earlier_turn_is_told_and_the_new_prompt_stands_last() {
    let earlier = [
        asked("Add a test."),
        said("I look "),
        said("first."),
        started("1", "cargo test"),
        ended("1", 101),
        started("2", "ls"),
        ended("2", 0),
        changed("src/lib.rs"),
        finished(),
    ];
    let text = prompt(&earlier, &[asked("Now fix it.")], "Now fix it.", BUDGET).unwrap();
    let expected = format!(
        "{HEAD}
## The user asked
Add a test.

## You answered
I look first.
- tool shell: cargo test → failed, exit code 101 [output omitted]
- tool shell: ls → done [output omitted]

Files changed so far:
- src/lib.rs (edited)

# End of the recap

The prompt to work on now:

Now fix it."
    );
    assert_eq!(text, expected);
}

#[test]
fn a_prompt_that_was_worked_on_is_gone_on_with_and_not_begun_again() {
    let turn = [asked("Refactor."), started("1", "make"), crashed()];
    let text = prompt(&[], &turn, "Refactor.", BUDGET).unwrap();
    assert!(text.contains(GO_ON), "{text}");
    assert!(text.contains("in the middle of the following"), "{text}");
    assert!(text.contains("- tool shell: make → cut off"), "{text}");
    assert!(text.contains("- cut off: the agent's process"), "{text}");
    assert!(text.ends_with("\n\nRefactor."), "{text}");
}

#[test]
fn there_is_no_recap_where_nothing_happened() {
    assert_eq!(prompt(&[], &[asked("task")], "task", BUDGET), None);
    let died = [asked("task"), crashed()];
    assert_eq!(prompt(&[], &died, "task", BUDGET), None);
}

#[test]
fn the_newest_is_kept_and_what_is_left_out_is_marked() {
    let mut earlier = Vec::new();
    for turn in 0..5000 {
        earlier.push(asked(&format!("prompt {turn}!")));
        earlier.push(said(&"long ".repeat(1000)));
        earlier.push(changed(&format!("file-{turn}")));
    }
    let text = prompt(&earlier, &[asked("now")], "now", BUDGET).unwrap();
    assert!(text.contains("prompt 4999!") && !text.contains("prompt 0!"));
    assert!(text.contains("file-4999") && !text.contains("file-0 "));
    assert!(text.len() <= BUDGET + PROMPT.len() + "now".len());
    let marks = text.matches(OMITTED).count();
    // older entries, older files, and the middle of each answer that is kept
    let answers = text.matches("## You answered").count();
    assert!(marks == answers + 2 && answers > 2, "{marks}, {answers}");
}

#[test]
fn a_draft_that_was_taken_back_is_not_told() {
    let earlier = [
        asked("a"),
        said("draft"),
        Event::TextRetracted {
            message_id: "m".to_owned(),
        },
        said("answer"),
    ];
    let text = prompt(&earlier, &[asked("b")], "b", BUDGET).unwrap();
    assert!(!text.contains("draft") && text.contains("answer"), "{text}");
}

fn any_event() -> impl Strategy<Value = Event> {
    let text = || ".{0,300}".prop_map(|text: String| text.repeat(30));
    prop_oneof![
        text().prop_map(|text| asked(&text)),
        text().prop_map(|text| said(&text)),
        text().prop_map(|text| changed(&text)),
        (".{0,2}", text()).prop_map(|(id, text)| started(&id, &text)),
        (".{0,2}", any::<i32>()).prop_map(|(id, code)| ended(&id, code)),
        Just(crashed()),
        Just(finished()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_account_keeps_to_its_budget_and_the_prompt_stays_whole(
        events in prop::collection::vec(any_event(), 0..60),
        budget in 0_usize..12_000,
        task in ".{1,50}",
    ) {
        let text = prompt(&events, &[asked(&task)], &task, budget);
        if let Some(text) = &text {
            let ending = format!("{PROMPT}{task}");
            prop_assert!(text.ends_with(&ending));
            prop_assert!(text.len() - ending.len() <= budget, "{}", text.len());
        }
        prop_assert_eq!(text, prompt(&events, &[asked(&task)], &task, budget));
    }

    #[test]
    fn an_answer_is_the_same_however_it_came_in_pieces(
        text in ".{0,4000}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.retain(|cut| text.is_char_boundary(*cut));
        cuts.sort_unstable();
        let mut pieces = Text::default();
        let mut from = 0;
        for cut in cuts.into_iter().chain([text.len()]) {
            pieces.push(&text[from..cut]);
            from = cut;
        }
        prop_assert_eq!(pieces.render(), Text::whole(&text).render());
    }
}

#[test]
fn what_a_conversation_has_forgotten_goes_before_the_message() {
    let mut recap = Recap::default();
    for event in [
        asked("look"),
        said("I look."),
        started("1", "make"),
        ended("1", 0),
    ] {
        recap.event(&event);
    }
    let text = recap.before(BUDGET, "go on").unwrap();
    assert_eq!(
        text,
        format!(
            "{FORGOTTEN}\n## The user asked\nlook\n\n## You answered\nI look.\n\
             - tool shell: make → done {NO_OUTPUT}\n{END}{MESSAGE}go on"
        )
    );
    assert_eq!(Recap::default().before(BUDGET, "go on"), None);
}
