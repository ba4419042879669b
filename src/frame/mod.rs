//! Bytes to bounded lines.
