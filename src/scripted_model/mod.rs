//! The model server that plays scripts.
