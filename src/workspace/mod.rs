//! Clones and folders that agents work in.
