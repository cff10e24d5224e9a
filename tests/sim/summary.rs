//! One line about the simulated node that changes as it does.
//!
//! In: a status. Out: the line, rewritten in place on a terminal, else every few seconds and at each new phase.
//! Must not: keep the simulation from going on.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use support::simulate::model::Status;
use support::simulate::phase::Phase;

/// Between lines on a terminal.
const IN_PLACE: Duration = Duration::from_millis(500);
/// Between lines elsewhere.
const LINES: Duration = Duration::from_secs(5);

/// Prints statuses.
#[derive(Debug)]
pub(crate) struct Summary {
    terminal: bool,
    next: Duration,
    phase: Option<Phase>,
}

impl Summary {
    pub(crate) fn new() -> Self {
        Self { terminal: io::stdout().is_terminal(), next: Duration::ZERO, phase: None }
    }

    /// Whether a line is due: statuses cost a walk over the table.
    pub(crate) fn is_due(&self, elapsed: Duration, phase: Phase) -> bool {
        elapsed >= self.next || self.phase != Some(phase)
    }

    /// Prints a status.
    pub(crate) fn print(&mut self, elapsed: Duration, status: &Status) -> io::Result<()> {
        self.phase = Some(status.phase);
        self.next = elapsed + if self.terminal { IN_PLACE } else { LINES };
        let line = line(elapsed, status);
        let mut out = io::stdout().lock();
        if self.terminal {
            // Back to the first column, and away with what was there.
            write!(out, "\r\x1b[K{line}")?;
        } else {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    /// Leaves the line as it is and goes to the next one.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if self.terminal { writeln!(io::stdout()) } else { Ok(()) }
    }
}

fn line(elapsed: Duration, status: &Status) -> String {
    let Status { phase, counts, interval, passes, removed, dropped: _ } = status;
    format!(
        "{:>4} s  {:<12}  {:>6} entries  {:>6} stale  {:>4} opening  {:>6} nat  gc every {} ({passes} passes, \
         last removed {removed})",
        elapsed.as_secs(),
        phase.name(),
        counts.entries,
        counts.stale,
        counts.opening,
        counts.nat,
        minutes(*interval),
    )
}

fn minutes(interval: Duration) -> String {
    let seconds = interval.as_secs();
    match (seconds / 60, seconds % 60) {
        (minutes, 0) => format!("{minutes}m"),
        (minutes, seconds) => format!("{minutes}m{seconds:02}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use support::simulate::table::Counts;

    #[test]
    fn a_line_tells_phase_entries_stale_opening_and_interval() {
        let status = Status {
            phase: Phase::Unanswered,
            counts: Counts { entries: 22_519, stale: 17_000, opening: 40, expired: 16_000, nat: 30_000 },
            interval: Duration::from_secs(1013),
            passes: 9,
            removed: 120,
            dropped: 0,
        };
        assert_eq!(
            line(Duration::from_secs(170), &status),
            " 170 s  unanswered     22519 entries   17000 stale    40 opening   30000 nat  gc every 16m53s \
             (9 passes, last removed 120)"
        );
        assert_eq!(minutes(Duration::from_secs(300)), "5m");
    }
}
