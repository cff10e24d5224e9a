//! The addresses of a network namespace.
//!
//! In: the text of `net/fib_trie` and `net/if_inet6`. Out: addresses. Must not: count a neighbour's: only what the kernel
//! calls local.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Local addresses of a routing trie, `net/fib_trie`: a leaf's line, followed by what the kernel knows of it.
pub fn parse_fib_trie(text: &str) -> impl Iterator<Item = Ipv4Addr> {
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

/// Those of `net/if_inet6`: each line begins with an address of 32 digits.
pub fn parse_if_inet6(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    text.lines().filter_map(|line| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from_bits)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let found: Vec<_> = parse_fib_trie(TRIE).map(|address| address.to_string()).collect();
        assert_eq!(found, ["192.168.42.254", "127.0.0.1"]);
    }

    #[test]
    fn v6_addresses_are_digits_without_colons() {
        let text = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    fd640000000000000000000000000010 02 40 00 80     eth0\nodd\n";
        let found: Vec<_> = parse_if_inet6(text).map(|address| address.to_string()).collect();
        assert_eq!(found, ["::1", "fd64::10"]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let _ = (parse_fib_trie(&text).count(), parse_if_inet6(&text).count());
        }
    }
}
