//! The table: best and median, entries per second, ratios, and whether they are within the limits.
//!
//! In: measurements. Out: text. Must not: round a miss away.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::daemon::DaemonCosts;
use crate::methods::{Method, Methods};
use crate::writers::{self, Beside};

/// The share of one core that the agent's walks take at the most: its interval stretches.
const BUSY_SHARE: f64 = 0.005;

/// Everything measured.
#[derive(Default)]
pub(crate) struct Report {
    pub tables: Vec<Table>,
    pub writers: Vec<writers::Row>,
    pub daemon: Option<DaemonCosts>,
}

/// One size of map.
pub(crate) struct Table {
    entries: usize,
    rows: Vec<Row>,
}

struct Row {
    method: Method,
    best: Duration,
    median: Duration,
}

/// A limit of the project: what, the value measured, whether it holds.
struct Verdict {
    what: String,
    value: String,
    limit: String,
    holds: bool,
}

impl Table {
    /// Reads the map every way in turn, round after round.
    pub(crate) fn measure(
        entries: usize,
        rounds: usize,
        quick: bool,
        methods: &mut Methods<'_>,
    ) -> Result<Self> {
        let mut times: Vec<(Method, Vec<Duration>)> = Method::ALL
            .into_iter()
            .filter(|method| !quick || method.is_quick())
            .map(|method| (method, Vec::new()))
            .collect();
        for round in 0..=rounds {
            for (method, times) in &mut times {
                // Dumping as JSON takes seconds: three rounds tell enough.
                if *method == Method::Bpftool && round > 3 {
                    continue;
                }
                let (time, seen) = methods.read(*method)?;
                ensure!(
                    seen.is_none_or(|seen| seen == entries),
                    "{} saw {seen:?} of {entries} entries",
                    method.name()
                );
                // The first round warms every cache.
                if round > 0 {
                    times.push(time);
                }
            }
        }
        let rows = times.into_iter().map(|(method, mut times)| {
            times.sort_unstable();
            Row {
                method,
                best: times.first().copied().unwrap_or_default(),
                median: times.get(times.len() / 2).copied().unwrap_or_default(),
            }
        });
        Ok(Self { entries, rows: rows.collect() })
    }

    /// So many times as long as ctmon; `None` for a way that was left out.
    fn times_ctmon(&self, method: Method) -> Option<f64> {
        let best = |wanted: Method| {
            self.rows.iter().find(|row| row.method == wanted).map(|row| row.best.as_secs_f64())
        };
        Some(best(method)? / best(Method::Ctmon)?)
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let faster = |method: Method, limit: f64| {
            let ratio = self.times_ctmon(method)?;
            Some(Verdict {
                what: format!("{} entries: {} / ctmon", self.entries, method.name()),
                value: format!("{ratio:.2}"),
                limit: format!("at least {limit}"),
                holds: ratio >= limit,
            })
        };
        let floor = self.times_ctmon(Method::Empty).map(|ratio| Verdict {
            what: format!("{} entries: ctmon / empty iterator", self.entries),
            value: format!("{:.2}", 1.0 / ratio),
            limit: "at most 1.7".to_owned(),
            holds: 1.0 / ratio <= 1.7,
        });
        [faster(Method::Batch, 1.3), faster(Method::KeyByKey, 5.0), floor].into_iter().flatten().collect()
    }
}

impl Report {
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let _ = writeln!(text, "{} entries in a map of 524,288:\n", table.entries);
            let _ = writeln!(text, "| way to read | best ms | median ms | million entries/s | times ctmon |");
            let _ = writeln!(text, "|---|---|---|---|---|");
            for Row { method, best, median } in &table.rows {
                #[expect(clippy::cast_precision_loss, reason = "a count of entries")]
                let rate = table.entries as f64 / best.as_secs_f64() / 1e6;
                let _ = writeln!(
                    text,
                    "| {} | {:.2} | {:.2} | {rate:.2} | {:.2} |",
                    method.name(),
                    best.as_secs_f64() * 1e3,
                    median.as_secs_f64() * 1e3,
                    table.times_ctmon(*method).unwrap_or_default(),
                );
            }
            text.push('\n');
        }
        if !self.writers.is_empty() {
            text.push_str(
                "Another thread rewrites entries of a map with 400,000, meanwhile on the other core:\n\n",
            );
            text.push_str("| beside the writer | best ns an update | median | EBUSY |\n|---|---|---|---|\n");
            for writers::Row { beside, best, median, busy } in &self.writers {
                let _ = writeln!(text, "| {} | {best:.0} | {median:.0} | {busy} |", beside.name());
            }
            text.push('\n');
        }
        let _ = writeln!(text, "| limit | measured | asked for | |\n|---|---|---|---|");
        for Verdict { what, value, limit, holds } in self.verdicts() {
            let _ =
                writeln!(text, "| {what} | {value} | {limit} | {} |", if holds { "holds" } else { "MISSED" });
        }
        text
    }

    /// The limits that do not hold.
    pub(crate) fn missed(&self) -> Vec<String> {
        self.verdicts().into_iter().filter(|verdict| !verdict.holds).map(|verdict| verdict.what).collect()
    }

    /// What a writer notices of walks: next to nothing at the agent's pace, no lock, no refusal.
    fn of_writers(&self) -> Option<[Verdict; 3]> {
        let row = |beside| self.writers.iter().find(|row| row.beside == beside);
        let (nothing, walk, another) =
            (row(Beside::Nothing)?, row(Beside::Walk)?, row(Beside::WalkOfAnotherMap)?);
        let slower = (walk.best / nothing.best - 1.0) * BUSY_SHARE * 100.0;
        // Lines that one core writes and the other reads travel between their caches; a lock would cost far more.
        let ratio = walk.best / another.best;
        Some([
            Verdict {
                what: "an update at the agent's pace (walking 0.5 % of the time)".to_owned(),
                value: format!("{slower:.2} % slower"),
                limit: "at most 0.5 %".to_owned(),
                holds: slower <= 0.5,
            },
            Verdict {
                what: "an update beside a walk of its map / of another map".to_owned(),
                value: format!("{ratio:.2}"),
                limit: "at most 1.2".to_owned(),
                holds: ratio <= 1.2,
            },
            Verdict {
                what: "updates refused with EBUSY beside a walk".to_owned(),
                value: walk.busy.to_string(),
                limit: "none".to_owned(),
                holds: walk.busy == 0,
            },
        ])
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let mut all: Vec<Verdict> = self.tables.iter().flat_map(Table::verdicts).collect();
        all.extend(self.of_writers().into_iter().flatten());
        if let Some(daemon) = &self.daemon {
            let mib = |kib: u64, limit: u64, what: &str| Verdict {
                what: format!("daemon with six maps: {what}"),
                value: format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024),
                limit: format!("at most {limit} MiB"),
                holds: kib <= limit * 1024,
            };
            all.push(mib(daemon.rss_kib, 12, "VmRSS after the first snapshot"));
            all.push(mib(daemon.peak_kib, 32, "VmHWM"));
            all.push(Verdict {
                what: "daemon: a scrape on a kept connection, median".to_owned(),
                value: format!("{:.3} ms", daemon.scrape.as_secs_f64() * 1e3),
                limit: "under 1 ms".to_owned(),
                holds: daemon.scrape < Duration::from_millis(1),
            });
        }
        all
    }
}
