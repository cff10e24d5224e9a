//! Health of the kernel's SMB client: sessions, reconnects, what is in flight, what is asked of each share.
//!
//! In: `/proc/fs/cifs/Stats` and `DebugData`. Out: [`Cifs`]. Must not: depend on a kernel's exact wording: both
//! files are for people and change with every few versions, so a line is used when it is understood, and a field
//! stays `None` when its line was not there. Nor: believe words that servers and mounts may have put there.
//!
//! Operations are counted per mounted share since it was mounted. Reconnects of one server are
//! `Server::reconnects`; `Stats::session_reconnects` is the sum over all servers since the module was loaded.

use monitor_decode::error::ParseError;
use monitor_decode::host::cifs::{parse_debug_data, parse_stats};
use monitor_model::host::cifs::Cifs;

use super::{Host, Sample, in_file, read_optional};

mod sums;

pub use crate::host::cifs::sums::CifsSums;

/// `Ok(None)`: the module is not loaded.
pub fn read_cifs(host: &Host) -> Sample<Cifs> {
    // A session may begin between the two files: then both are read again.
    match read_both(host) {
        Ok(Some(cifs)) if !cifs.adds_up() => {}
        other => return other,
    }
    match read_both(host)? {
        Some(cifs) if !cifs.adds_up() => {
            let problem =
                ParseError::new(1, "no more sessions than there are", "lines that are not the client's");
            Err(in_file(&host.proc("fs/cifs/DebugData"))(problem))
        }
        other => Ok(other),
    }
}

fn read_both(host: &Host) -> Sample<Cifs> {
    let path = host.proc("fs/cifs/Stats");
    let Some(bytes) = read_optional(&path)? else { return Ok(None) };
    let stats = parse_stats(&bytes).map_err(in_file(&path))?;
    let path = host.proc("fs/cifs/DebugData");
    let servers = match read_optional(&path)? {
        Some(bytes) => Some(parse_debug_data(&bytes).map_err(in_file(&path))?),
        None => None,
    };
    Ok(Some(Cifs { stats, servers }))
}

#[cfg(test)]
mod tests {
    use monitor_model::host::cifs::{Op, OpKind, ServerStatus};

    use super::super::testing::{TempDir, fixture, fixture_path};
    use super::*;

    fn cifs(state: &str) -> Cifs {
        let dir = TempDir::new();
        for name in ["Stats", "DebugData"] {
            dir.write(&format!("proc/fs/cifs/{name}"), &fixture(&format!("cifs/{state}/{name}")));
        }
        read_cifs(&dir.host()).unwrap().unwrap()
    }

    #[test]
    fn without_the_module_the_source_is_off() {
        assert_eq!(read_cifs(&TempDir::new().host()).unwrap(), None);
    }

    #[test]
    fn without_debug_data_the_statistics_remain() {
        let dir = TempDir::new();
        dir.write("proc/fs/cifs/Stats", &fixture("cifs/6.12-used/Stats"));
        let cifs = read_cifs(&dir.host()).unwrap().unwrap();
        assert_eq!((cifs.servers, cifs.stats.shares.len()), (None, 2));
    }

    #[test]
    fn every_captured_kernel_and_state_is_understood() {
        let mut compared = 0;
        for entry in fixture_path("cifs").read_dir().unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name == "ORIGIN.md" {
                continue;
            }
            let cifs = cifs(&name);
            let [server] = cifs.servers.as_deref().unwrap() else { panic!("{name}: {cifs:?}") };
            assert_eq!(server.name.as_deref(), Some("192.168.100.180"), "{name}");
            assert_eq!((server.dialect, server.sessions), (Some(0x311), 1), "{name}");
            assert_eq!((cifs.stats.sessions, cifs.stats.share_mounts), (Some(1), Some(3)), "{name}");
            assert_eq!(cifs.shares_of("192.168.100.180").count(), 2, "{name}");
            let (status, reconnects, in_flight) = match name.split_once('-').unwrap().1 {
                "used" => (ServerStatus::Good, 0, 0),
                "silent" => (ServerStatus::Good, 0, 4),
                "killed" => (ServerStatus::NeedReconnect, 0, 0),
                "restarted" => (ServerStatus::Good, 1, 0),
                other => panic!("a fixture without an expectation: {other}"),
            };
            assert_eq!((server.status, server.reconnects()), (Some(status), Some(reconnects)), "{name}");
            assert_eq!(cifs.stats.session_reconnects, Some(reconnects), "{name}");
            assert_eq!(server.in_flight, Some(in_flight), "{name}");
            compared += 1;
        }
        assert!(compared >= 4);
    }

    #[test]
    fn a_server_that_the_client_does_not_count_is_not_believed() {
        let dir = TempDir::new();
        let (stats, data) = (fixture("cifs/6.12-silent/Stats"), fixture("cifs/6.12-silent/DebugData"));
        // A name in the last share that goes on like a whole second server: nothing in this file tells.
        let data = String::from_utf8(data).unwrap();
        let (before, behind) = data.split_once("\t2) ").unwrap();
        let whole = data.split_once("Servers: \n1)").unwrap().1.split_once("\t1) \\").unwrap().0;
        let forged = format!("{before}\t2) \\\\nas\\x\n\n\tMIDs: \n--\n2){whole}\t1) {behind}");
        assert_eq!(parse_debug_data(forged.as_bytes()).unwrap().len(), 2);
        dir.write("proc/fs/cifs/Stats", &stats);
        dir.write("proc/fs/cifs/DebugData", forged.as_bytes());
        let error = read_cifs(&dir.host()).unwrap_err().to_string();
        assert!(error.contains("DebugData") && error.contains("no more sessions than there are"), "{error}");
    }

    #[test]
    fn a_share_tells_metadata_from_data() {
        let cifs = cifs("6.12-used");
        let [downloads, media] = cifs.stats.shares.as_slice() else { panic!("{cifs:?}") };
        assert_eq!((media.server.as_str(), media.share.as_str()), ("192.168.100.180", "media"));
        assert_eq!((media.bytes_read, media.bytes_written), (Some(0), Some(180)));
        assert_eq!(downloads.bytes_written, Some(4_194_304));
        assert_eq!(media.operations.get(Op::Create), Some((155, 0)));
        assert_eq!(media.operations.get(Op::QueryInfo), Some((35, 0)));
        let total = |kind| media.operations.total(kind);
        // 155 creates, 145 closes, 1 ioctl, 60 directory queries, 35 queries and 60 settings of information.
        assert_eq!(total(OpKind::Metadata), 456);
        // 30 flushes and 30 writes.
        assert_eq!(total(OpKind::Data), 60);
        assert_eq!((media.connected, media.open_files), (true, Some(10)));
    }

    #[test]
    fn a_lost_server_is_seen_in_its_shares_too() {
        let killed = cifs("6.12-killed");
        assert!(killed.stats.shares.iter().all(|share| !share.connected), "{killed:?}");
        let restarted = cifs("6.12-restarted");
        assert!(restarted.stats.shares.iter().all(|share| share.connected));
        assert_eq!(
            (restarted.stats.session_reconnects, restarted.stats.share_reconnects),
            (Some(1), Some(3))
        );
        assert_eq!(restarted.stats.slow_responses, [("192.168.100.180".to_owned(), 4)]);
    }
}
