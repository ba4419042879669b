//! A request put to a person, and what they say to it. Pure: lines in, text out.

use std::fmt::Write as _;

use serde_json::Value;

use crate::api::wire::{AnswerRequest, Decision, QuestionAsked, RequestWaiting};
use crate::cli::render::harmless;

/// Lines of an input that are shown; the rest is in the events.
const SHOWN: usize = 40;

/// A request, and the answers to its questions so far.
#[derive(Debug)]
pub(super) struct Talk {
    request: RequestWaiting,
    answers: Vec<Vec<String>>,
}

/// What a line came to.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// The answer.
    Answer(AnswerRequest),
    /// More is to be asked, as the text says.
    More(String),
}

impl Talk {
    pub(super) const fn new(request: RequestWaiting) -> Self {
        Self {
            request,
            answers: Vec::new(),
        }
    }

    /// What the person is asked now.
    pub(super) fn text(&self) -> String {
        match self.request.questions.get(self.answers.len()) {
            Some(question) => format!("{}{}", asked(question), ways(question)),
            None => format!(
                "{}Permit it? y, n, n and a reason, or c to end the turn: ",
                wanted(&self.request)
            ),
        }
    }

    /// Takes what the person says.
    pub(super) fn line(&mut self, line: &str) -> Said {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let question = self.request.questions.get(self.answers.len()).cloned();
        match (word.to_lowercase().as_str(), rest.trim(), question) {
            ("", ..) => Said::More(self.text()),
            ("n" | "no", reason, None) => {
                let message = (!reason.is_empty()).then(|| reason.to_owned());
                Said::Answer(answer(Decision::Deny, message))
            }
            ("n" | "no", "", Some(_)) => Said::Answer(answer(Decision::Deny, None)),
            ("c" | "cancel", "", _) => Said::Answer(answer(Decision::Cancel, None)),
            ("y" | "yes", "", None) => Said::Answer(answer(Decision::Allow, None)),
            (_, _, None) => Said::More("y permits it, n denies it, c ends the turn: ".to_owned()),
            (_, _, Some(question)) => {
                self.answers.push(chosen(&question, line));
                if self.answers.len() < self.request.questions.len() {
                    return Said::More(self.text());
                }
                Said::Answer(AnswerRequest {
                    answers: Some(std::mem::take(&mut self.answers)),
                    ..answer(Decision::Allow, None)
                })
            }
        }
    }
}

pub(super) const fn answer(decision: Decision, message: Option<String>) -> AnswerRequest {
    AnswerRequest {
        decision,
        message,
        input: None,
        answers: None,
    }
}

/// What was chosen: options by their numbers or labels, else the text as it is.
pub(super) fn chosen(question: &QuestionAsked, text: &str) -> Vec<String> {
    let option = |part: &str| {
        let number = part.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let by_number = number.and_then(|at| question.options.get(at));
        let mut options = question.options.iter();
        let by_label = options.find(|option| option.label.eq_ignore_ascii_case(part));
        by_label.or(by_number).map(|option| option.label.clone())
    };
    if let Some(label) = option(text) {
        return vec![label];
    }
    let parts = text.split(',').map(str::trim);
    match parts.map(option).collect::<Option<Vec<String>>>() {
        Some(labels) if question.multiple => labels,
        _ => vec![text.to_owned()],
    }
}

/// What an agent asks, with what may be chosen.
pub(super) fn asked(question: &QuestionAsked) -> String {
    let mut text = format!("The agent asks: {}\n", harmless(&question.question));
    for (index, option) in question.options.iter().enumerate() {
        let meaning = option.description.as_deref().map(harmless);
        let (number, label) = (index + 1, harmless(&option.label));
        let line = format!("  {number}  {label}  {}", meaning.unwrap_or_default());
        // Writing to a string cannot fail.
        writeln!(text, "{}", line.trim_end()).ok();
    }
    text
}

