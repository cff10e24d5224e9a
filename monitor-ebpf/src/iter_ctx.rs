//! The context of `iter/bpf_map_elem`, and the steps every walk shares.
//!
//! In: the kernel's context. Out: typed access to key and value at constant offsets; the start, the stride
//! and the end of a walk. Must not: dereference anything the verifier has not typed.

use aya_ebpf::bindings::seq_file;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns, bpf_seq_write};
use core::ffi::c_void;
use monitor_abi::scan::{Clock, READ_STRIDE, ask, found, pending};

use crate::maps::{ASK, FOUND, PENDING};

pub(crate) type Ask = [u64; ask::LEN];
pub(crate) type Found = [u64; found::LEN];
pub(crate) type Pending = [u64; pending::LEN];

/// `struct bpf_iter_meta`,
/// <https://github.com/torvalds/linux/blob/v6.1/include/linux/bpf.h#L1911>: stable, 8 bytes a field.
#[repr(C)]
pub(crate) struct Meta {
    pub seq: *mut seq_file,
    pub session_id: u64,
    pub seq_num: u64,
}

/// `struct bpf_iter__bpf_map_elem`,
/// <https://github.com/torvalds/linux/blob/v6.1/kernel/bpf/map_iter.c#L94>.
#[repr(C)]
pub(crate) struct IterCtx {
    pub meta: *const Meta,
    pub map: *const c_void,
    pub key: *const u8,
    pub value: *const u8,
}

/// One element of a walk.
pub(crate) struct Step {
    ctx: *const IterCtx,
    key: *const u8,
    value: *const u8,
    pending: *mut Pending,
}

impl Step {
    /// Opens a call: on the first of a walk takes the clocks. `None` on the closing call, which has no element.
    ///
    /// # Safety
    /// `ctx` is the context the kernel passed to the program.
    #[inline(always)]
    pub(crate) unsafe fn open(ctx: *const IterCtx) -> Option<Self> {
        let pending = PENDING.get_ptr_mut(0)?;
        // SAFETY: a map value of this type, the index is a constant below its length.
        if unsafe { (*pending)[pending::BEGUN] } == 0 {
            // SAFETY: the caller's.
            unsafe { begin(ctx, pending) };
        }
        // SAFETY: the kernel passes a valid context.
        let (key, value) = unsafe { ((*ctx).key, (*ctx).value) };
        if key.is_null() || value.is_null() {
            return None;
        }
        Some(Self { ctx, key, value, pending })
    }

    /// Hands the element to the reader. The kernel shows it again if it did not fit.
    #[inline(always)]
    pub(crate) fn show<K, V>(&self) {
        // SAFETY: key and value are non-null buffers of the map's key and value size, which the kernel
        // compares with what this program reads when the link is made.
        unsafe { bpf_seq_write(self.seq(), self.key.cast(), size_of::<K>() as u32) };
        // SAFETY: as above.
        unsafe { bpf_seq_write(self.seq(), self.value.cast(), size_of::<V>() as u32) };
    }

    /// The element's number, from 0.
    #[inline(always)]
    pub(crate) fn number(&self) -> u64 {
        // SAFETY: the kernel passes a valid context with a valid meta.
        unsafe { (*(*self.ctx).meta).seq_num }
    }

    /// Where what is copied of elements waits.
    #[inline(always)]
    pub(crate) fn pending(&self) -> *mut u64 {
        self.pending.cast()
    }

    /// Ends a `read` of one byte every [`READ_STRIDE`] elements, so that no read holds the CPU for long.
    #[inline(always)]
    pub(crate) fn stride(&self) {
        if self.number() & (READ_STRIDE - 1) == 0 {
            // SAFETY: the first byte of a non-null key.
            unsafe { bpf_seq_write(self.seq(), self.key.cast(), 1) };
        }
    }

    /// A field of the key. `OFFSET` is constant, as the verifier demands of these buffers.
    ///
    /// # Safety
    /// `OFFSET + size_of::<T>()` is within the key, and aligned for `T` relative to its start.
    #[inline(always)]
    pub(crate) unsafe fn key_at<T: Copy, const OFFSET: usize>(&self) -> T {
        // SAFETY: passed on to the caller.
        unsafe { self.key.add(OFFSET).cast::<T>().read() }
    }

    /// A field of the value, likewise.
    ///
    /// # Safety
    /// `OFFSET + size_of::<T>()` is within the value, and aligned for `T` relative to its start.
    #[inline(always)]
    pub(crate) unsafe fn value_at<T: Copy, const OFFSET: usize>(&self) -> T {
        // SAFETY: passed on to the caller.
        unsafe { self.value.add(OFFSET).cast::<T>().read() }
    }

    #[inline(always)]
    fn seq(&self) -> *mut seq_file {
        // SAFETY: the kernel passes a valid context with a valid meta.
        unsafe { (*(*self.ctx).meta).seq }
    }
}

/// Takes the clocks.
///
/// # Safety
/// `ctx` is the context the kernel passed to the program.
#[inline(always)]
unsafe fn begin(ctx: *const IterCtx, pending: *mut Pending) {
    let (Some(ask), Some(found)) = (ASK.get(0), FOUND.get_ptr_mut(0)) else { return };
    // SAFETY: helpers without arguments.
    let (ktime, jiffies) = unsafe { (bpf_ktime_get_ns(), bpf_jiffies64()) };
    let now = match ask[ask::CLOCK] {
        clock if clock == Clock::Ktime as u64 => ktime / 1_000_000_000,
        clock if clock == Clock::Jiffies as u64 => jiffies >> 8,
        _ => 0,
    };
    // SAFETY: map values of these types, the kernel's context; the map's address is only ever compared.
    unsafe {
        (*found)[found::WALKED] = u64::from(!(*ctx).key.is_null());
        (*found)[found::KTIME_NS] = ktime;
        (*found)[found::JIFFIES] = jiffies;
        (*found)[found::NOW] = now;
        (*found)[found::MAP_ADDRESS] = (*ctx).map as u64;
        (*pending)[pending::BEGUN] = 1;
    }
}

/// Ends a walk on its closing call: says how many elements there were, here and to the caller.
///
/// # Safety
/// `ctx` is the context the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn end(ctx: *const IterCtx) -> u64 {
    let Some(found) = FOUND.get_ptr_mut(0) else { return 0 };
    // The closing call carries the number of the last element, which counts from 0; `WALKED` is 1 by now if there
    // was one.
    // SAFETY: a map value of this type; the kernel's context with a valid meta.
    unsafe {
        let walked = (*(*ctx).meta).seq_num + (*found)[found::WALKED];
        (*found)[found::WALKED] = walked;
        (*found)[found::FINISHED] = 1;
        walked
    }
}
