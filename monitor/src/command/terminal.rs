//! Standard output and standard error, opened so that nothing written to them can steer a terminal.
//!
//! In: how to spell out what would steer one. Out: writers; one line of complaint.
//! Must not: know how text is made safe, which is `output`'s to know, or write the log, which is `logging`'s.

use std::io::{self, Write as _};

use monitor_output::terminal::{Notation, Shown, Terminal};

/// Standard output.
pub(super) fn stdout(notation: Notation) -> Terminal<io::StdoutLock<'static>> {
    Terminal::new(io::stdout().lock(), notation)
}

/// Standard error.
pub(super) fn stderr(notation: Notation) -> Terminal<io::StderrLock<'static>> {
    Terminal::new(io::stderr().lock(), notation)
}

/// Tells the user something in one line on standard error.
pub(super) fn complain(what: &str) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "ctmon: {}", Shown::line(what));
}
