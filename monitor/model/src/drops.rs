//! What Cilium's datapath counts of its failures, and its words for them.
//!
//! In: sums, as the kernel holds them. Out: [`Drops`]. Must not: read a counter.
//!
//! Words: <https://github.com/cilium/cilium/blob/v1.18.0/pkg/monitor/api/drop.go>.

/// `DROP_CT_CREATE_FAILED`: no entry could be made for a new connection.
pub const CT_INSERTION_FAILED: u8 = 155;
/// `DROP_NAT_NO_MAPPING`: no source port was free.
pub const NO_NAT_MAPPING: u8 = 167;

/// Reasons about conntrack and NAT, and what Cilium calls them.
pub const REASONS: [(u8, &str); 9] = [
    (CT_INSERTION_FAILED, "CT: Map insertion failed"),
    (NO_NAT_MAPPING, "No mapping for NAT masquerade"),
    (163, "Unknown connection tracking state"),
    (135, "CT: Truncated or invalid header"),
    (137, "CT: Unknown L4 protocol"),
    (168, "Unsupported protocol for NAT masquerade"),
    (175, "First logical datagram fragment not found"),
    (190, "No conntrack map found"),
    (191, "No nat map found"),
];

/// Cilium's words for the direction's two bits.
pub const DIRECTIONS: [&str; 4] = ["UNKNOWN", "INGRESS", "EGRESS", "SERVICE"];

/// Classes of how many tries a source port took.
pub const RETRIES: [&str; 5] = ["0", "1_4", "5_16", "17_31", "exhausted"];

/// The first of [`RETRIES`] say nothing of scarcity.
const EASY_CLASSES: usize = 2;

/// What the datapath counts since its maps were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Packets, by the order of [`REASONS`] and [`DIRECTIONS`]; `None` without `cilium_metrics`.
    pub packets: Option<Packets>,
    /// Allocations of a source port by family, in the order of [`RETRIES`]; families without a map are left out.
    pub retries: Vec<Retries>,
}

/// Packets by the order of [`REASONS`] and [`DIRECTIONS`].
pub type Packets = [[u64; DIRECTIONS.len()]; REASONS.len()];

/// A family and its allocations in the order of [`RETRIES`].
pub type Retries = (&'static str, [u64; RETRIES.len()]);

impl Drops {
    /// Packets dropped for a reason, in all directions.
    #[must_use]
    pub fn of(&self, wanted: u8) -> Option<u64> {
        let index = REASONS.iter().position(|(reason, _)| *reason == wanted)?;
        Some(self.packets?.get(index)?.iter().sum())
    }

    /// Events that come when source ports run short: tries beyond a handful, packets without a port. While less than
    /// half of a range is taken, one allocation in thirty needs more than four tries.
    #[must_use]
    pub fn scarce_ports(&self) -> u64 {
        let retried =
            self.retries.iter().flat_map(|(_, counts)| counts.iter().skip(EASY_CLASSES)).sum::<u64>();
        retried + self.of(NO_NAT_MAPPING).unwrap_or(0)
    }
}
