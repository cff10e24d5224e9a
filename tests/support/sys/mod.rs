//! Raw system calls of the test side. The only folder of the package with unsafe code.
//!
//! In: slices and paths whose sizes are checked here. Out: owned descriptors, bytes, errors with context.
//! Must not: be used by the agent: it writes to maps, which the agent never does.

mod bpf;
mod capability;
mod container;
mod os;

pub use bpf::{Info, Kind, Map, NO_COMMON_LRU, Spec, counts_entries, possible_cpus};
pub use capability::{Capability, keep_only};
pub use container::Container;
pub use os::{
    Signal, Termination, is_bpffs, keep_alive, kill, monotonic, mount_bpffs, unmount, unshare_network,
    unshare_processes,
};
