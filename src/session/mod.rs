//! The one owner of a session's state.
