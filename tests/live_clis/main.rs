//! Dialogs with the real CLIs in live form, a scripted model behind them: the frames that are sent
//! are those that the CLIs take.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

mod clis;
#[path = "../support/model.rs"]
mod model;
mod talk;

use std::fs;
use std::io::ErrorKind;

use agent_runner::agent::live::Message;
use agent_runner::agent::live::{Answer, Command as Wish, Phase, Refused, Told};
use agent_runner::agent::{COMPACT, Evidence, by_name};
use agent_runner::event::Event;
use agent_runner::image::Image;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use self::clis::{CLAUDE, CODEX, Cli, GEMINI, OPENCODE};
use self::model::ASKED;
use self::talk::{Talk, message, silent};

fn texts(told: &[Told]) -> String {
    let texts = told.iter().filter_map(|told| match told {
        Told::Event(Event::Token { text, .. }) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn pieces(told: &[Told]) -> usize {
    let is_piece = |told: &&Told| matches!(told, Told::Event(Event::Token { .. }));
    told.iter().filter(is_piece).count()
}

/// Two turns in one process; each message is said to be taken up, the text comes in pieces. A
/// process that is started later goes on with the conversation.
fn turns(cli: &Cli) {
    let Some(mut talk) = Talk::with(cli, false) else {
        return;
    };
    for number in [1, 2] {
        hello(&mut talk, number);
    }
    images(&mut talk);
    let id = talk.reader.dialog().agent_session().map(str::to_owned);
    let mut talk = talk.restarted(cli, false);
    hello(&mut talk, 3);
    assert_eq!(talk.reader.dialog().agent_session(), id.as_deref());
}

fn hello(talk: &mut Talk, number: u8) {
    let message = message(number, "Say hello.");
    let taken = Told::TakenUp {
        id: Some(message.id.clone()),
    };
    talk.wish(&Wish::Prompt(message));
    assert_eq!(talk.reader.dialog().phase(), Phase::Working);
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed);
    assert!(told.contains(&taken), "{told:?}");
    assert_eq!(texts(&told), "Hello.");
    assert!(pieces(&told) > 1, "{told:?}");
    assert_eq!(talk.reader.dialog().phase(), Phase::Resting);
}

/// Images go with a prompt: the model is shown them, to the byte.
fn images(talk: &mut Talk) {
    let shown = [png(b'1'), png(b'2')];
    let with_images = Message {
        images: shown.to_vec(),
        ..message(9, "Say hello.")
    };
    talk.wish(&Wish::Prompt(with_images));
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
    assert_eq!(texts(&told), "Hello.");
    let asked = fs::read_to_string(talk.dir.path().join(ASKED)).unwrap();
    for image in shown {
        assert!(asked.contains(&image.base64()), "{asked}");
    }
}

/// One pixel, and a text of its own behind the image's end.
fn png(mark: u8) -> Image {
    let mut data = STANDARD.decode(PIXEL).unwrap();
    data.push(mark);
    Image::new(data).unwrap()
}

/// A PNG image of one pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=";

/// Told to shorten its context, it does, in a turn that says so, and goes on with what is left.
fn compacts(cli: &Cli) {
    let Some(mut talk) = Talk::with(cli, false) else {
        return;
    };
    hello(&mut talk, 1);
    talk.wish(&Wish::Prompt(message(2, COMPACT)));
    assert_eq!(talk.reader.dialog().phase(), Phase::Working);
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
    let shortened = |told: &Told| matches!(told, Told::Event(Event::Compaction { .. }));
    assert_eq!(
        told.iter().filter(|told| shortened(told)).count(),
        1,
        "{told:?}"
    );
    assert_eq!(texts(&told), "", "{told:?}");
    hello(&mut talk, 3);
}

/// A command waits for consent; a refused one does not run, and the turn goes on.
fn consent(cli: &Cli) {
    let Some(mut talk) = Talk::with(cli, true) else {
        return;
    };
    let mark = talk.dir.path().join("here/looked");
    let answers = [
        Answer::Deny {
            message: "Not now.".to_owned(),
        },
        Answer::Allow { input: None },
    ];
    for (number, answer) in (1..).zip(answers) {
        let runs = matches!(answer, Answer::Allow { .. });
        talk.wish(&Wish::Prompt(message(number, "Work with a tool.")));
        let request_id = talk.asked("shell");
        assert!(!mark.exists(), "it waits");
        talk.wish(&Wish::Answer { request_id, answer });
        let (told, evidence) = talk.turn();
        assert_eq!(evidence, Evidence::Completed, "{told:?}");
        assert!(texts(&told).ends_with("Looked."), "{told:?}");
        assert_eq!(mark.exists(), runs);
    }
}

/// Files are not written nor read without consent, and calls and changes are told.
fn files(cli: &Cli) {
    let Some(mut talk) = Talk::with(cli, true) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Make a file.")));
    for tool in ["write", "read"] {
        let request_id = talk.asked(tool);
        let made = talk.dir.path().join("here/made.txt").exists();
        assert_eq!(made, tool == "read");
        let answer = Answer::Allow { input: None };
        talk.wish(&Wish::Answer { request_id, answer });
    }
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
    assert_eq!(texts(&told), "Made.");
}

/// An interrupt in the middle of a command ends the turn and the command; the process takes the
/// next one.
fn interrupt(cli: &Cli) {
    let Some(mut talk) = Talk::with(cli, false) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Wait for long.")));
    talk.until("call", |told| {
        matches!(told, Told::Event(Event::ToolStart { .. }))
    });
    let steers = by_name(cli.agent).unwrap().live.as_ref().unwrap().can_steer;
    let steer = Wish::Steer(message(2, "Say hello."));
    if steers {
        talk.wish(&steer);
    } else {
        let refused = talk.reader.dialog().frames(&steer);
        assert_eq!(refused, Err(Refused::NotLive));
    }
    talk.wish(&Wish::Interrupt);
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Interrupted, "{told:?}");
    // the message came too late for Claude, which then goes on with it by itself
    if talk.reader.dialog().phase() == Phase::Resting {
        talk.wish(&Wish::Prompt(message(3, "Say hello.")));
    }
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
}

/// A question of the agent waits for its answer, which the agent gets.
fn question(cli: &Cli, tool: &str, answers: &Value) {
    let Some(mut talk) = Talk::with(cli, true) else {
        return;
    };
    let prompt = format!("Ask me by {tool}.");
    talk.wish(&Wish::Prompt(message(1, &prompt)));
    let request_id = talk.asked(tool);
    let asked = talk.reader.dialog().pending().remove(0);
    assert!(asked.is_question());
    assert_eq!(asked.input["questions"][0]["question"], "Which?");
    let mut input = asked.input;
    input["answers"] = answers.clone();
    let answer = Answer::Allow { input: Some(input) };
    talk.wish(&Wish::Answer { request_id, answer });
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
    assert_eq!(texts(&told), "Asked.");
}

/// Left alone, it lets commands that only read pass; our hook holds them too.
#[test]
fn claude_waits_for_consent_to_a_read_as_well() {
    let Some(mut talk) = Talk::with(&CLAUDE, true) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Only read.")));
    let request_id = talk.asked("shell");
    let answer = Answer::Stop;
    talk.wish(&Wish::Answer { request_id, answer });
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Interrupted, "{told:?}");
}

