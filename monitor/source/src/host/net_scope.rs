//! Whose network namespace we are in: the node's, or one of our own.
//!
//! In: `ns/net` of pid 1 and of ourselves, else the addresses of both. Out: [`NetScope`].
//! Must not: take a pod's own network for the node's: it has no socket towards a storage server, and "none" would be a
//! statement about the node.

use monitor_model::host::net_scope::NetScope;

use super::addresses::{NODE, OWN, read_addresses};
use super::{Host, HostError};

/// Compares our network namespace with pid 1's. Infallible: what cannot be seen is `Unknown`.
///
/// The links name a namespace, and need `CAP_SYS_PTRACE` or all of pid 1's capabilities. Its addresses need neither,
/// and two namespaces do not share an address but the loopback's.
#[must_use]
pub fn read_net_scope(host: &Host) -> NetScope {
    let link = |process: &str| host.proc(format!("{process}/ns/net")).read_link();
    if let (Ok(node), Ok(own)) = (link(NODE), link(OWN)) {
        return if node == own { NetScope::Node } else { NetScope::Own };
    }
    let addresses = |process| {
        let found = read_addresses(host, process).ok().flatten()?;
        Some(found.into_iter().filter(|address| !address.is_loopback()).collect::<Vec<_>>())
    };
    match (addresses(NODE), addresses(OWN)) {
        (Some(node), Some(own)) if node.is_empty() && own.is_empty() => NetScope::Unknown,
        // Not all of them: one may have come or gone between the two readings.
        (Some(node), Some(own)) if node.iter().any(|address| own.contains(address)) => NetScope::Node,
        (Some(_), Some(_)) => NetScope::Own,
        _ => NetScope::Unknown,
    }
}

/// Fails where sockets would be those of another network than the node's.
pub(crate) fn must_see_node(host: &Host) -> Result<(), HostError> {
    match read_net_scope(host) {
        NetScope::Own => Err(HostError::OwnNetwork),
        NetScope::Node | NetScope::Unknown => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    /// A routing trie with these addresses and the loopback's.
    fn trie(addresses: &[&str]) -> Vec<u8> {
        let leaf = |address: &&str| format!("        |-- {address}\n           /32 host LOCAL\n");
        format!("Local:\n{}", ["127.0.0.1"].iter().chain(addresses).map(leaf).collect::<String>())
            .into_bytes()
    }

    #[test]
    fn this_process_is_in_the_network_of_its_own_namespace() {
        let dir = TempDir::new();
        for name in ["1", "thread-self"] {
            std::fs::create_dir_all(dir.path().join("proc")).unwrap();
            std::os::unix::fs::symlink("/proc/thread-self", dir.path().join("proc").join(name)).unwrap();
        }
        assert_eq!(read_net_scope(&dir.host()), NetScope::Node);
    }

    #[test]
    fn where_no_link_can_be_read_addresses_tell() {
        let check = |node: &[&str], own: &[&str], expected| {
            let dir = TempDir::new();
            dir.write("proc/1/net/fib_trie", &trie(node));
            dir.write("proc/thread-self/net/fib_trie", &trie(own));
            assert_eq!(read_net_scope(&dir.host()), expected, "{node:?} {own:?}");
        };
        check(&["192.0.2.10"], &["192.0.2.10"], NetScope::Node);
        check(&["192.0.2.10", "10.0.0.7"], &["192.0.2.10"], NetScope::Node);
        check(&["192.0.2.10"], &["10.244.0.7"], NetScope::Own);
        check(&["192.0.2.10"], &[], NetScope::Own);
        check(&[], &[], NetScope::Unknown);
        assert_eq!(read_net_scope(&TempDir::new().host()), NetScope::Unknown);
    }
}
