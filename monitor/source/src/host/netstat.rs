//! What the tuning is for: softnet drops, listen overflows, retransmits, connections given up.
//!
//! In: `/proc/1/net/{snmp,netstat,softnet_stat}`: pid 1's network namespace, or our own when pid 1's cannot be
//! seen. Out: [`NetStat`], with the namespace it comes from. Must not: take our own namespace for the node's without saying so.

use monitor_decode::host::netstat::{Tables, parse_softnet, parse_tables};
use monitor_model::host::netstat::{NetSource, NetStat};

use super::{Host, Sample, in_file, read_optional};

/// The counters of the node's network namespace.
pub fn read_netstat(host: &Host) -> Sample<NetStat> {
    // A pid 1 of another user may be visible and its net folder empty or refused: fall back, and say so.
    let source = if host.proc("1/net/netstat").exists() { NetSource::Pid1 } else { NetSource::Own };
    let net = match source {
        NetSource::Pid1 => host.proc("1/net"),
        NetSource::Own => host.proc("self/net"),
    };
    let mut tables = Tables::default();
    let mut found = false;
    for name in ["snmp", "netstat"] {
        let path = net.join(name);
        if let Some(bytes) = read_optional(&path)? {
            tables.add(&parse_tables(&bytes).map_err(in_file(&path))?);
            found = true;
        }
    }
    let path = net.join("softnet_stat");
    let softnet = match read_optional(&path)? {
        Some(bytes) => Some(parse_softnet(&bytes).map_err(in_file(&path))?),
        None => None,
    };
    Ok((found || softnet.is_some()).then(|| NetStat { source, counters: tables.counters(), softnet }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    #[test]
    fn pid_1_comes_first_and_the_fall_back_is_told() {
        let dir = TempDir::new();
        let host = dir.host();
        assert_eq!(read_netstat(&host).unwrap(), None);
        dir.write("proc/self/net/netstat", b"TcpExt: ListenDrops\nTcpExt: 1\n");
        let own = read_netstat(&host).unwrap().unwrap();
        assert_eq!((own.source, own.counters.listen_drops, own.softnet), (NetSource::Own, Some(1), None));
        dir.write("proc/1/net/netstat", b"TcpExt: ListenDrops\nTcpExt: 2\n");
        let node = read_netstat(&host).unwrap().unwrap();
        assert_eq!((node.source, node.counters.listen_drops), (NetSource::Pid1, Some(2)));
        dir.write("proc/1/net/snmp", b"Tcp RetransSegs\n");
        let error = read_netstat(&host).unwrap_err().to_string();
        assert!(error.contains("1/net/snmp: line 1"), "{error}");
    }

    #[test]
    fn the_running_kernel_answers() {
        let stat = read_netstat(&Host::default()).unwrap().unwrap();
        assert!(stat.softnet.is_some() && stat.counters.retransmits.is_some(), "{stat:?}");
    }
}
