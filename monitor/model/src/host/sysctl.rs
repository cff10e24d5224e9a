//! Sysctls and file handles, as they were read.
//!
//! In: nothing. Out: plain data. Must not: take a value of `net.*` for the node's: each says whose it is.

use crate::host::net_scope::NetScope;

/// The dotted form of a name, read as sysctl(8) reads it: a name whose first separator is a slash has slashes between its
/// parts, and then a dot belongs to the name of an interface; in the dotted form the two are swapped. `net.ipv4.conf.eth0/100.x`
/// and `net/ipv4/conf/eth0.100/x` are one sysctl. `None` for what is no name: nothing may climb out of `/proc/sys`.
#[must_use]
pub fn dotted(name: &str) -> Option<String> {
    let slashes = name.chars().find(|c| matches!(c, '.' | '/')) == Some('/');
    let dotted = if slashes { name.chars().map(swapped).collect() } else { name.to_owned() };
    path_of_dotted(&dotted).map(|_| dotted)
}

/// `net/ipv4/conf/eth0.100/x` of the dotted form, below `/proc/sys`; names of files below `/sys` are written the same way.
#[must_use]
pub fn path_of_dotted(dotted: &str) -> Option<String> {
    let path: String = dotted.chars().map(swapped).collect();
    let leads_on = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    path.split('/').all(leads_on).then_some(path)
}

const fn swapped(c: char) -> char {
    match c {
        '.' => '/',
        '/' => '.',
        other => other,
    }
}

/// One sysctl as the kernel prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sysctl {
    /// In its [`dotted`] form.
    pub name: String,
    /// White space between fields is one blank.
    pub text: String,
    /// Every field as a number; empty when one of them is none.
    pub numbers: Vec<f64>,
    /// `None`: not a `net.*` sysctl, so it has one value on the node.
    pub scope: Option<NetScope>,
}

impl Sysctl {
    /// The value of a sysctl that is one number; vectors such as `net.ipv4.tcp_rmem` have none.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self.numbers.as_slice() {
            [number] => Some(*number),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHandles {
    pub used: u64,
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_dotted_form_and_one_path_or_is_none() {
        let check = |name: &str, expected: Option<(&str, &str)>| {
            let dotted = dotted(name);
            let path = dotted.as_deref().and_then(path_of_dotted);
            assert_eq!(dotted.as_deref().zip(path.as_deref()), expected, "{name}");
        };
        let vlan = Some(("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"));
        check("net.ipv4.conf.eth0/100.rp_filter", vlan);
        check("net/ipv4/conf/eth0.100/rp_filter", vlan);
        check("fs.file-max", Some(("fs.file-max", "fs/file-max")));
        check("fs/file-max", Some(("fs.file-max", "fs/file-max")));
        check("a", Some(("a", "a")));
        for none in [
            "",
            ".",
            "/",
            "a..b",
            "/etc/passwd",
            "../../etc/passwd",
            "a.//.b",
            "a/../b",
            "./.a",
            "a.",
            "a.b\0",
        ] {
            check(none, None);
        }
    }
}
