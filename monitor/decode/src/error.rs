//! What a parser refuses.
//!
//! In: a line, and what was expected there. Out: one line that says so. Must not: know a path: whoever read the file does.

/// What a pure parser refuses, without the path it does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found {found:?}")]
pub struct ParseError {
    pub line: usize,
    pub expected: &'static str,
    pub found: String,
}

impl ParseError {
    /// `found` is cut: an error is one line, whatever the file holds.
    #[must_use]
    pub fn new(line: usize, expected: &'static str, found: &str) -> Self {
        Self { line, expected, found: found.chars().take(80).collect() }
    }
}
