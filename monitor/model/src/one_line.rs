//! An error in one line.
//!
//! In: an error with its causes. Out: what went wrong, then why. Must not: repeat a cause that an error's own text names,
//! as many do so that the advice comes last.

use std::error::Error;

/// The error, and those of its causes that it does not name itself.
#[must_use]
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("failed to open {path}: {source}: mount it")]
        Named { path: &'static str, source: io::Error },
        #[error("failed to open {path}")]
        Plain { path: &'static str, source: io::Error },
    }

    #[test]
    fn every_cause_is_told_once() {
        let cause = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        let check = |error: Outer, expected: &str| assert_eq!(one_line(&error), expected);
        check(Outer::Named { path: "/a", source: cause() }, "failed to open /a: no such file: mount it");
        check(Outer::Plain { path: "/a", source: cause() }, "failed to open /a: no such file");
        let chain = anyhow::Error::new(Outer::Named { path: "/a", source: cause() }).context("no start");
        assert_eq!(one_line(chain.as_ref()), "no start: failed to open /a: no such file: mount it");
    }
}
