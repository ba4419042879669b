use serde_json::json;

use super::*;
use crate::agent::live::Answer;

const NOW: Now = Now {
    wall: Timestamp::from_millis(7),
    tick: 100,
};

fn begun() -> Course {
    Course::begin(
        "m-1".to_owned(),
        ("do it".to_owned(), Vec::new()),
        Timestamp::from_millis(1),
    )
}

fn message(id: &str, text: &str) -> Message {
    Message {
        id: id.to_owned(),
        text: text.to_owned(),
        images: Vec::new(),
    }
}

fn prompt(id: &str, text: &str) -> Step {
    Step::Say(Command::Prompt(message(id, text)))
}

fn steer(id: &str, text: &str) -> Step {
    Step::Say(Command::Steer(message(id, text)))
}

fn taken_up(id: &str) -> Told {
    Told::TakenUp {
        id: Some(id.to_owned()),
    }
}

fn over(evidence: Evidence, background: bool) -> Told {
    Told::TurnOver {
        evidence,
        background,
    }
}

fn asked(id: &str) -> Asked {
    Asked {
        request_id: id.to_owned(),
        call_id: None,
        tool: "shell".to_owned(),
        input: json!({}),
    }
}

#[test]
fn a_turn_is_over_when_the_cli_says_so_and_rests() {
    let mut course = begun();
    assert_eq!(course.next(Phase::Opening, &[], true), Step::Wait);
    assert_eq!(
        course.next(Phase::Resting, &[], true),
        prompt("m-1", "do it")
    );
    assert_eq!(course.next(Phase::Working, &[], true), Step::Wait);
    // the frame is on its way, and the dialog has not come to it
    assert_eq!(course.next(Phase::Resting, &[], true), Step::Wait);
    course.told(taken_up("m-1"), Phase::Working, NOW);
    course.told(over(Evidence::Completed, false), Phase::Resting, NOW);
    assert_eq!(course.next(Phase::Resting, &[], true), Step::Over);
    assert_eq!(course.evidence(), Some(Evidence::Completed));
}

#[test]
fn background_work_keeps_the_turn_open() {
    let mut course = begun();
    course.next(Phase::Resting, &[], true);
    course.told(over(Evidence::Completed, true), Phase::Resting, NOW);
    assert!(course.in_background());
    assert_eq!(course.next(Phase::Resting, &[], true), Step::Wait);
    course.told(over(Evidence::Completed, false), Phase::Resting, NOW);
    assert_eq!(course.next(Phase::Resting, &[], true), Step::Over);
}

#[test]
fn a_message_that_the_turns_end_overtakes_is_the_next_prompt_and_said_once() {
    let mut course = begun();
    course.next(Phase::Resting, &[], true);
    course.told(taken_up("m-1"), Phase::Working, NOW);
    course.add("m-2".to_owned(), ("and that".to_owned(), Vec::new()));
    assert_eq!(
        course.next(Phase::Working, &[], true),
        steer("m-2", "and that")
    );
    assert_eq!(course.next(Phase::Working, &[], true), Step::Wait, "once");
    course.told(over(Evidence::Completed, false), Phase::Resting, NOW);
    assert_eq!(
        course.next(Phase::Resting, &[], true),
        prompt("m-2", "and that")
    );
    course.told(over(Evidence::Completed, false), Phase::Resting, NOW);
    assert_eq!(course.next(Phase::Resting, &[], true), Step::Over);
}

#[test]
fn a_message_that_begins_a_round_by_itself_opens_the_turn_again() {
    let mut course = begun();
    course.next(Phase::Resting, &[], true);
    course.add("m-2".to_owned(), ("and that".to_owned(), Vec::new()));
    course.next(Phase::Working, &[], true);
    course.told(over(Evidence::Completed, false), Phase::Working, NOW);
    assert_eq!(course.next(Phase::Working, &[], true), Step::Wait);
    course.told(taken_up("m-2"), Phase::Working, NOW);
    assert_eq!(course.evidence(), None, "of a round that runs");
    course.told(over(Evidence::Completed, false), Phase::Resting, NOW);
    assert_eq!(course.next(Phase::Resting, &[], true), Step::Over);
}

#[test]
fn a_cli_that_cannot_be_steered_is_interrupted_once_and_goes_on_with_the_message() {
    let mut course = begun();
    course.next(Phase::Resting, &[], false);
    course.add("m-2".to_owned(), ("and that".to_owned(), Vec::new()));
    let interrupt = Step::Say(Command::Interrupt);
    assert_eq!(course.next(Phase::Working, &[], false), interrupt);
    assert_eq!(course.next(Phase::Working, &[], false), Step::Wait);
    course.told(over(Evidence::Interrupted, false), Phase::Resting, NOW);
    assert_eq!(
        course.next(Phase::Resting, &[], false),
        prompt("m-2", "and that")
    );
}

