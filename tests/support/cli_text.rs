//! An independent reader of what Cilium's own command line prints of its conntrack and NAT maps.
//!
//! In: the text of `bpf ct list global`, with or without `--time-diff`, and of `bpf nat list`. Out: lines with
//! their map, direction, addresses, words, and counts of them. Must not: know any byte layout: what the agent
//! reads from bytes is compared with what Cilium itself said.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};

use crate::cilium::MapName;

/// An address and a port as printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

/// One line of a conntrack list.
#[derive(Clone, Debug)]
pub struct CtLine<'a> {
    /// The whole line.
    pub text: &'a str,
    /// By position: the CLI prints map after map, an empty line after each.
    pub map: MapName,
    /// `TCP`, `UDP`, `ICMP`...
    pub protocol: &'a str,
    /// `OUT`, `IN` or `SVC`.
    pub facing: &'a str,
    /// Who began: the left one.
    pub initiator: Endpoint,
    /// Who was addressed: the right one; of SVC lines the service's frontend.
    pub responder: Endpoint,
    pub related: bool,
    /// Seconds, with `--time-diff`.
    pub remaining: Option<i64>,
    /// The words between the brackets of `Flags=`.
    pub words: Vec<&'a str>,
    /// Everything printed as `key=value`.
    pub fields: BTreeMap<&'a str, &'a str>,
}

/// One line of a NAT list.
#[derive(Clone, Debug)]
pub struct NatLine<'a> {
    pub text: &'a str,
    pub map: MapName,
    pub protocol: &'a str,
    /// `OUT` or `IN`.
    pub facing: &'a str,
    pub source: Endpoint,
    pub destination: Endpoint,
    /// What the source (OUT) or the destination (IN) becomes.
    pub translated: Endpoint,
    pub fields: BTreeMap<&'a str, &'a str>,
}

/// A count per map label, direction and state.
pub type Counts = BTreeMap<(&'static str, &'static str, &'static str), u64>;

impl CtLine<'_> {
    /// The direction as the agent calls it.
    #[must_use]
    pub fn direction(&self) -> &'static str {
        match (self.related, self.facing) {
            (true, _) => "related",
            (false, "SVC") => "service",
            (false, "IN") => "in",
            (false, _) => "out",
        }
    }

    /// The state as the agent calls it, by the printed words.
    #[must_use]
    pub fn state(&self) -> &'static str {
        let has = |word| self.words.contains(&word);
        match (has("RxClosing"), has("TxClosing")) {
            (true, true) => "closed",
            (true, false) => "rx_closing",
            (false, true) => "tx_closing",
            (false, false) if self.related || self.protocol != "TCP" => "stateless",
            (false, false) if has("SeenNonSyn") => "established",
            (false, false) => "opening",
        }
    }

    /// The protocol as the agent calls it.
    #[must_use]
    pub fn protocol_name(&self) -> &'static str {
        match self.protocol {
            "TCP" => "tcp",
            "UDP" => "udp",
            "ICMP" => "icmp",
            "ICMPv6" => "icmpv6",
            "SCTP" => "sctp",
            _ => "other",
        }
    }

    /// Whether the state is one the grep for `RxClosing|TxClosing` finds.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.words.iter().any(|word| matches!(*word, "RxClosing" | "TxClosing"))
    }

    /// The port printed beside `address`, for each side that has it.
    pub fn ports_at(&self, address: IpAddr) -> impl Iterator<Item = u16> {
        [self.responder, self.initiator]
            .into_iter()
            .filter(move |end| end.address == address)
            .map(|end| end.port)
    }
}

impl NatLine<'_> {
    /// The direction as the agent calls it.
    #[must_use]
    pub fn direction(&self) -> &'static str {
        if self.facing == "IN" { "in" } else { "out" }
    }
}

/// Reads a conntrack list.
pub fn ct_lines(text: &str) -> Result<Vec<CtLine<'_>>> {
    by_map(text, &MapName::CT)?.into_iter().map(|(map, line)| ct_line(map, line)).collect()
}

/// Reads a NAT list.
pub fn nat_lines(text: &str) -> Result<Vec<NatLine<'_>>> {
    by_map(text, &MapName::NAT)?.into_iter().map(|(map, line)| nat_line(map, line)).collect()
}

/// Counts lines per map, direction and state.
#[must_use]
pub fn count_states(lines: &[CtLine<'_>]) -> Counts {
    let mut counts = Counts::new();
    for line in lines {
        *counts.entry((line.map.label(), line.direction(), line.state())).or_default() += 1;
    }
    counts
}

/// `grep ADDRESS | grep -E 'RxClosing|TxClosing' | wc -l`, literally: on the text, not on what was read from it.
#[must_use]
pub fn grep_stale(text: &str, address: &str) -> usize {
    text.lines()
        .filter(|line| line.contains(address))
        .filter(|line| line.contains("RxClosing") || line.contains("TxClosing"))
        .count()
}

/// Lines with the map they belong to; every map of `order` must end with an empty line.
fn by_map<'a>(text: &'a str, order: &[MapName]) -> Result<Vec<(MapName, &'a str)>> {
    let mut maps = order.iter().copied();
    let mut map = maps.next();
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.is_empty() {
            map = maps.next();
        } else {
            lines.push((map.with_context(|| format!("line after the last map: {line}"))?, line));
        }
    }
    ensure!(map.is_none(), "text ends before the end of {}", map.map_or("", MapName::pin));
    Ok(lines)
}

