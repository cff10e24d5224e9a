//! Every key of the configuration file, described.
//!
//! In: nothing. Out: [`SECTIONS`], in the order they are shown: what a key holds, what stands without it, an example.
//! Must not: say a default or a bound twice: defaults come from [`Settings`], bounds from what reads the key.

use std::time::Duration;

use monitor_abi::cell::MAX_TARGETS;
use monitor_model::host::mounts::Family;
use monitor_model::map_name::Table;
use monitor_model::timeouts::TimeoutClass;
use monitor_model::tuple::Transport;
use monitor_model::{duration, eviction_plan};

use crate::expect::{self, MAX_SYSCTLS};
use crate::field::words;
use crate::logs::{self, MAX_PATTERN_BYTES, MAX_PATTERNS};
pub use crate::range::Range;
use crate::raw::{DeepInterval, Interval, StaleAfter};
use crate::threshold::{Hold, Window};
use crate::{ClockChoice, Settings};

/// Keys of one mapping.
#[derive(Debug)]
pub struct Section {
    /// Where the mapping stands: `targets[].services[]`; empty for the file itself.
    pub parent: &'static str,
    /// What the mapping is.
    pub meaning: &'static str,
    /// A file with such a mapping, `?` in the place of its keys.
    pub wrapper: &'static str,
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// In angle brackets where any name out of a list may stand.
    pub name: &'static str,
    /// What the value is, with its unit.
    pub kind: &'static str,
    pub range: Range,
    pub absent: Absent,
    pub meaning: &'static str,
    /// The key with a value, as it may stand in the file.
    pub example: &'static str,
}

