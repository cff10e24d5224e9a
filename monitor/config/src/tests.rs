//! Texts in, settings or one line of error out.

use monitor_model::alert::{Alert, Grade, Severity, Unit, minutes};
use monitor_model::host::mounts::Family;
use monitor_model::map_name::Table;
use monitor_model::rule::Rule;
use monitor_model::target::TargetIndex;
use monitor_model::tuple::{Endpoint, Transport};

use super::*;

/// A few alerts of every kind that a configuration tells apart.
static ALERTS: [&Alert; 6] = [
    &Alert {
        name: "CtmonMapFilling",
        unit: Unit::Ratio,
        severities: &[Grade::new(Severity::Warning, 0.75, minutes(15))],
        ..Alert::BASE
    },
    &Alert {
        name: "CtmonMapFull",
        severities: &[Grade::new(Severity::Critical, 0.9, minutes(5))],
        ..Alert::BASE
    },
    &Alert {
        name: "CtmonEntriesHigh",
        severities: &[Grade::off(Severity::Warning, minutes(30))],
        ..Alert::BASE
    },
    &Alert {
        name: "CtmonStaleConnections",
        severities: &[
            Grade::new(Severity::Info, 0.0, minutes(60)),
            Grade::new(Severity::Warning, 100.0, minutes(15)),
        ],
        ..Alert::BASE
    },
    &Alert { severities: &[Grade::new(Severity::Warning, 0.0, minutes(0))], ..EVICTIONS },
    &Alert { severities: &[Grade::new(Severity::Critical, 0.0, minutes(0))], ..EVICTIONS },
];

/// One name whose severities have expressions of their own.
const EVICTIONS: Alert = Alert {
    name: "CtmonLiveEvictions",
    keep_firing_for: minutes(30),
    window: Some(minutes(10)),
    ..Alert::BASE
};

pub(crate) enum Known {}

impl AlertList for Known {
    fn alerts() -> &'static [&'static Alert] {
        &ALERTS
    }
}

fn rule(settings: &Settings, name: &str, severity: Severity) -> Option<Rule> {
    let all = settings.thresholds.iter();
    let mut named = all.filter(|known| known.alert.name == name && known.severity == severity);
    named.next().map(|known| known.rule)
}

fn threshold(settings: &Settings, name: &str, severity: Severity) -> Option<f64> {
    rule(settings, name, severity)?.value
}

fn hold(settings: &Settings, name: &str, severity: Severity) -> Option<Duration> {
    Some(rule(settings, name, severity)?.hold)
}

const FULL: &str = r#"
listen: ["127.0.0.1:10469", ":10470"]
interval: 30s
deep_interval: 0
clock: ktime
evictions: count
evictions_api: false
stale_after: 15m
snat_port_range: [40000, 50000]
targets_from_host: false
targets:
  - name: qnap
    addresses: [192.168.100.180, "2001:db8::/32"]
    services:
      - {name: smb, ports: [445]}
      - {name: iscsi, ports: [3260], protocol: tcp}
      - {name: api, ports: [8080, 443]}
  - {name: lan, addresses: [192.168.0.0/16]}
thresholds:
  CtmonMapFilling: {warning: {value: 0.8, for: 10m}}
  MapFull: null
  EntriesHigh: {warning: {value: 10000}}
  StaleConnections: {info: null, warning: {value: null, for: 1m}}
  LiveEvictions: {critical: {window: 5m, keep_firing_for: 0s}}
expect:
  gc_interval: {at_most: 5m}
  map_capacity: {ct_tcp: {at_least: 524288}}
  ct_timeouts: {tcp: {equals: 6h}, service_tcp: {at_most: 1h}}
  sysctls:
    net.ipv4.tcp_keepalive_time: {equals: 600}
    net.ipv4.tcp_rmem: {equals: 4096  131072 6291456}
    net.ipv4.tcp_congestion_control: {equals: "bbr"}
    net.ipv4.conf.eth0/100.rp_filter: {equals: 2}
  mount_options: {cifs: {has: [cache=loose, actimeo=60]}}
logs:
  - {name: oops, pattern: 'it''s (bad|"worse"): \d+', namespaces: [trident*]}
  - {preset: trident-qnap, namespaces: [storage]}
"#;