fn ways(question: &QuestionAsked) -> &'static str {
    match (question.options.is_empty(), question.multiple) {
        (true, _) => "Your answer (n refuses, c ends the turn): ",
        (false, false) => "A number, or your own words (n refuses, c ends the turn): ",
        (false, true) => {
            "Numbers with commas between them, or your own words (n refuses, c ends the turn): "
        }
    }
}

/// What an agent wants to do, with its whole input.
pub(super) fn wanted(request: &RequestWaiting) -> String {
    let mut text = format!("The agent wants to use {}:\n", harmless(&request.tool));
    let mut lines = Vec::new();
    match &request.input {
        Value::Object(fields) => {
            for (name, value) in fields {
                field(name, value, &mut lines);
            }
        }
        Value::Null => {}
        other => field("input", other, &mut lines),
    }
    for line in lines.iter().take(SHOWN) {
        writeln!(text, "  {line}").ok();
    }
    if let Some(more) = lines.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        writeln!(text, "  … and {more} lines more").ok();
    }
    text
}

fn field(name: &str, value: &Value, lines: &mut Vec<String>) {
    let value = match value {
        Value::String(text) => harmless(text),
        value => harmless(&value.to_string()),
    };
    let name = harmless(name).replace('\n', " ");
    let mut parts = value.lines();
    lines.push(format!("{name}: {}", parts.next().unwrap_or_default()));
    lines.extend(parts.map(|line| format!("  {line}")));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::wire::QuestionOption;
    use crate::clock::Timestamp;

    fn request(tool: &str, input: Value, questions: Vec<QuestionAsked>) -> RequestWaiting {
        RequestWaiting {
            request_id: "r".to_owned(),
            call_id: None,
            tool: tool.to_owned(),
            input,
            questions,
            since: Timestamp::from_millis(0),
            age_ms: 0,
            until: None,
        }
    }

    fn question(multiple: bool) -> QuestionAsked {
        let option = |label: &str| QuestionOption {
            label: label.to_owned(),
            description: None,
        };
        QuestionAsked {
            question: "Which colour?".to_owned(),
            header: None,
            options: vec![option("Red"), option("Blue")],
            multiple,
        }
    }

    #[test]
    fn a_call_is_shown_whole_and_permitted_or_denied() {
        let input = json!({"command": "rm -rf build\n\u{1b}[2Jecho y"});
        let mut talk = Talk::new(request("shell", input, Vec::new()));
        assert_eq!(
            talk.text(),
            "The agent wants to use shell:\n  command: rm -rf build\n    \u{fffd}[2Jecho y\n\
             Permit it? y, n, n and a reason, or c to end the turn: "
        );
        assert!(matches!(talk.line("maybe"), Said::More(_)));
        assert!(matches!(talk.line(" "), Said::More(_)));
        assert_eq!(
            talk.line("Y\n"),
            Said::Answer(answer(Decision::Allow, None))
        );
        let denied = answer(Decision::Deny, Some("not the build".to_owned()));
        assert_eq!(talk.line("n not the build"), Said::Answer(denied));
        assert_eq!(talk.line("c"), Said::Answer(answer(Decision::Cancel, None)));
    }

    #[test]
    fn questions_are_answered_one_by_one() {
        let both = vec![question(false), question(true)];
        let mut talk = Talk::new(request("AskUserQuestion", json!({}), both));
        assert!(talk.text().contains("  1  Red\n  2  Blue\n"));
        assert!(matches!(talk.line("2"), Said::More(_)));
        let Said::Answer(answer) = talk.line("1, blue") else {
            panic!("asks on");
        };
        let answers = [vec!["Blue"], vec!["Red", "Blue"]];
        assert_eq!(json!(answer.answers), json!(answers));
    }

    #[test]
    fn what_is_no_option_is_said_in_ones_own_words() {
        assert_eq!(chosen(&question(false), "3"), ["3"]);
        assert_eq!(chosen(&question(false), "Red, Blue"), ["Red, Blue"]);
        assert_eq!(chosen(&question(true), "red,2"), ["Red", "Blue"]);
        assert_eq!(chosen(&question(true), "none, really"), ["none, really"]);
    }
}