/// What stands where the key is absent.
#[derive(Debug)]
pub enum Absent {
    /// What [`Settings`] begin with.
    Default,
    /// Nothing: the mapping is refused without it.
    Required,
    Means(&'static str),
}

impl Key {
    /// What stands without the key, as text: the default as these settings print it.
    #[must_use]
    pub fn absent(&self, defaults: &Settings) -> String {
        match self.absent {
            Absent::Required => "required".to_owned(),
            Absent::Means(text) => text.to_owned(),
            Absent::Default => {
                let printed = defaults.to_yaml();
                let value =
                    |line: &str| Some(format!("`{}`", line.strip_prefix(self.name)?.strip_prefix(": ")?));
                printed.lines().find_map(value).unwrap_or_default()
            }
        }
    }
}

impl Range {
    /// For people; empty where the kind says it all.
    #[must_use]
    pub fn text(&self) -> String {
        let show = |millis| duration::format(Duration::from_millis(millis));
        match self {
            Self::Any => String::new(),
            Self::Durations(min, max) => format!("{} to {}", show(*min), show(*max)),
            Self::Words(words) => format!("`{}`", words("`, `")),
            Self::AtMost(limit, of) => format!("at most {limit} {of}"),
            Self::Text(text) => (*text).to_owned(),
        }
    }
}

/// Everything that may stand in the file.
pub const SECTIONS: &[Section] = &[
    Section {
        parent: "",
        meaning: "Every key may be absent; an unknown key is an error. Durations are written like `500ms`, `15s`, `10m` \
                  or `1h30m`.",
        wrapper: "{?}",
        keys: &[
            Key {
                name: "listen",
                kind: "address and port, or a list of them",
                range: Range::Text("at least one"),
                absent: Absent::Default,
                meaning: "Where the daemon serves `/metrics`. `:10469` is every address of the node.",
                example: "listen: [\"127.0.0.1:10469\"]",
            },
            Key {
                name: "interval",
                kind: "duration",
                range: Interval::RANGE,
                absent: Absent::Default,
                meaning: "Time between two scans. It stretches where scans would take more than half a percent of one core.",
                example: "interval: 30s",
            },
            Key {
                name: "deep_interval",
                kind: "duration",
                range: DeepInterval::RANGE,
                absent: Absent::Default,
                meaning: "Time between two deep scans, which compare conntrack with NAT and with the host's sockets. `0s` is off; \
                          otherwise not shorter than `interval`.",
                example: "deep_interval: 10m",
            },
            Key {
                name: "clock",
                kind: "word",
                range: Range::Words(words::<ClockChoice>),
                absent: Absent::Default,
                meaning: "The clock of Cilium's lifetimes: seconds since boot or jiffies. `auto` finds out from the entries.",
                example: "clock: ktime",
            },
            Key {
                name: "evictions",
                kind: "word",
                range: Range::Words(words::<eviction_plan::Choice>),
                absent: Absent::Default,
                meaning: "How evictions are watched: `full` reads the entries that are evicted, `count` only counts them, `auto` does \
                          the most that the kernel allows.",
                example: "evictions: count",
            },
            Key {
                name: "evictions_api",
                kind: "true or false",
                range: Range::Any,
                absent: Absent::Default,
                meaning: "Whether the last evicted entries are served to `ctmon evictions`, on the same host only.",
                example: "evictions_api: false",
            },
            Key {
                name: "stale_after",
                kind: "duration",
                range: StaleAfter::RANGE,
                absent: Absent::Default,
                meaning: "How long a closed or half-closed entry may be silent before it counts as lingering.",
                example: "stale_after: 15m",
            },
            Key {
                name: "snat_port_range",
                kind: "two ports, the lowest and the highest",
                range: Range::Text("1 to 65535, the lower first"),
                absent: Absent::Default,
                meaning: "The source ports Cilium may masquerade to: how full they are is a share of these.",
                example: "snat_port_range: [40000, 50000]",
            },
            Key {
                name: "targets_from_host",
                kind: "true or false",
                range: Range::Any,
                absent: Absent::Default,
                meaning: "Whether the servers of the node's SMB and NFS mounts and iSCSI sessions become targets, after the \
                          configured ones.",
                example: "targets_from_host: false",
            },
            Key {
                name: "targets",
                kind: "list",
                range: Range::AtMost(MAX_TARGETS, "targets"),
                absent: Absent::Default,
                meaning: "Destinations whose entries are counted on their own. An entry belongs to the first target that has one of \
                          its addresses, whatever its port; no two targets have the same address or CIDR.",
                example: "targets: [{name: nas, addresses: [192.0.2.10]}]",
            },
            Key {
                name: "thresholds",
                kind: "mapping",
                range: Range::Any,
                absent: Absent::Means("every alert as below"),
                meaning: "What alerts compare with, and for how long.",
                example: "thresholds: {MapFull: null}",
            },
            Key {
                name: "expect",
                kind: "mapping",
                range: Range::Any,
                absent: Absent::Means("nothing is expected"),
                meaning: "What should be in force on the node; what is not becomes a finding.",
                example: "expect: {gc_interval: {at_most: 5m}}",
            },
            Key {
                name: "logs",
                kind: "list",
                range: Range::AtMost(MAX_PATTERNS, "patterns"),
                absent: Absent::Default,
                meaning: "Patterns that are counted in the logs of the node's pods.",
                example: "logs: [{preset: trident-qnap}]",
            },
        ],
    },
    Section {
        parent: "targets[]",
        meaning: "A named destination.",
        wrapper: "targets: [{?}]",
        keys: &[
            Key {
                name: "name",
                kind: "text",
                range: Range::Text("1 to 63 of a-z, 0-9, `_` and `-`, not `none`"),
                absent: Absent::Required,
                meaning: "The label `target`.",
                example: "name: nas",
            },
            Key {
                name: "addresses",
                kind: "list of addresses or CIDRs",
                range: Range::Text("at least one; host bits are zero"),
                absent: Absent::Required,
                meaning: "Where the target is.",
                example: "addresses: [192.0.2.10, \"2001:db8::/64\"]",
            },
            Key {
                name: "services",
                kind: "list",
                range: Range::Any,
                absent: Absent::Means("`[]`"),
                meaning: "Ports with a name. What none of them names is the service `other`.",
                example: "services: [{name: smb, ports: [445]}]",
            },
        ],
    },
    Section {
        parent: "targets[].services[]",
        meaning: "Ports of a target under one name.",
        wrapper: "targets: [{name: nas, addresses: [192.0.2.10], services: [{?}]}]",
        keys: &[
            Key {
                name: "name",
                kind: "text",
                range: Range::Text("1 to 63 of a-z, 0-9, `_` and `-`, not `other`"),
                absent: Absent::Required,
                meaning: "The label `target_service`.",
                example: "name: smb",
            },
            Key {
                name: "ports",
                kind: "list of ports",
                range: Range::Text("at least one; 1 to 65535"),
                absent: Absent::Required,
                meaning: "The ports of the service; each belongs to one service of a target.",
                example: "ports: [445]",
            },
            Key {
                name: "protocol",
                kind: "word",
                range: Range::Words(words::<Transport>),
                absent: Absent::Means("all of them"),
                meaning: "The protocol whose ports are meant.",
                example: "protocol: tcp",
            },
        ],
    },
    Section {
        parent: "thresholds",
        meaning: "Alerts by name, with or without `Ctmon`; all of them are listed at the end.",
        wrapper: "thresholds: {?}",
        keys: &[Key {
            name: "<alert>",
            kind: "severities, or null",
            range: Range::Any,
            absent: Absent::Means("as below"),
            meaning: "The severities of the alert. `null` turns it off, for all of them or for one.",
            example: "LiveEvictions: {warning: null}",
        }],
    },
    Section {
        parent: "thresholds.<alert>.<severity>",
        meaning: "One severity of an alert. What is absent stays as it is.",
        wrapper: "thresholds: {LiveEvictions: {critical: {?}}}",
        keys: &[
            Key {
                name: "value",
                kind: "number, or null",
                range: Range::Text("0 or more; of a ratio at most 1"),
                absent: Absent::Means("as below"),
                meaning: "What the alert compares with; `null` is off.",
                example: "value: 10",
            },
            Key {
                name: "for",
                kind: "duration",
                range: Hold::RANGE,
                absent: Absent::Means("as below"),
                meaning: "How long the condition holds before the alert fires.",
                example: "for: 10m",
            },
            Key {
                name: "keep_firing_for",
                kind: "duration",
                range: Hold::RANGE,
                absent: Absent::Means("as below"),
                meaning: "How long the alert stays after its condition ended.",
                example: "keep_firing_for: 5m",
            },
            Key {
                name: "window",
                kind: "duration",
                range: Window::RANGE,
                absent: Absent::Means("as below"),
                meaning: "What rates and extremes look back over; only for alerts with a window below.",
                example: "window: 5m",
            },
        ],
    },
    Section {
        parent: "expect",
        meaning: "Expectations. `<bound>` is one of the three bounds further below.",
        wrapper: "expect: {?}",
        keys: &[
            Key {
                name: "preset",
                kind: "word",
                range: Range::Words(words::<expect::Preset>),
                absent: Absent::Means("none"),
                meaning: "Expectations that come ready-made; what stands beside it replaces its own.",
                example: "preset: nas-tuning",
            },
            Key {
                name: "gc_interval",
                kind: "`<bound>` of a duration",
                range: Range::Any,
                absent: Absent::Means("anything"),
                meaning: "Time between two passes of Cilium's conntrack gc.",
                example: "gc_interval: {at_most: 5m}",
            },
            Key {
                name: "map_capacity",
                kind: "`<bound>` of a number of entries, by map",
                range: Range::Words(words::<Table>),
                absent: Absent::Means("anything"),
                meaning: "The size of Cilium's maps, IPv4 and IPv6 alike: `ct_tcp` is `ct4_global` and `ct6_global` \
                          (`bpf.ctTcpMax`), `ct_any` is `ct_any4_global` and `ct_any6_global` (`bpf.ctAnyMax`), `nat` is \
                          `snat_v4_external` and `snat_v6_external` (`bpf.natMax`). With Cilium's own gc interval a bigger map \
                          holds more dead entries: expect one only where living entries need it.",
                example: "map_capacity: {ct_tcp: {at_least: 524288}}",
            },
            Key {
                name: "ct_timeouts",
                kind: "`<bound>` of a duration, by timeout",
                range: Range::Words(words::<TimeoutClass>),
                absent: Absent::Means("anything"),
                meaning: "Cilium's conntrack timeouts, `bpf-ct-timeout-*`.",
                example: "ct_timeouts: {tcp: {equals: 6h}}",
            },
            Key {
                name: "sysctls",
                kind: "`<bound>` of a number or of words, by name",
                range: Range::AtMost(MAX_SYSCTLS, "sysctls; words only with `equals`"),
                absent: Absent::Means("anything"),
                meaning: "Sysctls of the node, named as sysctl(8) does: with dots, and a slash for a dot in the name of an interface (`net.ipv4.conf.eth0/100.rp_filter`), or the other way round (`net/ipv4/conf/eth0.100/rp_filter`).",
                example: "sysctls: {net.ipv4.tcp_fin_timeout: {equals: 30}}",
            },
            Key {
                name: "mount_options",
                kind: "mapping, by file system",
                range: Range::Words(words::<Family>),
                absent: Absent::Means("anything"),
                meaning: "Options every mount of that file system must have.",
                example: "mount_options: {cifs: {has: [actimeo=60]}}",
            },
        ],
    },
    Section {
        parent: "<bound>",
        meaning: "A comparison: exactly one of these.",
        wrapper: "expect: {gc_interval: {?}}",
        keys: &[
            Key {
                name: "at_least",
                kind: "as what is compared",
                range: Range::Any,
                absent: Absent::Means("another bound"),
                meaning: "This or more.",
                example: "at_least: 1m",
            },
            Key {
                name: "at_most",
                kind: "as what is compared",
                range: Range::Any,
                absent: Absent::Means("another bound"),
                meaning: "This or less.",
                example: "at_most: 5m",
            },
            Key {
                name: "equals",
                kind: "as what is compared",
                range: Range::Any,
                absent: Absent::Means("another bound"),
                meaning: "This and nothing else.",
                example: "equals: 5m",
            },
        ],
    },
    Section {
        parent: "expect.mount_options.<file system>",
        meaning: "What mounts of a file system must have.",
        wrapper: "expect: {mount_options: {cifs: {?}}}",
        keys: &[Key {
            name: "has",
            kind: "list of mount options",
            range: Range::Text("each as `/proc/mounts` writes it"),
            absent: Absent::Required,
            meaning: "The options.",
            example: "has: [cache=loose, actimeo=60]",
        }],
    },
    Section {
        parent: "logs[]",
        meaning: "A pattern of your own.",
        wrapper: "logs: [{?}]",
        keys: &[
            Key {
                name: "name",
                kind: "text",
                range: Range::Text("1 to 63 of a-z, 0-9, `_` and `-`, not `none`"),
                absent: Absent::Required,
                meaning: "The label `pattern`.",
                example: "name: io_error",
            },
            Key {
                name: "pattern",
                kind: "regular expression",
                range: Range::AtMost(MAX_PATTERN_BYTES, "bytes; it does not match an empty line"),
                absent: Absent::Required,
                meaning: "Lines that match are counted. No part of a line leaves the node.",
                example: "pattern: '(?i)input/output error'",
            },
            NAMESPACES,
            PODS,
            CONTAINERS,
        ],
    },
    Section {
        parent: "logs[]",
        meaning: "A preset: several patterns that come ready-made, each for the logs it is about. Of `trident-qnap`, what only the storage driver writes is looked for in its pods (`*trident*`), and failing mounts also in those of other CSI drivers (`*csi*`). What any application may write, `input/output error` and `database is locked`, is looked for in the driver's pods too, unless the lists beside the preset name pods or namespaces of applications: those are looked at instead.",
        wrapper: "logs: [{?}]",
        keys: &[
            Key {
                name: "preset",
                kind: "word",
                range: Range::Words(words::<logs::Preset>),
                absent: Absent::Required,
                meaning: "Which one.",
                example: "preset: trident-qnap",
            },
            NAMESPACES,
            PODS,
            CONTAINERS,
        ],
    },
];

const NAMESPACES: Key = Key {
    name: "namespaces",
    kind: "list of names, `*` is any characters",
    range: Range::Any,
    absent: Absent::Means("all"),
    meaning: "Namespaces whose pods are read.",
    example: "namespaces: [\"*trident*\"]",
};

const PODS: Key = Key {
    name: "pods",
    kind: "list of names, `*` is any characters",
    range: Range::Any,
    absent: Absent::Means("all"),
    meaning: "Pods that are read.",
    example: "pods: [\"csi-*\"]",
};

const CONTAINERS: Key = Key {
    name: "containers",
    kind: "list of names, `*` is any characters",
    range: Range::Any,
    absent: Absent::Means("all"),
    meaning: "Containers that are read.",
    example: "containers: [driver]",
};

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::parse;