fn settings(text: &str) -> Settings {
    parse::<Known>(text).unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

fn problem(text: &str) -> String {
    parse::<Known>(text).expect_err(text).to_string()
}

/// The service of the first target that an entry towards this port belongs to.
fn service(settings: &Settings, transport: Transport, port: u16) -> String {
    let index = TargetIndex::new(settings.targets.clone()).expect("it fits");
    let address = settings.targets[0].prefixes[0].address();
    let client = Endpoint { address: "192.0.2.1".parse().expect("an address"), port: 40_000 };
    let found = index.classify_ends(client, Endpoint { address, port }, transport.nexthdr());
    index.names(found).1.to_owned()
}

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "# nothing\n", "{}", "---\n", "interval:\n"] {
        assert_eq!(settings(text), Settings::defaults::<Known>(), "{text:?}");
    }
}

#[test]
fn brackets_are_taken_around_both_families() {
    for (text, expected) in [
        ("[10.0.0.1]:10469", "10.0.0.1:10469"),
        ("10.0.0.1:10469", "10.0.0.1:10469"),
        ("[fd00::1]:10469", "[fd00::1]:10469"),
        (":10469", "[::]:10469"),
    ] {
        assert_eq!(parse_listen(text).map(|address| address.to_string()).as_deref(), Ok(expected), "{text}");
    }
    for text in ["fd00::1:10469:x", "[10.0.0.1]", "[10.0.0.1]:", "[10.0.0.1]:99999", "[localhost]:10469"] {
        assert!(parse_listen(text).is_err(), "{text}");
    }
}

#[test]
fn every_key_is_read() {
    let read = settings(FULL);
    assert_eq!(read.listen, ["127.0.0.1:10469", "[::]:10470"].map(|a| a.parse().expect("an address")));
    assert_eq!(read.interval, Duration::from_secs(30));
    assert_eq!(read.deep_interval, Duration::ZERO);
    assert_eq!(
        (read.clock, read.evictions, read.evictions_api),
        (Some(Clock::Ktime), eviction_plan::Choice::Count, false)
    );
    assert_eq!(read.stale_after, Duration::from_secs(900));
    assert_eq!(read.snat_port_range, 40_000..=50_000);
    assert!(!read.targets_from_host);

    let [qnap, lan] = read.targets.as_slice() else { panic!("two targets") };
    assert_eq!(
        qnap.prefixes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.168.100.180", "2001:db8::/32"]
    );
    assert_eq!(qnap.services[1].protocol, Some(Transport::Tcp));
    assert_eq!(lan.prefixes, ["192.168.0.0/16".parse().expect("a network")]);
    assert_eq!(service(&read, Transport::Tcp, 443), "api");
    assert_eq!(service(&read, Transport::Udp, 3260), "other", "iscsi is TCP only");

    assert_eq!(threshold(&read, "CtmonMapFilling", Severity::Warning), Some(0.8));
    assert_eq!(hold(&read, "CtmonMapFilling", Severity::Warning), Some(Duration::from_secs(600)));
    assert_eq!(threshold(&read, "CtmonMapFull", Severity::Critical), None);
    assert_eq!(threshold(&read, "CtmonEntriesHigh", Severity::Warning), Some(10_000.0));
    assert_eq!(threshold(&read, "CtmonStaleConnections", Severity::Info), None);
    assert_eq!(threshold(&read, "CtmonStaleConnections", Severity::Warning), None);
    assert_eq!(hold(&read, "CtmonStaleConnections", Severity::Warning), Some(Duration::from_secs(60)));
    let evictions = rule(&read, "CtmonLiveEvictions", Severity::Critical).expect("in the list");
    assert_eq!(
        (evictions.window, evictions.keep_firing_for),
        (Some(Duration::from_secs(300)), Duration::ZERO)
    );
    assert_eq!(
        threshold(&read, "CtmonLiveEvictions", Severity::Warning),
        Some(0.0),
        "its other severity is untouched"
    );

    assert_eq!(read.expect.gc_interval, Some(Bound::AtMost(Duration::from_secs(300))));
    assert_eq!(read.expect.map_capacity.get(&Table::CtTcp), Some(&Bound::AtLeast(524_288)));
    let rmem = read.expect.sysctls.get("net.ipv4.tcp_rmem").expect("expected");
    assert!(rmem.holds_text("4096\t131072\t6291456\n"));
    assert!(!rmem.holds_text("4096\t131072\t6291457\n"));
    assert_eq!(read.logs.len(), 8);
    let of = |namespace: &str, pod: &str| -> Vec<&str> {
        let there = read.logs.iter().filter(|log| log.selects(namespace, pod, "main"));
        there.map(|log| log.name.as_str()).collect()
    };
    assert_eq!(of("storage", "database-0"), ["input_output_error", "lock_conflict"]);
    assert_eq!(of("media", "sonarr-0"), [""; 0]);
    assert_eq!(of("storage", "trident-controller-7").len(), 7);
    let vlan = read.expect.sysctls.get("net.ipv4.conf.eth0/100.rp_filter");
    assert_eq!(vlan, Some(&Bound::Equals(SysctlValue::Number(2))));
}

