//! What one client, and all of them together, may take.
//!
//! In: nothing. Out: numbers with their reasons.
//! Must not: depend on the configuration: these protect the node, nobody should have to tune them.

use std::time::Duration;

use super::connection_places::PlaceLimits;

/// The server's limits; the defaults suit a node with one or two scrapers, the kubelet and a person.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, over all listeners; for one more another has to leave.
    pub places: PlaceLimits,
    /// Header lines in a request.
    pub headers: usize,
    /// Bytes of a request's head; hyper asks for 8,192 at least.
    pub head_bytes: usize,
    /// From the connection, or the first byte of the next request, to the end of the head.
    pub head: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
    /// Checking credentials and handing over the answer.
    pub answer: Duration,
    /// Between two requests. Longer than the usual scrape intervals: one connection then serves them all.
    pub idle: Duration,
    /// Between two readings of the web configuration.
    pub web_check: Duration,
    /// Between two readings that must agree before a change is taken.
    pub web_settle: Duration,
    /// What open requests get to finish when the daemon ends.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            places: PlaceLimits {
                this_host: 16,
                known: 16,
                others: 32,
                addresses: 16,
                remembered: Duration::from_secs(600),
                handshake_pause: Duration::from_millis(5),
            },
            headers: 64,
            head_bytes: 16 * 1024,
            head: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(150),
            web_check: Duration::from_secs(5),
            web_settle: Duration::from_secs(1),
            shutdown: Duration::from_millis(800),
        }
    }
}
