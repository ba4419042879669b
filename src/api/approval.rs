//! Requests of the agent that wait for an answer, and the answers.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::failure::Failure;
use super::requests::{led, needed};
use super::routes::body;
use super::server::Api;
use super::status::{find, led_now};
use super::wire::{
    AnswerAccepted, AnswerRequest, Decision, QuestionAsked, QuestionOption, RequestList,
    RequestWaiting,
};
use crate::agent::live::{Answer, Asked};
use crate::turn::approval::{
    AnswerError, Answered, Answerer, Question, Waiting, answered, questions,
};

/// What the agent is told where whoever denies says nothing.
const DENIED: &str = "The user does not permit this. Go on without it, or ask what to do instead.";

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<RequestList>, Failure> {
    let hosted = find(&api, &id)?;
    let waiting = led_now(&hosted).map(|led| led.session.state().borrow().asked.clone());
    let now = api.clock.wall().millis();
    let requests = waiting.unwrap_or_default().into_iter();
    Ok(Json(RequestList {
        requests: requests
            .map(|waiting| request_waiting(waiting, now))
            .collect(),
    }))
}

pub(super) async fn answer(
    State(api): State<Arc<Api>>,
    Path((id, request_id)): Path<(String, String)>,
    request: Body,
) -> Result<Json<AnswerAccepted>, Failure> {
    let hosted = find(&api, &id)?;
    let request: AnswerRequest = needed(body(request).await?)?;
    let led = led(&hosted).await?;
    let waiting = led.session.state().borrow().asked.clone();
    let mut waiting = waiting.into_iter().map(|waiting| waiting.asked);
    let asked = waiting
        .find(|asked| asked.request_id == request_id)
        .ok_or_else(|| Failure::unknown_request(&hosted.id, &request_id))?;
    let decision = request.decision;
    let answered = Answered {
        request_id: request_id.clone(),
        answer: answer_of(&asked, request).map_err(Failure::invalid)?,
        by: Answerer::Local,
    };
    led.session.answer(answered).await?;
    Ok(Json(AnswerAccepted {
        request_id,
        decision,
    }))
}

/// The answer that a body gives to a request, or why it gives none.
pub fn answer_of(asked: &Asked, request: AnswerRequest) -> Result<Answer, String> {
    let AnswerRequest {
        decision,
        message,
        input,
        answers,
    } = request;
    match decision {
        Decision::Allow if message.is_some() => {
            Err("`message` goes with deny: the agent is told it".to_owned())
        }
        Decision::Allow => allowed(asked, input, answers),
        _ if input.is_some() || answers.is_some() => {
            Err("`input` and `answers` go with allow".to_owned())
        }
        Decision::Deny => Ok(Answer::Deny {
            message: message.unwrap_or_else(|| DENIED.to_owned()),
        }),
        Decision::Cancel if message.is_some() => {
            Err("`message` goes with deny: nobody is told it where the turn ends".to_owned())
        }
        Decision::Cancel => Ok(Answer::Stop),
    }
}

fn allowed(
    asked: &Asked,
    input: Option<serde_json::Value>,
    answers: Option<Vec<Vec<String>>>,
) -> Result<Answer, String> {
    let questions = questions(asked);
    let input = match (input, answers) {
        (Some(_), Some(_)) => {
            return Err("give `answers` or the whole `input`, not both".to_owned());
        }
        (None, Some(_)) if questions.is_empty() => {
            return Err("`answers` is for questions, and this request asks none".to_owned());
        }
        (None, Some(answers)) if answers.len() != questions.len() => {
            return Err(format!(
                "there are {} questions, and `answers` holds {}",
                questions.len(),
                answers.len()
            ));
        }
        (None, Some(answers)) => Some(answered(asked, &answers)),
        (None, None) if asked.is_question() => {
            return Err(
                "a question needs `answers`: a list of texts for each, in order".to_owned(),
            );
        }
        (Some(input), None) if !input.is_object() => {
            return Err("`input` is not an object".to_owned());
        }
        (input, None) => input,
    };
    Ok(Answer::Allow { input })
}

/// A request that waits, as the API shows it; `now` in milliseconds since the epoch.
pub fn request_waiting(waiting: Waiting, now: u64) -> RequestWaiting {
    let Waiting {
        asked,
        since,
        until,
        matters: _,
    } = waiting;
    let questions = questions(&asked).into_iter().map(question).collect();
    RequestWaiting {
        request_id: asked.request_id,
        call_id: asked.call_id,
        tool: asked.tool,
        input: asked.input,
        questions,
        since,
        age_ms: now.saturating_sub(since.millis()),
        until,
    }
}

fn question(question: Question) -> QuestionAsked {
    let option = |choice: crate::turn::approval::Choice| QuestionOption {
        label: choice.label,
        description: choice.description,
    };
    QuestionAsked {
        question: question.text,
        header: question.header,
        options: question.options.into_iter().map(option).collect(),
        multiple: question.multiple,
    }
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        match &error {
            // It waited a moment ago: somebody else was quicker, or the agent.
            AnswerError::NotWaiting(_) => Self::new(
                StatusCode::CONFLICT,
                "answered",
                error.to_string(),
                "the session's events say what became of it",
            ),
            AnswerError::FixedInput(_) => Self::invalid(error.to_string()),
            AnswerError::Stopping => Self::later("stopping", error.to_string()),
            AnswerError::NotStored(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "journal",
                error.to_string(),
                "the daemon's log says more",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn say(tool: &str, body: serde_json::Value) -> Result<Answer, String> {
        let asked = Asked {
            request_id: "1".to_owned(),
            call_id: None,
            tool: tool.to_owned(),
            input: json!({"questions": [{"question": "Which?"}]}),
        };
        answer_of(&asked, serde_json::from_value(body).unwrap())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (tool, body, why) in [
            (
                "shell",
                json!({"decision": "allow", "message": "x"}),
                "goes with deny",
            ),
            (
                "shell",
                json!({"decision": "deny", "input": {}}),
                "go with allow",
            ),
            (
                "shell",
                json!({"decision": "cancel", "message": "x"}),
                "goes with deny",
            ),
            (
                "shell",
                json!({"decision": "allow", "answers": [["x"]]}),
                "asks none",
            ),
            (
                "shell",
                json!({"decision": "allow", "input": 1}),
                "not an object",
            ),
            (
                "AskUserQuestion",
                json!({"decision": "allow"}),
                "needs `answers`",
            ),
            (
                "AskUserQuestion",
                json!({"decision": "allow", "answers": []}),
                "there are 1",
            ),
        ] {
            let error = say(tool, body.clone()).unwrap_err();
            assert!(error.contains(why), "{tool} {body}: {error}");
        }
    }

    #[test]
    fn an_answer_carries_what_was_said() {
        let denied = say("shell", json!({"decision": "deny", "message": "Not now."}));
        let message = "Not now.".to_owned();
        assert_eq!(denied, Ok(Answer::Deny { message }));
        let other = say(
            "shell",
            json!({"decision": "allow", "input": {"command": "ls"}}),
        );
        let input = Some(json!({"command": "ls"}));
        assert_eq!(other, Ok(Answer::Allow { input }));
        let body = json!({"decision": "allow", "answers": [["Red"]]});
        let Ok(Answer::Allow { input: Some(input) }) = say("AskUserQuestion", body) else {
            panic!("no answer");
        };
        assert_eq!(input["answers"]["Which?"], "Red");
        assert_eq!(
            say("shell", json!({"decision": "cancel"})),
            Ok(Answer::Stop)
        );
    }
}
