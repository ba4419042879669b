//! A session: the queue of its turns, and the one task that decides about them.

mod driver;
mod state;

pub use driver::{Prompt, Session, SessionError};
pub use state::SessionState;
