//! Words of iSCSI sessions.
//!
//! In: the bytes of files below `/sys/class/iscsi_session` and `/sys/class/iscsi_connection`, and the names there. Out: words
//! and addresses. Must not: take the kernel's `(null)` for a word.

use std::net::IpAddr;

/// The word in a file; `None` for an empty one and for the kernel's `(null)`.
#[must_use]
pub fn parse_word(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let word = text.trim();
    (!word.is_empty() && word != "(null)").then(|| word.to_owned())
}

/// An address, without the zone a link-local one may carry.
#[must_use]
pub fn parse_address(word: &str) -> Option<IpAddr> {
    let address = word.trim_matches(['[', ']']);
    address.split_once('%').map_or(address, |(address, _)| address).parse().ok()
}

/// Whether a connection is one of the session: `connection1:0` is the first connection of `session1`.
#[must_use]
pub fn belongs_to(connection: &str, session: &str) -> bool {
    connection.strip_prefix("connection").and_then(|rest| rest.split_once(':')).map(|(number, _)| number)
        == session.strip_prefix("session")
}

#[cfg(test)]
mod tests {
    use monitor_model::host::iscsi::SessionState;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_word_or_nothing(bytes: Vec<u8>, name: String) {
            if let Some(word) = parse_word(&bytes) {
                prop_assert!(!word.is_empty());
                let _ = (parse_address(&word), SessionState::parse(&word), belongs_to(&name, &word));
            }
        }
    }
}
