//! Masking of known secrets.
