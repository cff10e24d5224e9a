//! One NAT entry as plain data.
//!
//! In: nothing; the decoder fills it. Out: [`NatRow`]: the packet as it arrives, and what it is rewritten to.
//! Must not: know how Cilium lays an entry out, or read a clock: whoever asks for an age brings the clock's reading.

use monitor_abi::class::{Direction, Protocol};

use super::clock::ClockNow;
use super::tuple::Endpoint;

/// A NAT entry. Unlike conntrack keys, NAT keys are plain packet tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatRow {
    pub source: Endpoint,
    pub destination: Endpoint,
    /// The new source of outgoing packets, the original client of incoming ones.
    pub to: Endpoint,
    pub nexthdr: u8,
    pub tuple_flags: u8,
    pub direction: Direction,
    pub protocol: Protocol,
    /// Instant of creation on the map's clock.
    pub created: u64,
    /// Not 0 for flows of the host and of egress gateways, which get a conntrack entry of their own.
    pub needs_ct: u64,
}

impl NatRow {
    /// Seconds since the entry was created; `None` while the clock is unknown.
    #[must_use]
    pub fn age(&self, now: Option<ClockNow>) -> Option<i64> {
        let reading = now?;
        let now = i64::try_from(reading.seconds(reading.now.into())?).ok()?;
        let created = i64::try_from(reading.seconds(self.created)?).ok()?;
        Some(now.saturating_sub(created))
    }
}
