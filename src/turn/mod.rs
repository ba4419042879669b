//! One prompt's run of an agent.
