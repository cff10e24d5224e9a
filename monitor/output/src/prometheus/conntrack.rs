//! Conntrack and NAT entries by class, and the clock they are judged on.

use monitor_abi::class::{DUE_SHOWN, Direction, Protocol, State};
use monitor_abi::scan::Clock;
use monitor_model::float::float;
use monitor_model::snapshot::{ClockFacts, MapScan, MapState, Snapshot, TimeoutFact};

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

const NOT_WALKED: Option<&str> = Some("while the map is not pinned or cannot be read");
const NO_CLOCK: Option<&str> = Some("while the clock of lifetimes is unknown, or the map cannot be read");

pub(super) const GROUP: Group = Group {
    title: "Conntrack and NAT entries",
    about: "What the maps hold, by class. Directions with states, protocols, and due times are a partition each: their sum is `ctmon_map_entries`. \
            A lifetime that has passed does not remove an entry: Cilium's gc does when it comes next, and until \
            then the entry takes a place (`expired=\"true\"`).",
    metrics: &[
        Metric {
            name: "ctmon_ct_entries",
            help: "Conntrack entries: a strict partition by direction, state and whether the lifetime has passed",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name", "direction", "state", "expired"],
            absent: NOT_WALKED,
            collect: entries,
        },
        Metric {
            name: "ctmon_ct_protocol_entries",
            help: "Conntrack entries by IP protocol",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name", "protocol"],
            absent: NOT_WALKED,
            collect: protocols,
        },
        Metric {
            name: "ctmon_ct_due_entries",
            help: "Conntrack entries by when they fall due: a strict partition of the time left or overdue",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name", "due"],
            absent: NO_CLOCK,
            collect: due,
        },
        Metric {
            name: "ctmon_ct_oldest_expired_seconds",
            help: "How long ago the longest expired entry fell due, still waiting for the collector; 0 if there is none",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &["map_name"],
            absent: NO_CLOCK,
            collect: |input, samples| {
                for (map, scan) in conntrack(input.snapshot) {
                    samples.known(&[&map.map.name], scan.oldest_expired.map(float));
                }
            },
        },
        Metric {
            name: "ctmon_ct_odd_lifetime_entries",
            help: "Entries with both closing bits that are kept as long as open ones: they hold their places for hours",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: Some("while nothing says how long closed entries are kept"),
            collect: |input, samples| {
                for (map, scan) in conntrack(input.snapshot) {
                    samples.known(&[&map.map.name], scan.odd_lifetimes.map(float));
                }
            },
        },
        Metric {
            name: "ctmon_nat_entries",
            help: "NAT entries by direction",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name", "direction"],
            absent: NOT_WALKED,
            collect: nat,
        },
        Metric {
            name: "ctmon_ct_timeout_seconds",
            help: "Conntrack timeouts in force, by class and how they are known; entries show up to a report interval too much",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &["class", "source"],
            absent: Some("for a class that neither entries show nor Cilium's configuration names"),
            collect: |input, samples| {
                for TimeoutFact { class, source, value } in &input.snapshot.timeouts {
                    samples.add(&[class.name(), source.name()], value.as_secs_f64());
                }
            },
        },
        Metric {
            name: "ctmon_clock_info",
            help: "The clock of conntrack lifetimes, how it was found, jiffies per second; always 1",
            kind: Kind::Gauge,
            unit: Unit::Info,
            labels: &["mode", "source", "hz"],
            absent: None,
            collect: clock,
        },
    ],
};

/// The conntrack maps that were walked.
fn conntrack(snapshot: &Snapshot) -> impl Iterator<Item = (&MapState, &MapScan)> {
    let scans = snapshot.present().map(|(map, present)| (map, &present.scan));
    scans.filter(|(map, _)| map.map.is_conntrack())
}

fn entries(input: &Input<'_>, samples: &mut Samples) {
    for (map, scan) in conntrack(input.snapshot) {
        let classes: &[_] = match scan.oldest_expired {
            Some(_) => &[("false", Some(false)), ("true", Some(true))],
            None => &[("unknown", None)],
        };
        for direction in Direction::ALL {
            for state in State::ALL {
                for (expired, wanted) in classes {
                    let entries = scan.count(|cell| {
                        cell.direction == *direction && cell.state == *state && cell.due.expired() == *wanted
                    });
                    samples.count(&[&map.map.name, direction.name(), state.name(), expired], entries);
                }
            }
        }
    }
}

fn protocols(input: &Input<'_>, samples: &mut Samples) {
    for (map, scan) in conntrack(input.snapshot) {
        for protocol in Protocol::ALL {
            let entries = scan.count(|cell| cell.protocol == *protocol);
            samples.count(&[&map.map.name, protocol.name()], entries);
        }
    }
}

fn due(input: &Input<'_>, samples: &mut Samples) {
    let decided = conntrack(input.snapshot).filter(|(_, scan)| scan.oldest_expired.is_some());
    for (map, scan) in decided {
        for due in DUE_SHOWN {
            samples.count(&[&map.map.name, due.name()], scan.count(|cell| cell.due == due));
        }
    }
}

fn nat(input: &Input<'_>, samples: &mut Samples) {
    for (map, present) in input.snapshot.present().filter(|(map, _)| !map.map.is_conntrack()) {
        for direction in [Direction::Out, Direction::In] {
            let entries = present.scan.count(|cell| cell.direction == direction);
            samples.count(&[&map.map.name, direction.name()], entries);
        }
    }
}

fn clock(input: &Input<'_>, samples: &mut Samples) {
    let ClockFacts { mode, forced, hz } = input.snapshot.clock;
    let mode = match mode {
        Clock::Undecided => "unknown",
        Clock::Ktime => "ktime",
        Clock::Jiffies => "jiffies",
    };
    let source = if forced { "config" } else { "entries" };
    let hz = hz.map_or_else(|| "unknown".to_owned(), |hz| hz.to_string());
    samples.count(&[mode, source, &hz], 1);
}
