//! `struct tcp_info`, the part that tells whether a connection is alive.
//!
//! In: nothing; the decoder fills it. Out: [`TcpInfo`]. Must not: know where in the structure a field lies.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Times the retransmission timer went off since the last answer.
    pub retransmits: u8,
    /// Keepalive or window probes without an answer.
    pub probes: u8,
    pub backoff: u8,
    pub retransmission_timeout: Duration,
    /// Segments in flight.
    pub unacked: u32,
    pub since_data_sent: Duration,
    pub since_data_received: Duration,
    pub since_ack_received: Duration,
    pub round_trip: Duration,
    /// Segments repeated over the life of the connection.
    pub total_retransmits: u32,
}

impl TcpInfo {
    /// How long nothing arrived, neither data nor an acknowledgement. A connection that never received anything
    /// counts from boot.
    #[must_use]
    pub fn silent_for(self) -> Duration {
        self.since_data_received.min(self.since_ack_received)
    }
}
