//! The two atomic instructions a tracing program needs: it runs on several processors at once.
//!
//! In: a word of a map value. Out: what it held before. Must not: be used where a plain addition will do.
//!
//! The compiler knows BPF's atomics only as far as compare-and-swap is not needed, which excludes all of
//! `AtomicU64` that is of use here; the instructions themselves are as old as the oldest kernel supported.

/// Adds and returns the sum before, fully ordered.
///
/// # Safety
/// `word` points to an aligned word of a map value.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn fetch_add(word: *mut u64, add: u64) -> u64 {
    let mut register = add;
    // SAFETY: the caller's word; the verifier checks the access like any other.
    unsafe {
        core::arch::asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})", inout(reg) register, in(reg) word)
    };
    register
}

/// Stores and returns what was there before, fully ordered.
///
/// # Safety
/// `word` points to an aligned word of a map value.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn swap(word: *mut u64, with: u64) -> u64 {
    let mut register = with;
    // SAFETY: as above.
    unsafe { core::arch::asm!("{0} = xchg_64({1} + 0, {0})", inout(reg) register, in(reg) word) };
    register
}

/// The same for the host, where lints read this crate.
///
/// # Safety
/// `word` points to an aligned word of a map value.
#[cfg(not(target_arch = "bpf"))]
pub(crate) unsafe fn fetch_add(word: *mut u64, add: u64) -> u64 {
    // SAFETY: passed on to the caller.
    let word = unsafe { core::sync::atomic::AtomicU64::from_ptr(word) };
    word.fetch_add(add, core::sync::atomic::Ordering::SeqCst)
}

/// # Safety
/// `word` points to an aligned word of a map value.
#[cfg(not(target_arch = "bpf"))]
pub(crate) unsafe fn swap(word: *mut u64, with: u64) -> u64 {
    // SAFETY: passed on to the caller.
    let word = unsafe { core::sync::atomic::AtomicU64::from_ptr(word) };
    word.swap(with, core::sync::atomic::Ordering::SeqCst)
}
