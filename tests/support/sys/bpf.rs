//! bpf(2): maps created, pinned, written, read one by one and in batches.
//!
//! In: slices, whose sizes are checked against the map's own. Out: owned descriptors, bytes.
//! Must not: be used by the agent: it writes to maps, which the agent never does.

use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, ensure};

use super::os::c_path;

/// Commands of bpf(2).
mod cmd {
    pub(super) const MAP_CREATE: u32 = 0;
    pub(super) const MAP_LOOKUP_ELEM: u32 = 1;
    pub(super) const MAP_UPDATE_ELEM: u32 = 2;
    pub(super) const MAP_DELETE_ELEM: u32 = 3;
    pub(super) const MAP_GET_NEXT_KEY: u32 = 4;
    pub(super) const OBJ_PIN: u32 = 6;
    pub(super) const OBJ_GET: u32 = 7;
    pub(super) const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub(super) const MAP_LOOKUP_BATCH: u32 = 24;
    pub(super) const MAP_UPDATE_BATCH: u32 = 26;
}

/// `BPF_F_NO_COMMON_LRU`: each CPU owns its share of the map.
pub const NO_COMMON_LRU: u32 = 1 << 1;
/// `BPF_F_RDONLY`: the descriptor refuses writes.
const READ_ONLY: u32 = 1 << 3;

/// `BPF_MAP_TYPE_*`, as far as Cilium or a test of wrong layouts needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    Hash = 1,
    Array = 2,
    PercpuHash = 5,
    PercpuArray = 6,
    LruHash = 9,
    LruPercpuHash = 10,
    ArrayOfMaps = 12,
}

/// What to create.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    /// Cut to 15 bytes by the kernel's rules, as Cilium's names are.
    pub name: &'a str,
    pub kind: Kind,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
    /// The template of an array of maps.
    pub inner: Option<&'a Map>,
}

/// `struct bpf_map_info`, its first 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Info {
    pub kind: u32,
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
}

/// An open map. Sizes come from the kernel, so every pointer handed to it is backed by enough bytes.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: Info,
    /// Bytes of a value as user space exchanges them: all possible CPUs' shares for per-CPU maps.
    value_len: usize,
}

#[derive(Default)]
#[repr(C)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[derive(Default)]
#[repr(C)]
struct ElemAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    /// `value`, or `next_key`.
    value: u64,
    flags: u64,
}

#[derive(Default)]
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[derive(Default)]
#[repr(C)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[derive(Default)]
#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// Calls bpf(2) with one of the attributes above.
fn bpf<A>(command: u32, attr: &mut A) -> io::Result<libc::c_long> {
    let size = u32::try_from(size_of::<A>()).map_err(io::Error::other)?;
    // SAFETY: `attr` is a live `repr(C)` structure of `size` bytes, which the kernel copies; addresses inside it
    // are those of buffers that the callers in this file size by the map's own key and value size.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Calls bpf(2) with a command that answers with a new descriptor.
fn bpf_fd<A>(command: u32, attr: &mut A) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(bpf(command, attr)?).map_err(io::Error::other)?;
    // SAFETY: the kernel just returned this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().expose_provenance() as u64
}

/// Whether this kernel counts the entries of its maps itself, by its own list of symbols: Linux 6.6 and later do.
pub fn counts_entries() -> Result<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("no list of symbols")?;
    Ok(symbols.lines().any(|line| line.ends_with(" bpf_map_sum_elem_count")))
}

/// Possible CPUs: how many shares a per-CPU value has.
pub fn possible_cpus() -> Result<usize> {
    let path = "/sys/devices/system/cpu/possible";
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
    let last = text.trim().rsplit([',', '-']).next().unwrap_or_default();
    let last: usize = last.parse().with_context(|| format!("failed to parse {path}: {text:?}"))?;
    Ok(last + 1)
}

impl Map {
    /// Creates a map.
    pub fn create(spec: &Spec<'_>) -> Result<Self> {
        let mut map_name = [0; 16];
        for (to, from) in map_name.iter_mut().take(15).zip(spec.name.bytes()) {
            *to = from;
        }
        let mut attr = CreateAttr {
            map_type: spec.kind as u32,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            map_flags: spec.flags,
            inner_map_fd: spec.inner.map_or(0, |inner| raw(&inner.fd)),
            numa_node: 0,
            map_name,
        };
        let fd = bpf_fd(cmd::MAP_CREATE, &mut attr)
            .with_context(|| format!("failed to create map {} ({:?})", spec.name, spec.kind))?;
        Self::from_fd(fd)
    }

