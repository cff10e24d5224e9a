//! Steps side by side: each lane runs its own one after the other, and waits for what they need.
//!
//! In: the steps chosen. Out: how each ended, in their order; their output on standard output.
//! Must not: start a step before its needs are there, or one whose needs failed.

use std::collections::HashMap;
use std::io::{Read as _, Write, pipe};
use std::process::{Command, ExitStatus};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::outcome::Outcome;
use super::steps::{Kind, Lane, Step};
use super::terminal::Terminal;
use crate::paths::Paths;
use crate::shell::ends_with_us;

/// How a step ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    Ran(Outcome),
    /// This build, which it needs, is not there.
    NotRun(&'static str),
}

pub(super) struct Row {
    pub(super) step: &'static Step,
    pub(super) end: End,
    pub(super) took: Duration,
}

/// Runs them all: `command` makes the process of a step. What they say goes to `out`.
pub(super) fn run<W: Write + Send>(
    paths: &Paths,
    steps: &[&'static Step],
    command: impl Fn(&Step) -> Result<Command> + Sync,
    out: W,
) -> Vec<Row> {
    let terminal = Terminal::new(out);
    let board = Board::default();
    let mut rows: Vec<Row> = thread::scope(|scope| {
        let lanes = Lane::ALL.map(|lane| {
            let (board, terminal, command) = (&board, &terminal, &command);
            let own: Vec<_> = steps.iter().copied().filter(|step| step.lane == lane).collect();
            scope.spawn(move || {
                own.into_iter()
                    .map(|step| run_one(paths, step, steps, board, terminal, command))
                    .collect::<Vec<_>>()
            })
        });
        lanes.into_iter().flat_map(|lane| lane.join().unwrap_or_default()).collect()
    });
    let place = |row: &Row| steps.iter().position(|step| step.name == row.step.name);
    rows.sort_by_key(place);
    rows
}

fn run_one<W: Write>(
    paths: &Paths,
    step: &'static Step,
    steps: &[&'static Step],
    board: &Board,
    terminal: &Terminal<W>,
    command: &(impl Fn(&Step) -> Result<Command> + Sync),
) -> Row {
    // What was left out was asked to be left out: it is taken for granted.
    let needs = step.needs.iter().copied().filter(|need| steps.iter().any(|step| step.name == *need));
    if let Some(missing) = board.wait_for(needs) {
        board.put(step.name, false);
        return Row { step, end: End::NotRun(missing), took: Duration::ZERO };
    }
    let begun = Instant::now();
    terminal.begin(step.name);
    terminal.say(step.name, format!("\n== {}: {}\n", step.name, step.proves).as_bytes());
    Outcome::remove(paths, step.name);
    let outcome = match command(step).and_then(|command| speak(command, step, terminal)) {
        Ok(status) => Outcome::read(paths, step.name, status),
        Err(error) => Outcome::of(&Err(error)),
    };
    terminal.end(step.name);
    board.put(step.name, step.kind == Kind::Build && outcome.failed == 0);
    Row { step, end: End::Ran(outcome), took: begun.elapsed() }
}

/// Runs the process to its end and passes on what it says on both streams.
fn speak<W: Write>(mut command: Command, step: &Step, terminal: &Terminal<W>) -> Result<ExitStatus> {
    let (mut said, stdout) = pipe().context("failed to make a pipe")?;
    let stderr = stdout.try_clone().context("failed to copy a pipe")?;
    let mut child = command
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .with_context(|| format!("failed to start the step {}", step.name))?;
    // It holds the ends that the child writes to: reading would never come to an end.
    drop(command);
    let mut buffer = [0; 8192];
    loop {
        let count = said.read(&mut buffer).context("failed to read what a step says")?;
        if count == 0 {
            break;
        }
        terminal.say(step.name, buffer.get(..count).unwrap_or_default());
    }
    child.wait().with_context(|| format!("failed to wait for the step {}", step.name))
}

/// The program that runs us, as the process of a step.
pub(super) fn own_program() -> Result<Command> {
    let program = std::env::current_exe().context("failed to find the program that runs the suite")?;
    Ok(ends_with_us("TERM", program))
}

/// Which steps have ended, and whether others may stand on them.
#[derive(Default)]
struct Board {
    ended: Mutex<HashMap<&'static str, bool>>,
    changed: Condvar,
}

impl Board {
    fn put(&self, step: &'static str, is_there: bool) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(step, is_there);
        self.changed.notify_all();
    }

    /// Waits until all have ended; gives the first that is not there.
    fn wait_for(&self, needs: impl Iterator<Item = &'static str>) -> Option<&'static str> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for need in needs {
            loop {
                match ended.get(need) {
                    Some(true) => break,
                    Some(false) => return Some(need),
                    None => ended = self.changed.wait(ended).unwrap_or_else(PoisonError::into_inner),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::tally::Tally;

    const fn step(name: &'static str, kind: Kind, lane: Lane, needs: &'static [&'static str]) -> Step {
        Step { name, proves: "", kind, lane, needs, wants: &[], run: |_| Ok(Tally::ONE_PASSED) }
    }

    static GOOD: Step = step("test-good", Kind::Build, Lane::Main, &[]);
    static BAD: Step = step("test-bad", Kind::Build, Lane::Waiting, &[]);
    static ON_GOOD: Step = step("test-on-good", Kind::Check, Lane::Machines, &["test-good"]);
    static ON_BAD: Step = step("test-on-bad", Kind::Check, Lane::Main, &["test-good", "test-bad"]);
    static SILENT: Step = step("test-silent", Kind::Check, Lane::Main, &[]);
    static ON_NOBODY: Step = step("test-on-nobody", Kind::Check, Lane::Main, &["test-left-out"]);

    #[test]
    fn a_step_runs_after_its_needs_and_not_at_all_without_them() {
        let paths = Paths::of_workspace().unwrap();
        let steps = [&GOOD, &BAD, &ON_GOOD, &ON_BAD, &ON_NOBODY];
        let command = |step: &Step| {
            let done: Result<Tally> = match step.name {
                "test-bad" => Err(anyhow::anyhow!("it is bad")),
                _ => Ok(Tally::ONE_PASSED),
            };
            Outcome::of(&done).write(&paths, step.name)?;
            let mut command = Command::new("echo");
            command.arg(step.name);
            Ok(command)
        };
        let mut said = Vec::new();
        let rows = run(&paths, &steps, command, &mut said);
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("== test-bad: \ntest-bad\n") && !said.contains("== test-on-bad"), "{said}");
        let seen: Vec<_> = rows
            .iter()
            .map(|row| match &row.end {
                End::Ran(outcome) => (row.step.name, outcome.error.clone().unwrap_or_default()),
                End::NotRun(need) => (row.step.name, format!("needs {need}")),
            })
            .collect();
        let expected = [
            ("test-good", ""),
            ("test-bad", "it is bad"),
            ("test-on-good", ""),
            ("test-on-bad", "needs test-bad"),
            ("test-on-nobody", ""),
        ];
        assert_eq!(seen, expected.map(|(name, end)| (name, end.to_owned())));
        for row in rows {
            Outcome::remove(&paths, row.step.name);
        }
    }

    #[test]
    fn a_process_that_leaves_nothing_has_failed() {
        let paths = Paths::of_workspace().unwrap();
        let rows = run(&paths, &[&SILENT], |_| Ok(Command::new("true")), io::sink());
        let [Row { end: End::Ran(outcome), .. }] = rows.as_slice() else { panic!("not one row") };
        assert_eq!(outcome.failed, 1);
        assert!(outcome.error.as_ref().unwrap().contains("without a result"), "{outcome:?}");
    }
}
