//! A session: the queue of its turns, and the one task that decides about them.

mod choosing;
mod driver;
mod handle;
mod holding;
mod state;

pub use handle::{Prompt, Session, SessionError};
pub use holding::Hold;
pub use state::{InForce, SessionState};
