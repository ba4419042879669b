//! A talk with the session's people over the Hub: questions, one after the other, and what their
//! answers come to.
//!
//! Whoever answers first decides. Null is no answer: clients without a person say it.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::agent::live::{Answer, Asked};
use crate::hub::Confirm;
use crate::hub::link::UiRequest;

/// The most that is shown of a call's input, in bytes.
const MAX_SHOWN: usize = 4 * 1024;
/// The most questions of one request, and options of one question.
const MAX_QUESTIONS: usize = 16;
const MAX_OPTIONS: usize = 64;
/// What the agent is told by default.
const DENIED: &str = "Denied by user";

/// Questions, and the answers so far.
#[derive(Debug)]
pub(super) struct Dialogue {
    /// What the requests' ids begin with.
    id: String,
    number: usize,
    steps: VecDeque<Step>,
    asked: Option<Asked>,
    answers: Vec<(Value, String)>,
}

/// One question.
#[derive(Debug, Clone)]
enum Step {
    /// Whether it may go on.
    Consent {
        title: String,
        message: String,
        deny_reason: Option<String>,
    },
    /// A question of the agent, as the agent put it.
    Question { asked: Value, text: String },
}

/// What people's answers have come to.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// More is to be asked.
    Open,
    /// This is the answer.
    Done(Answer),
}

impl Dialogue {
    /// About a request of the agent; the Hub's own questions come first. Where a person's consent
    /// is not needed, those are all.
    pub(super) fn about(asked: &Asked, confirm: Vec<Confirm>, person: bool) -> Self {
        let mut steps = consents(confirm);
        if asked.is_question() {
            steps.extend(questions(asked));
        } else if person && steps.is_empty() {
            // Whoever consents to what the Hub asks consents to the call.
            steps.push_back(Step::Consent {
                title: format!("Allow `{}`?", asked.tool),
                message: shown(asked),
                deny_reason: None,
            });
        }
        Self {
            id: asked.request_id.clone(),
            number: 0,
            steps,
            asked: Some(asked.clone()),
            answers: Vec::new(),
        }
    }

    /// About a run that is to begin.
    pub(super) fn before_run(id: &str, confirm: Vec<Confirm>) -> Self {
        Self {
            id: id.to_owned(),
            number: 0,
            steps: consents(confirm),
            asked: None,
            answers: Vec::new(),
        }
    }

    /// What is asked now.
    pub(super) fn request(&self) -> Option<UiRequest> {
        let (method, params) = match self.steps.front()? {
            Step::Consent { title, message, .. } => {
                ("confirm", json!({"title": title, "message": message}))
            }
            Step::Question { asked, text } => {
                let options = options(asked);
                if options.is_empty() {
                    ("input", json!({"title": text}))
                } else {
                    ("select", json!({"title": text, "options": options}))
                }
            }
        };
        Some(UiRequest {
            id: self.current(),
            method,
            params,
        })
    }

    fn current(&self) -> String {
        format!("{}/{}", self.id, self.number)
    }

    /// Takes an answer, if it is to what is asked now and says something.
    pub(super) fn answer(&mut self, id: &str, result: &Value) -> Option<Outcome> {
        if id != self.current() {
            return None;
        }
        match (self.steps.front()?.clone(), result) {
            (Step::Consent { deny_reason, .. }, Value::Bool(false)) => {
                let message = deny_reason.unwrap_or_else(|| DENIED.to_owned());
                return Some(Outcome::Done(Answer::Deny { message }));
            }
            (Step::Consent { .. }, Value::Bool(true)) => {}
            (Step::Question { asked, .. }, Value::String(text)) => {
                self.answers.push((asked, text.clone()));
            }
            _ => return None,
        }
        self.steps.pop_front();
        self.number += 1;
        Some(if self.steps.is_empty() {
            Outcome::Done(Answer::Allow {
                input: self.answered(),
            })
        } else {
            Outcome::Open
        })
    }

    /// The agent's questions with their answers, as its CLI wants them.
    fn answered(&mut self) -> Option<Value> {
        let asked = self.asked.as_ref().filter(|_| !self.answers.is_empty())?;
        let mut answers = Map::new();
        for (question, answer) in self.answers.drain(..) {
            // Codex names its questions; others are known by their words.
            match question.get("id").and_then(Value::as_str) {
                Some(id) => answers.insert(id.to_owned(), json!({"answers": [answer]})),
                None => answers.insert(words(&question), answer.into()),
            };
        }
        let mut input = asked.input.clone();
        match input.as_object_mut() {
            Some(fields) => drop(fields.insert("answers".to_owned(), answers.into())),
            None => input = json!({"answers": answers}),
        }
        Some(input)
    }
}

fn consents(confirm: Vec<Confirm>) -> VecDeque<Step> {
    let consent = |confirm: Confirm| Step::Consent {
        title: confirm.title,
        message: confirm.message,
        deny_reason: confirm.deny_reason,
    };
    confirm.into_iter().map(consent).collect()
}

