//! The simulated node's gc, recovered from nothing but counts every fifteen seconds, on both clocks.
//!
//! In: the simulated node, at any speed. Out: pass or fail. Must not: need a kernel: nothing is measured here.

#[expect(clippy::cast_precision_loss, reason = "simulated entries are far below 2^52")]
mod forecast;
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "simulated seconds are small and not negative"
)]
mod passes;
mod reach;
mod watched;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use monitor_abi::class::{Direction, Protocol, State};
use monitor_model::map_name;
use monitor_model::snapshot::Cell;
use monitor_source::cilium::gc::{GcWatch, Sample};
use support::cilium::MapName;
use support::clock::Units;
use support::simulate::model::{Model, Setup};
use support::simulate::phase::Scenario;

/// Seconds between two scans, and how long is watched.
const SCAN: u64 = 15;
const WATCHED: u64 = 4_800;

/// What a walk of the TCP map would say, from the bytes the model holds.
fn look(model: &Model, at: Duration, now: u32, units: Units) -> Result<Sample> {
    let unit = match units {
        Units::Seconds => 1,
        Units::Jiffies { hz } => 256_u64.div_ceil(hz.into()),
    };
    let seconds = |units_left: i64| match units {
        Units::Seconds => units_left,
        Units::Jiffies { hz } => (units_left * 256).div_euclid(i64::from(hz)),
    };
    let (mut cells, mut oldest) = (Vec::new(), 0);
    for (map, _, value) in model.table().records() {
        if map != MapName::Ct4 {
            continue;
        }
        let lifetime = u32::from_ne_bytes(value.get(32..36).context("short")?.try_into()?);
        let flags = u16::from_ne_bytes(value.get(36..38).context("short")?.try_into()?);
        let left = i64::from(lifetime) - i64::from(now);
        oldest = oldest.max(u64::try_from(seconds(left.min(0)).abs())?);
        let state = if flags & 3 == 3 { State::Closed } else { State::Established };
        cells.push(Cell {
            direction: Direction::Out,
            state,
            // What is dead in the clock's own units is dead.
            due: watched::due(if left < 0 { seconds(left).min(-1) } else { seconds(left) }),
            protocol: Protocol::Tcp,
            entries: 1,
        });
    }
    Sample::of(&watched::scan(cells, at, oldest), unit, 295_414).context("no clock")
}

fn recover(units: Units) -> Result<()> {
    let clock = |second: u64| match units {
        Units::Seconds => u32::try_from(50_000 + second),
        Units::Jiffies { hz } => u32::try_from((4_294_000_000 + second * u64::from(hz)) >> 8),
    };
    let setup = Setup { speed: 1.0, ..Setup::new(Scenario::Incident, Duration::from_secs(86_400), units) };
    let mut model = Model::new(setup);
    let (name, mut watch) = (map_name::global_maps().remove(0), GcWatch::default());
    // The passes that removed anything: when, and how many entries.
    let (mut real, mut passes) = (Vec::new(), 0);
    for second in 0..WATCHED {
        let at = Duration::from_secs(second);
        let now = clock(second)?;
        model.advance(at, now);
        let status = model.status(now);
        if status.passes > passes && status.removed > 0 {
            real.push(second);
        }
        passes = status.passes;
        if second % SCAN != 4 {
            continue;
        }
        watch.observe([(&name, 1, Some(look(&model, at, now, units)?))]);
        let facts = watch.facts(&name, at).context("nothing known")?;
        ensure!(facts.passes == real.len() as u64, "{} passes of {real:?} at {second}", facts.passes);
        if let [.., before, last] = *real.as_slice() {
            let age = facts.last_pass_age.context("no age")?.as_secs();
            let interval = facts.interval.context("no interval")?.as_secs();
            ensure!(age.abs_diff(second - last) <= SCAN, "age {age} at {second}, passes {real:?}");
            let expected = (last - before).max(second - last);
            ensure!(interval.abs_diff(expected) <= SCAN, "interval {interval} at {second}, passes {real:?}");
        }
    }
    // 5 minutes, then 7.5, 11.25: the gc slows itself down.
    ensure!(real.len() >= 4, "{real:?}");
    Ok(())
}

#[test]
fn passes_and_interval_of_the_simulated_node_are_recovered_within_one_scan() -> Result<()> {
    for units in [Units::Seconds, Units::Jiffies { hz: 100 }] {
        recover(units).with_context(|| format!("{units:?}"))?;
    }
    Ok(())
}
