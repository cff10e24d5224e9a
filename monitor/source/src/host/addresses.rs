//! The addresses of a network namespace.
//!
//! In: `net/fib_trie` and `net/if_inet6` of a process. Out: a set of addresses.
//! Must not: count a neighbour's: only what the kernel calls local.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Host, Sample, read_optional};

/// Our own network namespace, whose sockets `sock_diag` shows.
pub(crate) const OWN: &str = "thread-self";
/// That of pid 1: the node's, if procfs is the node's.
pub(super) const NODE: &str = "1";

/// Those of the namespace that `process` is in, [`OWN`] or [`NODE`]; `Ok(None)` where the kernel does not tell.
pub(crate) fn read_addresses(host: &Host, process: &str) -> Sample<HashSet<IpAddr>> {
    let text = |name: &str| -> Sample<String> {
        let bytes = read_optional(&host.proc(format!("{process}/net/{name}")))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let Some(v4) = text("fib_trie")? else { return Ok(None) };
    // Without IPv6 the file is not there, and nothing is missing.
    let v6 = text("if_inet6")?.unwrap_or_default();
    Ok(Some(parse_v4(&v4).map(IpAddr::V4).chain(parse_v6(&v6).map(IpAddr::V6)).collect()))
}

/// Local addresses of a routing trie: a leaf's line, followed by what the kernel knows of it.
fn parse_v4(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut leaf = None;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim().parse().ok();
            return None;
        }
        (line.starts_with("/32") && line.contains(" LOCAL")).then_some(leaf).flatten()
    })
}

/// Each line begins with an address of 32 digits.
fn parse_v6(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    text.lines().filter_map(|line| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from_bits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.168.42.0/24 2 0 2
        |-- 192.168.42.0
           /24 link UNICAST
        |-- 192.168.42.254
           /32 host LOCAL
        |-- 192.168.42.255
           /32 link BROADCAST
Local:
        |-- 127.0.0.1
           /32 host LOCAL
";

    #[test]
    fn only_local_addresses_are_the_nodes() {
        let found: Vec<_> = parse_v4(TRIE).map(|address| address.to_string()).collect();
        assert_eq!(found, ["192.168.42.254", "127.0.0.1"]);
    }

    #[test]
    fn v6_addresses_are_digits_without_colons() {
        let text = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    fd640000000000000000000000000010 02 40 00 80     eth0\nodd\n";
        let found: Vec<_> = parse_v6(text).map(|address| address.to_string()).collect();
        assert_eq!(found, ["::1", "fd64::10"]);
    }

    #[test]
    fn this_machine_has_its_loopback() {
        let found = read_addresses(&Host::default(), OWN).unwrap().unwrap();
        assert!(found.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{found:?}");
    }
}
