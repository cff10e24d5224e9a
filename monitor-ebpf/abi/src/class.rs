//! What an entry is: direction, state, protocol, due class.
//!
//! In: integers out of a key, a value and a clock. Out: small enums whose numbers index the counters.
//! Must not: divide, look up or allocate: the same functions run in the kernel for every entry.

use crate::cilium::{TUPLE_F_IN, TUPLE_F_RELATED, TUPLE_F_SERVICE, ct_flag, proto};

/// Implements the number <-> variant conversions of a dense enum and its names, in display order.
macro_rules! dense_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $number,)+ }

        impl $name {
            /// Every variant, in display order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The label value.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The variant with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// The variant with this label value.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

dense_enum! {
    /// Which way the entry faces, by its tuple flags; related wins.
    Direction {
        Out = 0 => "out",
        In = 1 => "in",
        Service = 2 => "service",
        Related = 3 => "related",
    }
}

dense_enum! {
    /// A strict partition of conntrack entries.
    State {
        /// Only `RxClosing`: a FIN or RST arrived at the local endpoint.
        RxClosing = 0 => "rx_closing",
        /// Only `TxClosing`: the local endpoint sent a FIN or RST.
        TxClosing = 1 => "tx_closing",
        /// Both bits: closed, and waiting for Cilium's gc.
        Closed = 2 => "closed",
        /// Not TCP, or RELATED.
        Stateless = 3 => "stateless",
        /// TCP with only SYNs so far.
        Opening = 4 => "opening",
        Established = 5 => "established",
    }
}

dense_enum! {
    /// The IP protocol of the key.
    Protocol {
        Tcp = 0 => "tcp",
        Udp = 1 => "udp",
        Icmp = 2 => "icmp",
        Icmpv6 = 3 => "icmpv6",
        Sctp = 4 => "sctp",
        Other = 5 => "other",
    }
}

dense_enum! {
    /// When the entry falls due: a strict partition of the seconds left. `Unknown` while the clock is.
    Due {
        Unknown = 0 => "unknown",
        /// Overdue by more than Cilium's gc ever waits: a sign that the clock is misread. Shown as `overdue_12h`.
        Ancient = 1 => "ancient",
        Overdue12h = 2 => "overdue_12h",
        Overdue1h = 3 => "overdue_1h",
        Overdue10m = 4 => "overdue_10m",
        Overdue = 5 => "overdue",
        Within10s = 6 => "10s",
        Within60s = 7 => "60s",
        Within10m = 8 => "10m",
        Within1h = 9 => "1h",
        Within8000s = 10 => "8000s",
        Later = 11 => "later",
        /// Due after any timeout one would configure: a sign that the clock is misread. Shown as `later`.
        Far = 12 => "far",
    }
}

dense_enum! {
    /// What an evicted entry was.
    VictimState {
        RxClosing = 0 => "rx_closing",
        TxClosing = 1 => "tx_closing",
        Closed = 2 => "closed",
        Stateless = 3 => "stateless",
        Opening = 4 => "opening",
        Established = 5 => "established",
        /// NAT entries have no state.
        None = 6 => "none",
        /// Kernel memory may not be read: only the number of victims is known.
        Unknown = 7 => "unknown",
    }
}

dense_enum! {
    /// Whether an evicted entry's lifetime had passed.
    Expiry {
        False = 0 => "false",
        True = 1 => "true",
        /// The clock is undecided, the entry has no lifetime, or nothing of it could be read.
        Unknown = 2 => "unknown",
    }
}

/// The due classes users see.
pub const DUE_SHOWN: [Due; 10] = [
    Due::Overdue12h,
    Due::Overdue1h,
    Due::Overdue10m,
    Due::Overdue,
    Due::Within10s,
    Due::Within60s,
    Due::Within10m,
    Due::Within1h,
    Due::Within8000s,
    Due::Later,
];

/// Bounds between the due classes, in seconds left: class `Ancient + i` lies below `DUE_BOUNDS[i]`.
///
/// An entry is expired when its seconds left are below 0, so `overdue` ends there and `10s` holds 0..=10.
pub const DUE_BOUNDS: [i64; 11] = [-129_600, -43_199, -3_599, -599, 0, 11, 61, 601, 3_601, 8_001, 129_600];

// Entries come in no order, so a branch on an entry's class is mispredicted half the time. The numbers below are
// therefore looked up in a constant, four bits each, and compared by subtraction: a walk costs a third less.

impl Direction {
    /// By tuple flags 0 to 7.
    const NUMBERS: u32 = 0x3322_3310;

    /// The number of the variant.
    #[inline(always)]
    #[must_use]
    pub const fn number_of(tuple_flags: u8) -> u8 {
        let known = (tuple_flags & (TUPLE_F_IN | TUPLE_F_RELATED | TUPLE_F_SERVICE)) as u32;
        ((Self::NUMBERS >> (known * 4)) & 3) as u8
    }

    #[inline(always)]
    #[must_use]
    pub const fn of(tuple_flags: u8) -> Self {
        match Self::number_of(tuple_flags) {
            0 => Self::Out,
            1 => Self::In,
            2 => Self::Service,
            _ => Self::Related,
        }
    }
}

impl State {
    /// By closing bits (2), whether a packet without SYN was seen (1), whether it is TCP and not RELATED (1).
    const NUMBERS: u64 = 0x2105_2104_2103_2103;

    /// The number of the variant; `tcp` is 1 for TCP, else 0.
    #[inline(always)]
    #[must_use]
    pub const fn number_of(tcp: u8, tuple_flags: u8, ct_flags: u16) -> u8 {
        let closing = (ct_flags & (ct_flag::RX_CLOSING | ct_flag::TX_CLOSING)) as u32;
        let seen_non_syn = ((ct_flags / ct_flag::SEEN_NON_SYN) & 1) as u32;
        let stateful = (tcp & !(tuple_flags / TUPLE_F_RELATED)) as u32 & 1;
        ((Self::NUMBERS >> ((closing | seen_non_syn << 2 | stateful << 3) * 4)) & 7) as u8
    }

    #[inline(always)]
    #[must_use]
    pub const fn of(nexthdr: u8, tuple_flags: u8, ct_flags: u16) -> Self {
        match Self::number_of((nexthdr == proto::TCP) as u8, tuple_flags, ct_flags) {
            0 => Self::RxClosing,
            1 => Self::TxClosing,
            2 => Self::Closed,
            3 => Self::Stateless,
            4 => Self::Opening,
            _ => Self::Established,
        }
    }

    /// Exactly what `grep -E 'RxClosing|TxClosing'` counts.
    #[must_use]
    pub const fn is_stale(self) -> bool {
        matches!(self, Self::RxClosing | Self::TxClosing | Self::Closed)
    }

    /// One closing bit only: such an entry keeps the full TCP timeout.
    #[must_use]
    pub const fn is_half_closed(self) -> bool {
        matches!(self, Self::RxClosing | Self::TxClosing)
    }
}

impl Expiry {
    /// `None` while unknown.
    #[must_use]
    pub const fn known(self) -> Option<bool> {
        match self {
            Self::False => Some(false),
            Self::True => Some(true),
            Self::Unknown => None,
        }
    }
}

impl Protocol {
    /// What [`Self::IS_TCP`] and the variant's number make of a next header, for all of them: a table to look into.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "as many elements as a next header has values")]
    pub const fn by_nexthdr() -> [u8; 256] {
        let mut table = [Self::Other as u8; 256];
        table[proto::TCP as usize] = Self::Tcp as u8 | Self::IS_TCP;
        table[proto::UDP as usize] = Self::Udp as u8;
        table[proto::ICMP as usize] = Self::Icmp as u8;
        table[proto::ICMPV6 as usize] = Self::Icmpv6 as u8;
        table[proto::SCTP as usize] = Self::Sctp as u8;
        table
    }

    /// Set beside the number of the variant for TCP, which alone has states.
    pub const IS_TCP: u8 = 8;

    #[inline(always)]
    #[must_use]
    pub const fn of(nexthdr: u8) -> Self {
        match nexthdr {
            proto::TCP => Self::Tcp,
            proto::UDP => Self::Udp,
            proto::ICMP => Self::Icmp,
            proto::ICMPV6 => Self::Icmpv6,
            proto::SCTP => Self::Sctp,
            _ => Self::Other,
        }
    }
}

impl Due {
    /// `true` for the classes below zero seconds left; `None` while unknown.
    #[must_use]
    pub const fn expired(self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Ancient | Self::Overdue12h | Self::Overdue1h | Self::Overdue10m | Self::Overdue => {
                Some(true)
            }
            _ => Some(false),
        }
    }

    /// The class users see.
    #[must_use]
    pub const fn shown(self) -> Self {
        match self {
            Self::Ancient => Self::Overdue12h,
            Self::Far => Self::Later,
            other => other,
        }
    }

    /// The number of the class of `left` clock units, given the bounds in the same units: 12 less the bounds
    /// above it.
    #[inline(always)]
    #[must_use]
    pub const fn number_of(left: i64, bounds: &[i64; 11]) -> u8 {
        let [ancient, by_12h, by_1h, by_10m, now, in_10s, in_60s, in_10m, in_1h, in_8000s, far] = *bounds;
        12 - (below(left, ancient)
            + below(left, by_12h)
            + below(left, by_1h)
            + below(left, by_10m)
            + below(left, now)
            + below(left, in_10s)
            + below(left, in_60s)
            + below(left, in_10m)
            + below(left, in_1h)
            + below(left, in_8000s)
            + below(left, far))
    }
}

