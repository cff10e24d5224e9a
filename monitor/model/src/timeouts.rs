//! Cilium's conntrack timeouts: their names, and by how much two sources of one may differ.
//!
//! In: the interval between two reports of an entry. Out: [`TimeoutClass`], a tolerance. Must not: know where timeouts
//! come from.

use std::time::Duration;

use crate::clock::ClockNow;

/// Which of Cilium's conntrack timeouts, `bpf-ct-timeout-*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeoutClass {
    Tcp,
    Any,
    Syn,
    Fin,
    ServiceTcp,
    ServiceAny,
    /// When a closing SERVICE entry may get another backend: no entry's lifetime shows it.
    ServiceTcpGrace,
}

impl TimeoutClass {
    /// Every class, in display order.
    pub const ALL: &[Self] = &[
        Self::Tcp,
        Self::Any,
        Self::Syn,
        Self::Fin,
        Self::ServiceTcp,
        Self::ServiceAny,
        Self::ServiceTcpGrace,
    ];

    /// The label value, and the word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Any => "any",
            Self::Syn => "syn",
            Self::Fin => "fin",
            Self::ServiceTcp => "service_tcp",
            Self::ServiceAny => "service_any",
            Self::ServiceTcpGrace => "service_tcp_grace",
        }
    }

    /// The key of Cilium's configuration that sets it.
    #[must_use]
    pub const fn cilium_key(self) -> &'static str {
        match self {
            Self::Tcp => "bpf-ct-timeout-regular-tcp",
            Self::Any => "bpf-ct-timeout-regular-any",
            Self::Syn => "bpf-ct-timeout-regular-tcp-syn",
            Self::Fin => "bpf-ct-timeout-regular-tcp-fin",
            Self::ServiceTcp => "bpf-ct-timeout-service-tcp",
            Self::ServiceAny => "bpf-ct-timeout-service-any",
            Self::ServiceTcpGrace => "bpf-ct-timeout-service-tcp-grace",
        }
    }

    /// Whether it is the lifetime of entries, so that they show it.
    #[must_use]
    pub const fn is_lifetime(self) -> bool {
        !matches!(self, Self::ServiceTcpGrace)
    }
}

/// Clock units by which lifetime and report may be off: each was rounded on its own.
pub const ROUNDING: u32 = 2;

/// By how much two sources of a timeout may differ that say the same.
#[must_use]
pub fn tolerance(interval: Duration, clock: Option<ClockNow>) -> Duration {
    interval + clock.and_then(|clock| clock.duration(ROUNDING.into())).unwrap_or_default()
}