/// The questions of a request; one without any is a question by itself.
fn questions(asked: &Asked) -> Vec<Step> {
    let listed = asked.input.get("questions").and_then(Value::as_array);
    let listed = listed.filter(|list| !list.is_empty()).cloned();
    let questions = listed.unwrap_or_else(|| vec![asked.input.clone()]);
    let questions = questions.into_iter().take(MAX_QUESTIONS);
    let step = |question: Value| Step::Question {
        text: words(&question),
        asked: question,
    };
    questions.map(step).collect()
}

fn words(question: &Value) -> String {
    let word = |key: &str| question.get(key).and_then(Value::as_str);
    let text = word("question").or_else(|| word("title"));
    let text = text.or_else(|| word("prompt")).or_else(|| word("header"));
    text.unwrap_or("The agent asks").to_owned()
}

fn options(question: &Value) -> Vec<String> {
    let options = question.get("options").and_then(Value::as_array);
    let label = |option: &Value| {
        let label = option.get("label").unwrap_or(option);
        label.as_str().map(str::to_owned)
    };
    let options = options.into_iter().flatten().filter_map(label);
    options.take(MAX_OPTIONS).collect()
}

/// What the call would do, for a person.
fn shown(asked: &Asked) -> String {
    let word = |key: &str| asked.input.get(key).and_then(Value::as_str);
    let text = word("command").or_else(|| word("path"));
    let text = text.or_else(|| word("file_path")).or_else(|| word("url"));
    let text = text.map_or_else(|| asked.input.to_string(), str::to_owned);
    let end = text.floor_char_boundary(MAX_SHOWN);
    match text.get(..end) {
        Some(cut) if end < text.len() => format!("{cut}…"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(tool: &str, input: Value) -> Asked {
        Asked {
            request_id: "r1".to_owned(),
            call_id: Some("c1".to_owned()),
            tool: tool.to_owned(),
            input,
        }
    }

    #[test]
    fn consent_is_asked_for_once_and_the_first_clear_answer_counts() {
        let call = asked("shell", json!({"command": "rm x"}));
        let mut dialogue = Dialogue::about(&call, Vec::new(), true);
        let request = dialogue.request().unwrap();
        assert_eq!((request.id.as_str(), request.method), ("r1/0", "confirm"));
        assert_eq!(request.params["message"], "rm x");
        assert_eq!(dialogue.answer("r1/0", &Value::Null), None, "no person");
        assert_eq!(dialogue.answer("r2/0", &json!(true)), None, "another's");
        let allowed = Answer::Allow { input: None };
        let done = dialogue.answer("r1/0", &json!(true));
        assert_eq!(done, Some(Outcome::Done(allowed)));
        assert_eq!(dialogue.answer("r1/0", &json!(false)), None, "too late");
    }

    #[test]
    fn the_hubs_own_questions_are_asked_in_order_and_a_refusal_ends_them() {
        let confirm = |title: &str| Confirm {
            title: title.to_owned(),
            message: String::new(),
            deny_reason: Some(format!("not {title}")),
        };
        let call = asked("shell", json!({}));
        let mut dialogue = Dialogue::about(&call, vec![confirm("a"), confirm("b")], true);
        assert_eq!(dialogue.answer("r1/0", &json!(true)), Some(Outcome::Open));
        assert_eq!(dialogue.request().unwrap().params["title"], "b");
        let message = "not b".to_owned();
        let denied = Outcome::Done(Answer::Deny { message });
        assert_eq!(dialogue.answer("r1/1", &json!(false)), Some(denied));
    }

    #[test]
    fn questions_of_the_agent_get_their_answers_in_its_own_form() {
        let input = json!({"questions": [
            {"question": "Which?", "options": [{"label": "A", "description": "x"}, {"label": "B"}]},
            {"question": "Why?"},
        ]});
        let mut dialogue = Dialogue::about(&asked("question", input.clone()), Vec::new(), true);
        let request = dialogue.request().unwrap();
        assert_eq!(
            (request.method, &request.params["options"]),
            ("select", &json!(["A", "B"]))
        );
        assert_eq!(dialogue.answer("r1/0", &json!("B")), Some(Outcome::Open));
        assert_eq!(dialogue.request().unwrap().method, "input");
        let mut expected = input;
        expected["answers"] = json!({"Which?": "B", "Why?": "so"});
        let done = Outcome::Done(Answer::Allow {
            input: Some(expected),
        });
        assert_eq!(dialogue.answer("r1/1", &json!("so")), Some(done));

        let codex = json!({"questions": [{"id": "q", "question": "Which?"}]});
        let mut dialogue = Dialogue::about(&asked("request_user_input", codex), Vec::new(), true);
        match dialogue.answer("r1/0", &json!("x")) {
            Some(Outcome::Done(Answer::Allow { input: Some(input) })) => {
                assert_eq!(input["answers"], json!({"q": {"answers": ["x"]}}));
            }
            other => panic!("{other:?}"),
        }
    }
}
