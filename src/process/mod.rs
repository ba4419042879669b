//! The syscall module: process trees, signals, pidfds.
