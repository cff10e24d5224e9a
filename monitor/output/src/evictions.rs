//! The last victims, on their way from the daemon to whoever asks on the same host.
//!
//! In: what a snapshot knows of evictions; at the other end the document. Out: one JSON document; a table or lines.
//! Must not: reach anybody but processes on this host: addresses of traffic are in it.
//!
//! `ctmon evictions -o json` prints the members of `victims`, one per line, newest last:
//!
//! | key | value |
//! |---|---|
//! | `number` | from 1, since the daemon started; numbers that are missing were overwritten before they were read |
//! | `evicted_at` | seconds since the epoch |
//! | `map`, `protocol`, `direction` | as in `ctmon list -o json` |
//! | `state` | as there, and `none` for NAT entries |
//! | `initiator`, `responder` | `{"address", "port"}`; of NAT entries source and destination of the packet |
//! | `remaining_seconds`, `expired` | what it had left; `null` where it has no lifetime or the clock is unknown |
//! | `target`, `target_service` | names, `none` and `other` where nothing matches |

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use monitor_model::eviction_plan::{Mode, Plan};
use monitor_model::snapshot::{Evictions, Victim};
use monitor_model::tuple::Endpoint;
use serde::{Deserialize, Serialize};

use super::table::{Cell, Span, Target};
use super::terminal::Shown;

/// What the daemon serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// `full`, `count` or `off`.
    pub mode: String,
    pub reason: String,
    /// The reason in words, the kernel's included.
    pub explanation: String,
    /// Victims overwritten before they were read.
    pub victims_lost: u64,
    /// Oldest first.
    pub victims: Vec<VictimObject>,
}

/// One victim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VictimObject {
    pub number: u64,
    pub evicted_at: f64,
    pub map: String,
    pub protocol: String,
    pub direction: String,
    pub state: String,
    pub initiator: EndObject,
    pub responder: EndObject,
    pub remaining_seconds: Option<i64>,
    pub expired: Option<bool>,
    pub target: String,
    pub target_service: String,
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndObject {
    pub address: IpAddr,
    pub port: u16,
}

impl Document {
    /// What a snapshot knows.
    #[must_use]
    pub fn new(evictions: &Evictions) -> Self {
        let Evictions { tracking, recursion_misses: _, maps: _, targets: _, victims, victims_lost } =
            evictions;
        let Plan { mode, reason, detail } = tracking;
        let mut explanation = reason.text().to_owned();
        if !detail.is_empty() {
            explanation.extend([": ", detail]);
        }
        Self {
            mode: mode.name().to_owned(),
            reason: reason.name().to_owned(),
            explanation,
            victims_lost: *victims_lost,
            victims: victims.iter().map(VictimObject::from).collect(),
        }
    }

    /// What stands in the way of naming victims, if anything does.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        if self.mode == Mode::Full.name() {
            return None;
        }
        let what = if self.mode == Mode::Count.name() {
            "victims are counted and cannot be named"
        } else {
            "evictions are not followed"
        };
        Some(format!("{what}: {}", self.explanation))
    }

    /// Writes one JSON object per victim.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        for victim in &self.victims {
            serde_json::to_writer(&mut *out, victim)?;
            writeln!(out)?;
        }
        Ok(())
    }

    /// Writes a table, and a line on what is missing in it.
    pub fn write_table(&self, out: &mut impl Write, now: SystemTime) -> io::Result<()> {
        let mut shown = None;
        for victim in &self.victims {
            let ends = [victim.initiator, victim.responder]
                .map(|EndObject { address, port }| Endpoint { address, port });
            let widths = super::table::shape(&victim.map, ends[0]);
            let (map, width) = widths;
            if shown.replace(widths) != Some(widths) {
                writeln!(
                    out,
                    "{:>8} {:<map$} {:<6} {:<7} {:<11} {:<width$} {:<width$} {:>8} TARGET",
                    "AGO", "MAP", "PROTO", "DIR", "STATE", "INITIATOR", "RESPONDER", "LEFT"
                )?;
            }
            let at = Duration::try_from_secs_f64(victim.evicted_at).unwrap_or_default();
            let ago = now.duration_since(UNIX_EPOCH + at).unwrap_or_default();
            writeln!(
                out,
                "{:>8} {:<map$} {:<6} {:<7} {:<11} {:<width$} {:<width$} {:>8} {}",
                Span(i64::try_from(ago.as_secs()).ok()),
                Shown::name(&victim.map),
                Shown::name(&victim.protocol),
                Shown::name(&victim.direction),
                Shown::name(&victim.state),
                Cell(ends[0]),
                Cell(ends[1]),
                Span(victim.remaining_seconds),
                Target(&victim.target, &victim.target_service)
            )?;
        }
        if self.victims.is_empty() {
            writeln!(out, "nothing was evicted since the daemon started")?;
        }
        if self.victims_lost > 0 {
            writeln!(out, "{} more were evicted too fast to be read", self.victims_lost)?;
        }
        Ok(())
    }
}

impl From<&Victim> for VictimObject {
    fn from(victim: &Victim) -> Self {
        let Victim {
            number,
            when,
            map_name,
            protocol,
            direction,
            initiator,
            responder,
            state,
            expiry,
            remaining,
            target,
            target_service,
        } = victim;
        let end = |Endpoint { address, port }: Endpoint| EndObject { address, port };
        Self {
            number: *number,
            evicted_at: when.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            map: map_name.clone(),
            protocol: protocol.name().to_owned(),
            direction: direction.name().to_owned(),
            state: state.name().to_owned(),
            initiator: end(*initiator),
            responder: end(*responder),
            remaining_seconds: *remaining,
            expired: expiry.known(),
            target: target.clone(),
            target_service: target_service.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use monitor_abi::class::{Direction, Expiry, Protocol, VictimState};

    use super::*;

    fn document(victims_lost: u64) -> Document {
        let end = |text: &str, port| Endpoint { address: text.parse().unwrap(), port };
        let victim = Victim {
            number: 7,
            when: UNIX_EPOCH + Duration::from_secs(1_000),
            map_name: "ct4_global".to_owned(),
            protocol: Protocol::Tcp,
            direction: Direction::Out,
            initiator: end("10.244.0.10", 43_210),
            responder: end("192.168.100.180", 445),
            state: VictimState::Established,
            expiry: Expiry::False,
            remaining: Some(7_980),
            target: "qnap".to_owned(),
            target_service: "smb".to_owned(),
        };
        let tracking = Plan { mode: Mode::Full, ..Plan::default() };
        Document::new(&Evictions { tracking, victims: vec![victim], victims_lost, ..Evictions::default() })
    }

    #[test]
    fn what_is_served_is_what_is_read() {
        let served = document(3);
        let read: Document = serde_json::from_slice(&serde_json::to_vec(&served).unwrap()).unwrap();
        assert_eq!(read, served);
    }

    #[test]
    fn the_table_tells_who_and_what_is_missing() {
        let mut out = Vec::new();
        document(3).write_table(&mut out, UNIX_EPOCH + Duration::from_secs(1_090)).unwrap();
        let text = String::from_utf8(out).unwrap();
        for expected in
            ["1m30s ct4_global", "10.244.0.10:43210", "192.168.100.180:445", "2h13m qnap/smb", "3 more were"]
        {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }

    #[test]
    fn only_the_full_mode_can_name_victims() {
        assert_eq!(document(0).obstacle(), None);
        let off = Document::new(&Evictions::default());
        assert!(off.obstacle().unwrap().starts_with("evictions are not followed: "), "{off:?}");
    }
}
