//! The Chat Completions API, as `OpenCode` 1.18.33 and Pi 0.74.2 use it with servers that are
//! compatible to `OpenAI`'s.

mod request;
mod response;

use serde_json::Value;

use super::error;
use crate::scripted_model::dialect::{Ask, Dialect, ErrorReply, Incoming, Reading, Request};
use crate::scripted_model::engine::Performance;
use crate::scripted_model::playback::Playback;
use crate::scripted_model::toolset::{Call, Toolset};

/// `POST /v1/chat/completions`.
pub(in crate::scripted_model) struct Chat;

impl Dialect for Chat {
    fn read(&self, incoming: &Incoming<'_>) -> Result<Reading, String> {
        let request = request::Parsed::read(incoming)
            .map_err(|error| format!("not a Chat Completions request: {error}"))?;
        Ok(Reading::Request(Box::new(request)))
    }

    fn error(&self, error: &ErrorReply<'_>) -> (u16, Value) {
        error::error(error)
    }
}

impl Request for request::Parsed {
    fn ask(&self) -> Ask {
        self.ask.clone()
    }

    fn toolset(&self) -> Toolset {
        self.toolset.clone()
    }

    fn streams(&self) -> bool {
        self.stream
    }

    fn play(&self, performance: &Performance<Call>) -> Playback {
        if self.stream {
            response::stream(performance, &self.model, self.counts)
        } else {
            response::whole(performance, &self.model)
        }
    }

    fn model(&self) -> &str {
        &self.model
    }
}
