//! Named sysctls, and how many file handles are open.
//!
//! In: `/proc/sys`, one file per name. Out: [`Sysctl`] values as the kernel prints them, with their numbers.
//! Must not: pretend that `net.*` is the node's: the kernel answers with the network namespace of whoever reads,
//! so each reading says whose it was ([`NetScope`]).

use std::path::PathBuf;

use monitor_model::host::net_scope::NetScope;
use monitor_model::host::sysctl::{FileHandles, Sysctl};

use super::net_scope::read_net_scope;
use super::{Host, HostError, ParseError, Sample, read_optional};

/// One sysctl by its dotted name; `Ok(None)`: this kernel has none of that name.
pub fn read_sysctl(host: &Host, name: &str) -> Sample<Sysctl> {
    let Some(path) = sysctl_path(host, name) else { return Ok(None) };
    let Some(bytes) = read_optional(&path)? else { return Ok(None) };
    let scope = name.starts_with("net.").then(|| read_net_scope(host));
    parse_sysctl(name, &bytes, scope).map(Some).map_err(|error| error.at(&path))
}

/// Open file handles of the whole node and their limit.
pub fn read_file_handles(host: &Host) -> Sample<FileHandles> {
    let path = host.proc("sys/fs/file-nr");
    let Some(bytes) = read_optional(&path)? else { return Ok(None) };
    parse_file_nr(&bytes).map(Some).map_err(|error| error.at(&path))
}

/// Dots become slashes, and (as in sysctl(8)) a slash in the name stands for a dot of an interface's name:
/// `net.ipv4.conf.eth0/100.rp_filter`. `None` for what is not a name: nothing may climb out of `/proc/sys`.
fn sysctl_path(host: &Host, name: &str) -> Option<PathBuf> {
    let mut path = host.proc("sys");
    for part in name.split('.') {
        let part = part.replace('/', ".");
        if part.is_empty() || part == "." || part == ".." || part.contains('\0') {
            return None;
        }
        path.push(part);
    }
    Some(path)
}

fn parse_sysctl(name: &str, bytes: &[u8], scope: Option<NetScope>) -> Result<Sysctl, ParseError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ParseError::new(1, "UTF-8", &String::from_utf8_lossy(bytes)))?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    // "nan" and "inf" are words to a sysctl, and not finite numbers would upset every comparison.
    let numbers: Option<Vec<f64>> =
        fields.iter().map(|field| field.parse().ok().filter(|number: &f64| number.is_finite())).collect();
    Ok(Sysctl { name: name.to_owned(), text: fields.join(" "), numbers: numbers.unwrap_or_default(), scope })
}

/// `allocated free max`: since 2.6 the second is always 0 and the first is what is in use.
fn parse_file_nr(bytes: &[u8]) -> Result<FileHandles, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
    match fields.as_slice() {
        &[allocated, free, max] => Ok(FileHandles { used: allocated.saturating_sub(free), max }),
        _ => Err(ParseError::new(1, "three numbers (allocated, free, max)", &text)),
    }
}

/// Reads many names: what is absent is left out of the values and named in `absent`.
#[must_use]
pub fn read_sysctls<'a>(host: &Host, names: impl IntoIterator<Item = &'a str>) -> Sysctls {
    let mut sysctls = Sysctls::default();
    for name in names {
        match read_sysctl(host, name) {
            Ok(Some(value)) => sysctls.values.push(value),
            Ok(None) => sysctls.absent.push(name.to_owned()),
            Err(error) => sysctls.failed.push((name.to_owned(), error)),
        }
    }
    sysctls
}

/// What came of a list of names: one name's failure is not another's.
#[derive(Debug, Default)]
pub struct Sysctls {
    pub values: Vec<Sysctl>,
    pub absent: Vec<String>,
    pub failed: Vec<(String, HostError)>,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::super::testing::{TempDir, fixture};
    use super::*;

