//! `/proc/fs/cifs/Stats`.
//!
//! In: the file's bytes. Out: [`Stats`]. Must not: fail on a line it does not know.

use super::super::ParseError;
use super::{item, numbers, split_unc};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// Names, attributes, directories: what `actimeo` saves.
    Metadata,
    /// Contents: what `cache=loose` saves.
    Data,
    /// Coming, going and leases.
    Session,
}

macro_rules! ops {
    ($($variant:ident, $label:literal, $line:literal, $kind:ident;)+) => {
        /// What the client asks of a share, SMB 2 and later.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op { $($variant,)+ }

        impl Op {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The label value.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            #[must_use]
            pub const fn kind(self) -> OpKind {
                match self { $(Self::$variant => OpKind::$kind,)+ }
            }

            fn of_line(name: &str) -> Option<Self> {
                match name { $($line => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

ops! {
    TreeConnect, "tree_connect", "TreeConnects", Session;
    TreeDisconnect, "tree_disconnect", "TreeDisconnects", Session;
    Create, "create", "Creates", Metadata;
    Close, "close", "Closes", Metadata;
    Flush, "flush", "Flushes", Data;
    Read, "read", "Reads", Data;
    Write, "write", "Writes", Data;
    Lock, "lock", "Locks", Data;
    Ioctl, "ioctl", "IOCTLs", Metadata;
    QueryDirectory, "query_directory", "QueryDirectories", Metadata;
    ChangeNotify, "change_notify", "ChangeNotifies", Session;
    QueryInfo, "query_info", "QueryInfos", Metadata;
    SetInfo, "set_info", "SetInfos", Metadata;
    OplockBreak, "oplock_break", "OplockBreaks", Session;
}

/// Sent and failed per operation; those the kernel did not list are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations(Vec<(Op, u64, u64)>);

impl Operations {
    /// How often, and how often in vain.
    #[must_use]
    pub fn get(&self, op: Op) -> Option<(u64, u64)> {
        self.0.iter().find(|(known, ..)| *known == op).map(|(_, total, failed)| (*total, *failed))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Op, u64, u64)> {
        self.0.iter().copied()
    }

    #[must_use]
    pub fn total(&self, kind: OpKind) -> u64 {
        self.0.iter().filter(|(op, ..)| op.kind() == kind).map(|(_, total, _)| total).sum()
    }
}

/// One mounted share, since it was mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub server: String,
    pub share: String,
    pub connected: bool,
    pub smbs: Option<u64>,
    pub bytes_read: Option<u64>,
    pub bytes_written: Option<u64>,
    pub open_files: Option<u64>,
    pub operations: Operations,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub sessions: Option<u64>,
    /// Tree connections, each session's own IPC$ included.
    pub share_mounts: Option<u64>,
    /// Requests waiting for an answer, over all servers.
    pub in_flight: Option<u64>,
    pub max_in_flight: Option<u64>,
    pub session_reconnects: Option<u64>,
    pub share_reconnects: Option<u64>,
    pub vfs_operations: Option<u64>,
    /// Answers that took longer than a second, by server; only kernels with `CONFIG_CIFS_STATS2` count them.
    pub slow_responses: Vec<(String, u64)>,
    pub shares: Vec<Share>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Stats, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut stats = Stats::default();
    for line in text.lines() {
        if let Some(share) = item(line).and_then(share_heading) {
            stats.shares.push(share);
        } else if let Some(share) = stats.shares.last_mut() {
            share_line(share, line);
        } else {
            global_line(&mut stats, line);
        }
    }
    // The one heading every version has; without it this is another file.
    if stats.sessions.is_none() {
        let first = text.lines().next().unwrap_or_default();
        return Err(ParseError::new(1, "a line \"CIFS Session: N\"", first));
    }
    Ok(stats)
}

fn share_heading(rest: &str) -> Option<Share> {
    let connected = !rest.trim_end().ends_with("DISCONNECTED");
    let unc = rest.trim().trim_end_matches("DISCONNECTED").trim_end();
    let (server, share) = split_unc(unc)?;
    Some(Share {
        server: server.to_owned(),
        share: share.to_owned(),
        connected,
        smbs: None,
        bytes_read: None,
        bytes_written: None,
        open_files: None,
        operations: Operations::default(),
    })
}

fn share_line(share: &mut Share, line: &str) {
    let Some((name, rest)) = line.split_once(':') else { return };
    let mut values = numbers(rest);
    match name.trim() {
        "SMBs" => share.smbs = values.next(),
        "Bytes read" => (share.bytes_read, share.bytes_written) = (values.next(), values.next()),
        "Open files" => share.open_files = values.next(),
        // SMB 1 prints `Reads:  0 Bytes: 0`, which counts something else.
        name if rest.contains("failed") => {
            if let (Some(op), Some(total), Some(failed)) = (Op::of_line(name), values.next(), values.next()) {
                share.operations.0.push((op, total, failed));
            }
        }
        _ => {}
    }
}

fn global_line(stats: &mut Stats, line: &str) {
    let mut values = numbers(line);
    if line.starts_with("CIFS Session:") {
        stats.sessions = values.next();
    } else if line.starts_with("Share (unique mount targets):") {
        stats.share_mounts = values.next();
    } else if line.starts_with("Operations (MIDs):") {
        stats.in_flight = values.next();
    } else if line.starts_with("Max requests in flight:") {
        stats.max_in_flight = values.next();
    } else if line.starts_with("Total vfs operations:") {
        stats.vfs_operations = values.next();
    } else if line.trim_end().ends_with("share reconnects") {
        (stats.session_reconnects, stats.share_reconnects) = (values.next(), values.next());
    } else if let Some((count, rest)) = line.trim_start().split_once(" slow responses from ") {
        let (server, _) = rest.split_once(" for ").unwrap_or((rest, ""));
        let Ok(count) = count.parse::<u64>() else { return };
        match stats.slow_responses.iter_mut().find(|(known, _)| known == server) {
            Some((_, total)) => *total = total.saturating_add(count),
            None => stats.slow_responses.push((server.to_owned(), count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_file_is_refused() {
        assert_eq!(parse(b"").unwrap_err().found, "");
        assert!(parse(b"nonsense\n").is_err());
    }

    #[test]
    fn a_share_of_smb_1_has_no_operations_rather_than_wrong_ones() {
        let text = b"CIFS Session: 1\n1) \\\\nas\\old\nSMBs: 9\nReads:  3 Bytes: 4096\nOpens: 2\n";
        let stats = parse(text).unwrap();
        assert_eq!(stats.shares[0].smbs, Some(9));
        assert_eq!(stats.shares[0].operations, Operations::default());
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_lines_below_the_heading_are_survived(lines in "([0-9]{0,25}\\) |\\\\\\\\|[A-Za-z :()]{0,12}|\n){0,60}") {
            parse(format!("CIFS Session: 1\n{lines}").as_bytes()).unwrap();
        }
    }
}
