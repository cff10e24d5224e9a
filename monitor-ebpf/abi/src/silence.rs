//! How long an entry has been silent, by the two reports it carries.
//!
//! In: the word of a value that holds both reports, the clock they are on. Out: units of silence, and whether they are
//! too many. Must not: need a timeout: how long an entry is kept and when its last packet came are different things.
//!
//! Cilium's datapath writes a report when an entry is created, when a packet brings a TCP flag not seen before in its
//! direction, and when the last report of that direction is older than the report interval (`bpf.monitorInterval`,
//! 5 s). So the later of both is at most that and a unit behind the last packet; entries with both closing bits ignore
//! ordinary packets, theirs is the last FIN or RST. SERVICE entries have `last_tx_report` alone.
//! <https://github.com/cilium/cilium/blob/v1.18.0/bpf/lib/conntrack.h> (`__ct_update_timeout`)

use crate::class::{Direction, State};

/// An opening entry is unanswered from so many units on: one passes between two readings of a clock by itself.
pub const UNANSWERED_AFTER: u32 = 2;

/// The word of a value from `last_tx_report` on, out of its fields.
#[inline(always)]
#[must_use]
pub const fn pack_reports(tx: u32, rx: u32) -> u64 {
    tx as u64 | (rx as u64) << 32
}

/// The later of both reports; 0 where there was none. Which one is later is as good as random, and a compiler that sees
/// through the subtraction makes a branch of it, see [`crate::class`]: `opaque` keeps it from that, and changes nothing.
#[inline(always)]
#[must_use]
pub fn last_report(reports: u64, opaque: impl FnOnce(u64) -> u64) -> u32 {
    let (tx, rx) = (reports & 0xffff_ffff, reports >> 32);
    let rise = rx.wrapping_sub(tx);
    let falls = opaque(rise >> 63);
    ((tx + (rise & falls.wrapping_sub(1))) & 0xffff_ffff) as u32
}

/// Units since the report. 0 for one that is not over yet: it was written while the clock was being read, or is torn.
#[inline(always)]
#[must_use]
pub const fn silent(now: u32, report: u32) -> u32 {
    (positive((now as u64).wrapping_sub(report as u64)) & 0xffff_ffff) as u32
}

/// Whether an entry of this state and direction has been silent for too long: a stale one lingers then, an opening one
/// that leads out and has not expired is unanswered.
#[inline(always)]
#[must_use]
pub const fn is_too_long(state: u8, direction: u8, expired: bool, silent: u32, stale_after: u32) -> bool {
    const RX_CLOSING: u8 = State::RxClosing as u8;
    const TX_CLOSING: u8 = State::TxClosing as u8;
    const CLOSED: u8 = State::Closed as u8;
    const OPENING: u8 = State::Opening as u8;
    match state {
        RX_CLOSING | TX_CLOSING | CLOSED => silent >= stale_after,
        OPENING => direction == Direction::Out as u8 && !expired && silent >= UNANSWERED_AFTER,
        _ => false,
    }
}

/// The number, or 0 for one below 0.
#[inline(always)]
const fn positive(number: u64) -> u64 {
    number & (number >> 63).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_report_counts_and_one_from_the_future_is_no_silence() {
        let check = |now, tx, rx, expected| {
            let report = last_report(pack_reports(tx, rx), |number| number);
            assert_eq!(report, tx.max(rx));
            assert_eq!(silent(now, report), expected, "{now} {tx} {rx}");
        };
        check(1_860, 1_850, 1_848, 10);
        check(1_860, 1_848, 1_850, 10);
        check(1_860, 1_850, 0, 10);
        check(1_860, 0, 1_850, 10);
        check(1_860, 1_860, 5, 0);
        check(1_860, 1_861, 0, 0);
        check(1_860, 0, u32::MAX, 0);
        check(u32::MAX, u32::MAX - 2, 1, 2);
        check(0, 0, 0, 0);
        check(u32::MAX, 1, 0, u32::MAX - 1);
    }

    #[test]
    fn stale_entries_linger_and_opening_ones_that_lead_out_stay_unanswered() {
        for &state in State::ALL {
            for &direction in Direction::ALL {
                for expired in [false, true] {
                    for silent in [0, 1, 2, 599, 600, 601] {
                        let unanswered = state == State::Opening && direction == Direction::Out && !expired;
                        let expected = state.is_stale() && silent >= 600 || unanswered && silent >= 2;
                        assert_eq!(
                            is_too_long(state as u8, direction as u8, expired, silent, 600),
                            expected,
                            "{state:?} {direction:?} {expired} {silent}"
                        );
                    }
                }
            }
        }
    }
}
