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
        /// Both bits: closed, and waiting for the collector.
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
        /// Overdue by more than any collector waits: a sign that the clock is misread. Shown as `overdue_12h`.
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

impl Direction {
    #[inline(always)]
    #[must_use]
    pub const fn of(tuple_flags: u8) -> Self {
        if tuple_flags & TUPLE_F_RELATED != 0 {
            Self::Related
        } else if tuple_flags & TUPLE_F_SERVICE != 0 {
            Self::Service
        } else if tuple_flags & TUPLE_F_IN != 0 {
            Self::In
        } else {
            Self::Out
        }
    }
}

impl State {
    #[inline(always)]
    #[must_use]
    pub const fn of(nexthdr: u8, tuple_flags: u8, ct_flags: u16) -> Self {
        let closing = ct_flags & (ct_flag::RX_CLOSING | ct_flag::TX_CLOSING);
        if closing == ct_flag::RX_CLOSING {
            Self::RxClosing
        } else if closing == ct_flag::TX_CLOSING {
            Self::TxClosing
        } else if closing != 0 {
            Self::Closed
        } else if nexthdr != proto::TCP || tuple_flags & TUPLE_F_RELATED != 0 {
            Self::Stateless
        } else if ct_flags & ct_flag::SEEN_NON_SYN == 0 {
            Self::Opening
        } else {
            Self::Established
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

    /// The class of `left` clock units, given [`DUE_BOUNDS`] in the same units.
    #[inline(always)]
    #[must_use]
    pub const fn number_of(left: i32, bounds: &[i32; 11]) -> u8 {
        let [ancient, b12h, b1h, b10m, zero, w10s, w60s, w10m, w1h, w8000s, far] = *bounds;
        if left < zero {
            1 + (left >= ancient) as u8 + (left >= b12h) as u8 + (left >= b1h) as u8 + (left >= b10m) as u8
        } else {
            6 + (left >= w10s) as u8
                + (left >= w60s) as u8
                + (left >= w10m) as u8
                + (left >= w1h) as u8
                + (left >= w8000s) as u8
                + (left >= far) as u8
        }
    }
}

const _: () = {
    // A conntrack state and the same state of a victim share their number.
    assert!(State::Established as u8 == VictimState::Established as u8);
    assert!(State::RxClosing as u8 == VictimState::RxClosing as u8);
    assert!(State::ALL.len() == VictimState::None as usize);
};
