//! Network file systems the node has mounted: from where, with which options, sharing what.
//!
//! In: the bytes of `/proc/PID/mountinfo`. Out: one [`Mount`] per mount point of a [`Family`], with its server's address.
//! Must not: tell a bind mount from another one (kubelet makes several per volume: compare [`Mount::device`]), or keep
//! credentials.

use std::net::{IpAddr, Ipv6Addr};

use monitor_model::host::mounts::{Family, Mount};

use crate::error::ParseError;

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, proc(5).
pub fn parse_mountinfo(bytes: &[u8]) -> Result<Vec<Mount>, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut mounts = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |expected| ParseError::new(number + 1, expected, line);
        let (before, after) = line.split_once(" - ").ok_or_else(|| bad("\" - \" before the type"))?;
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        let (&[_, _, device, _, point, options, ..], &[fs_type, source, ..]) =
            (before.as_slice(), after.as_slice())
        else {
            return Err(bad("six fields before \" - \" and two after it"));
        };
        let Some(family) = Family::of(fs_type) else { continue };
        let super_options = after.get(2).copied().unwrap_or_default();
        mounts.push(mount(family, device, point, source, [options, super_options]));
    }
    Ok(mounts)
}

fn mount(family: Family, device: &str, point: &str, source: &str, options: [&str; 2]) -> Mount {
    let source = unescape(source);
    let options: Vec<String> = options
        .iter()
        .flat_map(|options| options.split(','))
        .filter(|option| !option.is_empty() && !is_private(option))
        .map(unescape)
        .collect();
    let value = |name: &str| {
        options.iter().find_map(|option| option.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
    };
    let server = (family.server)(&source).to_owned();
    let address =
        value("addr").and_then(parse_address).or_else(|| parse_address(server.trim_matches(['[', ']'])));
    let port = value("port").and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    Mount {
        family,
        device: device.to_owned(),
        mount_point: unescape(point),
        server,
        address,
        port: port.unwrap_or(family.default_port),
        options,
        source,
    }
}

fn is_private(option: &str) -> bool {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    Family::ALL.iter().any(|family| family.private_options.contains(&name))
}

/// An address, without the zone a link-local one may carry (`fe80::1%eth0`).
fn parse_address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.split_once('%').map_or(text, |(address, _)| address).parse().ok()?;
    match address {
        IpAddr::V6(v6) if v6 == Ipv6Addr::UNSPECIFIED => None,
        IpAddr::V6(v6) => Some(v6.to_ipv4_mapped().map_or(address, IpAddr::V4)),
        IpAddr::V4(v4) if v4.is_unspecified() => None,
        IpAddr::V4(_) => Some(address),
    }
}

