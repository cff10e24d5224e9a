//! What this kernel lets a program see of evictions.
//!
//! In: the loaded object, the kernel's types. Out: [`EvictionFacts`]. Must not: decide, or attach anything.

use aya::programs::{FExit, ProgramError};
use aya::{Btf, Ebpf};
use monitor_decode::btf::Places;
use monitor_model::eviction_plan::{Choice, EvictionFacts, Trial};

use super::btf::KernelTypes;

/// The kernel function behind every eviction, and nothing else.
pub(super) const FUNCTION: &str = "htab_lru_map_delete_node";
/// Reads victims.
pub(super) const FULL: &str = "evict_full";
/// Counts them.
pub(super) const COUNT: &str = "evict_count";

/// Loads each program that may be wanted; they stay loaded.
pub(super) fn facts(bpf: &mut Ebpf, types: &KernelTypes, choice: Choice) -> EvictionFacts {
    let Places { function, key_offset, count_function: _, map_id: _ } = types.places;
    if !function || choice == Choice::Off {
        return EvictionFacts { function, ..EvictionFacts::default() };
    }
    let wants_full = key_offset.is_some() && choice != Choice::Count;
    let full = if wants_full { try_load(bpf, FULL, &types.btf) } else { Trial::Untried };
    EvictionFacts { function, key_offset, full, count: try_load(bpf, COUNT, &types.btf) }
}

fn try_load(bpf: &mut Ebpf, name: &str, btf: &Btf) -> Trial {
    let loaded = program(bpf, name).and_then(|program| {
        // Loaded before, when the configuration was another one.
        if program.fd().is_ok() { Ok(()) } else { program.load(FUNCTION, btf) }
    });
    match loaded {
        Ok(()) => Trial::Works,
        Err(error) => Trial::Refused(refused("BPF_PROG_LOAD", name, &error)),
    }
}

pub(super) fn program<'a>(bpf: &'a mut Ebpf, name: &str) -> Result<&'a mut FExit, ProgramError> {
    bpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

/// Which call refused which program, and how.
pub(super) fn refused(call: &str, name: &str, error: &ProgramError) -> String {
    format!("{call} of {name}, fexit on {FUNCTION}: {}", words(error))
}

/// An error in one line: of the verifier's log only the end says why.
pub(super) fn words(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            // The lines after the one that matters are statistics.
            let noise = ["processed ", "stack depth ", "verification time "];
            let says_why =
                |line: &&str| !line.trim().is_empty() && !noise.iter().any(|noise| line.starts_with(noise));
            log.lines()
                .rev()
                .find(says_why)
                .map_or_else(|| io_error.to_string(), |last| format!("{io_error}: {}", last.trim()))
        }
        ProgramError::SyscallError(error) => error.to_string(),
        other => other.to_string(),
    }
}
