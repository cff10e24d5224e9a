//! `/proc/fs/cifs/Stats`.
//!
//! In: the file's bytes. Out: [`Stats`]. Must not: fail on a line it does not know, or believe a line that the name of a
//! share or server brought with it: shares are numbered without a gap, what is said of one is said once, and what is said
//! of all stands before any name.

use monitor_model::host::cifs::{Op, Operations, Share, Stats};

use crate::error::ParseError;

use super::{counter, gauge, numbers, split_unc};

pub(super) fn parse(bytes: &[u8]) -> Result<Stats, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut stats = Stats::default();
    for (index, line) in text.lines().enumerate() {
        let refuse = |expected| ParseError::new(index + 1, expected, line);
        if let Some((number, share)) = share_heading(line) {
            if number != stats.shares.len() + 1 {
                return Err(refuse("the next share"));
            }
            stats.shares.push(share);
        } else if let Some(share) = stats.shares.last_mut() {
            share_line(share, line).map_err(refuse)?;
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

/// `1) \\server\share`, and a mark if it is not connected.
fn share_heading(line: &str) -> Option<(usize, Share)> {
    let (number, rest) = line.split_once(") ")?;
    if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_end_matches(' ');
    let (unc, connected) = match rest.strip_suffix("\tDISCONNECTED") {
        Some(unc) => (unc, false),
        None => (rest, true),
    };
    let (server, share) = split_unc(unc)?;
    let share = Share {
        server: server.to_owned(),
        share: share.to_owned(),
        connected,
        smbs: None,
        bytes_read: None,
        bytes_written: None,
        open_files: None,
        operations: Operations::default(),
    };
    Some((number.parse().unwrap_or(usize::MAX), share))
}

fn share_line(share: &mut Share, line: &str) -> Result<(), &'static str> {
    let Some((name, rest)) = line.split_once(':') else { return Ok(()) };
    let mut values = numbers(rest).fuse();
    let mut next = || values.next().flatten();
    let twice = match name {
        "SMBs" => {
            let known = share.smbs.is_some();
            share.smbs = counter(next());
            known
        }
        "Bytes read" => {
            let known = share.bytes_read.is_some() || share.bytes_written.is_some();
            (share.bytes_read, share.bytes_written) = (counter(next()), counter(next()));
            known
        }
        "Open files" => {
            let known = share.open_files.is_some();
            share.open_files = gauge(next());
            known
        }
        // SMB 1 prints `Reads:  0 Bytes: 0`, which counts something else.
        name if rest.contains("failed") => match (Op::of_line(name), counter(next()), counter(next())) {
            (Some(op), Some(total), Some(failed)) => {
                let known = share.operations.get(op).is_some();
                share.operations.0.push((op, total, failed));
                known
            }
            _ => false,
        },
        _ => false,
    };
    if twice { Err("what the client says once of a share, once") } else { Ok(()) }
}

/// What comes first counts: names of servers come later.
fn global_line(stats: &mut Stats, line: &str) {
    let mut values = numbers(line).fuse();
    let mut next = || values.next().flatten();
    if line.starts_with("CIFS Session:") {
        stats.sessions = stats.sessions.or(gauge(next()));
    } else if line.starts_with("Share (unique mount targets):") {
        stats.share_mounts = stats.share_mounts.or(gauge(next()));
    } else if line.starts_with("Operations (MIDs):") {
        stats.in_flight = stats.in_flight.or(gauge(next()));
    } else if line.starts_with("Max requests in flight:") {
        stats.max_in_flight = stats.max_in_flight.or(gauge(next()));
    } else if line.starts_with("Total vfs operations:") {
        stats.vfs_operations = stats.vfs_operations.or(counter(next()));
    } else if line.starts_with(|first: char| first.is_ascii_digit())
        && line.trim_end().ends_with("share reconnects")
    {
        if stats.session_reconnects.is_none() && stats.share_reconnects.is_none() {
            (stats.session_reconnects, stats.share_reconnects) = (counter(next()), counter(next()));
        }
    } else if let Some((count, rest)) = line.trim_start().split_once(" slow responses from ") {
        let (server, _) = rest.rsplit_once(" for command ").unwrap_or((rest, ""));
        let Some(count) = counter(count.parse().ok()) else { return };
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

    #[test]
    fn what_a_share_or_server_is_called_forges_no_line() {
        const PLAIN: &str = "CIFS Session: 1\nShare (unique mount targets): 3\n1 session 2 share reconnects\n\
            \n  1 slow responses from nas for command 5\n\
            \n1) \\\\nas\\media\nSMBs: 9\nBytes read: 1  Bytes written: 2\nOpen files: 3 total (local), 0 open on server\n\
            Creates: 4 total 0 failed\n2) \\\\nas\\other\tDISCONNECTED \nSMBs: 1\nCreates: -5 total 1 failed\n";
        let plain = parse(PLAIN.as_bytes()).unwrap();
        assert_eq!((plain.shares[0].connected, plain.shares[1].connected), (true, false));
        // Counted in 32 bits, printed with a sign.
        assert_eq!(plain.shares[1].operations.get(Op::Create), Some(((1 << 32) - 5, 1)));
        let with =
            |place: &str, text: &str| parse(PLAIN.replacen(place, &format!("{place}{text}"), 1).as_bytes());
        for forged in ["\n2) \\\\nas\\forged", "\nSMBs: 7", "\nCreates: 7 total 7 failed", "\nBytes read: 7"]
        {
            let error = with("media", forged).expect_err(forged).to_string();
            assert!(error.contains("the next share") || error.contains("once"), "{forged:?}: {error}");
        }
        let named = with("media", "DISCONNECTED").unwrap();
        assert_eq!((named.shares[0].share.as_str(), named.shares[0].connected), ("mediaDISCONNECTED", true));
        let late = with("from nas", "\nCIFS Session: 99\n7 session 7 share reconnects\n").unwrap();
        assert_eq!(
            (late.sessions, late.session_reconnects, late.share_reconnects),
            (Some(1), Some(1), Some(2))
        );
        let slow = with("from nas", " for command 7 for x").unwrap();
        assert_eq!(slow.slow_responses, [("nas for command 7 for x".to_owned(), 1)]);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_lines_below_the_heading_are_survived(lines in "([0-9]{0,25}\\) |\\\\\\\\|[A-Za-z :()]{0,12}|\n){0,60}") {
            if let Err(error) = parse(format!("CIFS Session: 1\n{lines}").as_bytes()) {
                // Only a line that contradicts another one is refused.
                assert!(["the next share", "once"].iter().any(|why| error.expected.ends_with(why)), "{error}");
            }
        }
    }
}