#[test]
fn what_is_printed_is_read_back_to_the_same_settings() {
    for text in [
        "",
        FULL,
        "expect: {preset: nas-tuning}",
        "targets: [{name: 'null', addresses: ['::/0', 0.0.0.0/0]}]",
    ] {
        let first = settings(text);
        let printed = first.to_yaml();
        assert_eq!(settings(&printed), first, "{printed}");
        assert_eq!(settings(&printed).to_yaml(), printed);
    }
}

#[test]
fn what_only_the_owner_knows_is_off_by_default() {
    assert_eq!(threshold(&Settings::defaults::<Known>(), "CtmonEntriesHigh", Severity::Warning), None);
}

#[test]
fn everything_is_spelled_out() {
    let printed = Settings::defaults::<Known>().to_yaml();
    for alert in ALERTS {
        assert!(printed.contains(alert.name), "{} in\n{printed}", alert.name);
    }
    for key in ["listen: ['[::]:10469']", "deep_interval: 5m", "targets: []", "sysctls: {}", "logs: []"] {
        assert!(printed.contains(key), "{key} in\n{printed}");
    }
}

#[test]
fn the_preset_holds_the_documents_values_and_yields_to_explicit_ones() {
    let expect = settings(
        "expect: {preset: nas-tuning, sysctls: {fs.file-max: {at_least: 1}, vm.swappiness: {equals: 0}}}",
    )
    .expect;
    let preset = settings("expect: {preset: nas-tuning}").expect;
    assert_eq!(expect.sysctls.len(), preset.sysctls.len() + 1);
    assert!(expect.sysctls["fs.file-max"].holds_text("2\n"));
    assert!(expect.sysctls["net.ipv4.tcp_keepalive_probes"].holds_text("3\n"));
    assert!(!expect.sysctls["net.ipv4.tcp_keepalive_time"].holds_text("7200\n"));
    assert!(expect.map_capacity.is_empty(), "a size is nobody's tuning");
    assert_eq!(expect.mount_options[&Family::CIFS], ["cache=loose", "actimeo=60", "noatime"]);
    assert_eq!(expect.gc_interval, None);
}

#[test]
fn the_log_preset_finds_the_error_its_documents_missed() {
    let logs = settings("logs: [{preset: trident-qnap}]").logs;
    let hits = |line: &str| -> Vec<&str> {
        logs.iter()
            .filter(|log| regex::Regex::new(&log.pattern).expect("validated").is_match(line))
            .map(|log| log.name.as_str())
            .collect()
    };
    assert_eq!(hits("error: storage (qts) not exists; add the storage first"), ["storage_not_exists"]);
    assert_eq!(hits("storage qts was not yet added"), ["storage_not_added"]);
    assert_eq!(
        hits("client rate limiter Wait returned an error: context deadline exceeded"),
        ["rate_limiter"]
    );
    assert_eq!(hits("ControllerPublishVolume failed: context deadline exceeded"), ["publish_deadline"]);
    assert_eq!(hits("mount error(112): Host is down"), ["smb_mount_error"]);
    assert_eq!(hits("read /data/x: Input/output error"), ["input_output_error"]);
    assert_eq!(hits("sqlite3.OperationalError: database is locked"), ["lock_conflict"]);
    assert_eq!(hits("all is well"), [""; 0]);
}

#[test]
fn selectors_choose_by_names_with_stars() {
    let log = |namespaces: &str| {
        settings(&format!("logs: [{{name: a, pattern: x, namespaces: {namespaces}}}]")).logs.remove(0)
    };
    assert!(log("[]").selects("any", "pod", "container"));
    let check = |glob: &str, name, expected| {
        assert_eq!(log(&format!("['{glob}']")).selects(name, "p", "c"), expected, "{glob} {name}");
    };
    check("trident", "trident", true);
    check("trident", "trident-2", false);
    check("trident*", "trident-2", true);
    check("*dent", "trident", true);
    check("t*d*t", "trident", true);
    check("t*d*t", "trident-2", false);
    check("ab*ba", "aba", false);
    check("*", "", true);
}

