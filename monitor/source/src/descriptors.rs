//! How many descriptors this process may have.
//!
//! In: the limit it was started with. Out: the most it may give itself. Must not: ask for more than it may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lifts the limit as far as it may be lifted without a right to do so, and gives what is in force then.
///
/// The usual limit of 1,024 is for programs that call `select`; those that do not are meant to lift it.
#[must_use]
pub fn lift_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let lifted = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let in_force = if lifted.is_ok() { maximum } else { current };
    // None is no limit.
    in_force.unwrap_or(u64::MAX)
}
