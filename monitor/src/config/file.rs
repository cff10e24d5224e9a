//! The file with the configuration: its text, read so that no file can harm the reader, and what is missing in it.
//!
//! In: a path, or text. Out: text of a bounded size that is cheap to parse, or one error.
//! Must not: wait for a FIFO, read a device, or give the YAML reader what it takes long for.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use yaml_serde::Value;

use super::ConfigError;

/// Longest file that is read: some twenty times the largest configuration that makes sense.
pub const MAX_BYTES: u64 = 256 << 10;
/// Most `%` directives, each of which the YAML reader compares with all others.
const MAX_DIRECTIVES: usize = 16;
/// With every token the YAML reader visits every `[` and `{` that is open, and nothing bounds how many are: so many visits
/// take it well below a second. Which of the brackets are text, and which are closed again, only a second reader could
/// tell; that all of them stay open is the worst that can be.
const MAX_VISITS: usize = 1 << 29;

/// The text of a regular file.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    // Looked at before it is opened: opening a device may set it to work.
    regular(path, &fs::metadata(path).map_err(failed)?)?;
    // Not blocking: a FIFO may have come in its place since.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    regular(path, &file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    // A regular file may still have no end, below /proc.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigError::TooLong { path: path.to_owned() });
    }
    String::from_utf8(bytes)
        .map_err(|_| failed(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")))
}

/// A regular file, or `/dev/null`, by which many say that there is nothing to read.
fn regular(path: &Path, metadata: &fs::Metadata) -> Result<(), ConfigError> {
    let is_null = metadata.file_type().is_char_device() && metadata.rdev() == libc::makedev(1, 3);
    if metadata.is_file() || is_null { Ok(()) } else { Err(ConfigError::NotAFile { path: path.to_owned() }) }
}

/// Whether the YAML reader is through with this text in no time.
pub fn check_cost(text: &[u8]) -> Result<(), String> {
    let opened = text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opened.saturating_mul(text.len()) > MAX_VISITS {
        return Err(format!(
            "{opened} times `[` or `{{` in {} bytes might be nested too deeply to be read: write lists line by line",
            text.len()
        ));
    }
    let directives =
        text.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| line.starts_with(b"%")).count();
    if directives > MAX_DIRECTIVES {
        return Err(format!("{directives} lines begin with `%`: no configuration needs YAML directives"));
    }
    Ok(())
}

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
        // It was read as a configuration, so this reader has less patience.
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
            assert!(crate::config::parse(&deep).is_err());
        }
    }
}
