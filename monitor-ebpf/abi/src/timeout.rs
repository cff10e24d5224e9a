//! How long Cilium keeps entries, by what they show: lifetime less the last report, counted value by value.
//!
//! In: the class of an entry, the value it shows. Out: places in a bounded table, and the words that stand there.
//! Must not: drop a value in silence: what finds no place in the table is counted as lost.
//!
//! A packet sets the lifetime to now and the timeout, and the report at most a report interval before: an entry shows its
//! timeout, or up to that interval more. Whatever breaks the rule shows another value and counts there.

use crate::cell::CHUNK;
use crate::class::State;

/// Entries that live by the same timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// TCP that is or was established, half-closed too.
    Tcp = 0,
    Syn = 1,
    /// Both closing bits.
    Fin = 2,
    ServiceTcp = 3,
    /// Not TCP.
    Any = 4,
    ServiceAny = 5,
    /// RELATED entries live as long as what they were made for did when it was opened.
    None = 7,
}

impl Class {
    /// Those that stand for a timeout.
    pub const ALL: [Self; 6] =
        [Self::Tcp, Self::Syn, Self::Fin, Self::ServiceTcp, Self::Any, Self::ServiceAny];

    /// Four bits each, by state and, from the eighth on, of SERVICE entries.
    const NUMBERS: u64 = {
        let mut numbers = u64::MAX;
        let mut state = 0;
        while state < 6 {
            let (regular, service) = match State::from_number(state) {
                Some(State::RxClosing | State::TxClosing | State::Established) => {
                    (Self::Tcp, Self::ServiceTcp)
                }
                Some(State::Closed) => (Self::Fin, Self::Fin),
                Some(State::Opening) => (Self::Syn, Self::Syn),
                _ => (Self::Any, Self::ServiceAny),
            };
            let (low, high) = (state * 4, state * 4 + 32);
            numbers &= !(0xf << low | 0xf << high);
            numbers |= (regular as u64) << low | (service as u64) << high;
            state += 1;
        }
        numbers
    };

    /// The number of the class, by the numbers of state and direction.
    #[inline(always)]
    #[must_use]
    pub const fn number_of(state: u8, direction: u8) -> u8 {
        // Directions 2 and 3 are SERVICE and RELATED.
        let (service, related) = (direction >> 1 & 1, direction & direction >> 1 & 1);
        let index = (state & 7) | (related * 7) | (service << 3);
        ((Self::NUMBERS >> (index as u32 * 4)) & 7) as u8
    }
}

/// Rows of the table, one a class; two of them stand for no timeout.
pub const CLASSES: usize = 8;
/// Values a class may show at a time. Those of one timeout follow each other: 22 of them at most with the shortest unit
/// of the clock and the usual report interval.
const SLOTS: usize = CHUNK / CLASSES;

/// The two places where a value may stand.
#[inline(always)]
#[must_use]
pub const fn places(class: u8, value: u32) -> [usize; 2] {
    let first = (class & 7) as usize * SLOTS + (value as usize & (SLOTS - 1));
    [first, first ^ (SLOTS / 2)]
}

/// What stands at a place after one more entry showed the value; `None` if another value has it.
#[inline(always)]
#[must_use]
pub const fn counted(word: u64, value: u32) -> Option<u64> {
    let word = if word == 0 { (value as u64) << 32 } else { word };
    if (word >> 32) as u32 == value { Some(word + 1) } else { None }
}

/// What a place says: a value, and how many entries show it. `None` for one nobody took.
#[must_use]
pub const fn decode(word: u64) -> Option<(u32, u64)> {
    match word & 0xffff_ffff {
        0 => None,
        entries => Some(((word >> 32) as u32, entries)),
    }
}

/// The places of a class in the table.
#[must_use]
pub const fn row(class: Class) -> core::ops::Range<usize> {
    let first = class as usize * SLOTS;
    first..first + SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Direction;

    #[test]
    fn every_entry_but_related_ones_lives_by_one_timeout() {
        use Class::{Any, Fin, None, ServiceAny, ServiceTcp, Syn, Tcp};
        let check = |direction: Direction, expected: [Class; 6]| {
            for (&state, class) in State::ALL.iter().zip(expected) {
                let number = Class::number_of(state as u8, direction as u8);
                assert_eq!(number, class as u8, "{direction:?} {state:?}");
            }
        };
        check(Direction::Out, [Tcp, Tcp, Fin, Any, Syn, Tcp]);
        check(Direction::In, [Tcp, Tcp, Fin, Any, Syn, Tcp]);
        check(Direction::Service, [ServiceTcp, ServiceTcp, Fin, ServiceAny, Syn, ServiceTcp]);
        check(Direction::Related, [None; 6]);
    }

    #[test]
    fn a_place_counts_one_value_and_refuses_others() {
        let once = counted(0, 8_000).unwrap();
        let twice = counted(once, 8_000).unwrap();
        assert_eq!((decode(once), decode(twice)), (Some((8_000, 1)), Some((8_000, 2))));
        assert_eq!(counted(twice, 8_128), None);
        assert_eq!(decode(counted(0, 0).unwrap()), Some((0, 1)));
        assert_eq!(decode(0), None);
    }

    #[test]
    fn places_stay_in_the_row_of_their_class() {
        for class in Class::ALL {
            for value in [0, 9, 10, 63, 64, 127, 128, 8_000, 21_600, u32::MAX] {
                let [first, second] = places(class as u8, value);
                assert!(row(class).contains(&first) && row(class).contains(&second) && first != second);
            }
        }
        assert!(row(Class::ServiceAny).end <= CHUNK);
    }
}
