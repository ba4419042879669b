//! Google's Gemini API (`v1beta`), as Gemini CLI 0.61.0 uses it.

mod error;
mod request;
mod response;

use serde_json::{Value, json};

use super::dialect::{Ask, Dialect, ErrorReply, Incoming, Reading, Request};
use super::engine::Performance;
use super::playback::Playback;
use super::toolset::{Call, Toolset};

/// `POST /v1beta/models/{model}:streamGenerateContent`, `:generateContent` and `:countTokens`.
pub(super) struct Gemini;

impl Dialect for Gemini {
    fn read(&self, incoming: &Incoming<'_>) -> Result<Reading, String> {
        let (model, method) = incoming
            .path_end
            .rsplit_once(':')
            .unwrap_or((incoming.path_end, ""));
        let stream = match method {
            "countTokens" => {
                let tokens = request::tokens(incoming.body).map_err(not_a_request)?;
                return Ok(Reading::Count(json!({"totalTokens": tokens})));
            }
            "streamGenerateContent" => true,
            "generateContent" => false,
            other => {
                return Err(format!(
                    "the scripted model has no method `{other}`; it has streamGenerateContent, generateContent and countTokens"
                ));
            }
        };
        let parsed = request::Parsed::read(model, stream, incoming.body).map_err(not_a_request)?;
        Ok(Reading::Request(Box::new(parsed)))
    }

    fn error(&self, error: &ErrorReply<'_>) -> (u16, Value) {
        error::error(error)
    }
}

#[allow(clippy::needless_pass_by_value)] // as map_err has it
fn not_a_request(error: serde_json::Error) -> String {
    format!("not a generateContent request: {error}")
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
            response::stream(performance, &self.model)
        } else {
            response::whole(performance, &self.model)
        }
    }

    fn model(&self) -> &str {
        &self.model
    }
}
