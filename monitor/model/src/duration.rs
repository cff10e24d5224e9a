//! Durations as Prometheus writes them: `500ms`, `15s`, `1h30m`, `1d`.
//!
//! In: text. Out: a [`Duration`] of whole milliseconds, and its text.
//! Must not: accept a bare number other than 0: its unit would be a guess.

use std::time::Duration;

/// Units from the largest to the smallest, in milliseconds; each may appear once, in this order.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration; the error says how to write it.
pub fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let wrong = || format!("`{text}` is not a duration: write it like 500ms, 15s, 10m or 1h30m");
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (digits, tail) = split(rest, |c| c.is_ascii_digit());
        let (unit, tail) = split(tail, |c| c.is_ascii_alphabetic());
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        // Searching on in the same iterator is what keeps the order and refuses repetitions.
        let (_, scale) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        total = number.checked_mul(*scale).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
}

/// Writes a duration so that [`parse`] reads it back; below a millisecond is cut off.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, scale) in UNITS {
        // 90d reads better than 12w6d: years and weeks only where no smaller unit is left.
        if matches!(unit, "y" | "w") && !left.is_multiple_of(scale) {
            continue;
        }
        if left >= scale {
            text.push_str(&(left / scale).to_string());
            text.push_str(unit);
            left %= scale;
        }
    }
    text
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prometheus_durations_are_read() {
        let check = |text, millis| assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        check("0", 0);
        check("0s", 0);
        check("500ms", 500);
        check("15s", 15_000);
        check("10m", 600_000);
        check("1h30m", 5_400_000);
        check("2h13m20s", 8_000_000);
        check("1d", 86_400_000);
        check("1w2d", 9 * 86_400_000);
        check("1m1ms", 60_001);
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in [
            "",
            "15",
            "s",
            "1x",
            "1s1m",
            "1m1m",
            "-1s",
            "1.5h",
            "1 s",
            "15S",
            "99999999999999999999s",
            "18446744073709551615y",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("10m"), "{error}");
        }
    }

    #[test]
    fn durations_are_written_in_the_units_one_would_choose() {
        let check = |millis, text: &str| assert_eq!(format(Duration::from_millis(millis)), text);
        check(0, "0s");
        check(500, "500ms");
        check(8_000_000, "2h13m20s");
        check(43_200_000, "12h");
        check(90 * 86_400_000, "90d");
        check(7 * 86_400_000, "1w");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0_u64..=u64::MAX) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,20}") {
            let _ = parse(&text);
        }
    }
}
