//! One prompt's run of an agent.

pub mod outcome;
