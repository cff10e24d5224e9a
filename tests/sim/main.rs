//! `ctmon-sim`: a node to watch where there is none.
//!
//! In: arguments, the clock, SIGINT and SIGTERM. Out: six pinned maps that live through the incident, a summary
//! line. Must not: decide what is written (see `support::simulate`), or leave a mount, pin or file behind.

mod arguments;
mod summary;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use support::bpffs::Bpffs;
use support::cilium::{Capacities, MapName, Maps};
use support::clock;
use support::simulate::model::{Model, Setup};
use support::simulate::phase;
use support::sys::{NO_COMMON_LRU, Termination};

use arguments::{Arguments, Clock, Scenario};
use summary::Summary;

/// Between two ticks of the model.
const TICK: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the summary left: nothing is wrong.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let termination = Termination::block()?;
    let clock = match arguments.clock {
        Clock::Ktime => clock::Clock::ktime(),
        Clock::Jiffies => clock::Clock::jiffies()?,
    };
    let setup = setup(arguments, clock);
    let pins = Pins::create(arguments, &setup)?;
    let mut model = Model::new(setup);
    let mut summary = Summary::new();
    let start = Instant::now();
    let mut ready = None;
    loop {
        let (elapsed, now) = (start.elapsed(), clock.now()?);
        pins.maps.apply(&model.advance(elapsed, now))?;
        if let (None, Some(file)) = (&ready, &arguments.ready_file) {
            ready = Some(ReadyFile::write(file)?);
        }
        if summary.is_due(elapsed, model.phase()) {
            summary.print(elapsed, &model.status(now))?;
        }
        if termination.wait(TICK.saturating_sub(start.elapsed().saturating_sub(elapsed))) {
            summary.finish()?;
            return Ok(());
        }
    }
}

fn setup(arguments: &Arguments, clock: clock::Clock) -> Setup {
    let scenario = match arguments.scenario {
        Scenario::Incident => phase::Scenario::Incident,
        Scenario::Healthy => phase::Scenario::Healthy,
    };
    let mut setup = Setup::new(scenario, arguments.duration, clock.units());
    if let Some(speed) = arguments.speed {
        setup.speed = speed;
    }
    if let Some(tcp) = arguments.capacity {
        setup.capacities = Capacities { tcp, any: tcp.div_ceil(2), nat: tcp };
    }
    setup.repeat = arguments.repeat;
    setup.seed = arguments.seed;
    setup
}

/// The bpffs and its maps; pins in a bpffs that was there before are taken away with the value.
struct Pins {
    maps: Maps,
    bpffs: Bpffs,
}

impl Pins {
    fn create(arguments: &Arguments, setup: &Setup) -> Result<Self> {
        let bpffs = Bpffs::mount_at(&arguments.bpffs)?;
        if let Some(taken) = MapName::ALL.map(|name| bpffs.pin(name.pin())).iter().find(|pin| pin.exists()) {
            bail!(
                "{} exists: this is a real node's, or another simulator runs: use another --bpffs",
                taken.display()
            );
        }
        let flags = if arguments.distributed_lru { NO_COMMON_LRU } else { 0 };
        let maps = Maps::create(&bpffs, setup.capacities, flags)?;
        Ok(Self { maps, bpffs })
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.bpffs.is_own() {
            return;
        }
        for name in MapName::ALL {
            if let Err(error) = self.bpffs.unpin(name.pin()) {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Tells others that the maps are there, for as long as it lives.
struct ReadyFile(PathBuf);

impl ReadyFile {
    fn write(path: &Path) -> Result<Self> {
        fs::write(path, "ready\n").with_context(|| format!("failed to write {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("failed to remove {}: {error}", self.0.display());
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn arguments(bpffs: &Path, more: &[&str]) -> Arguments {
        let bpffs = bpffs.to_str().unwrap();
        Arguments::parse_from(["ctmon-sim", "--bpffs", bpffs].iter().chain(more))
    }

    #[test]
    fn the_maps_hold_what_the_model_says_through_the_whole_incident() {
        let bpffs = Bpffs::mount().unwrap();
        let arguments = arguments(bpffs.root(), &["--duration", "30s", "--clock", "jiffies"]);
        let clock = clock::Clock::jiffies().unwrap();
        let setup = setup(&arguments, clock);
        let pins = Pins::create(&arguments, &setup).unwrap();
        let mut model = Model::new(setup);
        let start = clock.now().unwrap();
        let mut compared = 0;
        for second in 0..40 {
            let changes = model.advance(Duration::from_secs(second), start + u32::try_from(second).unwrap());
            pins.maps.apply(&changes).unwrap();
            if second % 10 != 9 {
                continue;
            }
            let mut expected = BTreeMap::<_, BTreeMap<Vec<u8>, Vec<u8>>>::new();
            for (map, key, value) in model.table().records() {
                expected.entry(map).or_default().insert(key.to_vec(), value);
            }
            for (name, expected) in expected {
                let held: BTreeMap<_, _> = pins.maps.get(name).entries().unwrap().into_iter().collect();
                assert!(held == expected, "{} differs after {second} s", name.pin());
                compared += held.len();
            }
        }
        assert!(compared > 20_000, "{compared}");
    }

    #[test]
    fn a_bpffs_that_was_there_is_left_as_it_was_and_pins_are_never_taken_over() {
        let bpffs = Bpffs::mount().unwrap();
        let arguments = arguments(bpffs.root(), &["--capacity", "4096", "--distributed-lru"]);
        let setup = setup(&arguments, clock::Clock::ktime());
        let pins = Pins::create(&arguments, &setup).unwrap();
        let info = pins.maps.get(MapName::CtAny4).info();
        assert_eq!((info.max_entries, info.flags), (2_048, NO_COMMON_LRU));
        assert!(Pins::create(&arguments, &setup).is_err());
        drop(pins);
        assert_eq!(fs::read_dir(bpffs.globals()).unwrap().count(), 0);
    }
}