    /// A file with this key as its example has it, and those that its mapping needs.
    fn file(section: &Section, key: &Key) -> String {
        file_with(section, key, key.example)
    }

    /// The same with the key written like this.
    fn file_with(section: &Section, key: &Key, written: &str) -> String {
        let needed = section.keys.iter().filter(|other| matches!(other.absent, Absent::Required));
        let others = needed.filter(|other| other.name != key.name).map(|other| other.example);
        let keys: Vec<_> = others.chain([written]).collect();
        section.wrapper.replace('?', &keys.join(", "))
    }

    #[test]
    fn every_key_is_read_and_its_example_changes_something() {
        for section in SECTIONS {
            for key in section.keys {
                let text = file(section, key);
                let read =
                    parse::<crate::tests::Known>(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert_ne!(read, Settings::defaults::<crate::tests::Known>(), "{text}");
                let named = key.example.starts_with(&format!("{}: ", key.name));
                assert!(named || key.name.starts_with('<'), "{text}");
            }
        }
    }

    /// What our library's reader calls its own types, and nobody who writes YAML knows.
    const FOREIGN: [&str; 14] = [
        "struct ",
        "enum ",
        "tuple",
        "newtype",
        "unit",
        "sequence",
        "invalid type",
        "a map ",
        "boolean",
        "Raw",
        "u8",
        "u16",
        "u64",
        "i64",
    ];

    #[test]
    fn a_value_of_a_wrong_kind_is_refused_in_words_of_yaml() {
        let kinds =
            ["{wrong: {wrong: 1}}", "[[1]]", "[{wrong: 1}]", "wrong wrong", "-1.5", "true", "null", "''"];
        let mut refused = 0;
        for (section, key) in
            SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)))
        {
            let name = key.example.split_once(": ").map_or(key.name, |(name, _)| name);
            for kind in kinds {
                let text = file_with(section, key, &format!("{name}: {kind}"));
                let Err(error) = parse::<crate::tests::Known>(&text) else { continue };
                let error = error.to_string();
                let foreign = FOREIGN.iter().find(|word| error.contains(**word));
                assert_eq!(foreign, None, "{text}: {error}");
                assert!(error.contains("line 1") && !error.contains('\n'), "{text}: {error}");
                refused += 1;
            }
        }
        assert!(refused > 200, "{refused}");
        let error = parse::<crate::tests::Known>("wrong").unwrap_err().to_string();
        assert!(error.contains("found the text \"wrong\", expected a mapping of keys"), "{error}");
    }

    #[test]
    fn a_key_that_is_required_is_missed() {
        for section in SECTIONS {
            for key in section.keys.iter().filter(|key| matches!(key.absent, Absent::Required)) {
                let others = section.keys.iter().filter(|other| other.name != key.name);
                let others: Vec<_> = others.map(|other| other.example).collect();
                let text = section.wrapper.replace('?', &others.join(", "));
                assert!(parse::<crate::tests::Known>(&text).is_err(), "{text}");
            }
        }
    }

    #[test]
    fn every_key_that_is_known_is_described() {
        let mut described: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for section in SECTIONS.iter().filter(|section| !section.keys[0].name.starts_with('<')) {
            let names = section.keys.iter().map(|key| key.name.to_owned());
            described.entry(section.wrapper).or_default().extend(names);
        }
        for (wrapper, described) in described {
            let error = parse::<crate::tests::Known>(&wrapper.replace('?', "no_such_key: 1"))
                .expect_err(wrapper)
                .to_string();
            let (_, expected) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
            let known: BTreeSet<_> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            assert_eq!(described, known, "{wrapper}: {error}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_settings() {
        let defaults = Settings::defaults::<crate::tests::Known>();
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            assert!(!key.absent(&defaults).is_empty(), "{} has no default", key.name);
        }
        assert_eq!(SECTIONS[0].keys[1].absent(&defaults), "`15s`");
    }

    #[test]
    fn ranges_are_the_readers_own() {
        assert_eq!(SECTIONS[0].keys[1].range.text(), "1s to 10m");
        assert_eq!(SECTIONS[0].keys[3].range.text(), "`auto`, `ktime`, `jiffies`");
    }
}
