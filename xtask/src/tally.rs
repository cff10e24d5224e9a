//! Counting tests.
//!
//! In: what test runners print. Out: how many tests were executed and how many of them failed.
//! Must not: count a step as a test when the step prints its own numbers.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

/// Tests that were executed; ignored and filtered ones prove nothing and are not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) const ONE_PASSED: Self = Self { passed: 1, failed: 0 };
    pub(crate) const ONE_FAILED: Self = Self { passed: 0, failed: 1 };

    pub(crate) fn executed(self) -> u64 {
        self.passed + self.failed
    }

    /// The sum of every `test result:` line; `None` when there is none, which is not the same as zero tests.
    pub(crate) fn parse(output: &str) -> Option<Self> {
        let mut lines = output.lines().filter_map(parse_result_line).peekable();
        lines.peek()?;
        Some(lines.sum())
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { passed, failed } = other;
        self.passed += passed;
        self.failed += failed;
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |mut sum, tally| {
            sum += tally;
            sum
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed } = self;
        write!(out, "{passed} passed, {failed} failed")
    }
}

/// `test result: ok. 12 passed; 0 failed; 1 ignored; ...`
fn parse_result_line(line: &str) -> Option<Tally> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split(';').find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
    };
    Some(Tally { passed: count(" passed")?, failed: count(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_binaries_add_up_and_ignored_tests_do_not_count() {
        let output = "running 3 tests\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\r\n";
        assert_eq!(Tally::parse(output), Some(Tally { passed: 7, failed: 2 }));
    }

    #[test]
    fn no_result_line_is_not_zero_tests() {
        assert_eq!(Tally::parse("running 3 tests\ntest result: \n"), None);
        assert_eq!(Tally::parse("test result: ok. 0 passed; 0 failed; 0 ignored\n"), Some(Tally::default()));
    }
}
