//! What a console log proves.
//!
//! In: everything the virtual machine printed. Out: tests passed and failed, and what else went wrong.
//! Must not: believe in success without a sign of it: silence is a failure.

use crate::tally::Tally;

/// Written by the init script on a line of its own, so that a log can be told apart from what tests print.
pub(super) const START: &str = "ctmon-vm: start ";
pub(super) const EXIT: &str = "ctmon-vm: exit ";
pub(super) const DONE: &str = "ctmon-vm: done";

/// How a test begins a line that is to be seen.
const NOTES: &[&str] = &["ctmon-skip: ", "ctmon-note: "];

/// What the kernel says when it is broken.
const KERNEL_TROUBLE: &[&str] = &["Kernel panic", "BUG: ", "Oops: ", "general protection fault"];

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) tally: Tally,
    /// Names of failed tests, as `binary: test`.
    pub(super) failed: Vec<String>,
    /// Reasons beyond failed tests.
    pub(super) problems: Vec<String>,
    /// What tests want to be seen even if they pass: what they left out and why, what they measured.
    pub(super) notes: Vec<String>,
}

/// The verdict on `console`, in which each of `binaries` must have run to its end.
pub(super) fn verdict_on(console: &str, binaries: &[String]) -> Verdict {
    let mut verdict = Verdict::default();
    if let Some(line) = console.lines().find(|line| KERNEL_TROUBLE.iter().any(|sign| line.contains(sign))) {
        verdict.problems.push(format!("the kernel broke: {}", line.trim()));
    }
    for binary in binaries {
        add_binary(console, binary, &mut verdict);
    }
    if !console.lines().any(|line| line.trim() == DONE) {
        let last = console.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing");
        verdict.problems.push(format!("it never came to its end; the last it said: {last}"));
    }
    if verdict.tally.executed() == 0 {
        verdict.problems.push("no test was executed".into());
    }
    verdict
}

fn add_binary(console: &str, binary: &str, verdict: &mut Verdict) {
    let starts = |line: &&str| line.trim().strip_prefix(START) == Some(binary);
    let output: Vec<&str> = console.lines().skip_while(|line| !starts(line)).skip(1).collect();
    let end = output.iter().position(|line| line.trim().starts_with(EXIT));
    let (output, exit) = match end {
        Some(end) => (output.get(..end).unwrap_or_default(), output.get(end).copied()),
        None => (output.as_slice(), None),
    };
    let note = |line: &&&str| NOTES.iter().any(|sign| line.trim().starts_with(sign));
    verdict.notes.extend(output.iter().filter(note).map(|line| line.trim().to_owned()));
    match Tally::parse(&output.join("\n")) {
        Some(tally) => {
            verdict.tally += tally;
            verdict.failed.extend(
                output
                    .iter()
                    .filter_map(|line| line.trim().strip_prefix("test ")?.strip_suffix(" ... FAILED"))
                    .map(|test| format!("{binary}: {test}")),
            );
            let clean = format!("{EXIT}{binary} 0");
            if tally.failed == 0 && exit.map(str::trim) != Some(clean.as_str()) {
                let exit = exit.map_or("no exit status", str::trim);
                verdict.problems.push(format!("{binary} passed its tests and did not end well: {exit}"));
            }
        }
        None => verdict.problems.push(format!("{binary} printed no test result")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[    0.000000] Linux version 6.12\r\n\
        ctmon-vm: start kernel\r\n\
        running 2 tests\r\n\
        test counts_are_exact ... ok\r\n\
        test late_pins ... ok\r\n\
        test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.11s\r\n\
        ctmon-vm: exit kernel 0\r\n\
        ctmon-vm: done\r\n\
        [   9.1] reboot: Power down\r\n";

    fn verdict(console: &str) -> Verdict {
        verdict_on(console, &["kernel".to_owned()])
    }

    fn problem(console: &str) -> String {
        verdict(console).problems.join("; ")
    }

    #[test]
    fn a_clean_run_has_no_problem() {
        let expected = Verdict { tally: Tally { passed: 2, failed: 0 }, ..Verdict::default() };
        assert_eq!(verdict(GOOD), expected);
    }

    #[test]
    fn what_passing_tests_left_out_or_measured_is_kept() {
        let said = "successes:\r\n---- late_pins stdout ----\r\nctmon-skip: no memory\r\nanything else\r\ntest result: ok.";
        let verdict = verdict(&GOOD.replace("test result: ok.", said));
        assert_eq!(verdict.notes, ["ctmon-skip: no memory"]);
        assert_eq!((verdict.tally.passed, verdict.problems.len()), (2, 0));
    }

    #[test]
    fn a_failed_test_is_named() {
        let console = GOOD
            .replace("late_pins ... ok", "late_pins ... FAILED")
            .replace("ok. 2 passed; 0 failed", "FAILED. 1 passed; 1 failed")
            .replace("kernel 0", "kernel 101");
        let verdict = verdict(&console);
        assert_eq!(verdict.tally, Tally { passed: 1, failed: 1 });
        assert_eq!(verdict.failed, ["kernel: late_pins"]);
        assert_eq!(verdict.problems, Vec::<String>::new());
    }

    #[test]
    fn a_panic_is_a_problem_even_after_passing_tests() {
        let console = format!("{GOOD}[  9.2] Kernel panic - not syncing: Fatal exception\r\n");
        assert!(problem(&console).contains("Kernel panic"));
    }

    #[test]
    fn a_run_cut_short_tells_its_last_words() {
        let (cut, _) = GOOD.split_once("test late_pins").unwrap();
        let problem = problem(cut);
        assert!(problem.contains("no test result") && problem.contains("counts_are_exact"), "{problem}");
    }

    #[test]
    fn silence_is_a_failure() {
        let problem = problem("");
        assert!(problem.contains("no test was executed") && problem.contains("nothing"), "{problem}");
    }

    #[test]
    fn zero_executed_tests_are_a_failure() {
        assert_eq!(problem(&GOOD.replace("2 passed", "0 passed")), "no test was executed");
    }

    #[test]
    fn a_binary_that_dies_after_its_tests_is_a_problem() {
        assert!(problem(&GOOD.replace("exit kernel 0", "exit kernel 139")).contains("139"));
    }

    #[test]
    fn every_binary_has_to_run() {
        let verdict = verdict_on(GOOD, &["kernel".to_owned(), "kernel_evict".to_owned()]);
        assert_eq!(verdict.problems, ["kernel_evict printed no test result"]);
    }
}
