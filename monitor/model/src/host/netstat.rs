//! Counters of the network stack, as they were read.
//!
//! In: nothing. Out: plain data. Must not: turn a counter that this kernel has not into a zero.

/// Whose counters these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetSource {
    /// Pid 1's network namespace: the node's, if procfs is the node's.
    Pid1,
    /// Our own: pid 1's is hidden from us.
    Own,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// `Tcp RetransSegs`.
    pub retransmits: Option<u64>,
    /// `TCPSynRetrans`: our SYNs that had to be repeated: "new connections slow".
    pub syn_retransmits: Option<u64>,
    /// `ListenOverflows`: a completed handshake found the accept queue full.
    pub listen_overflows: Option<u64>,
    /// `ListenDrops`: every SYN or handshake a listener dropped, overflows included.
    pub listen_drops: Option<u64>,
    /// `TCPReqQFullDrop`: SYNs dropped because the SYN queue was full and cookies were off.
    pub syn_queue_drops: Option<u64>,
    /// `TCPReqQFullDoCookies`: SYNs answered with a cookie because the SYN queue was full.
    pub syn_queue_cookies: Option<u64>,
    /// `TCPAbortOnTimeout`: connections given up because the peer no longer answered.
    pub aborts_on_timeout: Option<u64>,
    /// `TCPKeepAlive`: keepalive probes sent.
    pub keepalive_probes: Option<u64>,
    /// `TCPTimeouts`: retransmission timers that went off.
    pub timeouts: Option<u64>,
    /// `TCPBacklogDrop`: segments dropped because the socket's backlog was full.
    pub backlog_drops: Option<u64>,
    /// `TCPTimeWaitOverflow`: sockets destroyed at once for want of a `TIME_WAIT` place.
    pub time_wait_overflows: Option<u64>,
}

/// Sums over all CPUs. The kernel keeps them per CPU for the whole node, not per namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softnet {
    pub processed: u64,
    /// The backlog was full: what `net.core.netdev_max_backlog` is for.
    pub dropped: u64,
    /// The budget of one round ended with packets left.
    pub time_squeezed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetStat {
    pub source: NetSource,
    pub counters: NetCounters,
    pub softnet: Option<Softnet>,
}
