//! Conntrack and NAT entries by class, and the clock they are judged on.

use monitor_abi::class::{DUE_SHOWN, Direction, Protocol, State};
use monitor_abi::scan::Clock;
use monitor_model::snapshot::Snapshot;

use super::page::{Metric, Page};

const ENTRIES: Metric = Metric::gauge(
    "ctmon_ct_entries",
    "Conntrack entries: a strict partition by direction, state and whether the lifetime has passed",
);
const PROTOCOL: Metric = Metric::gauge("ctmon_ct_protocol_entries", "Conntrack entries by IP protocol");
const DUE: Metric = Metric::gauge(
    "ctmon_ct_due_entries",
    "Conntrack entries by when they fall due: a strict partition of the time left or overdue",
);
const OLDEST: Metric = Metric::gauge(
    "ctmon_ct_oldest_expired_seconds",
    "How long ago the longest expired entry fell due, still waiting for the collector; 0 if there is none",
);
const TIMEOUT: Metric = Metric::gauge(
    "ctmon_ct_timeout_seconds",
    "Conntrack timeouts in force, by class and how they are known; entries show up to a report interval too much",
);
const ODD_LIFETIME: Metric = Metric::gauge(
    "ctmon_ct_odd_lifetime_entries",
    "Entries with both closing bits that are kept as long as open ones: they hold their places for hours",
);
const CLOCK: Metric = Metric::gauge(
    "ctmon_clock_info",
    "The clock of conntrack lifetimes, how it was found, jiffies per second; always 1",
);
const NAT: Metric = Metric::gauge("ctmon_nat_entries", "NAT entries by direction");

pub(super) const METRICS: &[Metric] = &[ENTRIES, PROTOCOL, DUE, OLDEST, TIMEOUT, ODD_LIFETIME, CLOCK, NAT];

pub(super) fn add(page: &mut Page, snapshot: &Snapshot) {
    for (map, present) in snapshot.present() {
        let name = ("map_name", map.map.name.as_str());
        let scan = &present.scan;
        if !map.map.is_conntrack() {
            for direction in [Direction::Out, Direction::In] {
                let entries = scan.count(|cell| cell.direction == direction);
                page.count(NAT, &[name, ("direction", direction.name())], entries);
            }
            continue;
        }
        let decided = scan.oldest_expired.is_some();
        for direction in Direction::ALL {
            for state in State::ALL {
                let mut add = |expired: &str, wanted: Option<bool>| {
                    let entries = scan.count(|cell| {
                        cell.direction == *direction && cell.state == *state && cell.due.expired() == wanted
                    });
                    let labels =
                        [("direction", direction.name()), ("state", state.name()), ("expired", expired)];
                    page.count(ENTRIES, &[name, labels[0], labels[1], labels[2]], entries);
                };
                if decided {
                    add("false", Some(false));
                    add("true", Some(true));
                } else {
                    add("unknown", None);
                }
            }
        }
        for protocol in Protocol::ALL {
            let entries = scan.count(|cell| cell.protocol == *protocol);
            page.count(PROTOCOL, &[name, ("protocol", protocol.name())], entries);
        }
        if decided {
            for due in DUE_SHOWN {
                page.count(DUE, &[name, ("due", due.name())], scan.count(|cell| cell.due == due));
            }
        }
        if let Some(oldest) = scan.oldest_expired {
            page.count(OLDEST, &[name], oldest);
        }
        if let Some(odd) = scan.odd_lifetimes {
            page.count(ODD_LIFETIME, &[name], odd);
        }
    }
    for fact in &snapshot.timeouts {
        let labels = [("class", fact.class.name()), ("source", fact.source.name())];
        page.sample(TIMEOUT, &labels, fact.value.as_secs_f64());
    }
    let mode = match snapshot.clock.mode {
        Clock::Undecided => "unknown",
        Clock::Ktime => "ktime",
        Clock::Jiffies => "jiffies",
    };
    let source = if snapshot.clock.forced { "config" } else { "entries" };
    let hz = snapshot.clock.hz.map_or_else(|| "unknown".to_owned(), |hz| hz.to_string());
    page.count(CLOCK, &[("mode", mode), ("source", source), ("hz", &hz)], 1);
}