    /// Opens a pinned map for reading and writing.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, 0)
    }

    /// Opens a pinned map as the agent does: writes through it are refused.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        Self::open_with(path, READ_ONLY)
    }

    fn open_with(path: &Path, file_flags: u32) -> Result<Self> {
        let name = c_path(path)?;
        let mut attr = ObjAttr { pathname: address(name.as_bytes_with_nul()), bpf_fd: 0, file_flags };
        let fd = bpf_fd(cmd::OBJ_GET, &mut attr)
            .with_context(|| format!("failed to open pinned map {}", path.display()))?;
        Self::from_fd(fd)
    }

    /// Takes over a descriptor that somebody else opened.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let mut info = Info::default();
        let mut attr = InfoAttr {
            bpf_fd: raw(&fd),
            info_len: u32::try_from(size_of::<Info>())?,
            info: ptr::from_mut(&mut info).expose_provenance() as u64,
        };
        bpf(cmd::OBJ_GET_INFO_BY_FD, &mut attr).context("failed to read map info")?;
        let percpu = [Kind::PercpuHash, Kind::PercpuArray, Kind::LruPercpuHash];
        let value_len = if percpu.iter().any(|kind| *kind as u32 == info.kind) {
            (info.value_size as usize).next_multiple_of(8) * possible_cpus()?
        } else {
            info.value_size as usize
        };
        Ok(Self { fd, info, value_len })
    }

    /// Pins the map; the path must be on a bpffs and free.
    pub fn pin(&self, path: &Path) -> Result<()> {
        let name = c_path(path)?;
        let mut attr =
            ObjAttr { pathname: address(name.as_bytes_with_nul()), bpf_fd: raw(&self.fd), file_flags: 0 };
        bpf(cmd::OBJ_PIN, &mut attr).with_context(|| format!("failed to pin map at {}", path.display()))?;
        Ok(())
    }

    #[must_use]
    pub const fn info(&self) -> Info {
        self.info
    }

    /// Bytes of one value as `update` takes and `lookup` gives it.
    #[must_use]
    pub const fn value_len(&self) -> usize {
        self.value_len
    }

    /// Bytes of one key.
    #[must_use]
    pub const fn key_len(&self) -> usize {
        self.info.key_size as usize
    }

    /// Creates or replaces one element.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.check_key(key)?;
        ensure!(
            value.len() == self.value_len,
            "value has {} bytes, expected {}",
            value.len(),
            self.value_len
        );
        let mut attr = self.elem(address(key), address(value));
        bpf(cmd::MAP_UPDATE_ELEM, &mut attr).context("failed to update map element")?;
        Ok(())
    }

    /// Creates or replaces many elements in one system call: keys and values packed one after the other.
    pub fn update_batch(&self, keys: &[u8], values: &[u8]) -> Result<()> {
        let count = keys.len() / self.key_len().max(1);
        ensure!(keys.len() == count * self.key_len(), "keys are not a multiple of {}", self.key_len());
        ensure!(values.len() == count * self.value_len, "expected values for {count} keys");
        if count == 0 {
            return Ok(());
        }
        let mut attr = BatchAttr {
            keys: address(keys),
            values: address(values),
            count: u32::try_from(count)?,
            map_fd: raw(&self.fd),
            ..BatchAttr::default()
        };
        bpf(cmd::MAP_UPDATE_BATCH, &mut attr)
            .with_context(|| format!("failed to update {count} elements"))?;
        ensure!(attr.count as usize == count, "only {} of {count} elements were updated", attr.count);
        Ok(())
    }

    /// Removes one element; `false` if there was none.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.check_key(key)?;
        let mut attr = self.elem(address(key), 0);
        found(bpf(cmd::MAP_DELETE_ELEM, &mut attr)).context("failed to delete map element")
    }

    /// Reads one element.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_len];
        Ok(self.lookup_into(key, &mut value)?.then_some(value))
    }

    /// Reads one element into a buffer of `value_len` bytes; `false` if there is none.
    pub fn lookup_into(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        self.check_key(key)?;
        ensure!(
            value.len() == self.value_len,
            "buffer has {} bytes, expected {}",
            value.len(),
            self.value_len
        );
        let mut attr = self.elem(address(key), address_mut(value));
        found(bpf(cmd::MAP_LOOKUP_ELEM, &mut attr)).context("failed to look up map element")
    }

    /// Writes the key after `key` (the first one for `None`) into `next`; `false` at the end.
    pub fn next_key_into(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool> {
        self.check_key(next)?;
        if let Some(key) = key {
            self.check_key(key)?;
        }
        let mut attr = self.elem(key.map_or(0, address), address_mut(next));
        found(bpf(cmd::MAP_GET_NEXT_KEY, &mut attr)).context("failed to read next map key")
    }

    /// Calls `each` with every key and value, one `get_next_key` and one lookup per element.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let (mut key, mut next) = (vec![0; self.key_len()], vec![0; self.key_len()]);
        let mut value = vec![0; self.value_len];
        let mut more = self.next_key_into(None, &mut next)?;
        while more {
            std::mem::swap(&mut key, &mut next);
            if self.lookup_into(&key, &mut value)? {
                each(&key, &value);
            }
            more = self.next_key_into(Some(&key), &mut next)?;
        }
        Ok(())
    }

    /// Every key and value.
    pub fn entries(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key.to_vec(), value.to_vec())))?;
        Ok(entries)
    }

    /// Calls `each` with every key and value, read with `BPF_MAP_LOOKUP_BATCH` as Cilium's agent does.
    pub fn for_each_batch(&self, chunk: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let mut chunk = chunk.max(1);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        // The kernel stores a bucket number for hash maps and a key for others: room for either.
        let (mut cursor, mut next) = (vec![0; self.key_len().max(4)], vec![0; self.key_len().max(4)]);
        let mut first = true;
        loop {
            keys.resize(chunk * self.key_len(), 0);
            values.resize(chunk * self.value_len, 0);
            let mut attr = BatchAttr {
                in_batch: if first { 0 } else { address(&cursor) },
                out_batch: address_mut(&mut next),
                keys: address_mut(&mut keys),
                values: address_mut(&mut values),
                count: u32::try_from(chunk)?,
                map_fd: raw(&self.fd),
                ..BatchAttr::default()
            };
            let answer = bpf(cmd::MAP_LOOKUP_BATCH, &mut attr);
            let done = match answer {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                // One bucket holds more than the buffer: the same cursor again with twice the room.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    chunk *= 2;
                    continue;
                }
                Err(error) => return Err(error).context("failed to look up a batch of map elements"),
            };
            let pairs = keys.chunks_exact(self.key_len()).zip(values.chunks_exact(self.value_len));
            for (key, value) in pairs.take(attr.count as usize) {
                each(key, value);
            }
            if done {
                return Ok(());
            }
            std::mem::swap(&mut cursor, &mut next);
            first = false;
        }
    }

    /// Number of elements.
    pub fn count(&self) -> Result<usize> {
        let (mut key, mut next) = (vec![0; self.key_len()], vec![0; self.key_len()]);
        let mut count = 0;
        let mut more = self.next_key_into(None, &mut next)?;
        while more {
            count += 1;
            std::mem::swap(&mut key, &mut next);
            more = self.next_key_into(Some(&key), &mut next)?;
        }
        Ok(count)
    }

    /// Stores `inner` in an array of maps.
    pub fn set_inner(&self, index: u32, inner: &Self) -> Result<()> {
        self.update(&index.to_ne_bytes(), &raw(&inner.fd).to_ne_bytes())
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        ensure!(key.len() == self.key_len(), "key has {} bytes, expected {}", key.len(), self.key_len());
        Ok(())
    }

    fn elem(&self, key: u64, value: u64) -> ElemAttr {
        ElemAttr { map_fd: raw(&self.fd), pad: 0, key, value, flags: 0 }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Turns "no such element" into `false`.
fn found(answer: io::Result<libc::c_long>) -> io::Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
