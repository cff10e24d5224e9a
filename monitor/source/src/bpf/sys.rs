//! The raw system calls no library offers: the only `unsafe` of the agent.
//!
//! In: paths and descriptors. Out: owned descriptors and plain numbers, or the kernel's errno.
//! Must not: create, update, delete from, pin or freeze a map: no function here can.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// `bpf(2)` commands used here, <https://github.com/torvalds/linux/blob/v6.1/include/uapi/linux/bpf.h#L885>.
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
/// The descriptor refuses updates and deletes with EPERM.
const BPF_F_RDONLY: u32 = 1 << 3;
const BPF_TRACE_ITER: u32 = 28;

/// `struct bpf_map_info`, its first fields:
/// <https://github.com/torvalds/linux/blob/v6.1/include/uapi/linux/bpf.h#L6206>.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapInfo {
    pub map_type: u32,
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub map_flags: u32,
    pub name: [u8; 16],
}

/// `struct bpf_prog_info` up to the counters this agent reads:
/// <https://github.com/torvalds/linux/blob/v6.1/include/uapi/linux/bpf.h#L6164>.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ProgInfo {
    head: [u64; 24],
    run_time_ns: u64,
    run_cnt: u64,
    recursion_misses: u64,
}

const _: () = {
    assert!(size_of::<MapInfo>() == 40);
    assert!(std::mem::offset_of!(ProgInfo, run_time_ns) == 192);
    assert!(std::mem::offset_of!(ProgInfo, recursion_misses) == 208);
};

/// Opens a pinned object so that the kernel refuses any write through the descriptor.
pub fn open_pinned_read_only(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = Attr { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: BPF_F_RDONLY };
    bpf_fd(BPF_OBJ_GET, &mut attr)
}

/// What the kernel says of a map.
pub fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    object_info(map)
}

/// The most CPUs any kernel is built for: `NR_CPUS` ends there on x86, earlier elsewhere.
const MOST_CPUS: usize = 8192;
/// The widest value read from a per-CPU map.
const WIDEST_VALUE: u32 = 64;

/// A per-CPU map of counters, read key by key: what Cilium counts, never its conntrack or NAT entries.
#[derive(Debug)]
pub struct PerCpuMap {
    map: OwnedFd,
    info: MapInfo,
    /// One share for every CPU there could be, each on its 8 bytes: the kernel fills as many as there may be.
    shares: Vec<u64>,
}

impl PerCpuMap {
    /// Opens the pin; another kind of map is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        /// `BPF_MAP_TYPE_PERCPU_HASH` and `BPF_MAP_TYPE_PERCPU_ARRAY`.
        const PER_CPU: [u32; 2] = [5, 6];
        let map = open_pinned_read_only(path)?;
        let info = map_info(map.as_fd())?;
        if !PER_CPU.contains(&info.map_type) || info.value_size > WIDEST_VALUE {
            let found = format!("type {} with values of {} bytes", info.map_type, info.value_size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("no per-CPU counters: {found}")));
        }
        let words = usize::try_from(info.value_size.div_ceil(8)).map_err(io::Error::other)?;
        Ok(Self { map, info, shares: vec![0; words * MOST_CPUS] })
    }

    #[must_use]
    pub fn info(&self) -> MapInfo {
        self.info
    }

    /// The key after this one, or the first; `None` at the end.
    pub fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key_size()?];
        if key.is_some_and(|key| key.len() != next.len()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let after = key.map_or(0, |key| key.as_ptr() as u64);
        let found = self.element(BPF_MAP_GET_NEXT_KEY, after, next.as_mut_ptr() as u64)?;
        Ok(found.then_some(next))
    }

    /// The value's shares one after the other, each padded to whole words; those of CPUs that cannot be are 0.
    pub fn lookup(&mut self, key: &[u8]) -> io::Result<Option<&[u64]>> {
        if key.len() != self.key_size()? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.shares.fill(0);
        let shares = self.shares.as_mut_ptr() as u64;
        let found = self.element(BPF_MAP_LOOKUP_ELEM, key.as_ptr() as u64, shares)?;
        Ok(found.then_some(&self.shares))
    }

    fn key_size(&self) -> io::Result<usize> {
        usize::try_from(self.info.key_size).map_err(io::Error::other)
    }

    /// Asks for an element; both addresses are backed by what the map's own sizes ask for.
    fn element(&self, command: libc::c_long, key: u64, value: u64) -> io::Result<bool> {
        #[repr(C)]
        struct Attr {
            map_fd: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let mut attr = Attr { map_fd: raw(self.map.as_fd()), padding: 0, key, value, flags: 0 };
        match bpf(command, &mut attr) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How often the kernel skipped a tracing program because it would have run inside itself.
pub fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    object_info::<ProgInfo>(program).map(|info| info.recursion_misses)
}

/// Links an iterator program to one map, or, if it walks something else, to all there is of that. The library's
/// `attach` cannot name the map.
pub fn link_iterator(program: BorrowedFd<'_>, map: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
        iter_info: u64,
        iter_info_len: u32,
        padding: u32,
    }
    // `union bpf_iter_link_info`: for map elements one descriptor.
    let map_fd = map.map(raw);
    let mut attr = Attr {
        prog_fd: raw(program),
        target_fd: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        iter_info: map_fd.as_ref().map_or(0, |fd| std::ptr::from_ref(fd) as u64),
        iter_info_len: if map_fd.is_some() { 4 } else { 0 },
        padding: 0,
    };
    bpf_fd(BPF_LINK_CREATE, &mut attr)
}

/// Starts one walk of a linked iterator: reading the descriptor runs the program.
pub fn start_iterator(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
        flags: u32,
    }
    bpf_fd(BPF_ITER_CREATE, &mut Attr { link_fd: raw(link), flags: 0 })
}

/// Gives freed memory back to the kernel: parsing the kernel's BTF leaves 20 MB of holes behind.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Processor time of the calling thread.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`.
#[must_use]
pub fn monotonic() -> Duration {
    clock(libc::CLOCK_MONOTONIC)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills one timespec; both clocks always exist, so the call cannot fail.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn object_info<T: Copy + Default>(object: BorrowedFd<'_>) -> io::Result<T> {
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = T::default();
    let info_len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut attr = Attr { bpf_fd: raw(object), info_len, info: &raw mut info as u64 };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn bpf_fd<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is the command's own record, of the size given; what it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
