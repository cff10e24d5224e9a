//! `test`: the whole suite, one step after the other.
//!
//! In: the steps chosen. Out: their output as it comes, a table of them, and `N passed, N failed` as the last line.
//! Must not: stop at a failing test, or call it a success when nothing was tested.

mod select;
mod steps;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

use self::select::select;
use self::steps::{Kind, STEPS, Step};
use crate::paths::Paths;
use crate::shell::say;
use crate::tally::Tally;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run these steps and what they need
    #[arg(long, value_name = "STEP", num_args = 1.., value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// Leave these steps out, even where another needs them
    #[arg(long, value_name = "STEP", num_args = 1.., value_delimiter = ',', value_parser = names())]
    skip: Vec<String>,
    /// Print the steps and what each proves, and exit
    #[arg(long)]
    list: bool,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(STEPS.iter().map(|step| step.name))
}

/// How a step ended.
enum End {
    Built,
    Tested(Tally),
    Failed(Tally, anyhow::Error),
    /// This build, which it needs, is not there.
    NotRun(&'static str),
}

struct Row {
    step: &'static Step,
    end: End,
    took: Duration,
}

pub(crate) fn run(paths: &Paths, args: &Args) -> Result<()> {
    if args.list {
        for Step { name, proves, .. } in STEPS {
            println!("{name:<12} {proves}");
        }
        return Ok(());
    }
    let steps = select(STEPS, &args.only, &args.skip);
    let mut rows: Vec<Row> = Vec::new();
    // What failed to build, and what stood on it.
    let mut missing: Vec<&str> = Vec::new();
    for &step in &steps {
        let start = Instant::now();
        let end = if let Some(need) = step.needs.iter().find(|need| missing.contains(need)) {
            End::NotRun(need)
        } else {
            say(&format!("== {}: {}", step.name, step.proves));
            run_step(step, &steps::Context { paths, steps: &steps })
        };
        if step.kind == Kind::Build && !matches!(end, End::Built) {
            missing.push(step.name);
        }
        rows.push(Row { step, end, took: start.elapsed() });
    }
    let sum = report(&rows);
    // The last line on standard output, for people and programs alike.
    println!("{sum}");
    if sum.failed > 0 {
        bail!("the suite failed");
    }
    if sum.executed() == 0 {
        bail!("no test was executed");
    }
    Ok(())
}

fn run_step(step: &Step, context: &steps::Context<'_>) -> End {
    match (step.run)(context) {
        Ok(_) if step.kind == Kind::Build => End::Built,
        // A runner that finds no tests is a runner that was pointed at nothing.
        Ok(tally) if tally.executed() == 0 => {
            End::Failed(Tally::ONE_FAILED, anyhow::anyhow!("no test was executed"))
        }
        Ok(tally) if tally.failed > 0 => End::Failed(tally, anyhow::anyhow!("{} failed", tally.failed)),
        Ok(tally) => End::Tested(tally),
        Err(error) => {
            say(&format!("{} failed: {error:#}", step.name));
            End::Failed(Tally::ONE_FAILED, error)
        }
    }
}

fn report(rows: &[Row]) -> Tally {
    let mut sum = Tally::default();
    println!("\n{:<12} {:>7} {:>7} {:>9}", "step", "passed", "failed", "seconds");
    for Row { step, end, took } in rows {
        let (tally, note) = match end {
            End::Built => (Tally::default(), String::new()),
            End::Tested(tally) => (*tally, String::new()),
            End::Failed(tally, error) => (*tally, format!("  {error:#}")),
            End::NotRun(need) => (Tally::default(), format!("  not run: it needs {need}")),
        };
        let Tally { passed, failed } = tally;
        println!("{:<12} {passed:>7} {failed:>7} {:>9.1}{note}", step.name, took.as_secs_f32());
        sum += tally;
    }
    sum
}
