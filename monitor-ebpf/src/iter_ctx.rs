//! The context of `iter/bpf_map_elem`, and the steps every walk shares.
//!
//! In: the kernel's context. Out: typed access to key and value at constant offsets; the start, the stride
//! and the end of a walk. Must not: dereference anything the verifier has not typed.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::seq_file;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns, bpf_seq_write};
use core::ffi::c_void;
use monitor_abi::scan::{Clock, Mode, READ_STRIDE, ask, found};

use crate::maps::{ASK, FOUND};

pub(crate) type Ask = [u64; ask::LEN];
pub(crate) type Found = [u64; found::LEN];

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

/// One call of a walk.
pub(crate) struct Step {
    ctx: *const IterCtx,
    pub key: *const u8,
    pub value: *const u8,
    pub ask: &'static Ask,
    pub found: *mut Found,
}

impl EbpfContext for Step {
    fn as_ptr(&self) -> *mut c_void {
        self.ctx.cast_mut().cast()
    }
}

impl Step {
    /// Opens a call: reads the request, takes the clocks on the first call of a scan, and ends the walk on
    /// the closing call. `None` when there is no element to look at.
    ///
    /// # Safety
    /// `ctx` is the context the kernel passed to the program.
    #[inline(always)]
    pub(crate) unsafe fn open(ctx: *const IterCtx) -> Option<Self> {
        let ask = ASK.get(0)?;
        let found = FOUND.get_ptr_mut(0)?;
        // SAFETY: the kernel passes a valid context.
        let (key, value) = unsafe { ((*ctx).key, (*ctx).value) };
        let step = Self { ctx, key, value, ask, found };
        if step.word(found::KTIME_NS) == 0 {
            step.begin();
        }
        if key.is_null() || value.is_null() {
            // The closing call carries the number of the last element, which counts from 0; `WALKED` is 1 by
            // now if there was one.
            step.set_word(found::WALKED, step.seq_num() + step.word(found::WALKED));
            step.set_word(found::FINISHED, 1);
            return None;
        }
        Some(step)
    }

    #[inline(always)]
    pub(crate) fn streams(&self) -> bool {
        self.ask[ask::MODE] == Mode::Stream as u64
    }

    /// Hands the element to the reader. The kernel shows it again if it did not fit.
    #[inline(always)]
    pub(crate) fn stream(&self, key_size: u32, value_size: u32) {
        // SAFETY: key and value are non-null buffers of the map's key and value size, which the kernel
        // compares with what this program reads when the link is made.
        unsafe { bpf_seq_write(self.seq(), self.key.cast(), key_size) };
        // SAFETY: as above.
        unsafe { bpf_seq_write(self.seq(), self.value.cast(), value_size) };
    }

    /// Ends a `read` of one byte every [`READ_STRIDE`] elements, so that no read holds the CPU for long.
    #[inline(always)]
    pub(crate) fn stride(&self) {
        if self.seq_num() & (READ_STRIDE - 1) == 0 {
            // SAFETY: the first byte of a non-null key.
            unsafe { bpf_seq_write(self.seq(), self.key.cast(), 1) };
        }
    }

    /// A word of the `FOUND` record.
    #[inline(always)]
    pub(crate) fn word(&self, index: usize) -> u64 {
        // SAFETY: a map value of this type; indices are constants below its length.
        unsafe { (*self.found)[index] }
    }

    #[inline(always)]
    pub(crate) fn set_word(&self, index: usize, value: u64) {
        // SAFETY: as above; one scan runs at a time.
        unsafe { (*self.found)[index] = value };
    }

    /// Adds one to a word and says whether it was the first.
    #[inline(always)]
    pub(crate) fn bump(&self, index: usize) -> bool {
        let before = self.word(index);
        self.set_word(index, before + 1);
        before == 0
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
    fn begin(&self) {
        // SAFETY: helpers without arguments.
        let (ktime, jiffies) = unsafe { (bpf_ktime_get_ns(), bpf_jiffies64()) };
        let now = match self.ask[ask::CLOCK] {
            clock if clock == Clock::Ktime as u64 => ktime / 1_000_000_000,
            clock if clock == Clock::Jiffies as u64 => jiffies >> 8,
            _ => 0,
        };
        self.set_word(found::WALKED, u64::from(!self.key.is_null()));
        self.set_word(found::KTIME_NS, ktime);
        self.set_word(found::JIFFIES, jiffies);
        self.set_word(found::NOW, now);
        // SAFETY: the kernel passes a valid context; the map's address is only ever compared.
        self.set_word(found::MAP_ADDRESS, unsafe { (*self.ctx).map } as u64);
    }

    #[inline(always)]
    fn seq(&self) -> *mut seq_file {
        // SAFETY: the kernel passes a valid context with a valid meta.
        unsafe { (*(*self.ctx).meta).seq }
    }

    #[inline(always)]
    fn seq_num(&self) -> u64 {
        // SAFETY: as above.
        unsafe { (*(*self.ctx).meta).seq_num }
    }
}
