//! What Cilium's datapath counts of its failures, and its names for them.
//!
//! In: sums, as the kernel holds them. Out: [`Drops`]. Must not: read a counter.
//!
//! Codes and texts: <https://github.com/cilium/cilium/blob/v1.18.0/pkg/monitor/api/drop.go>.

/// Why the datapath drops a packet, as far as it is about conntrack and NAT. Named as the datapath names it, without
/// `DROP_`; the number is the key in `cilium_metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    CtInvalidHdr = 135,
    CtUnknownProto = 137,
    CtCreateFailed = 155,
    UnknownCt = 163,
    NatNoMapping = 167,
    NatUnsuppProto = 168,
    FragNotFound = 175,
    CtNoMapFound = 190,
    SnatNoMapFound = 191,
}

impl DropReason {
    /// Every reason, in display order: what full maps and exhausted ports cause comes first.
    pub const ALL: [Self; 9] = [
        Self::CtCreateFailed,
        Self::NatNoMapping,
        Self::UnknownCt,
        Self::CtInvalidHdr,
        Self::CtUnknownProto,
        Self::NatUnsuppProto,
        Self::FragNotFound,
        Self::CtNoMapFound,
        Self::SnatNoMapFound,
    ];

    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Cilium's text, which is the label value.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::CtInvalidHdr => "CT: Truncated or invalid header",
            Self::CtUnknownProto => "CT: Unknown L4 protocol",
            Self::CtCreateFailed => "CT: Map insertion failed",
            Self::UnknownCt => "Unknown connection tracking state",
            Self::NatNoMapping => "No mapping for NAT masquerade",
            Self::NatUnsuppProto => "Unsupported protocol for NAT masquerade",
            Self::FragNotFound => "First logical datagram fragment not found",
            Self::CtNoMapFound => "No conntrack map found",
            Self::SnatNoMapFound => "No nat map found",
        }
    }

    /// The place of a code in [`DropReason::ALL`].
    #[must_use]
    pub fn position(code: u8) -> Option<usize> {
        Self::ALL.iter().position(|reason| reason.code() == code)
    }
}

/// Cilium's names of the direction's two bits.
pub const DIRECTIONS: [&str; 4] = ["UNKNOWN", "INGRESS", "EGRESS", "SERVICE"];

/// Classes of how many tries a source port took.
pub const RETRIES: [&str; 5] = ["0", "1_4", "5_16", "17_31", "exhausted"];

/// The first classes of [`RETRIES`], which come without ports being scarce.
const EASY_CLASSES: usize = 2;

/// What the datapath counts since its maps were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Packets, by the order of [`DropReason::ALL`] and [`DIRECTIONS`]; `None` without `cilium_metrics`.
    pub packets: Option<Packets>,
    /// Allocations of a source port by family, in the order of [`RETRIES`]; families without a map are left out.
    pub retries: Vec<Retries>,
}

/// Packets by the order of [`DropReason::ALL`] and [`DIRECTIONS`].
pub type Packets = [[u64; DIRECTIONS.len()]; DropReason::ALL.len()];

/// A family and its allocations in the order of [`RETRIES`].
pub type Retries = (&'static str, [u64; RETRIES.len()]);

impl Drops {
    /// Packets dropped for a reason, in all directions.
    #[must_use]
    pub fn of(&self, wanted: DropReason) -> Option<u64> {
        Some(self.packets?.get(DropReason::position(wanted.code())?)?.iter().sum())
    }

    /// Events that come when source ports run short: allocations with more than four retries, packets without a port. While less than
    /// half of a range is taken, one allocation in thirty needs more than four tries.
    #[must_use]
    pub fn scarce_ports(&self) -> u64 {
        let retried =
            self.retries.iter().flat_map(|(_, counts)| counts.iter().skip(EASY_CLASSES)).sum::<u64>();
        retried + self.of(DropReason::NatNoMapping).unwrap_or(0)
    }
}
