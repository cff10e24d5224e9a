//! `struct tcp_info`, the part that tells whether a connection is alive.
//!
//! In: the bytes of `INET_DIAG_INFO`. Out: [`TcpInfo`]. Must not: require the whole structure: it grows at its
//! end with every few kernels, and its first 104 bytes have not changed since 2.6.

use std::time::Duration;

use monitor_model::host::tcp_info::TcpInfo;

/// Offsets in <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/tcp.h#L229>.
mod offset {
    pub(super) const RETRANSMITS: usize = 2;
    pub(super) const PROBES: usize = 3;
    pub(super) const BACKOFF: usize = 4;
    pub(super) const RTO: usize = 8;
    pub(super) const UNACKED: usize = 24;
    pub(super) const LAST_DATA_SENT: usize = 44;
    pub(super) const LAST_DATA_RECV: usize = 52;
    pub(super) const LAST_ACK_RECV: usize = 56;
    pub(super) const RTT: usize = 68;
    pub(super) const TOTAL_RETRANS: usize = 100;
}

/// `None` when the kernel gave less than the part that never changed.
#[must_use]
pub fn parse_tcp_info(bytes: &[u8]) -> Option<TcpInfo> {
    let byte = |offset: usize| bytes.get(offset).copied();
    let word =
        |offset: usize| bytes.get(offset..)?.first_chunk::<4>().map(|chunk| u32::from_ne_bytes(*chunk));
    let millis = |offset| word(offset).map(|value| Duration::from_millis(value.into()));
    let micros = |offset| word(offset).map(|value| Duration::from_micros(value.into()));
    Some(TcpInfo {
        retransmits: byte(offset::RETRANSMITS)?,
        probes: byte(offset::PROBES)?,
        backoff: byte(offset::BACKOFF)?,
        retransmission_timeout: micros(offset::RTO)?,
        unacked: word(offset::UNACKED)?,
        since_data_sent: millis(offset::LAST_DATA_SENT)?,
        since_data_received: millis(offset::LAST_DATA_RECV)?,
        since_ack_received: millis(offset::LAST_ACK_RECV)?,
        round_trip: micros(offset::RTT)?,
        total_retransmits: word(offset::TOTAL_RETRANS)?,
    })
}
