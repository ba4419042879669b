//! The process that owns one CLI.
