//! What one walk says of a map's entries, as far as passes of the gc concern it.
//!
//! In: the cells of a walk. Out: how many are dead, how many will be by when, how many cannot. Must not: guess: a bound
//! that holds for some entries only is no bound.

use std::time::Duration;

use monitor_abi::class::{Direction, Due, State};
use monitor_model::snapshot::{Cell, MapScan};

/// Seconds an entry may have left at the most to be in the class of those about to die: what is closed has 10.
const SOON: u64 = 10;
/// Where the next classes end: what is no TCP and was just refreshed has a minute left.
const MINUTE: u64 = 60;
const TEN_MINUTES: u64 = 600;

/// What one walk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the walk was made.
    pub at: Duration,
    pub entries: u64,
    pub capacity: u64,
    pub dead: u64,
    /// Dead entries with both closing bits: only a SYN brings them back.
    pub dead_closed: u64,
    /// Dead RELATED entries: every new connection between their two ends writes them anew.
    pub dead_related: u64,
    /// Seconds since the first of the dead died, 0 without any.
    pub oldest: u64,
    /// Seconds of one unit of the lifetimes' clock, rounded up: ages are known to that only.
    pub unit: u64,
    /// Closed and dead within 10 s.
    pub closing: u64,
    /// Neither dead nor closing, with at most 10 s left, 60 s, 10 minutes, more.
    pub left: [u64; 4],
    /// Connections that may be closed at any time, and be dead 10 s later.
    pub open: u64,
}

impl Sample {
    /// What a walk counted; `None` while the clock is unknown, and for NAT maps.
    #[must_use]
    pub fn of(scan: &MapScan, unit: u64, capacity: u64) -> Option<Self> {
        let oldest = scan.oldest_expired?;
        let count = |pass: &dyn Fn(&Cell) -> bool| scan.count(pass);
        let is_dead = |cell: &Cell| cell.due.expired() == Some(true);
        let is_closed = |cell: &Cell| cell.state == State::Closed && cell.direction != Direction::Related;
        let is_closing = |cell: &Cell| is_closed(cell) && cell.due == Due::Within10s;
        let left = |due: Due| count(&|cell| cell.due == due && !is_closing(cell));
        let [soon, minute, ten] = [Due::Within10s, Due::Within60s, Due::Within10m].map(left);
        let (dead, closing) = (count(&is_dead), count(&is_closing));
        Some(Self {
            at: scan.monotonic,
            entries: scan.entries,
            capacity,
            dead,
            dead_closed: count(&|cell| is_dead(cell) && is_closed(cell)),
            dead_related: count(&|cell| is_dead(cell) && cell.direction == Direction::Related),
            oldest,
            unit,
            closing,
            left: [soon, minute, ten, scan.entries.saturating_sub(dead + closing + soon + minute + ten)],
            open: count(&|cell| cell.due.expired() == Some(false) && cell.state != State::Stateless)
                .saturating_sub(closing),
        })
    }

    /// Dead so many seconds after the walk at the least, unless a pass took them.
    pub(super) fn surely_dead(&self, after: u64) -> u64 {
        let closing = if after > SOON + 2 * self.unit { self.closing } else { 0 };
        self.dead + closing
    }

    /// Dead so many seconds after the walk at the most, but for connections that were closed after it.
    pub(super) fn perhaps_dead(&self, after: u64) -> u64 {
        let [soon, minute, ten, longer] = self.left;
        let within = |class: u64, from: u64| if after + self.unit > from { class } else { 0 };
        let late = within(minute, SOON) + within(ten, MINUTE) + within(longer, TEN_MINUTES);
        self.dead + self.closing + soon + late
    }

    /// Whether what was closed after the walk may be dead so many seconds after it.
    pub(super) fn closed_since_may_be_dead(&self, after: u64) -> bool {
        after > SOON && self.open > 0
    }

    /// How many connections closed by so many seconds after the walk may be dead, if they close as they did before it.
    pub(super) fn closed_since(&self, after: u64) -> u64 {
        2 * self.closing / SOON * after.saturating_sub(SOON)
    }

    /// There so many seconds after the walk, if nobody takes them: of a class whose members fall due between then and
    /// later, twice the share is given up that an even spread would have.
    pub(super) fn alive(&self, after: u64) -> u64 {
        let [_, minute, ten, longer] = self.left;
        let stays = |class: u64, from: u64, to: u64| {
            let given_up = 2 * class * after.saturating_sub(from) / (to - from);
            class.saturating_sub(given_up)
        };
        stays(minute, SOON, MINUTE) + stays(ten, MINUTE, TEN_MINUTES) + stays(longer, TEN_MINUTES, 8_000)
    }

    /// Whether the kernel may be making room: the dead are the first to go.
    pub(super) fn is_full(&self) -> bool {
        self.entries * 10 >= self.capacity * 9
    }

    /// Dead entries that no packet brings back, or too many to have been brought back at once.
    pub(super) fn is_significant(&self) -> bool {
        self.dead_closed > 0 || self.dead.saturating_sub(self.dead_related) >= super::SIGNIFICANT
    }

    /// Whether the dead can be told apart from what died since.
    pub(super) fn has_aged(&self) -> bool {
        self.dead > 0 && self.oldest > 2 * self.unit
    }

    /// The last instant at which a pass may have been, by what it left: at the first death that is still there.
    pub(super) fn last_chance(&self) -> Duration {
        self.at.saturating_sub(Duration::from_secs(self.oldest))
    }
}
