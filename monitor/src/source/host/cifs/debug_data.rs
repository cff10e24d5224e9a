//! `/proc/fs/cifs/DebugData`: what the client knows of each server.
//!
//! In: the file's bytes. Out: one [`Connection`] per server. Must not: keep user names or session ids, or fail on
//! a line it does not know.

use std::net::IpAddr;

use super::super::ParseError;
use super::{item, numbers};

/// `enum statusEnum` of the client, fs/smb/client/cifsglob.h; the same numbers from 5.18 to 6.18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServerStatus {
    New,
    Good,
    Exiting,
    NeedReconnect,
    NeedNegotiate,
    InNegotiate,
    Other,
}

impl ServerStatus {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Good => "good",
            Self::Exiting => "exiting",
            Self::NeedReconnect => "need_reconnect",
            Self::NeedNegotiate => "need_negotiate",
            Self::InNegotiate => "in_negotiate",
            Self::Other => "other",
        }
    }

    const fn of(number: u64) -> Self {
        match number {
            0 => Self::New,
            1 => Self::Good,
            2 => Self::Exiting,
            3 => Self::NeedReconnect,
            4 => Self::NeedNegotiate,
            5 => Self::InNegotiate,
            _ => Self::Other,
        }
    }
}

/// One server the client talks to, over one TCP connection (its primary channel).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The name or address of the mount, without a port.
    pub name: Option<String>,
    /// From the server's sessions; several for a server with several of them.
    pub addresses: Vec<IpAddr>,
    pub status: Option<ServerStatus>,
    /// Counts from 1, and up by one with every reconnect.
    pub instance: Option<u64>,
    /// `0x311` is SMB 3.1.1.
    pub dialect: Option<u64>,
    /// Requests the server would still take, for anything but echo and oplock breaks.
    pub credits: Option<u64>,
    /// Requests sent and not yet answered.
    pub in_flight: Option<u64>,
    pub sending: Option<u64>,
    /// Requests that wait for a credit.
    pub waiting_for_credits: Option<u64>,
    pub sessions: usize,
    /// Sessions or shares marked `DISCONNECTED`.
    pub disconnected: usize,
    pub shares: Vec<String>,
    /// Requests listed as pending: `in_flight` one by one.
    pub pending: usize,
}

impl Connection {
    /// Reconnects since the server was first mounted.
    #[must_use]
    pub fn reconnects(&self) -> Option<u64> {
        self.instance.map(|instance| instance.saturating_sub(1))
    }
}

/// Which list the lines below belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Server,
    Sessions,
    Shares,
    Interfaces,
    Mids,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Connection>, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut connections: Vec<Connection> = Vec::new();
    let mut listed = false;
    let mut part = Part::Server;
    for line in text.lines() {
        let words = line.trim();
        if words == "Servers:" {
            listed = true;
            continue;
        }
        if !listed {
            continue;
        }
        // Only servers are numbered at the start of a line; everything of theirs is indented.
        if line.starts_with(|first: char| first.is_ascii_digit()) && line.contains("Hostname:") {
            connections.push(Connection { name: value_after(line, "Hostname:"), ..Connection::default() });
            part = Part::Server;
            continue;
        }
        let Some(connection) = connections.last_mut() else { continue };
        part = heading(words).unwrap_or(part);
        read_line(connection, part, words);
    }
    if listed { Ok(connections) } else { Err(ParseError::new(1, "a line \"Servers:\"", &text)) }
}

fn heading(words: &str) -> Option<Part> {
    match words {
        "Sessions:" => Some(Part::Sessions),
        "Shares:" => Some(Part::Shares),
        "MIDs:" => Some(Part::Mids),
        _ => words.starts_with("Server interfaces:").then_some(Part::Interfaces),
    }
}

fn read_line(connection: &mut Connection, part: Part, words: &str) {
    let number = |label: &str| words.split_once(label).and_then(|(_, rest)| numbers(rest).next());
    match part {
        Part::Server => {
            connection.status = connection.status.or(number("TCP status:").map(ServerStatus::of));
            connection.instance = connection.instance.or(number("Instance:"));
            connection.credits = connection.credits.or(number("Number of credits:"));
            connection.in_flight = connection.in_flight.or(number("Req On Wire:"));
            connection.sending = connection.sending.or(number("In Send:"));
            connection.waiting_for_credits = connection.waiting_for_credits.or(number("In MaxReq Wait:"));
            if let Some(dialect) = value_after(words, "Dialect 0x") {
                connection.dialect = u64::from_str_radix(&dialect, 16).ok();
            }
        }
        Part::Sessions => {
            if item(words).is_some() && words.contains("Address:") {
                connection.sessions += 1;
                let address = value_after(words, "Address:").and_then(|address| parse_address(&address));
                connection.addresses.extend(address.filter(|new| !connection.addresses.contains(new)));
            }
            connection.disconnected += usize::from(words.ends_with("DISCONNECTED"));
        }
        Part::Shares => {
            if let Some(rest) = item(words).filter(|rest| rest.contains("Mounts:") && !rest.contains("IPC$"))
            {
                let name = rest.split(" Mounts:").next().unwrap_or(rest).trim();
                connection.shares.push(name.rsplit('\\').next().unwrap_or(name).to_owned());
            }
            connection.disconnected += usize::from(words.ends_with("DISCONNECTED"));
        }
        // The addresses the server offers for more channels: not who we talk to.
        Part::Interfaces => {}
        Part::Mids => connection.pending += usize::from(words.starts_with("State:")),
    }
}

/// The word behind a label.
fn value_after(line: &str, label: &str) -> Option<String> {
    let (_, rest) = line.split_once(label)?;
    rest.split_whitespace().next().map(str::to_owned)
}

fn parse_address(text: &str) -> Option<IpAddr> {
    text.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::fixture;
    use super::*;

    #[test]
    fn a_silent_server_is_still_called_good_while_its_requests_pile_up() {
        let [server] = parse(&fixture("cifs/6.12-silent/DebugData")).unwrap().try_into().unwrap();
        assert_eq!(
            server,
            Connection {
                name: Some("192.168.100.180".to_owned()),
                addresses: vec!["192.168.100.180".parse().unwrap()],
                status: Some(ServerStatus::Good),
                instance: Some(1),
                dialect: Some(0x311),
                credits: Some(5368),
                in_flight: Some(4),
                sending: Some(0),
                waiting_for_credits: Some(0),
                sessions: 1,
                disconnected: 0,
                shares: vec!["downloads".to_owned(), "media".to_owned()],
                pending: 4,
            }
        );
    }

    #[test]
    fn a_killed_server_needs_a_reconnect_and_so_do_its_session_and_shares() {
        let [server] = parse(&fixture("cifs/6.12-killed/DebugData")).unwrap().try_into().unwrap();
        assert_eq!((server.status, server.disconnected), (Some(ServerStatus::NeedReconnect), 4));
    }

    #[test]
    fn a_loaded_module_without_a_server_lists_none() {
        let text = b"Display Internal CIFS Data Structures for Debugging\n\nServers: \n\n";
        assert_eq!(parse(text).unwrap(), []);
        assert!(parse(b"something else").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_real_file_cut_or_spoilt_anywhere_is_survived(at in 0_usize..3000, bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut file = fixture("cifs/6.12-silent/DebugData");
            file.splice(at.min(file.len())..(at + bytes.len()).min(file.len()), bytes);
            let _ = parse(&file);
            file.truncate(at);
            let _ = parse(&file);
        }
    }
}