/// Blank, tab, newline, comma, backslash and hash are written as three octal digits behind a backslash.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'\\').then_some(tail);
        if let Some([a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) = escape {
            bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
            rest = tail;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use monitor_model::host::mounts::{by_server, missing_options};
    use proptest::prelude::*;

    use super::*;

    fn real() -> Vec<Mount> {
        parse_mountinfo(fixture!("mounts/mountinfo-6.12")).unwrap()
    }

    fn one(line: &str) -> Mount {
        let [mount] = parse_mountinfo(line.as_bytes()).unwrap().try_into().unwrap();
        mount
    }

    #[test]
    fn network_mounts_are_found_among_the_others() {
        let [media, downloads] = real().try_into().unwrap();
        assert_eq!((media.family, media.mount_point.as_str()), (Family::CIFS, "/mnt/media"));
        assert_eq!(
            (media.source.as_str(), media.server.as_str()),
            ("//192.168.100.180/media", "192.168.100.180")
        );
        assert_eq!((media.address, media.port), (Some("192.168.100.180".parse().unwrap()), 445));
        assert_ne!(media.device, downloads.device);
    }

    #[test]
    fn the_difference_names_what_is_in_force_instead() {
        let [media, downloads] = real().try_into().unwrap();
        let check = |mount: &Mount, expected: &[(&str, Option<&str>)]| {
            let wanted = ["cache=loose", "actimeo=60", "noatime"].map(str::to_owned);
            let differences = missing_options(mount, &wanted);
            let differences: Vec<_> = differences
                .iter()
                .map(|difference| (difference.expected.as_str(), difference.found.as_deref()))
                .collect();
            assert_eq!(differences, expected, "{}", mount.mount_point);
        };
        // It was mounted with `-o noatime`: mount.cifs 7.0 called by itself does not set it.
        check(&media, &[("noatime", Some("relatime"))]);
        check(
            &downloads,
            &[
                ("cache=loose", Some("cache=strict")),
                ("actimeo=60", Some("actimeo=1")),
                ("noatime", Some("relatime")),
            ],
        );
        let split =
            "1 1 0:9 / /m rw,noatime - cifs //nas/a rw,cache=loose,acregmax=60,acdirmax=60,addr=10.0.0.1";
        check(&one(split), &[]);
        let half =
            "1 1 0:9 / /m rw,noatime - cifs //nas/a rw,cache=loose,acregmax=60,acdirmax=30,addr=10.0.0.1";
        check(&one(half), &[("actimeo=60", Some("acregmax=60"))]);
        check(
            &one("1 1 0:9 / /m rw - nfs4 nas:/a rw"),
            &[("cache=loose", None), ("actimeo=60", None), ("noatime", None)],
        );
    }

    #[test]
    fn the_server_comes_from_the_option_or_the_source() {
        let check = |rest: &str, server: &str, address: Option<&str>, port: u16| {
            let mount = one(&format!("1 1 0:9 / /m rw - {rest}"));
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!((mount.server.as_str(), mount.address, mount.port), (server, address, port), "{rest}");
        };
        check("cifs //nas.lan/media rw,addr=10.0.0.1", "nas.lan", Some("10.0.0.1"), 445);
        check("smb3 //nas/media rw,addr=fe80::1%eth0,port=1445", "nas", Some("fe80::1"), 1445);
        check("cifs \\134\\134nas\\134media rw", "nas", None, 445);
        check("nfs4 10.0.0.2:/export rw,proto=tcp", "10.0.0.2", Some("10.0.0.2"), 2049);
        check(
            "nfs4 [2001:db8::2]:/export rw,addr=2001:db8::2,port=0",
            "[2001:db8::2]",
            Some("2001:db8::2"),
            2049,
        );
        check("nfs nas:/export rw,addr=::ffff:10.0.0.3,port=2050", "nas", Some("10.0.0.3"), 2050);
        check("nfs nas:/export rw,addr=0.0.0.0", "nas", None, 2049);
        check("cifs none", "none", None, 445);
    }

    #[test]
    fn bind_mounts_of_one_volume_are_one_superblock_and_shares_of_one_server_are_told() {
        let text = "1 1 0:9 / /var/lib/kubelet/plugins/globalmount rw - cifs //nas/media rw,addr=10.0.0.1\n\
                    2 1 0:9 / /var/lib/kubelet/pods/1/mount rw - cifs //nas/media rw,addr=10.0.0.1\n\
                    3 1 0:10 / /downloads rw - cifs //NAS.lan/downloads rw,addr=10.0.0.1\n\
                    4 1 0:11 / /nfs rw - nfs4 nas:/e rw,addr=10.0.0.1\n";
        let mounts = parse_mountinfo(text.as_bytes()).unwrap();
        assert_eq!(mounts.len(), 4);
        let servers: Vec<(&str, usize)> =
            by_server(&mounts).into_iter().map(|(server, of)| (server, of.len())).collect();
        assert_eq!(servers, [("nas", 2), ("nas", 1)]);
    }

    #[test]
    fn names_are_unescaped_and_users_left_out() {
        let line = "1 1 0:9 / /m\\040a\\134 rw - cifs //nas/my\\040share rw,username=me,domain=HOME,uid=0";
        let mount = one(line);
        assert_eq!((mount.mount_point.as_str(), mount.source.as_str()), ("/m a\\", "//nas/my share"));
        assert_eq!(mount.options, ["rw", "rw", "uid=0"]);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>) {
            let _ = parse_mountinfo(&bytes);
        }

        #[test]
        fn any_cifs_line_gives_a_mount(source in "\\S{1,30}", options in "[a-z=,.:0-9\\\\%]{0,40}") {
            let mount = one(&format!("1 1 0:9 / /m rw - cifs {source} {options}"));
            prop_assert!(mount.port != 0);
            let _ = missing_options(&mount, &[options]);
        }
    }
}
