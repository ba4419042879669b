//! The raw bytes of one run, and its status record.
