//! What the tuning is for: softnet drops, listen overflows, retransmits, connections given up.
//!
//! In: the bytes of `/proc/PID/net/{snmp,netstat,softnet_stat}`. Out: [`NetCounters`], each counter `None` when this kernel
//! has none of that name. Must not: add up what the kernel counts twice, or name a counter after what it only may contain.
//!
//! **Keepalive kills have no counter of their own.** `tcp_keepalive_timer()` ends a dead connection through
//! `tcp_write_err()`, which counts `TCPAbortOnTimeout`; so do retransmissions and window probes without an answer.
//! `TCPKeepAlive` counts the probes sent. So `aborts_on_timeout` is an upper bound of the kills, and with
//! `keepalive_probes` standing still it contains none.

use std::collections::HashMap;

use monitor_model::host::netstat::{NetCounters, Softnet};

use crate::error::ParseError;

/// `Protocol Field` to value. Values may be negative (`Tcp MaxConn -1`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables(HashMap<String, i128>);

impl Tables {
    /// Takes over what another file says.
    pub fn add(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(name, value)| (name.clone(), *value)));
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(|value| u64::try_from(*value).ok())
    }

    /// The counters that are looked at.
    #[must_use]
    pub fn counters(&self) -> NetCounters {
        NetCounters {
            retransmits: self.get("Tcp RetransSegs"),
            syn_retransmits: self.get("TcpExt TCPSynRetrans"),
            listen_overflows: self.get("TcpExt ListenOverflows"),
            listen_drops: self.get("TcpExt ListenDrops"),
            syn_queue_drops: self.get("TcpExt TCPReqQFullDrop"),
            syn_queue_cookies: self.get("TcpExt TCPReqQFullDoCookies"),
            aborts_on_timeout: self.get("TcpExt TCPAbortOnTimeout"),
            keepalive_probes: self.get("TcpExt TCPKeepAlive"),
            timeouts: self.get("TcpExt TCPTimeouts"),
            backlog_drops: self.get("TcpExt TCPBacklogDrop"),
            time_wait_overflows: self.get("TcpExt TCPTimeWaitOverflow"),
        }
    }
}

/// `snmp` and `netstat`: pairs of lines, names then values, each behind the protocol's name.
pub fn parse_tables(bytes: &[u8]) -> Result<Tables, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut tables = Tables::default();
    let mut names: Option<(&str, Vec<&str>)> = None;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |expected| ParseError::new(number + 1, expected, line);
        let (protocol, fields) = line.split_once(':').ok_or_else(|| bad("a protocol and a colon"))?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        match names.take() {
            None => names = Some((protocol, fields)),
            Some((before, _)) if before != protocol => {
                return Err(bad("the values of the names one line above"));
            }
            Some((_, names)) if names.len() != fields.len() => return Err(bad("as many values as names")),
            Some((_, names)) => {
                for (name, value) in names.into_iter().zip(fields) {
                    let value = value.parse().map_err(|_| bad("numbers"))?;
                    tables.0.insert(format!("{protocol} {name}"), value);
                }
            }
        }
    }
    match names {
        None => Ok(tables),
        Some(_) => Err(ParseError::new(text.lines().count(), "a line of values", "the end of the file")),
    }
}

/// One line per CPU of hexadecimal columns; newer kernels have more of them, the first three never moved.
pub fn parse_softnet(bytes: &[u8]) -> Result<Softnet, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut total = Softnet::default();
    for (number, line) in text.lines().enumerate() {
        let fields: Option<Vec<u64>> = line
            .split_whitespace()
            .take(3)
            .map(|field| u32::from_str_radix(field, 16).ok().map(u64::from))
            .collect();
        let Some(&[processed, dropped, time_squeezed]) = fields.as_deref() else {
            return Err(ParseError::new(number + 1, "three hexadecimal columns", line));
        };
        total.processed += processed;
        total.dropped += dropped;
        total.time_squeezed += time_squeezed;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counters(snmp: &[u8], netstat: &[u8]) -> NetCounters {
        let mut tables = parse_tables(snmp).unwrap();
        tables.add(&parse_tables(netstat).unwrap());
        tables.counters()
    }

    #[test]
    fn every_counter_is_found_in_real_files() {
        let zero = NetCounters {
            retransmits: Some(0),
            syn_retransmits: Some(0),
            listen_overflows: Some(0),
            listen_drops: Some(0),
            syn_queue_drops: Some(0),
            syn_queue_cookies: Some(0),
            aborts_on_timeout: Some(0),
            keepalive_probes: Some(0),
            timeouts: Some(0),
            backlog_drops: Some(0),
            time_wait_overflows: Some(0),
        };
        let newer = counters(fixture!("netstat/snmp-6.18"), fixture!("netstat/netstat-6.18"));
        assert_eq!(newer, NetCounters { timeouts: Some(2), ..zero });
        // After a storage server was out of reach for two minutes: nothing was given up, 49 segments repeated.
        let older = counters(fixture!("netstat/snmp-6.12"), fixture!("netstat/netstat-6.12"));
        assert_eq!(older, NetCounters { retransmits: Some(49), timeouts: Some(104), ..zero });
    }

    #[test]
    fn a_counter_this_kernel_does_not_have_is_unknown_not_zero() {
        let tables = parse_tables(b"TcpExt: ListenDrops\nTcpExt: 7\n").unwrap();
        assert_eq!(tables.counters(), NetCounters { listen_drops: Some(7), ..NetCounters::default() });
    }

    #[test]
    fn broken_tables_are_refused_with_their_line() {
        let check = |text: &str, line: usize| {
            assert_eq!(parse_tables(text.as_bytes()).unwrap_err().line, line, "{text}");
        };
        check("Tcp RetransSegs", 1);
        check("Tcp: A B\nTcp: 1\n", 2);
        check("Tcp: A\nUdp: 1\n", 2);
        check("Tcp: A\nTcp: x\n", 2);
        check("Tcp: A\nTcp: 1\nIp: A\n", 3);
    }

    #[test]
    fn softnet_columns_are_summed_over_the_cpus() {
        let softnet = parse_softnet(fixture!("netstat/softnet_stat-6.18")).unwrap();
        assert!(softnet.processed > 8000 && softnet.dropped == 0, "{softnet:?}");
        let sum = parse_softnet(b"0000000a 00000002 00000001 0\n0000000b ffffffff 00000010\n").unwrap();
        assert_eq!(sum, Softnet { processed: 21, dropped: 2 + 0xffff_ffff, time_squeezed: 17 });
        assert_eq!(parse_softnet(b"1 2\n").unwrap_err().line, 1);
        assert_eq!(parse_softnet(b"1 2 3\n1 x 3\n").unwrap_err().line, 2);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>) {
            let _ = parse_tables(&bytes);
            let _ = parse_softnet(&bytes);
        }
    }
}
