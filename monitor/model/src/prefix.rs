//! Address prefixes of either family.
//!
//! In: an address and a length, or text like `192.168.100.0/24`. Out: containment.
//! Must not: mix families: an IPv4-mapped IPv6 address is an IPv6 address here, as in Cilium's maps.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What is wrong with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    #[error("{0:?} is not an IP address or a CIDR like 192.168.100.0/24")]
    Text(String),
    #[error("a prefix of {address} can have at most {most} bits, not {length}")]
    Length { address: IpAddr, length: u8, most: u8 },
}

/// A block of addresses; host bits are cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The address, left-aligned: IPv4 fills the upper 32 bits.
    bits: u128,
    length: u8,
    v4: bool,
}

impl Prefix {
    /// The block of `length` leading bits of `address`.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let most = width(address);
        if length > most {
            return Err(PrefixError::Length { address, length, most });
        }
        Ok(Self { bits: left_aligned(address) & mask(length), length, v4: address.is_ipv4() })
    }

    /// One address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { bits: left_aligned(address), length: width(address), v4: address.is_ipv4() }
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.v4 == address.is_ipv4() && left_aligned(address) & mask(self.length) == self.bits
    }

    /// Whether every address of `other` lies in this block.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.v4 == other.v4 && self.length <= other.length && other.bits & mask(self.length) == self.bits
    }

    /// The first address of the block.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        if self.v4 {
            IpAddr::from(upper(self.bits).to_be_bytes())
        } else {
            IpAddr::from(self.bits.to_be_bytes())
        }
    }

    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let broken = || PrefixError::Text(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse().map_err(|_| broken())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| broken())?;
        Self::new(address, length.unwrap_or(width(address)))
    }
}

/// An address without a length is all of its bits.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == width(self.address()) {
            write!(f, "{}", self.address())
        } else {
            write!(f, "{}/{}", self.address(), self.length)
        }
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The upper 32 bits: the address of an IPv4 block.
const fn upper(bits: u128) -> u32 {
    (bits >> 96) as u32
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prefix: &str, address: &str, inside: bool) {
        let prefix: Prefix = prefix.parse().unwrap();
        assert_eq!(prefix.contains(address.parse().unwrap()), inside, "{address} in {prefix}");
    }

    #[test]
    fn blocks_contain_their_addresses_and_no_others() {
        check("192.168.100.180", "192.168.100.180", true);
        check("192.168.100.180", "192.168.100.181", false);
        check("192.168.100.77/24", "192.168.100.255", true);
        check("192.168.100.0/24", "192.168.101.0", false);
        check("0.0.0.0/0", "255.1.2.3", true);
        check("0.0.0.0/0", "::", false);
        check("::/0", "::ffff:1.2.3.4", true);
        check("fd00::/8", "fdff::1", true);
        check("fd64::180/128", "fd64::181", false);
    }

    #[test]
    fn text_round_trips_with_host_bits_cleared() {
        for (text, shown) in [("10.1.2.3/8", "10.0.0.0/8"), ("fd64::180/128", "fd64::180"), ("::/0", "::/0")]
        {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "nas", "10.0.0.1/", "10.0.0.1/x", "10.0.0/24", "10.0.0.1/300"] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError::Text(text.to_owned())));
        }
        assert!(matches!("10.0.0.1/33".parse::<Prefix>(), Err(PrefixError::Length { most: 32, .. })));
        assert!(matches!("::/129".parse::<Prefix>(), Err(PrefixError::Length { most: 128, .. })));
    }
}
