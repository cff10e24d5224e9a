//! Values of sysctls.
//!
//! In: the bytes of files below `/proc/sys`. Out: [`Sysctl`] as the kernel prints it, with its numbers; [`FileHandles`].
//! Must not: take a word for a number.

use monitor_model::host::net_scope::NetScope;
use monitor_model::host::sysctl::{FileHandles, Sysctl};

use crate::error::ParseError;

/// What a file holds; `scope` is whose network namespace answered.
pub fn parse_sysctl(name: &str, bytes: &[u8], scope: Option<NetScope>) -> Result<Sysctl, ParseError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ParseError::new(1, "UTF-8", &String::from_utf8_lossy(bytes)))?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    // "nan" and "inf" are words to a sysctl, and not finite numbers would upset every comparison.
    let numbers: Option<Vec<f64>> =
        fields.iter().map(|field| field.parse().ok().filter(|number: &f64| number.is_finite())).collect();
    Ok(Sysctl { name: name.to_owned(), text: fields.join(" "), numbers: numbers.unwrap_or_default(), scope })
}

/// `allocated free max`: since 2.6 the second is always 0 and the first is what is in use.
pub fn parse_file_nr(bytes: &[u8]) -> Result<FileHandles, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
    match fields.as_slice() {
        &[allocated, free, max] => Ok(FileHandles { used: allocated.saturating_sub(free), max }),
        _ => Err(ParseError::new(1, "three numbers (allocated, free, max)", &text)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_numbers_vectors_or_words() {
        let check = |bytes: &[u8], text: &str, number: Option<f64>, numbers: usize| {
            let sysctl = parse_sysctl("x", bytes, None).unwrap();
            assert_eq!(
                (sysctl.text.as_str(), sysctl.number(), sysctl.numbers.len()),
                (text, number, numbers),
                "{}",
                String::from_utf8_lossy(bytes)
            );
        };
        check(fixture!("sysctl/tcp_keepalive_time"), "7200", Some(7200.0), 1);
        check(fixture!("sysctl/tcp_rmem"), "4096 131072 33554432", None, 3);
        check(fixture!("sysctl/tcp_congestion_control"), "bbr", None, 0);
        check(fixture!("sysctl/file-max"), "2466183", Some(2_466_183.0), 1);
        check(b"-1\n", "-1", Some(-1.0), 1);
        check(b"nan\n", "nan", None, 0);
        check(b"", "", None, 0);
    }

    #[test]
    fn file_handles_are_what_is_allocated_less_what_is_free() {
        let handles = parse_file_nr(fixture!("sysctl/file-nr")).unwrap();
        assert!(handles.used > 0 && handles.max == 2_466_183, "{handles:?}");
        for broken in [&b""[..], b"1 2", b"1 2 x", b"1 2 3 4", b"\xff"] {
            assert!(parse_file_nr(broken).is_err(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>, name: String) {
            let _ = parse_sysctl(&name, &bytes, None);
            let _ = parse_file_nr(&bytes);
        }
    }
}
