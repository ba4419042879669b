//! The Coder Hub: its wire protocol, and our side of it as the session's lead.

pub mod protocol;
