//! Why programs could not be loaded, or a map not be walked.
//!
//! In: errors of aya and the kernel. Out: the same with what to do about them. Must not: hide their cause.

use std::io;

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::{BtfError, EbpfError};

/// Why the programs could not be loaded. All of these end `ctmon run`.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "this ctmon was built without its eBPF programs: run `cargo xtask build`, or `cargo xtask build-ebpf` and build \
         again"
    )]
    NotBuilt,
    #[error(
        "failed to read the kernel's type information at /sys/kernel/btf/vmlinux: \
         ctmon needs a kernel built with CONFIG_DEBUG_INFO_BTF"
    )]
    Btf(#[source] BtfError),
    #[error(
        "failed to load the eBPF object: ctmon needs CAP_BPF and CAP_PERFMON (or root), a seccomp profile that knows \
         them, and kernel 6.1 or later"
    )]
    Object(#[source] Box<EbpfError>),
    #[error("failed to load eBPF program {name}: ctmon needs {}", needs(source))]
    Program {
        name: &'static str,
        #[source]
        source: Box<ProgramError>,
    },
    #[error("failed to link the clock program")]
    Clock(#[source] ScanError),
    #[error("eBPF object lacks {name}: it does not belong to this build")]
    Missing { name: &'static str },
    #[error("failed to open eBPF map {name}")]
    Map {
        name: &'static str,
        #[source]
        source: Box<MapError>,
    },
}

/// What a kernel that refused a program wants: rights, or else another kernel.
fn needs(error: &ProgramError) -> &'static str {
    match error {
        ProgramError::LoadError { io_error, .. } if io_error.kind() != io::ErrorKind::PermissionDenied => {
            "kernel 6.1 or later, built with CONFIG_BPF_SYSCALL"
        }
        _ => "CAP_BPF and CAP_PERFMON (or root)",
    }
}

/// Why one walk failed. It concerns one map and one moment.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("failed to link the iterator to the map")]
    Link(#[source] io::Error),
    #[error("failed to start the iterator")]
    Start(#[source] io::Error),
    #[error("failed to read the iterator")]
    Read(#[source] io::Error),
    #[error("failed to read eBPF map {name}")]
    Map {
        name: &'static str,
        #[source]
        source: Box<MapError>,
    },
    #[error("the walk ended without its closing call")]
    Unfinished,
    #[error("the programs that count are not loaded")]
    NotLoaded,
}
