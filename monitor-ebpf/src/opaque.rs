//! Numbers the compiler may draw no conclusions from.
//!
//! In: a number. Out: the same. Must not: cost more than a move between registers, which `core::hint::black_box` does: it
//! goes through the stack.

/// Keeps the compiler from dropping a mask it can prove, which 6.1's verifier wants to see, or from turning arithmetic
/// into a branch.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn opaque(number: u64) -> u64 {
    let mut register = number;
    // An empty template would leave two source lines at one instruction, which the kernel refuses.
    // SAFETY: moves a register onto itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) register, options(pure, nomem, nostack)) };
    register
}

/// The same for the host, where lints read this crate.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn opaque(number: u64) -> u64 {
    core::hint::black_box(number)
}
