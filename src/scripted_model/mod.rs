//! The model server that plays scripts, so that a real CLI runs with no key, no cost and the same
//! result every time.
//!
//! ```text
//! HTTP request ─► dialect (anthropic, openai, gemini): body → Conversation, Toolset
//!                     │
//!                     ▼
//!               engine: Conversation + Script → Answer        (pure)
//!                     │
//!                     ▼
//!               toolset: vendor-neutral steps → the CLI's own tool calls
//!                     │
//!                     ▼
//!                 dialect: Answer → Playback ─► server: bytes, pauses, cut connections
//! ```
//!
//! Invariants: which reply is played follows from the conversation in the request alone, so a
//! resumed or a parallel session plays as if it were the only one; the one thing remembered is how
//! often the same request was made, for replies that fail a number of times first. A wire dialect
//! knows nothing of scripts, the engine nothing of any vendor's JSON, and a toolset (which CLI
//! asks) nothing of the dialect that it asks in.
//!
//! It does not imitate a model: what it says is in the script, and every response says so in the
//! header `x-scripted-model`. `docs/scripted-model.md` documents the script format.

mod anthropic;
mod connection;
mod dialect;
mod engine;
mod gemini;
mod openai;
mod playback;
mod record;
mod script;
mod server;
mod toolset;

pub use record::{Record, RecordError};
pub use script::{Script, ScriptError};
pub use server::{Options, serve};
