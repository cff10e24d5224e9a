//! `test` and `release-check`: the whole suite, and what is too long for each commit.
//!
//! In: the steps chosen. Out: their output, each kept together, a table of them, and `N passed, N failed` as the last line.
//! Must not: stop at a failing test, or call it a success when nothing was tested.

mod outcome;
mod schedule;
mod select;
mod steps;
mod terminal;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::builder::PossibleValuesParser;

use self::outcome::Outcome;
use self::schedule::{End, Row};
use self::select::select;
use self::steps::{Kind, List, Step};
use crate::paths::Paths;
use crate::tally::Tally;
use crate::{install, needs};

#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Run these steps and what they need
    #[arg(long, value_name = "STEP", num_args = 1.., value_delimiter = ',', value_parser = names(List::Suite))]
    only: Vec<String>,
    /// Leave these steps out, even where another needs them
    #[arg(long, value_name = "STEP", num_args = 1.., value_delimiter = ',', value_parser = names(List::Suite))]
    skip: Vec<String>,
    /// Print the steps and what each proves, and exit
    #[arg(long)]
    list: bool,
}

#[derive(clap::Args)]
pub(crate) struct ReleaseArgs {
    /// Run these steps and what they need
    #[arg(long, value_name = "STEP", num_args = 1.., value_delimiter = ',', value_parser = names(List::Release))]
    only: Vec<String>,
    /// Leave these steps out, even where another needs them
    #[arg(long, value_name = "STEP", num_args = 1.., value_delimiter = ',', value_parser = names(List::Release))]
    skip: Vec<String>,
    /// Print the steps and what each proves, and exit
    #[arg(long)]
    list: bool,
}

/// One step in a process of its own, as the suite starts it.
#[derive(clap::Args)]
pub(crate) struct StepArgs {
    name: String,
    #[arg(long, value_name = "LIST")]
    of: List,
    /// All that were chosen
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    chosen: Vec<String>,
}

fn names(list: List) -> PossibleValuesParser {
    PossibleValuesParser::new(list.steps().iter().map(|step| step.name))
}

pub(crate) fn run(paths: &Paths, TestArgs { only, skip, list }: &TestArgs) -> Result<()> {
    run_list(paths, List::Suite, only, skip, *list)
}

pub(crate) fn run_release(paths: &Paths, ReleaseArgs { only, skip, list }: &ReleaseArgs) -> Result<()> {
    run_list(paths, List::Release, only, skip, *list)
}

fn run_list(paths: &Paths, of: List, only: &[String], skip: &[String], print: bool) -> Result<()> {
    if print {
        for Step { name, proves, .. } in of.steps() {
            println!("{name:<12} {proves}");
        }
        return Ok(());
    }
    let steps = select(of.steps(), only, skip);
    if install::is_forbidden() {
        // Once for all: a step that finds something missing would say so in the middle.
        needs::ensure(paths, &steps::wants(&steps), "the suite")?;
    }
    let chosen: Vec<_> = steps.iter().map(|step| step.name).collect();
    let begun = Instant::now();
    let command = |step: &Step| {
        let mut command = schedule::own_program()?;
        if install::is_forbidden() {
            command.arg("--no-install");
        }
        command.args(["step", step.name, "--of", if of == List::Suite { "suite" } else { "release" }]);
        command.args(["--chosen", &chosen.join(",")]);
        Ok(command)
    };
    let rows = schedule::run(paths, &steps, command, std::io::stdout());
    let sum = report(&rows, begun.elapsed())?;
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

/// The process of one step.
pub(crate) fn run_step(paths: &Paths, StepArgs { name, of, chosen }: &StepArgs) -> Result<()> {
    let steps = of.steps();
    let step = steps.iter().find(|step| step.name == name).with_context(|| format!("no step {name}"))?;
    let chosen: Vec<&Step> =
        steps.iter().filter(|step| chosen.iter().any(|name| name == step.name)).collect();
    let done = (step.run)(&steps::Context { paths, chosen: &chosen, list: *of });
    let done = match done {
        // A runner that finds no tests is a runner that was pointed at nothing.
        Ok(tally) if step.kind == Kind::Check && tally.executed() == 0 => bail_tally("no test was executed"),
        Ok(tally) if step.kind == Kind::Build => Ok(Tally { passed: 0, ..tally }),
        done => done,
    };
    Outcome::of(&done).write(paths, name)?;
    done.map(drop)
}

fn bail_tally(why: &str) -> Result<Tally> {
    bail!("{why}")
}

fn report(rows: &[Row], took: Duration) -> Result<Tally> {
    let mut sum = Tally::default();
    let (mut processor, mut installing) = (0.0, 0.0);
    let mut table = String::new();
    writeln!(
        table,
        "\n{:<12} {:>7} {:>7} {:>9} {:>10} {:>11}",
        "step", "passed", "failed", "seconds", "processor", "installing"
    )?;
    for Row { step, end, took } in rows {
        let name = step.name;
        let outcome = match end {
            End::Ran(outcome) => outcome,
            End::NotRun(need) => {
                writeln!(table, "{name:<12} not run: it needs {need}")?;
                continue;
            }
        };
        let Outcome { passed, failed, error, processor: used, installing: waited } = outcome;
        let seconds = took.as_secs_f64() - waited;
        let note = error.as_ref().map(|error| format!("  {error}")).unwrap_or_default();
        writeln!(
            table,
            "{name:<12} {passed:>7} {failed:>7} {seconds:>9.1} {used:>10.1} {waited:>11.1}{note}"
        )?;
        sum += outcome.tally();
        processor += used;
        installing += waited;
    }
    let counted = took.as_secs_f64() - installing;
    writeln!(
        table,
        "{:<12} {:>7} {:>7} {counted:>9.1} {processor:>10.1} {installing:>11.1}",
        "all", sum.passed, sum.failed
    )?;
    print!("{table}");
    Ok(sum)
}