#[test]
fn what_is_in_the_log_was_said() {
    let mut course = begun();
    let frames: [&[u8]; 1] = [br#"{"uuid":"m-1"}"#];
    course.recover(frames.into_iter(), Phase::Working, true);
    assert_eq!(course.next(Phase::Working, &[], true), Step::Wait);
    // a protocol that names no messages: the turn runs, so its prompt was said
    let mut course = begun();
    course.recover([].into_iter(), Phase::Working, false);
    assert_eq!(course.next(Phase::Working, &[], false), Step::Wait);
    // a message into the turn was stored, and nobody came to say it
    for (can_steer, step) in [
        (true, steer("m-2", "and that")),
        (false, Step::Say(Command::Interrupt)),
    ] {
        let mut course = begun();
        course.next(Phase::Resting, &[], can_steer);
        course.told(taken_up("m-1"), Phase::Working, NOW);
        course.add("m-2".to_owned(), ("and that".to_owned(), Vec::new()));
        course.recover([].into_iter(), Phase::Working, can_steer);
        assert_eq!(course.next(Phase::Working, &[], can_steer), step);
    }
    // nothing of it is there, and nothing runs
    let mut course = begun();
    course.recover([].into_iter(), Phase::Resting, true);
    assert_eq!(
        course.next(Phase::Resting, &[], true),
        prompt("m-1", "do it")
    );
}

#[test]
fn the_first_answer_counts_and_is_sent_while_it_is_waited_for() {
    let mut course = begun();
    course.next(Phase::Resting, &[], true);
    let answer = |by| Answered {
        request_id: "r-1".to_owned(),
        answer: Answer::Allow { input: None },
        by,
    };
    assert!(course.decide(answer(Answerer::Local)));
    assert!(!course.decide(answer(Answerer::Timeout)));
    let pending = [asked("r-1")];
    let say = Step::Say(Command::Answer {
        request_id: "r-1".to_owned(),
        answer: Answer::Allow { input: None },
    });
    assert_eq!(course.next(Phase::Working, &pending, true), say);
    let sent = Told::Answered {
        request_id: "r-1".to_owned(),
        decision: "allow",
    };
    // its event was stored with the decision
    assert!(course.told(sent, Phase::Working, NOW).is_none());
    assert_eq!(course.next(Phase::Working, &[], true), Step::Wait);
}

#[test]
fn a_stop_interrupts_each_round_once_and_is_over_at_rest() {
    let mut course = begun();
    assert_eq!(course.stopping(Phase::Opening, &[]), Step::Over);
    course.next(Phase::Resting, &[], true);
    let interrupt = Step::Say(Command::Interrupt);
    assert_eq!(course.stopping(Phase::Working, &[]), interrupt);
    assert_eq!(course.stopping(Phase::Working, &[]), Step::Wait);
    // a message that came too late begins another round
    course.told(over(Evidence::Interrupted, false), Phase::Working, NOW);
    assert_eq!(course.stopping(Phase::Working, &[]), interrupt);
    course.told(over(Evidence::Interrupted, false), Phase::Resting, NOW);
    assert_eq!(course.stopping(Phase::Resting, &[]), Step::Over);
}

#[test]
fn a_prompt_that_the_cli_refuses_ends_the_turn_with_its_reason() {
    let mut course = begun();
    course.next(Phase::Resting, &[], true);
    let failed = Told::Failed {
        what: "turn/start".to_owned(),
        why: "no such model".to_owned(),
    };
    course.told(failed, Phase::Resting, NOW);
    let Some(Evidence::Failed(error)) = course.evidence() else {
        panic!("{course:?}")
    };
    assert_eq!(error.message, "no such model");
    assert_eq!(course.next(Phase::Resting, &[], true), Step::Over);
}

#[test]
fn only_a_resumption_that_is_refused_says_that_the_conversation_is_lost() {
    let evidence_of = |what: &str| {
        let mut course = begun();
        let failed = Told::Failed {
            what: what.to_owned(),
            why: "no".to_owned(),
        };
        course.told(failed, Phase::Refused, NOW);
        course.evidence()
    };
    for what in ["thread/resume", "session/resume", "session/load"] {
        let evidence = evidence_of(what);
        let is_lost = matches!(&evidence, Some(Evidence::ConversationMissing(_)));
        assert!(is_lost, "{what}: {evidence:?}");
    }
    for what in ["initialize", "session/new", "session/set_config_option"] {
        let evidence = evidence_of(what);
        let is_failed = matches!(&evidence, Some(Evidence::Failed(_)));
        assert!(is_failed, "{what}: {evidence:?}");
    }
}

#[test]
fn what_a_turn_has_started_counts_from_its_first_call() {
    let mut course = begun();
    assert_eq!(course.since(), None);
    let call = Told::Event(Event::ToolStart {
        call_id: "c".to_owned(),
        name: "shell".to_owned(),
        native_name: "Bash".to_owned(),
        input: json!({}),
        parent_call_id: None,
    });
    course.told(call.clone(), Phase::Working, NOW);
    let later = Now { tick: 900, ..NOW };
    course.told(call, Phase::Working, later);
    assert_eq!(course.since(), Some(80));
}

#[test]
fn background_work_that_is_stopped_leaves_a_turn_that_was_cut_off() {
    let mut course = begun();
    course.next(Phase::Resting, &[], true);
    course.told(over(Evidence::Completed, true), Phase::Resting, NOW);
    let stop = Step::Say(Command::Interrupt);
    assert_eq!(course.stopping(Phase::Resting, &[]), stop);
    assert_eq!(course.stopping(Phase::Resting, &[]), Step::Wait, "once");
    course.told(over(Evidence::Completed, false), Phase::Resting, NOW);
    assert_eq!(course.stopping(Phase::Resting, &[]), Step::Over);
    assert_eq!(course.evidence(), Some(Evidence::Interrupted));
}
