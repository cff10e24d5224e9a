//! The capture's maps against what Cilium's CLI printed of them, and what the capture does not contain.

use monitor_decode::cilium::ct::decode_ct;
use monitor_decode::cilium::nat::decode_nat;
use monitor_source::cilium::capture::{self, CT_NOW, NAT_NOW};

use super::*;

/// Renders the capture's maps in Cilium's order.
fn render<R>(
    maps: &[&str],
    decode: impl Fn(&[u8], &[u8]) -> R,
    line: impl Fn(&mut Vec<u8>, &R) -> io::Result<()>,
) -> String {
    let mut out = Vec::new();
    for map in maps {
        for (key, value) in capture::records(map) {
            line(&mut out, &decode(&key, &value)).unwrap();
        }
        end_of_map(&mut out).unwrap();
    }
    String::from_utf8(out).unwrap()
}

fn render_ct(now: Option<ClockNow>) -> String {
    render(
        &CT_ORDER,
        |key, value| decode_ct(key, value).unwrap(),
        |out, row| ct_line(out, row, now, Dialect::V1_18),
    )
}

fn assert_same(ours: &str, expected_file: &str) {
    let theirs = capture::text(expected_file);
    for (number, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {} of {expected_file}", number + 1);
    }
    assert_eq!(ours.len(), theirs.len(), "{expected_file}: one is a prefix of the other");
}

#[test]
fn the_captured_conntrack_maps_print_as_cilium_printed_them() {
    assert_same(&render_ct(None), "ct-list.txt");
}

#[test]
fn the_captured_conntrack_maps_print_as_cilium_printed_them_with_time_left() {
    assert_same(&render_ct(Some(CT_NOW)), "ct-list-timediff.txt");
}

#[test]
fn the_captured_nat_maps_print_as_cilium_printed_them() {
    let now = Some(NAT_NOW);
    let ours =
        render(&NAT_ORDER, |key, value| decode_nat(key, value).unwrap(), |out, row| nat_line(out, row, now));
    assert_same(&ours, "nat-list.txt");
}

fn v6_key(daddr: &str, saddr: &str, nexthdr: u8, flags: u8) -> Vec<u8> {
    let octets = |address: &str| address.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&octets(daddr)[..], &octets(saddr)[..], &[0x01, 0xbd, 0xa8, 0xca, nexthdr, flags]].concat()
}

fn ct_text(key: &[u8], value: &[u8]) -> String {
    let mut out = Vec::new();
    ct_line(&mut out, &decode_ct(key, value).unwrap(), None, Dialect::V1_18).unwrap();
    String::from_utf8(out).unwrap()
}

fn check_start(key: &[u8], expected: &str) {
    let text = ct_text(key, &[0; 56]);
    assert!(text.starts_with(expected), "expected {expected:?}, printed {text:?}");
}

#[test]
fn addresses_print_as_go_prints_them() {
    // `net.IP.String` turns IPv4-mapped addresses into IPv4; IPv4-compatible ones stay hexadecimal.
    check_start(&v6_key("::ffff:10.0.0.1", "::10.0.0.2", 6, 0), "TCP OUT 10.0.0.1:43210 -> ::a00:2:445 ");
    // The longest run of zero groups is shortened, the first of two equal ones, never a single group.
    check_start(
        &v6_key("2001:db8:0:1:1:1:1:1", "1:0:0:2:0:0:3:4", 6, 1),
        "TCP IN 2001:db8:0:1:1:1:1:1:43210 -> 1::2:0:0:3:4:445 ",
    );
    check_start(&v6_key("::", "::1", 17, 0), "UDP OUT :::43210 -> ::1:445 ");
}

#[test]
fn ipv4_mapped_addresses_keep_the_brackets_of_nat_lines() {
    let mut out = Vec::new();
    let key = v6_key("::ffff:10.0.0.1", "fd00::1", 6, 0);
    nat_line(&mut out, &decode_nat(&key, &[0; 56]).unwrap(), Some(ClockNow::ktime(9))).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "TCP OUT [fd00::1]:43210 -> [10.0.0.1]:445 XLATE_SRC [::]:0 Created=9sec ago NeedsCT=0\n"
    );
}

#[test]
fn protocols_without_a_name_print_their_number() {
    for (nexthdr, name) in
        [(1, "ICMP"), (58, "ICMPv6"), (132, "SCTP"), (112, "112"), (47, "47"), (255, "255")]
    {
        check_start(&v6_key("fd00::1", "fd00::2", nexthdr, 0), &format!("{name} OUT fd00::1"));
    }
}

#[test]
fn entries_without_a_protocol_print_nothing() {
    assert_eq!(ct_text(&v6_key("fd00::1", "fd00::2", 0, 0), &[0; 56]), "");
}

#[test]
fn service_entries_are_mirrored_and_related_ones_marked() {
    check_start(&v6_key("fd00::f", "fd00::c", 6, 4), "TCP SVC fd00::c:445 -> fd00::f:43210 expires=");
    check_start(
        &v6_key("fd00::1", "fd00::2", 58, 3),
        "ICMPv6 IN fd00::1:43210 -> fd00::2:445 related expires=",
    );
}

#[test]
fn every_flag_bit_prints_its_name_or_as_unknown() {
    let mut value = [0; 56];
    value[36..38].copy_from_slice(&0xffff_u16.to_ne_bytes());
    let text = ct_text(&v6_key("fd00::1", "fd00::2", 6, 0), &value);
    let expected = " Flags=0xffff [ RxClosing TxClosing Nat64 LBLoopback SeenNonSyn NodePort ProxyRedirect \
                    DSRInternal FromL7LB FromTunnel Unknown=0xf800 ] RevNAT=0 ";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn the_lines_of_1_16_name_the_interface_before_the_backend_and_differ_in_nothing_else() {
    let key = v6_key("fd00::1", "fd00::2", 6, 0);
    let mut value = [0; 56];
    value[40..42].copy_from_slice(&17_u16.to_ne_bytes());
    let row = decode_ct(&key, &value).unwrap();
    let text = |dialect| {
        let mut out = Vec::new();
        ct_line(&mut out, &row, None, dialect).unwrap();
        String::from_utf8(out).unwrap()
    };
    let (old, new) = (text(Dialect::V1_16), text(Dialect::V1_18));
    assert!(old.ends_with(" SourceSecurityID=0 IfIndex=17 BackendID=0 \n"), "{old}");
    assert_eq!(old.replace("IfIndex=17 ", ""), new);
}
