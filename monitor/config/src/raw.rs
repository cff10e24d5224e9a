//! The file as it is written: optional keys, texts, and the defaults of what is absent.
//!
//! In: YAML text. Out: [`Settings`], or one line that names key and line.
//! Must not: accept an unknown key: a typing error would silently keep a default.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use monitor_model::{duration, eviction_plan, yaml_cost};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::field::{Bounded, Field, Flag, Word, read_as};
use super::logs::Logs;
use super::target::{Port, Targets};
use super::threshold::{AlertList, Configured};
use super::{ClockChoice, Expect, Settings};

/// Scans closer than 1 s would find nothing new; beyond 10 m the rules' windows hold fewer than two samples.
pub(super) type Interval = Bounded<1_000, 600_000>;
/// Zero is off.
pub(super) type DeepInterval = Bounded<0, 86_400_000>;
/// Shorter than 20 s would call an entry lingering that waits out its FIN timeout; 8,000 s is the TCP timeout, after
/// which a half-closed entry is gone anyway, so that beyond 2 h nothing could ever linger.
pub(super) type StaleAfter = Bounded<20_000, 7_200_000>;

/// As in the file.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    bound = "A: AlertList",
    expecting = "a mapping of keys, such as `interval: 15s`"
)]
struct RawSettings<A> {
    listen: Option<Listen>,
    interval: Option<Interval>,
    deep_interval: Option<DeepInterval>,
    clock: Option<Word<ClockChoice>>,
    evictions: Option<Word<eviction_plan::Choice>>,
    evictions_api: Option<Flag>,
    stale_after: Option<StaleAfter>,
    snat_port_range: Option<PortRange>,
    targets_from_host: Option<Flag>,
    targets: Option<Targets>,
    thresholds: Option<Configured<A>>,
    expect: Option<Expect>,
    logs: Option<Logs>,
}

/// Reads the text of a file; an empty one is the defaults.
pub(super) fn read<A: AlertList>(text: &str) -> Result<Settings, String> {
    yaml_cost::check_cost(text.as_bytes())?;
    let raw: Option<RawSettings<A>> = yaml_serde::from_str(text).map_err(|error| describe(&error))?;
    let default = Settings::defaults::<A>();
    let Some(RawSettings {
        listen,
        interval,
        deep_interval,
        clock,
        evictions,
        evictions_api,
        stale_after,
        snat_port_range,
        targets_from_host,
        targets,
        thresholds,
        expect,
        logs,
    }) = raw
    else {
        return Ok(default);
    };
    let settings = Settings {
        listen: listen.map_or(default.listen, |listen| listen.0),
        interval: interval.map_or(default.interval, |interval| interval.0),
        deep_interval: deep_interval.map_or(default.deep_interval, |interval| interval.0),
        clock: clock.map_or(default.clock, |clock| clock.0),
        evictions: evictions.map_or(default.evictions, |choice| choice.0),
        evictions_api: evictions_api.map_or(default.evictions_api, |flag| flag.0),
        stale_after: stale_after.map_or(default.stale_after, |after| after.0),
        snat_port_range: snat_port_range.map_or(default.snat_port_range, |range| range.0),
        targets_from_host: targets_from_host.map_or(default.targets_from_host, |flag| flag.0),
        targets: targets.map_or(default.targets, |targets| targets.0),
        thresholds: thresholds.map_or(default.thresholds, |configured| configured.0),
        expect: expect.unwrap_or(default.expect),
        logs: logs.map_or(default.logs, |logs| logs.0),
    };
    if !settings.deep_interval.is_zero() && settings.deep_interval < settings.interval {
        let show = duration::format;
        let (deep, plain) = (show(settings.deep_interval), show(settings.interval));
        return Err(format!(
            "deep_interval: {deep} is shorter than the interval of {plain}: make it longer, or 0s for off{}",
            at_line(text, "deep_interval")
        ));
    }
    Ok(settings)
}

/// An address to listen on; `:10469` is every address.
///
/// Brackets are taken around IPv4 too: a manifest that puts the node's address between them works for either family.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let spelled = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    let bracketed = || {
        let (address, port) = spelled.strip_prefix('[')?.split_once("]:")?;
        Some(SocketAddr::new(address.parse::<Ipv4Addr>().ok()?.into(), port.parse().ok()?))
    };
    let parsed = spelled.parse().ok().or_else(bracketed);
    parsed.ok_or_else(|| format!("`{text}` is not an address and port: write it like [::]:10469"))
}

/// Where a key at the top level stands, for errors found after reading.
fn at_line(text: &str, key: &str) -> String {
    text.lines()
        .position(|line| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':')))
        .map_or_else(String::new, |index| format!(" at line {}", index + 1))
}

/// One line with the place, also where the value that caused the error has line breaks.
fn describe(error: &yaml_serde::Error) -> String {
    let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let message = in_words_of_yaml(&message);
    match error.location() {
        // The reader's message leaves out the position of the very first character.
        Some(place) if place.line() == 1 && place.column() == 1 => format!("{message} at line 1 column 1"),
        _ => message,
    }
}

/// What was found, called as the file's language calls it: the reader speaks of its own types.
fn in_words_of_yaml(message: &str) -> String {
    const WORDS: [(&str, &str); 5] = [
        ("map,", "a mapping,"),
        ("sequence,", "a list,"),
        ("unit value,", "nothing,"),
        ("string ", "the text "),
        ("boolean ", ""),
    ];
    let Some((place, found)) = message.split_once("invalid type: ") else { return message.to_owned() };
    let known = WORDS.iter().find_map(|(word, ours)| Some((ours, found.strip_prefix(word)?)));
    let (word, rest) = known.map_or(("", found), |(word, rest)| (*word, rest));
    format!("{place}found {word}{rest}")
}

struct Listen(Vec<SocketAddr>);
struct Address(SocketAddr);
struct PortRange(RangeInclusive<u16>);

impl Field for Address {
    type Raw = String;
    const EXPECTED: &'static str = "an address and port";

    fn check(raw: String) -> Result<Self, String> {
        parse_listen(&raw).map(Self)
    }
}

impl Field for PortRange {
    type Raw = Vec<Port>;
    const EXPECTED: &'static str = "two ports: [32768, 65535]";

    fn check(raw: Vec<Port>) -> Result<Self, String> {
        match raw.as_slice() {
            [Port(low), Port(high)] if low < high => Ok(Self(*low..=*high)),
            _ => Err("give the lowest and the highest port, in this order: [32768, 65535]".to_owned()),
        }
    }
}

read_as!(text: Address);
read_as!(seq: PortRange);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListenVisitor)
    }
}

/// Takes one address or a list of them.
struct ListenVisitor;

impl<'de> Visitor<'de> for ListenVisitor {
    type Value = Listen;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an address and port like \"[::]:10469\", or a list of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Listen, E> {
        parse_listen(text).map(|address| Listen(vec![address])).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Listen, A::Error> {
        let mut addresses = Vec::new();
        while let Some(Address(address)) = access.next_element()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            Err(Error::custom("give at least one address"))
        } else {
            Ok(Listen(addresses))
        }
    }
}
