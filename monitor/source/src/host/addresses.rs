//! The addresses of a network namespace.
//!
//! In: `net/fib_trie` and `net/if_inet6` of a process. Out: a set of addresses.
//! Must not: count a neighbour's: only what the kernel calls local.

use std::collections::HashSet;
use std::net::IpAddr;

use monitor_decode::host::addresses::{parse_fib_trie, parse_if_inet6};

use super::{Host, Sample, read_optional};

/// Our own network namespace, whose sockets `sock_diag` shows.
pub(crate) const OWN: &str = "thread-self";
/// That of pid 1: the node's, if procfs is the node's.
pub(super) const NODE: &str = "1";

/// Those of the namespace that `process` is in, [`OWN`] or [`NODE`]; `Ok(None)` where the kernel does not say.
pub(crate) fn read_addresses(host: &Host, process: &str) -> Sample<HashSet<IpAddr>> {
    let text = |name: &str| -> Sample<String> {
        let bytes = read_optional(&host.proc(format!("{process}/net/{name}")))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let Some(v4) = text("fib_trie")? else { return Ok(None) };
    // Without IPv6 the file is not there, and nothing is missing.
    let v6 = text("if_inet6")?.unwrap_or_default();
    Ok(Some(parse_fib_trie(&v4).map(IpAddr::V4).chain(parse_if_inet6(&v6).map(IpAddr::V6)).collect()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn this_machine_has_its_loopback() {
        let found = read_addresses(&Host::default(), OWN).unwrap().unwrap();
        assert!(found.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{found:?}");
    }
}
