//! Which steps run.
//!
//! In: the slice of steps, `--only` and `--skip`. Out: the steps in their order, with what they need.
//! Must not: run anything.

use super::steps::Step;

/// All steps, or those in `only` and what they need; never those in `skip`.
pub(super) fn select<'a>(steps: &'a [Step], only: &[String], skip: &[String]) -> Vec<&'a Step> {
    let named = |names: &[String], step: &Step| names.iter().any(|name| name == step.name);
    let mut chosen: Vec<&Step> = Vec::new();
    // Backwards: what a step needs comes before it.
    for step in steps.iter().rev() {
        let needed = chosen.iter().any(|later| later.needs.contains(&step.name));
        if !named(skip, step) && (only.is_empty() || named(only, step) || needed) {
            chosen.push(step);
        }
    }
    chosen.reverse();
    chosen
}

#[cfg(test)]
mod tests {
    use super::super::steps::{Kind, RELEASE, STEPS};
    use super::*;

    fn names(only: &[&str], skip: &[&str]) -> Vec<&'static str> {
        let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
        select(STEPS, &owned(only), &owned(skip)).iter().map(|step| step.name).collect()
    }

    #[test]
    fn everything_runs_in_order_unless_told_otherwise() {
        let all: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names(&[], &[]), all);
    }

    #[test]
    fn a_step_brings_what_it_needs_and_what_that_needs() {
        assert_eq!(names(&["kernel"], &[]), ["set-up", "build-ebpf", "programs", "kernel"]);
        assert_eq!(names(&["fmt"], &[]), ["set-up", "fmt"]);
    }

    #[test]
    fn skipping_wins_over_being_needed() {
        assert_eq!(names(&["kernel"], &["programs"]), ["set-up", "build-ebpf", "kernel"]);
        assert_eq!(names(&["vm"], &["vm"]), Vec::<&str>::new());
    }

    #[test]
    fn names_are_unique_and_needs_are_builds_that_come_before() {
        for steps in [STEPS, RELEASE] {
            for (index, step) in steps.iter().enumerate() {
                let (before, _) = steps.split_at(index);
                assert!(before.iter().all(|other| other.name != step.name), "{} is there twice", step.name);
                for need in step.needs {
                    let found = before.iter().find(|other| other.name == *need);
                    assert_eq!(
                        found.map(|other| other.kind),
                        Some(Kind::Build),
                        "{} needs {need}",
                        step.name
                    );
                }
            }
        }
    }
}