/// A plain `ls` is taken for what it is.
#[test]
fn codex_waits_for_consent_to_a_read_as_well() {
    let Some(mut talk) = Talk::with(&CODEX, true) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Only read.")));
    let request_id = talk.asked("glob");
    let answer = Answer::Allow { input: None };
    talk.wish(&Wish::Answer { request_id, answer });
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
}

/// Codex asks for consent to a tool of an MCP server in another way than to its own.
#[test]
fn codex_waits_for_consent_to_a_tool_of_an_mcp_server() {
    let Some(mut talk) = Talk::with(&CODEX, true) else {
        return;
    };
    talk.wish(&Wish::Prompt(message(1, "Use the server.")));
    let request_id = talk.asked("mcp__lab__echo");
    let answer = Answer::Allow { input: None };
    talk.wish(&Wish::Answer { request_id, answer });
    let (told, evidence) = talk.turn();
    assert_eq!(evidence, Evidence::Completed, "{told:?}");
    let echoed = |told: &Told| {
        matches!(told, Told::Event(Event::ToolEnd { output: Some(text), is_error: false, .. })
            if text.contains("hi"))
    };
    assert!(told.iter().any(echoed), "{told:?}");
}

#[test]
fn claude_takes_several_turns() {
    turns(&CLAUDE);
}

#[test]
fn claude_waits_for_consent() {
    consent(&CLAUDE);
    files(&CLAUDE);
}

#[test]
fn claude_is_interrupted() {
    interrupt(&CLAUDE);
}

#[test]
fn claude_asks_a_question() {
    question(&CLAUDE, "AskUserQuestion", &json!({"Which?": "B"}));
}

#[test]
fn codex_takes_several_turns() {
    turns(&CODEX);
}

#[test]
fn codex_waits_for_consent() {
    consent(&CODEX);
}

#[test]
fn codex_is_interrupted() {
    interrupt(&CODEX);
}

#[test]
fn codex_asks_a_question() {
    let answers = json!({"which": {"answers": ["B"]}});
    question(&CODEX, "request_user_input", &answers);
}

#[test]
fn opencode_takes_several_turns() {
    turns(&OPENCODE);
}

#[test]
fn codex_shortens_its_context_when_it_is_told_to() {
    compacts(&CODEX);
}

#[test]
fn opencode_shortens_its_context_when_it_is_told_to() {
    compacts(&OPENCODE);
}

#[test]
fn opencode_asks_no_registry_in_a_home_of_ours() {
    let Some(mut talk) = Talk::with(&OPENCODE, false) else {
        return;
    };
    hello(&mut talk, 1);
    let asked = silent().accept().map(drop).unwrap_err();
    assert_eq!(asked.kind(), ErrorKind::WouldBlock);
}

#[test]
fn opencode_waits_for_consent() {
    consent(&OPENCODE);
    files(&OPENCODE);
}

#[test]
fn opencode_is_interrupted() {
    interrupt(&OPENCODE);
}

/// What the repo's own configuration allows an agent would let its calls pass unasked.
#[test]
fn opencode_waits_for_consent_whatever_the_repo_says() {
    let Some(talk) = Talk::with(&OPENCODE, true) else {
        return;
    };
    let allowed = json!({"permission": {"bash": "allow"},
        "agent": {"build": {"permission": {"*": "allow", "bash": "allow"}}}});
    let file = talk.dir.path().join("here/opencode.json");
    fs::write(file, allowed.to_string()).unwrap();
    let mut talk = talk.restarted(&OPENCODE, true);
    talk.wish(&Wish::Prompt(message(1, "Work with a tool.")));
    talk.asked("shell");
}

#[test]
fn gemini_waits_for_consent() {
    consent(&GEMINI);
    files(&GEMINI);
}

#[test]
fn gemini_is_interrupted() {
    interrupt(&GEMINI);
}

/// It does not go on with a conversation in another process within the minute in which it was
/// begun: it loses it then.
#[test]
fn gemini_takes_several_turns() {
    let Some(mut talk) = Talk::with(&GEMINI, false) else {
        return;
    };
    for number in [1, 2] {
        hello(&mut talk, number);
    }
    images(&mut talk);
}