#[test]
fn errors_are_one_line_with_key_and_line() {
    let check = |text: &str, parts: &[&str]| {
        let error = problem(text);
        assert!(!error.contains('\n'), "{error}");
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    };
    check("interval: 15s\nintervall: 15s", &["unknown field `intervall`", "`interval`", "line 2 column 1"]);
    check("interval: 15", &["interval: `15` is not a duration", "10m", "line 1"]);
    check("\ninterval: 100ms", &["interval: 100ms is not between 1s and 10m", "line 2"]);
    check("interval: 1m\ndeep_interval: 30s", &["deep_interval: 30s is shorter", "at line 2"]);
    check("clock: sundial", &["clock: `sundial` is unknown", "auto, ktime, jiffies", "line 1"]);
    check("evictions: yes please", &["evictions: ", "auto, full, count, off"]);
    check(
        "evictions_api: maybe",
        &["evictions_api: found the text \"maybe\", expected true or false", "line 1"],
    );
    check("stale_after: 3h", &["stale_after: 3h is not between 20s and 2h"]);
    check("listen: localhost", &["listen: `localhost` is not an address and port", "[::]:10469"]);
    check("listen: []", &["listen: ", "at least one"]);
    check("listen: '[10.0.0.1:10469'", &["listen: `[10.0.0.1:10469` is not an address and port"]);
    check("snat_port_range: [9, 3]", &["snat_port_range: ", "in this order"]);
    check("snat_port_range: [1, 2, 3]", &["snat_port_range: "]);
    check("snat_port_range: [1, 70000]", &["snat_port_range", "70000"]);
    check("a: 1\na: 2", &["line 1"]);
    check("interval: 15s\ninterval: 16s", &["duplicate field `interval`"]);
    check("interval: [", &["line"]);
    check("- a", &["found a list, expected a mapping of keys"]);
}

#[test]
fn wrong_targets_are_refused_where_they_stand() {
    let check = |targets: &str, parts: &[&str]| {
        let error = problem(&format!("targets:\n{targets}"));
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    };
    check("- {name: Q, addresses: [10.9.9.9]}", &["targets[0].name: `Q` cannot be a name", "a-z", "line 2"]);
    check("- {name: none, addresses: [10.9.9.9]}", &["targets[0].name: the name `none` is reserved"]);
    check(
        "- {name: a, addresses: [10.9.9.9]}\n- name: a\n  addresses: [10.9.9.9]",
        &["targets: two targets are called `a`", "line 2"],
    );
    check("- {name: a, addresses: []}", &["targets[0]: target `a` has no addresses"]);
    check(
        "- {name: a, addresses: [10.9.9.8, 10.9.9.9], services: [{name: smb, ports: [445]}]}\n\
         - {name: b, addresses: ['2001:db8::1', 10.9.9.9], services: [{name: iscsi, ports: [3260]}]}",
        &["targets: targets `a` and `b` both have 10.9.9.9", "belong to the first", "line 2"],
    );
    check(
        "- {name: a, addresses: [10.0.0.0/8]}\n- {name: b, addresses: [10.0.0.0/8]}",
        &["both have 10.0.0.0/8"],
    );
    check(
        "- {name: lan, addresses: [192.168.0.0/16]}\n- {name: nas, addresses: [10.9.9.9, 192.168.100.180]}",
        &[
            "192.168.100.180 of target `nas` lies in 192.168.0.0/16 of target `lan`",
            "put `nas` first",
            "line 2",
        ],
    );
    settings(
        "targets: [{name: nas, addresses: [192.168.100.180]}, {name: lan, addresses: [192.168.0.0/16]}]",
    );
    check("- {name: a}", &["targets[0]: missing field `addresses`"]);
    check(
        "- name: a\n  addresses:\n  - 10.0.0.1\n  - 10.0.0.1/8",
        &["targets[0].addresses[1]: ", "host bits", "10.0.0.0/8", "line 5"],
    );
    check("- {name: a, addresses: [10.0.0.0/33]}", &["`10.0.0.0/33` is neither"]);
    check("- {name: a, addresses: [nas.local]}", &["`nas.local` is neither"]);
    check("- {name: a, addresses: ['::ffff:10.0.0.1']}", &["write 10.0.0.1"]);
    let service = |services: &str, parts: &[&str]| {
        check(&format!("- {{name: a, addresses: [10.9.9.9], services: [{services}]}}"), parts);
    };
    service("{name: other, ports: [1]}", &["targets[0].services[0].name: the name `other` is reserved"]);
    service("{name: b, ports: [0]}", &["services[0].ports[0]: `0` is not a port", "65535"]);
    service("{name: b, ports: [65536]}", &["`65536` is not a port"]);
    service("{name: b, ports: []}", &["service `b` has no ports"]);
    service("{name: b, ports: [1], protocol: icmp}", &["protocol: `icmp`", "tcp, udp, sctp"]);
    service("{name: b, port: [1]}", &["unknown field `port`"]);
    service("{name: b, ports: [1]}, {name: b, ports: [2]}", &["two services called `b`"]);
    service("{name: b, ports: [1, 1]}", &["port 1/tcp twice"]);
    service("{name: b, ports: [1]}, {name: c, ports: [1], protocol: udp}", &["port 1/udp twice"]);
}

