//! The Responses API, as Codex 0.169.0 uses it (`OpenCode` and Pi can too).

mod request;
mod response;

use serde_json::Value;

use super::error;
use crate::scripted_model::dialect::{Ask, Dialect, ErrorReply, Incoming, Reading, Request};
use crate::scripted_model::engine::Performance;
use crate::scripted_model::playback::Playback;
use crate::scripted_model::toolset::{Call, Toolset};

/// `POST /v1/responses`.
pub(in crate::scripted_model) struct Responses;

impl Dialect for Responses {
    fn read(&self, incoming: &Incoming<'_>) -> Result<Reading, String> {
        let request = request::Parsed::read(incoming)
            .map_err(|error| format!("not a Responses request: {error}"))?;
        Ok(Reading::Request(Box::new(request)))
    }

    fn error(&self, error: &ErrorReply<'_>) -> (u16, Value) {
        error::error(error)
    }
}

impl Request for request::Parsed {
    fn ask(&self) -> Ask {
        Self::ask(self)
    }

    fn toolset(&self) -> Toolset {
        self.toolset.clone()
    }

    fn streams(&self) -> bool {
        self.stream
    }

    fn interlude(&self) -> Option<Call> {
        Self::interlude(self)
    }

    fn play(&self, performance: &Performance<Call>) -> Playback {
        if self.stream {
            response::stream(performance, &self.model)
        } else {
            response::whole(performance, &self.model)
        }
    }

    fn model(&self) -> &str {
        &self.model
    }
}