/// 1 if `left < bound`, without a branch; both lie within 32 bits, so the difference cannot overflow.
#[inline(always)]
const fn below(left: i64, bound: i64) -> u8 {
    (left.wrapping_sub(bound).cast_unsigned() >> 63) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn related_wins_over_service_and_service_over_in() {
        for flags in 0..=255_u8 {
            let expected = if flags & TUPLE_F_RELATED != 0 {
                Direction::Related
            } else if flags & TUPLE_F_SERVICE != 0 {
                Direction::Service
            } else if flags & TUPLE_F_IN != 0 {
                Direction::In
            } else {
                Direction::Out
            };
            assert_eq!(Direction::of(flags), expected, "{flags}");
            assert_eq!(Direction::number_of(flags), expected as u8);
        }
    }

    #[test]
    fn closing_bits_come_first_then_what_has_no_state() {
        for nexthdr in [0, 1, 6, 17, 58, 132, 255] {
            for tuple_flags in 0..=255_u8 {
                for ct_flags in 0..=0xffff_u16 {
                    let (rx, tx) = (ct_flags & ct_flag::RX_CLOSING != 0, ct_flags & ct_flag::TX_CLOSING != 0);
                    let expected = match (rx, tx) {
                        (true, true) => State::Closed,
                        (true, false) => State::RxClosing,
                        (false, true) => State::TxClosing,
                        _ if nexthdr != proto::TCP || tuple_flags & TUPLE_F_RELATED != 0 => State::Stateless,
                        _ if ct_flags & ct_flag::SEEN_NON_SYN == 0 => State::Opening,
                        _ => State::Established,
                    };
                    assert_eq!(State::of(nexthdr, tuple_flags, ct_flags), expected);
                    assert_eq!(
                        State::number_of(u8::from(nexthdr == proto::TCP), tuple_flags, ct_flags),
                        expected as u8
                    );
                }
            }
        }
    }

    #[test]
    fn a_due_class_begins_at_its_bound() {
        for (index, bound) in (1_u8..).zip(DUE_BOUNDS) {
            assert_eq!(Due::number_of(bound - 1, &DUE_BOUNDS), index, "below {bound}");
            assert_eq!(Due::number_of(bound, &DUE_BOUNDS), index + 1, "at {bound}");
        }
        assert_eq!(Due::number_of(i32::MIN.into(), &DUE_BOUNDS), Due::Ancient as u8);
        assert_eq!(Due::number_of(i32::MAX.into(), &DUE_BOUNDS), Due::Far as u8);
    }
}
