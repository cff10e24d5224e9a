//! The forecast beside Cilium's own rule run for as long as it takes to repeat itself.
//!
//! In: loads. Out: pass or fail. Must not: use the forecast's own steps.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use monitor_check::gc::steady_state::{Inflow, Interval, steady_state};
use support::simulate::gc::{ANY4, Kind, Node, TCP4};
use support::simulate::gc_interval::GcInterval;

/// The highest counts of both maps over the second half of this many seconds, step by step, and the interval half-way:
/// where the tables settle depends on where they come from.
fn played(
    gc: GcInterval,
    sizes: [u64; 2],
    living: u64,
    rates: [u64; 2],
    seconds: u32,
) -> Result<([u64; 2], Duration)> {
    let [tcp, any] = sizes;
    let mut node = Node::new(tcp, any, gc, 0.0);
    node.add(TCP4, Kind::Open, 0, living, 0.0);
    let mut most = [0; 2];
    for second in 0..seconds {
        let now = f64::from(second);
        node.add(TCP4, Kind::Closed, 1, rates[0], now);
        node.add(ANY4, Kind::Stateless, 1, rates[1], now);
        if second > seconds / 2 {
            most = [most[0].max(node.count(TCP4)), most[1].max(node.count(ANY4))];
        }
        node.advance(now);
    }
    let half = f64::from(seconds / 2);
    let pass = node.passes.iter().rfind(|pass| pass.at < half).context("no pass")?;
    Ok((most, Duration::from_secs_f64(pass.next)))
}

#[test]
fn the_forecast_is_where_the_tables_settle() -> Result<()> {
    let five = Duration::from_secs(300);
    let rules = [
        (Interval::Adaptive, GcInterval::default()),
        (Interval::Fixed(five), GcInterval::fixed(five)),
        (Interval::Fixed(Duration::from_secs(30)), GcInterval::fixed(Duration::from_secs(30))),
        (Interval::Capped(2 * five), GcInterval::capped(2 * five)),
    ];
    for (rule, gc) in rules {
        for (living, rates) in
            [(4_000, [20, 2]), (4_000, [266, 5]), (100_000, [500, 20]), (40, [3_150, 30]), (1_000, [90, 90])]
        {
            let sizes = [131_072, 65_536];
            let (real, interval) = played(gc, sizes, living, rates, 40_000)?;
            let inflow = |living: u64, dying: u64, capacity: u64| Inflow {
                living: living as f64,
                dying: dying as f64,
                capacity: capacity as f64,
            };
            // What was closed lives 10 s more, what is no TCP a minute.
            let maps = [
                inflow(living + 10 * rates[0], rates[0], sizes[0]),
                inflow(60 * rates[1], rates[1], sizes[1]),
            ];
            let told = steady_state(&maps, rule, Some(interval));
            for ((told, real), size) in told.entries.iter().zip(real).zip(sizes) {
                let real = real as f64;
                ensure!(*told <= size as f64, "{told} in a map of {size}");
                ensure!(
                    (told - real).abs() <= 0.05 * real + 300.0,
                    "{told} told, really {real}: {rule:?}, {living} living, {rates:?} a second"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_branch_that_hurries_only_holds_less() -> Result<()> {
    for rates in [[20, 2], [500, 20], [3_150, 30]] {
        let sizes = [131_072, 65_536];
        let (hurried, _) = played(GcInterval::hurried(), sizes, 40_000, rates, 40_000)?;
        let maps = [
            Inflow { living: 40_000.0 + 10.0 * rates[0] as f64, dying: rates[0] as f64, capacity: 131_072.0 },
            Inflow { living: 60.0 * rates[1] as f64, dying: rates[1] as f64, capacity: 65_536.0 },
        ];
        let told = steady_state(&maps, Interval::Adaptive, None);
        let first = told.entries.first().context("no map")?;
        ensure!(hurried[0] as f64 <= first * 1.05 + 300.0, "{hurried:?}, {told:?}");
    }
    Ok(())
}
