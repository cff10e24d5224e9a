//! What it means: pure functions of snapshot, history and settings.

pub mod catalog;
