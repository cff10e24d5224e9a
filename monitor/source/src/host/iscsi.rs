//! iSCSI sessions: which target through which portal, and whether it is logged in.
//!
//! In: `/sys/class/iscsi_session` and `/sys/class/iscsi_connection`. Out: one [`Session`] each, with its
//! connections. Must not: read the files beside these that hold the CHAP names.

use std::path::Path;

use monitor_decode::host::iscsi::{belongs_to, parse_address, parse_word};
use monitor_model::host::iscsi::{Connection, Session, SessionState};

use super::{Host, Sample, list_optional, read_optional};

/// Every iSCSI session of the node; `Ok(None)`: the transport is not loaded.
pub fn read_iscsi(host: &Host) -> Sample<Vec<Session>> {
    let sessions = host.sys("class/iscsi_session");
    let Some(names) = list_optional(&sessions)? else { return Ok(None) };
    let connections = host.sys("class/iscsi_connection");
    let connection_names = list_optional(&connections)?.unwrap_or_default();
    let mut found = Vec::new();
    for name in names {
        let folder = sessions.join(&name);
        // A session that logs out between the listing and here is gone, not broken.
        let Some(state) = read_word(&folder.join("state"))? else { continue };
        let mut session = Session {
            state: SessionState::parse(&state),
            target: read_word(&folder.join("targetname"))?,
            recovery_timeout: read_word(&folder.join("recovery_tmo"))?.and_then(|word| word.parse().ok()),
            connections: Vec::new(),
            name,
        };
        for connection in &connection_names {
            if belongs_to(connection, &session.name) {
                session.connections.push(read_connection(&connections.join(connection))?);
            }
        }
        found.push(session);
    }
    Ok(Some(found))
}

fn read_connection(folder: &Path) -> Result<Connection, super::HostError> {
    let word = |name: &str| read_word(&folder.join(name));
    let address = |word: Option<String>| word.and_then(|word| parse_address(&word));
    let connected_to = address(word("address")?);
    let persistent = address(word("persistent_address")?).or(connected_to);
    let port = word("persistent_port")?.or(word("port")?).and_then(|word| word.parse().ok());
    Ok(Connection { portal: persistent.zip(port), connected_to, state: word("state")? })
}

/// The content of a sysfs file; `None` when it is absent, empty or the kernel's `(null)`.
fn read_word(path: &Path) -> Sample<String> {
    // A connection without a socket answers ENOTCONN to `address` and `port`: it has none.
    match read_optional(path) {
        Ok(bytes) => Ok(bytes.and_then(|bytes| parse_word(&bytes))),
        Err(super::HostError::Read { source, .. }) if source.raw_os_error() == Some(libc::ENOTCONN) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TempDir, fixture_path};
    use super::*;

    fn sessions(fixture: &str) -> Vec<Session> {
        let host = Host { sysfs: fixture_path(fixture), ..Host::default() };
        read_iscsi(&host).unwrap().unwrap()
    }

    #[test]
    fn a_session_is_read_with_its_portal() {
        let portal = Some(("192.168.100.180".parse().unwrap(), 3260));
        assert_eq!(
            sessions("iscsi/6.12-logged-in/sys"),
            [Session {
                name: "session1".to_owned(),
                state: SessionState::LoggedIn,
                target: Some("iqn.2004-04.com.qnap:ts-453d:iscsi.media.0a1b2c".to_owned()),
                recovery_timeout: Some(120),
                connections: vec![Connection {
                    portal,
                    connected_to: portal.map(|(address, _)| address),
                    state: Some("up".to_owned()),
                }],
            }]
        );
    }

    #[test]
    fn a_lost_session_keeps_its_portal_and_says_how_far_it_is_lost() {
        let check = |fixture: &str, state: SessionState| {
            let [session] = sessions(fixture).try_into().unwrap();
            assert_eq!(session.state, state, "{fixture}");
            assert_eq!(session.portal(), Some(("192.168.100.180".parse().unwrap(), 3260)), "{fixture}");
            assert_eq!(session.connections[0].connected_to, None, "{fixture}");
            assert_eq!(session.connections[0].state.as_deref(), Some("failed"), "{fixture}");
        };
        check("iscsi/6.12-failed/sys", SessionState::Failed);
        check("iscsi/6.12-free/sys", SessionState::Free);
    }

    #[test]
    fn without_the_transport_the_source_is_off_and_without_sessions_it_is_empty() {
        let dir = TempDir::new();
        assert_eq!(read_iscsi(&dir.host()).unwrap(), None);
        std::fs::create_dir_all(dir.path().join("sys/class/iscsi_session")).unwrap();
        assert_eq!(read_iscsi(&dir.host()).unwrap(), Some(vec![]));
        // A folder without a state: it went away while we looked.
        std::fs::create_dir_all(dir.path().join("sys/class/iscsi_session/session3")).unwrap();
        assert_eq!(read_iscsi(&dir.host()).unwrap(), Some(vec![]));
        dir.write("sys/class/iscsi_session/session4/state", b"REOPENING\n");
        dir.write("sys/class/iscsi_connection/connection4:0/persistent_address", b"fe80::1%eth0\n");
        dir.write("sys/class/iscsi_connection/connection4:0/persistent_port", b"3261\n");
        dir.write("sys/class/iscsi_connection/connection41:0/state", b"up\n");
        let [session] = read_iscsi(&dir.host()).unwrap().unwrap().try_into().unwrap();
        assert_eq!((session.state, session.target.clone()), (SessionState::Other, None));
        assert_eq!(session.portal(), Some(("fe80::1".parse().unwrap(), 3261)));
        assert_eq!(session.connections.len(), 1, "connection41 belongs to another session");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error() {
        let dir = TempDir::new();
        std::fs::create_dir_all(dir.path().join("sys/class/iscsi_session/session1/state")).unwrap();
        assert!(read_iscsi(&dir.host()).is_err());
    }
}
