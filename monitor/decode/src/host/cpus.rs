//! Lists of CPUs.
//!
//! In: the text of a file such as `/sys/devices/system/cpu/possible`. Out: a number. Must not: take what is no list for 0.

/// How many CPUs a list such as `0-3,8` names: the last one, plus one.
#[must_use]
pub fn parse_cpu_list(text: &str) -> Option<u32> {
    let last = text.trim().rsplit([',', '-']).next()?;
    last.parse::<u32>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cpu_list_counts_to_its_last() {
        let check = |text, expected| assert_eq!(parse_cpu_list(text), expected, "{text}");
        check("0-1\n", Some(2));
        check("0\n", Some(1));
        check("0-3,8-15\n", Some(16));
        check("", None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_none(text: String) {
            let _ = parse_cpu_list(&text);
        }
    }
}
