//! Named sysctls, and how many file handles are open.
//!
//! In: `/proc/sys`, one file per name. Out: [`Sysctl`] values as the kernel prints them, with their numbers.
//! Must not: pretend that `net.*` is the node's: the kernel answers with the network namespace of whoever reads,
//! so each reading says whose it was ([`read_net_scope`]).

use std::path::PathBuf;

use monitor_decode::host::sysctl::{parse_file_nr, parse_sysctl};
use monitor_model::host::sysctl::{FileHandles, Sysctl, dotted, path_of_dotted};

use super::net_scope::read_net_scope;
use super::{Host, HostError, Sample, in_file, read_optional};

/// One sysctl by its name; `Ok(None)`: this kernel has none of that name.
pub fn read_sysctl(host: &Host, name: &str) -> Sample<Sysctl> {
    let Some(name) = dotted(name) else { return Ok(None) };
    let Some(path) = sysctl_path(host, &name) else { return Ok(None) };
    let Some(bytes) = read_optional(&path)? else { return Ok(None) };
    let scope = name.starts_with("net.").then(|| read_net_scope(host));
    parse_sysctl(&name, &bytes, scope).map(Some).map_err(in_file(&path))
}

/// Open file handles of the whole node and their limit.
pub fn read_file_handles(host: &Host) -> Sample<FileHandles> {
    let path = host.proc("sys/fs/file-nr");
    let Some(bytes) = read_optional(&path)? else { return Ok(None) };
    parse_file_nr(&bytes).map(Some).map_err(in_file(&path))
}

/// Below `/proc/sys` by the dotted form of the name. `None` for what is not a name.
fn sysctl_path(host: &Host, dotted: &str) -> Option<PathBuf> {
    path_of_dotted(dotted).map(|path| host.proc("sys").join(path))
}

/// Whether there is a file below `/sys` of this name, dotted like a sysctl's.
#[must_use]
pub fn has_sysfs(host: &Host, dotted: &str) -> bool {
    path_of_dotted(dotted).is_some_and(|path| host.sys(&path).exists())
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

    use monitor_model::host::net_scope::NetScope;
    use proptest::prelude::*;

    use super::super::testing::TempDir;
    use super::*;

    #[test]
    fn a_name_becomes_a_path_of_dotted_or_nothing() {
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
    fn an_interface_with_a_dot_is_read_by_either_spelling() {
        let dir = TempDir::new();
        dir.write("proc/sys/net/ipv4/conf/eth0.100/rp_filter", b"2\n");
        for name in ["net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"] {
            let sysctl = read_sysctl(&dir.host(), name).unwrap().unwrap();
            assert_eq!(
                (sysctl.name.as_str(), sysctl.text.as_str()),
                ("net.ipv4.conf.eth0/100.rp_filter", "2")
            );
            assert!(sysctl.scope.is_some(), "{name}: whose network namespace answered is asked");
        }
    }

    #[test]
    fn files_below_sys_are_looked_for_by_their_dotted_name() {
        let dir = TempDir::new();
        dir.write("sys/module/nfs/parameters/a", b"1\n");
        assert!(has_sysfs(&dir.host(), "module.nfs.parameters.a"));
        assert!(!has_sysfs(&dir.host(), "module.nfs.parameters.b"));
        assert!(!has_sysfs(&dir.host(), "../../../etc.passwd"));
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
        fn any_name_stays_below_its_root_or_is_refused(name: String) {
            if let Some(path) = sysctl_path(&Host::default(), &name) {
                prop_assert!(path.starts_with("/proc/sys"));
                prop_assert!(!path.components().any(|part| part == std::path::Component::ParentDir));
            }
        }
    }
}
