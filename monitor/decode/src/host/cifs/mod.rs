//! What the kernel's SMB client says of itself.
//!
//! In: `/proc/fs/cifs/Stats` and `DebugData`. Out: [`Stats`] and [`Server`]s. Must not: depend on a kernel's exact wording:
//! both files are for people and change with every few versions, so a line is used when it is understood, and a field stays
//! `None` when its line was not there. Nor: believe words that servers and mounts may have put there.

use monitor_model::host::cifs::{Server, Stats};

use crate::error::ParseError;

mod debug_data;
mod stats;

/// `/proc/fs/cifs/Stats`.
pub fn parse_stats(bytes: &[u8]) -> Result<Stats, ParseError> {
    stats::parse(bytes)
}

/// `/proc/fs/cifs/DebugData`.
pub fn parse_debug_data(bytes: &[u8]) -> Result<Vec<Server>, ParseError> {
    debug_data::parse(bytes)
}

/// The numbers in a line, in order; `None` in the place of one that is none, so that the others keep theirs.
fn numbers(line: &str) -> impl Iterator<Item = Option<i128>> {
    line.split(|symbol: char| !symbol.is_ascii_digit() && symbol != '-')
        .filter(|word| word.bytes().any(|byte| byte.is_ascii_digit()))
        .map(|word| word.parse().ok())
}

/// A number that says how much there is; one below zero says nothing.
fn gauge(number: Option<i128>) -> Option<u64> {
    u64::try_from(number?).ok()
}

/// A number that only grows. The client counts most in 32 bits and prints them with a sign: from 2^31 on they look negative.
fn counter(number: Option<i128>) -> Option<u64> {
    let number = number?;
    let wrapped = i32::try_from(number).ok().filter(|number| *number < 0);
    wrapped.map_or(u64::try_from(number).ok(), |wrapped| Some(u64::from(wrapped.cast_unsigned())))
}

/// `\\server\share` in its two parts.
fn split_unc(unc: &str) -> Option<(&str, &str)> {
    unc.strip_prefix("\\\\")?.split_once('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_places_and_counts_go_on_where_they_look_negative() {
        let all = |line: &str| numbers(line).collect::<Vec<_>>();
        assert_eq!(all("a: 5 total -1 failed"), [Some(5), Some(-1)]);
        let huge = "9".repeat(60);
        assert_eq!(all(&format!("{huge} total 3 failed")), [None, Some(3)]);
        assert_eq!(all("31 since 2026-11-22"), [Some(31), None]);
        for (number, count, amount) in [
            (Some(7), Some(7), Some(7)),
            (Some(-1), Some((1 << 32) - 1), None),
            (Some(i32::MIN.into()), Some(1 << 31), None),
            (Some(i128::from(i32::MIN) - 1), None, None),
            (Some(u64::MAX.into()), Some(u64::MAX), Some(u64::MAX)),
            (Some(i128::from(u64::MAX) + 1), None, None),
            (None, None, None),
        ] {
            assert_eq!((counter(number), gauge(number)), (count, amount), "{number:?}");
        }
    }
}