#[test]
fn a_host_inside_another_targets_network_is_a_target_of_its_own() {
    for targets in [
        "[{name: nas, addresses: [10.9.9.9]}, {name: lan, addresses: [10.9.0.0/16]}]",
        "[{name: nas, addresses: [10.9.9.9, 10.9.9.9]}]",
    ] {
        assert!(!settings(&format!("targets: {targets}")).targets.is_empty(), "{targets}");
    }
    let full = "thresholds: {MapFilling: {warning: {value: 1}}, StaleConnections: {warning: {value: 75}}}";
    assert_eq!(threshold(&settings(full), "CtmonMapFilling", Severity::Warning), Some(1.0));
}

#[test]
fn one_port_may_have_two_names_by_protocol() {
    let read = settings(
        "targets: [{name: a, addresses: [10.9.9.9], services: [{name: b, ports: [1], protocol: tcp}, {name: c, ports: [1], protocol: udp}]}]",
    );
    assert_eq!(service(&read, Transport::Udp, 1), "c");
}

#[test]
fn limits_of_the_kernels_tables_are_kept() {
    let targets = |count: usize, services: usize| {
        let services: Vec<_> =
            (1..=services).map(|port| format!("{{name: s{port}, ports: [{port}]}}")).collect();
        let line =
            |n| format!("- {{name: t{n}, addresses: [10.0.0.{n}], services: [{}]}}\n", services.join(","));
        format!("targets:\n{}", (0..count).map(line).collect::<String>())
    };
    assert_eq!(settings(&targets(64, 1)).targets.len(), 64);
    assert!(problem(&targets(65, 0)).contains("65 targets, at most 64"));
    assert!(problem(&targets(43, 2)).contains("129 target and service pairs"));

    let addresses = |count: u32, v6: bool| {
        let address =
            |n| if v6 { format!("'2001:db8::{n:x}'") } else { format!("10.1.{}.{}", n >> 8, n & 255) };
        let list: Vec<_> = (0..count).map(address).collect();
        format!("targets: [{{name: a, addresses: [{}]}}]", list.join(","))
    };
    assert_eq!(settings(&addresses(1024, false)).targets[0].prefixes.len(), 1024);
    assert!(problem(&addresses(1025, false)).contains("1025 IPv4 prefixes"));
    assert!(problem(&addresses(1025, true)).contains("1025 IPv6 prefixes"));

    let ports = |count: u32, protocol: &str| {
        let list: Vec<_> = (1..=count).map(|port| port.to_string()).collect();
        format!(
            "targets: [{{name: a, addresses: [10.9.9.9], services: [{{name: s, ports: [{}]{protocol}}}]}}]",
            list.join(",")
        )
    };
    assert_eq!(settings(&ports(4096, ", protocol: tcp")).targets[0].services[0].ports.len(), 4096);
    assert!(problem(&ports(4097, ", protocol: tcp")).contains("4097 ports"));
    assert!(problem(&ports(1366, "")).contains("4098 ports"), "each without a protocol takes three");
}

