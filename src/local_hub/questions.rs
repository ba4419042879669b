//! The questions of a lead that wait for a person, for controllers that come later. Pure.
//!
//! The remote control's frames are told and not stored, so a controller that joins while a question
//! waits would never hear of it. A question is kept until it is answered, its lead says that it
//! needs no answer, or its run or its lead is gone; and is told to each controller once.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The most that is kept: no lead asks that much at a time. The oldest give way.
const MAX_WAITING: usize = 64;
/// Their bytes, together.
const MAX_BYTES: usize = 1024 * 1024;

/// Methods that somebody answers; the others only tell something.
const ASKING: [&str; 4] = ["confirm", "select", "input", "editor"];

/// What waits, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    waiting: VecDeque<Question>,
}

#[derive(Debug)]
struct Question {
    id: String,
    /// Its words, as the lead sent them.
    data: Box<str>,
    /// The frame that controllers get.
    frame: Utf8Bytes,
}

#[derive(Deserialize)]
struct UiRequest {
    id: String,
    method: String,
    #[serde(default)]
    params: Value,
}

#[derive(Deserialize)]
struct UiResponse {
    id: String,
    #[serde(default)]
    result: Value,
}

impl Questions {
    /// Takes in the data of an `rpc_ui_request` and the frame that shows it; whether controllers
    /// are to be shown it: what waits already they have been.
    pub(crate) fn hear(&mut self, data: &RawValue, frame: &Utf8Bytes) -> bool {
        let Ok(request) = serde_json::from_str::<UiRequest>(data.get()) else {
            return true;
        };
        if !ASKING.contains(&request.method.as_str()) {
            // How our lead says that one of its questions is answered, or taken back.
            if let Some(id) = request.params.get("requestId").and_then(Value::as_str) {
                self.settled(id);
            }
            return true;
        }
        if let Some(known) = self.waiting.iter_mut().find(|known| known.id == request.id) {
            let is_news = *known.data != *data.get();
            (known.data, known.frame) = (data.get().into(), frame.clone());
            return is_news;
        }
        self.waiting.push_back(Question {
            id: request.id,
            data: data.get().into(),
            frame: frame.clone(),
        });
        while self.waiting.len() > MAX_WAITING || self.bytes() > MAX_BYTES {
            self.waiting.pop_front();
        }
        true
    }

    /// Takes in an `rpc_ui_response`. Null is no answer: clients without a person send it.
    pub(crate) fn answer(&mut self, text: &str) {
        if let Ok(response) = serde_json::from_str::<UiResponse>(text)
            && !response.result.is_null()
        {
            self.settled(&response.id);
        }
    }

    /// None of them counts any more.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Their frames, oldest first.
    pub(crate) fn frames(&self) -> Vec<Utf8Bytes> {
        self.waiting.iter().map(|q| q.frame.clone()).collect()
    }

    fn settled(&mut self, id: &str) {
        self.waiting.retain(|question| question.id != id);
    }

    fn bytes(&self) -> usize {
        self.waiting
            .iter()
            .map(|question| question.frame.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hear(questions: &mut Questions, id: &str, method: &str, params: &Value) -> bool {
        let data = json!({"id": id, "method": method, "params": params});
        let data = serde_json::value::to_raw_value(&data).unwrap();
        questions.hear(&data, &data.get().into())
    }

    #[test]
    fn a_question_waits_until_it_is_answered_or_settled() {
        let mut questions = Questions::default();
        let title = json!({"title": "T"});
        for id in ["a", "b", "c"] {
            assert!(hear(&mut questions, id, "confirm", &title));
        }
        assert!(
            !hear(&mut questions, "a", "confirm", &title),
            "shown already"
        );
        assert!(hear(&mut questions, "a", "confirm", &json!({"title": "U"})));
        questions.answer(r#"{"type":"rpc_ui_response","id":"a","result":null}"#);
        questions.answer(r#"{"type":"rpc_ui_response","id":"a"}"#);
        assert_eq!(questions.frames().len(), 3, "that was no answer");
        questions.answer(r#"{"type":"rpc_ui_response","id":"a","result":false}"#);
        assert!(hear(
            &mut questions,
            "n",
            "notify",
            &json!({"message": "m", "requestId": "b"})
        ));
        let left = questions.frames();
        assert_eq!(left.len(), 1);
        assert!(left[0].as_str().contains("\"id\":\"c\""));
        questions.clear();
        assert!(questions.frames().is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut questions = Questions::default();
        for n in 0..200 {
            hear(&mut questions, &n.to_string(), "input", &json!({}));
        }
        assert_eq!(questions.frames().len(), MAX_WAITING);
        let long = json!({"title": "x".repeat(MAX_BYTES / 2)});
        for id in ["x", "y", "z"] {
            assert!(hear(&mut questions, id, "input", &long));
        }
        assert!(questions.bytes() <= MAX_BYTES);
    }
}
