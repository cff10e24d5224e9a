//! Tests that need a kernel: the captured maps replayed into real ones, walked by the built programs.
//!
//! In: fixtures, this machine's (or the virtual machine's) kernel. Out: pass or fail, never a silent skip.
//! Must not: touch the machine's own bpffs.

mod scan;