#[test]
fn wrong_thresholds_say_what_exists() {
    let check = |thresholds: &str, parts: &[&str]| {
        let error = problem(&format!("thresholds:\n  {thresholds}"));
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    };
    check("MapFul: null", &["there is no alert `MapFul`", "MapFilling, MapFull,", "line 2"]);
    check("MapFull: {warning: null}", &["CtmonMapFull has no severity warning: it has critical", "line 2"]);
    check("MapFull: {fatal: null}", &["`fatal` is unknown", "info, warning, critical"]);
    check("MapFull: {critical: {value: much}}", &["value: `much` is not a threshold"]);
    check("MapFull: {critical: {value: -1}}", &["`-1` is not a threshold"]);
    check("MapFull: {critical: {value: .nan}}", &["is not a threshold"]);
    check("MapFull: {critical: {window: 5m}}", &["CtmonMapFull looks at one instant"]);
    check("MapFull: {critical: {after: 5m}}", &["unknown field `after`", "`for`"]);
    check("MapFull: null\n  CtmonMapFull: null", &["CtmonMapFull is given twice"]);
    check("MapFull: {critical: null, critical: null}", &["critical is given twice"]);
    check("MapFull: 0.9", &["severities", "0.9"]);
    check(
        "MapFull: {critical: 0.9}",
        &["expected a rule: {value: 0.8, for: 10m}, or null for off", "line 2"],
    );
    check("MapFull: {value: 0.9}", &["`value` stands below a severity, like {warning: {value: ..}}"]);
    check(
        "MapFilling: {warning: {value: 75}}",
        &["CtmonMapFilling compares with a ratio: 75 is not between 0 and 1"],
    );
    check("MapFilling: {warning: {value: 1.01}}", &["between 0 and 1", "0.75", "line 2"]);
}

#[test]
fn wrong_expectations_and_patterns_are_refused() {
    let check = |text: &str, part: &str| {
        let error = problem(text);
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    };
    check("expect: {gc_interval: {}}", "exactly one of at_least, at_most, equals");
    check("expect: {gc_interval: {at_most: 5m, equals: 5m}}", "expect.gc_interval: give exactly one");
    check("expect: {gc_interval: {at_most: 5}}", "expect.gc_interval.at_most: `5` is not a duration");
    check(
        "expect: {map_capacity: {ct_udp: {equals: 1}}}",
        "`ct_udp` is unknown: use one of ct_tcp (ct4_global, ct6_global, bpf.ctTcpMax), ct_any (ct_any4_global, \
         ct_any6_global, bpf.ctAnyMax), nat (snat_v4_external, snat_v6_external, bpf.natMax)",
    );
    check("expect: {map_capacity: {nat: {equals: 0}}}", "`0` is not a number of entries");
    check("expect: {ct_timeouts: {rst: {equals: 1s}}}", "service_tcp_grace");
    check("expect: {sysctls: {../../etc/passwd: {equals: 1}}}", "is not the name of a sysctl");
    check("expect: {sysctls: {net..x: {equals: 1}}}", "is not the name of a sysctl");
    check("expect: {sysctls: {/net/x: {equals: 1}}}", "is not the name of a sysctl");
    check("expect: {sysctls: {net./.y: {equals: 1}}}", "as a slash: net.ipv4.conf.eth0/100.rp_filter");
    check("expect: {sysctls: {net.x/y.z: {equals: 1}, net/x.y/z: {equals: 2}}}", "given twice");
    check("expect: {sysctls: {net.x: {at_least: bbr}}}", "words have no order");
    check("expect: {sysctls: {net.x: {equals: 1}, net.x: {equals: 2}}}", "given twice");
    check("expect: {mount_options: {cifs: {has: ['a,b']}}}", "is not one mount option");
    check("expect: {mount_options: {ext4: {has: [a]}}}", "cifs, nfs");
    check("expect: {preset: fast}", "nas-tuning");
    check("logs: [{name: a}]", "logs[0]: give a name and a pattern");
    check("logs: [{preset: trident-qnap, name: a}]", "or a preset alone");
    check("logs: [{name: a, pattern: '('}]", "is not a regular expression");
    check("logs: [{name: a, pattern: 'x*'}]", "matches every line");
    check("logs: [{name: a, pattern: x}, {name: a, pattern: y}]", "two patterns are called `a`");
    check("logs: [{name: a, pattern: x, namespaces: ['a b']}]", "is not a Kubernetes name");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "(?s).{0,200}") {
        let _ = parse::<Known>(&text);
    }
}
