//! The peak of this process's memory.
//!
//! In: what the kernel keeps of it. Out: KiB. Must not: be asked by two tests of one process: a peak is nobody's own.

/// What `list`, `top` and the deep scan may take beside the agent.
pub(crate) const MOST_KIB: u64 = 24 * 1024;

pub(crate) fn kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    assert_ne!(peak, None, "no VmHWM in {status:?}");
    peak.unwrap_or_default()
}
