//! The incident as a script: phases, how long each lasts, what arrives in it.
//!
//! In: the time since the start. Out: the phase and its rates. Must not: hold state.

use std::time::Duration;

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The incident that ctmon was written for, and its repair.
    Incident,
    /// The node as it is after the repair, from the start.
    Healthy,
}

/// A part of the incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Live connections, hardly any closing.
    Calm,
    /// Connections to the NAS come and go; the gc drifts; closed entries pile up.
    PileUp,
    /// Some ends of NAS connections no longer answer a FIN.
    HalfClosing,
    /// The NAS answers no more SYNs for SMB and iSCSI.
    Unanswered,
    /// The interval is fixed, the NAS answers and resets what it forgot.
    Repair,
    Healthy,
}

/// The incident's own length, by which rates are given.
pub const LENGTH: Duration = Duration::from_secs(600);

/// Phases with their seconds of [`LENGTH`]; the last one goes on. Unanswered SYNs last as long as the alert on them needs:
/// all of its window of three minutes, then two more, and the scrapes in between. The last two phases are long enough
/// for every alert to end. `tests/model/reach.rs` holds the script to both.
pub const SCRIPT: [(Phase, u32); 6] = [
    (Phase::Calm, 20),
    (Phase::PileUp, 105),
    (Phase::HalfClosing, 25),
    (Phase::Unanswered, 330),
    (Phase::Repair, 60),
    (Phase::Healthy, 60),
];

/// Arrivals a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Connections to the NAS that are closed by both sides after a moment.
    pub nas_closing: f64,
    /// Connections to the NAS of which one side closes and the other never does.
    pub nas_half_closing: f64,
    /// Connection attempts at the NAS that get no answer.
    pub nas_unanswered: f64,
    /// Connections to the world that are closed by both sides after a moment.
    pub world_closing: f64,
    /// DNS questions of pods.
    pub dns: f64,
}

impl Phase {
    /// The phase `elapsed` after the start of an incident that takes `length`.
    #[must_use]
    pub fn at(elapsed: Duration, length: Duration) -> Self {
        let mut end = Duration::ZERO;
        for (phase, seconds) in SCRIPT {
            end += length * seconds / LENGTH.as_secs().try_into().unwrap_or(u32::MAX);
            if elapsed < end {
                return phase;
            }
        }
        Self::Healthy
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::PileUp => "pile-up",
            Self::HalfClosing => "half-closing",
            Self::Unanswered => "unanswered",
            Self::Repair => "repair",
            Self::Healthy => "healthy",
        }
    }

    /// What arrives in this phase of an incident that takes [`LENGTH`].
    #[must_use]
    pub const fn rates(self) -> Rates {
        let quiet = Rates {
            nas_closing: 0.5,
            nas_half_closing: 0.0,
            nas_unanswered: 0.0,
            world_closing: 1.0,
            dns: 5.0,
        };
        // 260 a second, while the gc runs 80 times as fast as a real one: 3 a second on a real node.
        let busy = Rates { nas_closing: 260.0, ..quiet };
        match self {
            Self::Calm | Self::Repair | Self::Healthy => quiet,
            Self::PileUp => busy,
            Self::HalfClosing => Rates { nas_half_closing: 12.0, ..busy },
            Self::Unanswered => Rates { nas_half_closing: 0.5, nas_unanswered: 6.0, ..busy },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_fill_the_length_in_order_and_the_last_one_stays() {
        assert_eq!(SCRIPT.iter().map(|(_, seconds)| u64::from(*seconds)).sum::<u64>(), LENGTH.as_secs());
        for (length, scale) in [(LENGTH, 1.0), (LENGTH / 8, 0.125)] {
            let at = |seconds: f64| Phase::at(Duration::from_secs_f64(seconds * scale), length);
            assert_eq!(at(0.0), Phase::Calm);
            assert_eq!((at(19.9), at(20.1)), (Phase::Calm, Phase::PileUp));
            assert_eq!((at(124.9), at(125.1)), (Phase::PileUp, Phase::HalfClosing));
            assert_eq!((at(150.1), at(480.1)), (Phase::Unanswered, Phase::Repair));
            assert_eq!((at(540.1), at(9_999.0)), (Phase::Healthy, Phase::Healthy));
        }
    }
}
