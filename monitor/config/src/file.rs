//! The text of a configuration file, and what is missing in it.
//!
//! In: text. Out: what is missing where a file was cut off or is still being written. Must not: read a file.

use yaml_serde::Value;

/// Longest file that is read: some twenty times the largest configuration that makes sense.
pub const MAX_BYTES: u64 = 256 << 10;

/// What is missing in a text that reads well, as in the first half of a file that is being written: all of it, or what
/// belongs behind a key. `null` where it has a meaning, below `thresholds`, is not missing, unless the text ends there.
pub(super) fn hollow(text: &str) -> Option<String> {
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.starts_with('#'));
    let ends_with_a_key = last.is_some_and(|line| line.ends_with(':'));
    match yaml_serde::from_str(text) {
        Ok(Value::Null) => Some("the document is empty: write {} for all defaults".to_owned()),
        Ok(value) => hollow_below(&value, "", !ends_with_a_key).map(|key| {
            format!("nothing follows `{key}:`: write what belongs there, or [] or {{}} for nothing")
        }),
        // Read as a configuration it was fine: reading it as any value has a tighter bound.
        Err(error) => Some(error.to_string()),
    }
}

/// The first key without a value; below `thresholds` that may mean that something is off.
fn hollow_below(value: &Value, path: &str, may_be_off: bool) -> Option<String> {
    match value {
        Value::Mapping(mapping) => mapping.iter().find_map(|(key, value)| {
            let key = key.as_str().unwrap_or("?");
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            match value {
                Value::Null => Some(path),
                _ if path == "thresholds" && may_be_off => None,
                _ => hollow_below(value, &path, may_be_off),
            }
        }),
        Value::Sequence(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| hollow_below(item, &format!("{path}[{index}]"), may_be_off)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use monitor_model::yaml_cost::check_cost;

    use super::*;

    #[test]
    fn what_a_half_written_file_lacks_is_named() {
        let check = |text: &str, expected: &str| {
            let found = hollow(text).unwrap_or_else(|| panic!("nothing is missing in {text:?}"));
            assert!(found.contains(expected), "{text:?}: {found}");
        };
        for empty in ["", "\n", "# nothing\n", "---\n", "null", "~\n", "--- # later\n...\n"] {
            check(empty, "the document is empty");
        }
        check("interval: 1s\ntargets:\n", "`targets:`");
        check("interval:", "`interval:`");
        check("targets:\n  - name: a\n    addresses: [10.0.0.1]\n    services:\n", "`targets[0].services:`");
        check("expect:\n  gc_interval:\n", "`expect.gc_interval:`");
        check("expect:\n", "`expect:`");
        check("logs: [{name: a, pattern: x, pods: }]", "`logs[0].pods:`");
        check("thresholds:\n", "`thresholds:`");
        check("thresholds:\n  MapFull:\n  # later\n\n", "`thresholds.MapFull:`");
        for whole in [
            "{}",
            "targets: []\n",
            "expect: {}\nlogs: []",
            "thresholds: {MapFull: null, MapFilling: {warning: }}\ninterval: 15s",
            "thresholds:\n  MapFull:\n  MapFilling: ~\n",
        ] {
            assert_eq!(hollow(whole), None, "{whole:?}");
        }
    }

    #[test]
    fn what_the_yaml_reader_takes_long_for_is_refused_before() {
        let check = |text: &str, expected: Option<&str>| {
            let found = check_cost(text.as_bytes()).err();
            let said = found.as_deref().unwrap_or("fine");
            assert!(expected.map_or(found.is_none(), |expected| said.contains(expected)), "{said}");
        };
        for bomb in ["[", "{", "? [", "- [", "{a: ", "[{", "'[ "] {
            let length = 200_000 / bomb.len();
            check(&bomb.repeat(length), Some("nested too deeply"));
        }
        check(&"%TAG !a! b\n".repeat(5_000), Some("lines begin with `%`"));
        check(&"%TAG !a! b\r".repeat(5_000), Some("lines begin with `%`"));
        // Every service the kernel's tables have room for, four times, in the notation with the most brackets.
        let service = "{name: abcdefghijkl, ports: [445]}, ";
        let target = format!(
            "  - {{name: target, addresses: [192.168.100.180], services: [{}]}}\n",
            service.repeat(16)
        );
        check(&format!("targets:\n{}", target.repeat(32)), None);
        check("%YAML 1.1\n---\n{}", None);
        // Nesting by indentation costs the reader nothing, and ends at its own bound.
        let steps = (0..600).map(|depth| " ".repeat(depth) + "a:\n").collect();
        for deep in ["- ".repeat(120_000), steps, "? ".repeat(100_000)] {
            check(&deep, None);
            assert!(crate::parse(&deep).is_err());
        }
    }
}
