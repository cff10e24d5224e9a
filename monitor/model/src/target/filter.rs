//! Two bit sets per family that reject most addresses without a lookup.
//!
//! In: the targets' prefixes. Out: 65,536 bits over the high and over the low 16 bits of the addresses inside.
//! Must not: reject an address of a target. An address that passes may still belong to none.
//!
//! High: IPv4 bits 0..16; IPv6 bits 0..16 xor bits 16..32. Low: the last 16 bits. The index of a bit is the
//! big-endian value: word `index >> 6`, bit `index & 63`.

use std::net::IpAddr;

use monitor_abi::scan::FILTER_WORDS;

use super::super::prefix::Prefix;

/// 65,536 bits.
pub(super) type Words = [u64; FILTER_WORDS];

/// The filters, in the order of the kernel's filter map.
#[derive(Clone, Debug)]
pub(super) struct AddressFilters {
    pub(super) v4_high: Box<Words>,
    pub(super) v4_low: Box<Words>,
    pub(super) v6_high: Box<Words>,
    pub(super) v6_low: Box<Words>,
}

impl Default for AddressFilters {
    fn default() -> Self {
        let empty = || Box::new([0; FILTER_WORDS]);
        Self { v4_high: empty(), v4_low: empty(), v6_high: empty(), v6_low: empty() }
    }
}

impl AddressFilters {
    /// Sets every bit that an address inside the prefix can have.
    pub(super) fn add(&mut self, prefix: &Prefix) {
        let (high, low) = halves(prefix.address());
        let length = prefix.length();
        if prefix.address().is_ipv4() {
            set_run(&mut self.v4_high, high, 16_u8.saturating_sub(length));
            set_run(&mut self.v4_low, low, 32 - length.min(32));
        } else {
            // The xor of two halves that are not both fixed can be anything.
            set_run(&mut self.v6_high, high, if length >= 32 { 0 } else { 16 });
            set_run(&mut self.v6_low, low, 128 - length.min(128));
        }
    }

    /// `false` for addresses that are certainly in no prefix.
    pub(super) fn may_contain(&self, address: IpAddr) -> bool {
        let (high, low) = halves(address);
        match address {
            IpAddr::V4(_) => is_set(&self.v4_high, high) && is_set(&self.v4_low, low),
            IpAddr::V6(_) => is_set(&self.v6_high, high) && is_set(&self.v6_low, low),
        }
    }
}

/// The high and the low index of an address.
fn halves(address: IpAddr) -> (u16, u16) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        IpAddr::V6(address) => {
            let [first, second, .., last] = address.segments();
            (first ^ second, last)
        }
    }
}

/// Sets the bits of all values that differ from `start` in the last `free` bits only.
fn set_run(words: &mut Words, start: u16, free: u8) {
    if free >= 16 {
        words.fill(u64::MAX);
        return;
    }
    let count = 1_u16 << free;
    let first = start & !(count - 1);
    for value in first..=first + (count - 1) {
        if let Some(word) = words.get_mut(usize::from(value >> 6)) {
            *word |= 1 << (value & 63);
        }
    }
}

fn is_set(words: &Words, value: u16) -> bool {
    words.get(usize::from(value >> 6)).is_some_and(|word| word >> (value & 63) & 1 != 0)
}
