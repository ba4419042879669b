//! `OpenAI`'s two wire formats: Responses, which Codex 0.169.0 speaks, and Chat Completions, which
//! most other clients and servers do.

mod chat;
mod error;
mod responses;

pub(super) use chat::Chat;
pub(super) use responses::Responses;

use serde_json::{Value, json};

use super::script::Usage;

/// The token counts; the two formats differ in names only. Prompt tokens include cached ones.
fn usage(usage: Usage, input: &str, output: &str) -> Value {
    let prompt = usage.input + usage.cache_read + usage.cache_write;
    json!({
        input: prompt,
        output: usage.output,
        "total_tokens": prompt + usage.output,
        format!("{input}_details"): {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        format!("{output}_details"): {"reasoning_tokens": usage.reasoning},
    })
}
