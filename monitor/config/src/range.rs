//! What a value of the configuration may be.
//!
//! In: nothing. Out: [`Range`], said where the value is read and printed where its key is described.
//! Must not: know a key.

/// What a value may be.
#[derive(Debug)]
pub enum Range {
    /// Whatever its kind allows.
    Any,
    /// From so many milliseconds to so many.
    Durations(u64, u64),
    /// One of these words, written with this between them.
    Words(fn(&str) -> String),
    /// At most so many of these.
    AtMost(usize, &'static str),
    Text(&'static str),
}