    #[test]
    fn values_are_numbers_vectors_or_words() {
        let check = |bytes: &[u8], text: &str, number: Option<f64>, numbers: usize| {
            let sysctl = parse_sysctl("x", bytes, None).unwrap();
            assert_eq!(
                (sysctl.text.as_str(), sysctl.number(), sysctl.numbers.len()),
                (text, number, numbers),
                "{}",
                String::from_utf8_lossy(bytes)
            );
        };
        check(&fixture("sysctl/tcp_keepalive_time"), "7200", Some(7200.0), 1);
        check(&fixture("sysctl/tcp_rmem"), "4096 131072 33554432", None, 3);
        check(&fixture("sysctl/tcp_congestion_control"), "bbr", None, 0);
        check(&fixture("sysctl/file-max"), "2466183", Some(2_466_183.0), 1);
        check(b"-1\n", "-1", Some(-1.0), 1);
        check(b"nan\n", "nan", None, 0);
        check(b"", "", None, 0);
    }

    #[test]
    fn file_handles_are_what_is_allocated_less_what_is_free() {
        let handles = parse_file_nr(&fixture("sysctl/file-nr")).unwrap();
        assert!(handles.used > 0 && handles.max == 2_466_183, "{handles:?}");
        for broken in [&b""[..], b"1 2", b"1 2 x", b"1 2 3 4", b"\xff"] {
            assert!(parse_file_nr(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_name_becomes_a_path_below_proc_sys_or_nothing() {
        let host = Host { procfs: "/p".into(), ..Host::default() };
        let check = |name: &str, path: Option<&str>| {
            assert_eq!(sysctl_path(&host, name), path.map(PathBuf::from), "{name}");
        };
        check("net.ipv4.tcp_keepalive_time", Some("/p/sys/net/ipv4/tcp_keepalive_time"));
        check("fs.file-max", Some("/p/sys/fs/file-max"));
        check("net.ipv4.conf.eth0/100.rp_filter", Some("/p/sys/net/ipv4/conf/eth0.100/rp_filter"));
        check("", None);
        check("a..b", None);
        check("a.//.b", None);
        check("./.a", None);
    }

    #[test]
    fn a_network_sysctl_says_whose_namespace_answered() {
        let dir = TempDir::new();
        let host = dir.host();
        dir.write("proc/sys/net/core/netdev_max_backlog", b"1000\n");
        dir.write("proc/sys/fs/file-max", b"10\n");
        dir.write("proc/1/ns/x", b"");
        dir.write("proc/thread-self/ns/x", b"");
        let scope = || read_sysctl(&host, "net.core.netdev_max_backlog").unwrap().unwrap().scope;
        assert_eq!(scope(), Some(NetScope::Unknown));
        symlink("net:[1]", dir.path().join("proc/thread-self/ns/net")).unwrap();
        symlink("net:[2]", dir.path().join("proc/1/ns/net")).unwrap();
        assert_eq!(scope(), Some(NetScope::Own));
        std::fs::remove_file(dir.path().join("proc/1/ns/net")).unwrap();
        symlink("net:[1]", dir.path().join("proc/1/ns/net")).unwrap();
        assert_eq!(scope(), Some(NetScope::Node));
        assert_eq!(read_sysctl(&host, "fs.file-max").unwrap().unwrap().scope, None);
    }

    #[test]
    fn one_name_that_fails_does_not_hide_the_others() {
        let dir = TempDir::new();
        dir.write("proc/sys/a", b"1\n");
        dir.write("proc/sys/d/e", b"1\n");
        let sysctls = read_sysctls(&dir.host(), ["a", "b", "d"]);
        assert_eq!(sysctls.values.len(), 1);
        assert_eq!(sysctls.absent, ["b"]);
        assert_eq!(sysctls.failed.len(), 1);
    }

    #[test]
    fn the_running_kernel_answers() {
        let host = Host::default();
        let value = read_sysctl(&host, "net.ipv4.tcp_keepalive_time").unwrap().unwrap();
        assert!(value.number().unwrap() > 0.0);
        let handles = read_file_handles(&host).unwrap().unwrap();
        assert!(handles.used > 0 && handles.used <= handles.max);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>, name: String) {
            let _ = parse_sysctl(&name, &bytes, None);
            let _ = parse_file_nr(&bytes);
            if let Some(path) = sysctl_path(&Host::default(), &name) {
                prop_assert!(path.starts_with("/proc/sys"));
                prop_assert!(!path.components().any(|part| part == std::path::Component::ParentDir));
            }
        }
    }
}
