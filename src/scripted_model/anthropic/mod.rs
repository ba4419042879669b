//! The Anthropic Messages API (`anthropic-version: 2023-06-01`), as far as Claude Code 2.1.197 and
//! clients of other vendors use it.

mod request;
mod response;

use serde_json::{Value, json};

use super::dialect::{Ask, Dialect, ErrorReply, Incoming, Reading, Request};
use super::engine::Performance;
use super::playback::Playback;
use super::toolset::{Call, Toolset};

/// `POST /v1/messages` and `POST /v1/messages/count_tokens`.
pub(super) struct Anthropic;

impl Dialect for Anthropic {
    fn read(&self, incoming: &Incoming<'_>) -> Result<Reading, String> {
        let request: request::Request = serde_json::from_slice(incoming.body)
            .map_err(|error| format!("not a Messages request: {error}"))?;
        Ok(if incoming.path_end == "count_tokens" {
            Reading::Count(json!({"input_tokens": request.estimated_tokens()}))
        } else {
            Reading::Request(Box::new(request))
        })
    }

    fn error(&self, error: &ErrorReply<'_>) -> (u16, Value) {
        response::error(error)
    }
}

impl Request for request::Request {
    fn ask(&self) -> Ask {
        Self::ask(self)
    }

    fn toolset(&self) -> Toolset {
        Self::toolset(self)
    }

    fn streams(&self) -> bool {
        self.stream
    }

    fn play(&self, performance: &Performance<Call>) -> Playback {
        if self.stream {
            response::stream(performance, &self.model)
        } else {
            response::message(performance, &self.model)
        }
    }

    fn model(&self) -> &str {
        &self.model
    }
}