fn ct_line(map: MapName, text: &str) -> Result<CtLine<'_>> {
    let read = || -> Result<CtLine<'_>> {
        let mut words = text.split_whitespace();
        let (protocol, facing) =
            (words.next().context("no protocol")?, words.next().context("no direction")?);
        let initiator = endpoint(words.next().context("no source")?)?;
        ensure!(words.next() == Some("->"), "no arrow");
        let responder = endpoint(words.next().context("no destination")?)?;
        ensure!(matches!(facing, "OUT" | "IN" | "SVC"), "unknown direction {facing}");
        let remaining = match text.split_once("(remaining: ") {
            Some((_, rest)) => Some(rest.split(' ').next().unwrap_or_default().parse()?),
            None => None,
        };
        let bracketed =
            text.split_once("[ ").and_then(|(_, rest)| rest.split_once(']')).context("no flags")?.0;
        Ok(CtLine {
            text,
            map,
            protocol,
            facing,
            initiator,
            responder,
            related: words.next() == Some("related"),
            remaining,
            words: bracketed.split_whitespace().collect(),
            fields: fields(text),
        })
    };
    read().with_context(|| format!("failed to read line: {text}"))
}

fn nat_line(map: MapName, text: &str) -> Result<NatLine<'_>> {
    let read = || -> Result<NatLine<'_>> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [protocol, facing, source, "->", destination, kind, translated, ..] = *words else {
            bail!("unexpected shape");
        };
        match (facing, kind) {
            ("OUT", "XLATE_SRC") | ("IN", "XLATE_DST") => {}
            _ => bail!("{facing} with {kind}"),
        }
        Ok(NatLine {
            text,
            map,
            protocol,
            facing,
            source: endpoint(source)?,
            destination: endpoint(destination)?,
            translated: endpoint(translated)?,
            fields: fields(text),
        })
    };
    read().with_context(|| format!("failed to read line: {text}"))
}

/// `address:port`; IPv6 with brackets in NAT lists and without in conntrack lists.
fn endpoint(text: &str) -> Result<Endpoint> {
    let (address, port) = text.rsplit_once(':').with_context(|| format!("no port in {text}"))?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse().with_context(|| format!("bad address {address}"))?;
    Ok(Endpoint { address, port: port.parse().with_context(|| format!("bad port {port}"))? })
}

fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.split_whitespace().filter_map(|word| word.split_once('=')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{CAPTURE_CLOCK, CT_LIST, CT_LIST_TIMEDIFF, NAT_LIST};

    #[test]
    fn the_capture_holds_what_is_known_of_it() {
        let lines = ct_lines(CT_LIST).unwrap();
        assert_eq!(lines.len(), 399);
        assert_eq!(count_states(&lines).values().sum::<u64>(), 399);
        assert_eq!(grep_stale(CT_LIST, "192.168.100.180"), 183);
        let nat = nat_lines(NAT_LIST).unwrap();
        let of = |map| nat.iter().filter(|line| line.map == map).count();
        assert_eq!((of(MapName::Snat4), of(MapName::Snat6)), (490, 102));
    }

    #[test]
    fn reading_lines_counts_the_same_stale_ones_as_the_grep() {
        let nas: IpAddr = "192.168.100.180".parse().unwrap();
        let lines = ct_lines(CT_LIST).unwrap();
        let stale = lines
            .iter()
            .filter(|line| {
                line.is_stale() && (line.initiator.address == nas || line.responder.address == nas)
            })
            .count();
        assert_eq!(stale, 183);
    }

    #[test]
    fn states_are_counted_per_map_and_direction() {
        let counts = count_states(&ct_lines(CT_LIST).unwrap());
        let expected = [
            (("ct4_global", "in", "established"), 8),
            (("ct4_global", "service", "opening"), 0),
            (("ct6_global", "out", "closed"), 24),
            (("ct_any4_global", "out", "stateless"), 6),
            (("ct_any4_global", "related", "stateless"), 4),
            (("ct_any6_global", "out", "stateless"), 4),
            (("ct_any6_global", "related", "stateless"), 2),
        ];
        for (key, count) in expected {
            assert_eq!(counts.get(&key).copied().unwrap_or_default(), count, "{key:?}");
        }
        let opening: u64 =
            counts.iter().filter(|((_, _, state), _)| *state == "opening").map(|(_, n)| n).sum();
        assert_eq!(opening, 8, "the eight SYNs that traffic-syn.log and traffic-hostsyn.log tell of");
    }

    #[test]
    fn what_remains_is_what_expires_less_the_capture_clock() {
        let lines = ct_lines(CT_LIST_TIMEDIFF).unwrap();
        assert_eq!(lines.len(), 399);
        for line in lines {
            let expires: i64 = line.fields["expires"].parse().unwrap();
            assert_eq!(line.remaining, Some(expires - i64::from(CAPTURE_CLOCK)), "{}", line.text);
        }
    }

    #[test]
    fn text_of_another_shape_is_refused() {
        let line = CT_LIST.lines().next().unwrap();
        let whole = format!("{line}\n\n\n\n\n");
        assert_eq!(ct_lines(&whole).unwrap().len(), 1);
        for broken in [
            format!("{line}\n"),
            format!("{line}\n\n\n\n\n{line}\n"),
            whole.replace("->", "to"),
            whole.replace("SVC", "UP"),
            whole.replace(":445", ":70000"),
            whole.replace("10.96.0.10", "10.96.0"),
        ] {
            assert!(ct_lines(&broken).is_err(), "{broken}");
        }
    }
}
