//! The Anthropic Messages API (`anthropic-version: 2023-06-01`), as far as Claude Code 2.1.197
//! uses it: requests into conversations, answers into its JSON and server-sent events.

mod request;
mod response;
mod tools;

pub(super) use request::{Ask, Request};
pub(super) use response::{error_body, error_kind, message, stream};
