//! Starts a program with fewer capabilities than the test has.
//!
//! In: a command that has not been started, capability numbers. Out: the same command, to be started with those only.
//! Must not: change the capabilities of the test itself.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A capability by its number, see capabilities(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    NetAdmin = 12,
    SysAdmin = 21,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    /// As seccomp profiles and manifests (there without `CAP_`) call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    /// The one that a manifest calls so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::NetAdmin, Self::SysAdmin, Self::Perfmon, Self::Bpf];
        all.into_iter().find(|capability| capability.name().strip_prefix("CAP_") == Some(name))
    }
}

/// Lets the program that `command` starts have at most these capabilities, whatever its user is: user 0 is given
/// what the bounding set holds, so everything else is taken out of that set.
pub fn keep_only(command: &mut Command, kept: &[Capability]) {
    let kept: Vec<libc::c_ulong> = kept.iter().map(|capability| *capability as libc::c_ulong).collect();
    let drop_others = move || {
        // More numbers than any kernel knows; it answers those beyond its last one with an error.
        for number in (0..64).filter(|number| !kept.contains(number)) {
            // SAFETY: takes two integers, asks for an integer.
            let known = unsafe { libc::prctl(libc::PR_CAPBSET_READ, number) } >= 0;
            if !known {
                return Ok(());
            }
            // SAFETY: takes two integers; concerns the calling process only, which is the child.
            let answer = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number) };
            if answer != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls and reads memory that the fork copied.
    unsafe { command.pre_exec(drop_others) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(kept: Option<&[Capability]>) -> u64 {
        let mut command = Command::new("cat");
        command.arg("/proc/self/status");
        if let Some(kept) = kept {
            keep_only(&mut command, kept);
        }
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let line = said.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    }

    #[test]
    fn a_program_has_what_was_kept_and_the_test_keeps_its_own() {
        let before = effective(None);
        assert_eq!(effective(Some(&[])), 0);
        assert_eq!(effective(Some(&[Capability::Bpf, Capability::Perfmon])), 1 << 39 | 1 << 38);
        assert_eq!(effective(None), before);
    }
}
