//! What other writers to a map notice while it is read: the time an update takes, and refusals.
//!
//! In: a map of Cilium's shape that one thread rewrites while another reads. Out: time per update beside each reader.
//! Must not: blame the map for the machine: a core that reads any memory slows its neighbour, hence the row of a walk
//! over another map.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use support::bpffs::Bpffs;
use support::cilium::{Capacities, MapName, Maps};
use support::generate;
use support::reference::Clock;
use support::sys::{self, Map};

use crate::methods::{Method, Methods};

const ENTRIES: usize = 400_000;
/// Updates timed as one sample, a fifth of a second of them.
const UPDATES: usize = 200_000;

/// What the other core does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    WalkOfAnotherMap,
    Walk,
    Batch,
}

impl Beside {
    const ALL: [Self; 4] = [Self::Nothing, Self::WalkOfAnotherMap, Self::Walk, Self::Batch];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::WalkOfAnotherMap => "ctmon walking another map without pause",
            Self::Walk => "ctmon walking this map without pause",
            Self::Batch => "batch lookups on this map without pause",
        }
    }
}

/// One kind of neighbour.
pub(crate) struct Row {
    pub beside: Beside,
    /// Time of one update, in nanoseconds: the best sample, and the median one.
    pub best: f64,
    pub median: f64,
    /// Updates that the kernel refused with `EBUSY`, over all samples.
    pub busy: usize,
}

/// What one sample told.
struct Sample {
    nanoseconds: f64,
    busy: usize,
}

/// Times updates beside each neighbour in turn, round after round.
pub(crate) fn measure(rounds: usize) -> Result<Vec<Row>> {
    let now = u32::try_from(sys::monotonic()?.as_secs())?;
    let filled = |bpffs: &Bpffs| -> Result<Maps> {
        let maps = Maps::create(bpffs, Capacities::STATIC, 0)?;
        generate::fill(maps.get(MapName::Ct4), ENTRIES, Clock::ktime(now))?;
        Ok(maps)
    };
    let (bpffs, other_bpffs) = (Bpffs::mount()?, Bpffs::mount()?);
    let (maps, other_maps) = (filled(&bpffs)?, filled(&other_bpffs)?);
    let map = maps.get(MapName::Ct4);
    let mut methods = Methods::new(&bpffs, map, now)?;
    let mut others = Methods::new(&other_bpffs, other_maps.get(MapName::Ct4), now)?;
    let mut entries = Vec::new();
    map.for_each_batch(4096, |key, value| entries.push((key.to_vec(), value.to_vec())))?;

    let mut samples: Vec<(Beside, Vec<Sample>)> =
        Beside::ALL.into_iter().map(|beside| (beside, Vec::new())).collect();
    for round in 0..=rounds {
        for (beside, samples) in &mut samples {
            let sample = rewrite(map, &entries, || {
                match beside {
                    Beside::Nothing => thread::sleep(Duration::from_millis(1)),
                    Beside::WalkOfAnotherMap => drop(others.read(Method::Ctmon)?),
                    Beside::Walk => drop(methods.read(Method::Ctmon)?),
                    Beside::Batch => drop(methods.read(Method::Batch)?),
                }
                Ok(())
            })?;
            // The first round warms every cache.
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    let rows = samples.into_iter().map(|(beside, mut samples)| {
        samples.sort_unstable_by(|one, two| one.nanoseconds.total_cmp(&two.nanoseconds));
        let at = |index: usize| samples.get(index).map_or(f64::NAN, |sample| sample.nanoseconds);
        Row {
            beside,
            best: at(0),
            median: at(samples.len() / 2),
            busy: samples.iter().map(|sample| sample.busy).sum(),
        }
    });
    Ok(rows.collect())
}

/// Rewrites entries on a thread of its own while this one does something else again and again.
fn rewrite(
    map: &Map,
    entries: &[(Vec<u8>, Vec<u8>)],
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<Sample> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let written = write(map, entries);
            done.store(true, Ordering::Relaxed);
            written
        });
        let mut beside = Ok(());
        while beside.is_ok() && !done.load(Ordering::Relaxed) {
            beside = meanwhile();
        }
        let written = writer.join().map_err(|_| anyhow::anyhow!("the writer died"))?;
        beside.and(written)
    })
}

fn write(map: &Map, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<Sample> {
    let mut busy = 0;
    let start = Instant::now();
    for (key, value) in entries.iter().cycle().take(UPDATES) {
        if let Err(error) = map.update(key, value) {
            let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            if code != Some(libc::EBUSY) {
                return Err(error).context("failed to rewrite an entry");
            }
            busy += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a fraction of a second")]
    let nanoseconds = start.elapsed().as_nanos() as f64 / UPDATES as f64;
    Ok(Sample { nanoseconds, busy })
}
