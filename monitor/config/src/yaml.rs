//! The effective configuration as text, every default spelled out.
//!
//! In: [`Settings`]. Out: YAML that reads back to the same settings.
//! Must not: leave out what is at its default: this is where one looks defaults up.
//!
//! Written by hand because a rule or a service belongs on one line: the YAML library writes one value a line, which makes
//! the defaults 181 lines instead of 76, and prints invisible characters as they are.

use std::fmt::Write;

use monitor_model::duration;
use monitor_model::target::{ServiceSpec, TargetSpec};

use super::field::Choice;
use super::{Bound, Expect, Settings, Thresholds};

/// Writes everything.
pub(super) fn write(settings: &Settings) -> String {
    let Settings {
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
    } = settings;
    let listen: Vec<_> = listen.iter().map(|address| quote(&address.to_string())).collect();
    let mut out = format!(
        "listen: {}\ninterval: {}\ndeep_interval: {}\nclock: {}\nevictions: {}\nevictions_api: {evictions_api}\n\
         stale_after: {}\nsnat_port_range: [{}, {}]\ntargets_from_host: {targets_from_host}\n",
        flow(&listen),
        duration::format(*interval),
        duration::format(*deep_interval),
        clock.word(),
        evictions.name(),
        duration::format(*stale_after),
        snat_port_range.start(),
        snat_port_range.end(),
    );
    section(&mut out, "targets", targets.iter().map(target));
    write_thresholds(&mut out, thresholds);
    write_expect(&mut out, expect);
    section(
        &mut out,
        "logs",
        logs.iter().map(|log| {
            let mut item = format!("  - name: {}\n    pattern: {}\n", quote(&log.name), quote(&log.pattern));
            for (key, globs) in
                [("namespaces", &log.namespaces), ("pods", &log.pods), ("containers", &log.containers)]
            {
                let globs: Vec<_> = globs.iter().map(|glob| quote(glob)).collect();
                let _ = writeln!(item, "    {key}: {}", flow(&globs));
            }
            item
        }),
    );
    out
}

/// A key with a block list; an empty list stays on the key's line.
fn section(out: &mut String, key: &str, items: impl Iterator<Item = String>) {
    let items: String = items.collect();
    out.push_str(key);
    out.push_str(if items.is_empty() { ": []\n" } else { ":\n" });
    out.push_str(&items);
}

fn target(TargetSpec { name, prefixes, services }: &TargetSpec) -> String {
    let addresses: Vec<_> = prefixes.iter().map(|prefix| quote(&prefix.to_string())).collect();
    let services: Vec<_> = services.iter().map(service).collect();
    format!(
        "  - name: {}\n    addresses: {}\n    services: {}\n",
        quote(name),
        flow(&addresses),
        flow(&services)
    )
}

fn service(ServiceSpec { name, ports, protocol }: &ServiceSpec) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let protocol = protocol.map_or_else(String::new, |protocol| format!(", protocol: {}", protocol.name()));
    format!("{{name: {}, ports: {}{protocol}}}", quote(name), flow(&ports))
}

fn write_thresholds(out: &mut String, thresholds: &Thresholds) {
    out.push_str("thresholds:\n");
    let mut previous = "";
    for (alert, rule) in thresholds.iter() {
        if alert.name != previous {
            let _ = writeln!(out, "  {}:", alert.name);
        }
        previous = alert.name;
        let value = rule.value.map_or_else(|| "null".to_owned(), |value| value.to_string());
        let window =
            rule.window.map_or_else(String::new, |window| format!(", window: {}", duration::format(window)));
        let _ = writeln!(
            out,
            "    {}: {{value: {value}, for: {}, keep_firing_for: {}{window}}}",
            alert.severity.name(),
            duration::format(rule.hold),
            duration::format(rule.keep_firing_for),
        );
    }
}

fn write_expect(out: &mut String, expect: &Expect) {
    let Expect { gc_interval, map_capacity, ct_timeouts, sysctls, mount_options } = expect;
    let show = |value: &std::time::Duration| duration::format(*value);
    out.push_str("expect:\n");
    if let Some(interval) = gc_interval {
        let _ = writeln!(out, "  gc_interval: {}", bound(interval, show));
    }
    let capacity = map_capacity.iter().map(|(kind, b)| (kind.name().to_owned(), bound(b, u64::to_string)));
    mapping(out, "map_capacity", capacity);
    mapping(
        out,
        "ct_timeouts",
        ct_timeouts.iter().map(|(class, b)| (class.name().to_owned(), bound(b, show))),
    );
    mapping(
        out,
        "sysctls",
        sysctls.iter().map(|(name, b)| (name.clone(), bound(b, |v| quote(&v.to_string())))),
    );
    mapping(
        out,
        "mount_options",
        mount_options.iter().map(|(kind, has)| {
            let has: Vec<_> = has.iter().map(|option| quote(option)).collect();
            (kind.name().to_owned(), format!("{{has: {}}}", flow(&has)))
        }),
    );
}

fn mapping(out: &mut String, key: &str, pairs: impl Iterator<Item = (String, String)>) {
    let start = out.len();
    let _ = writeln!(out, "  {key}:");
    let empty = out.len();
    for (key, value) in pairs {
        let _ = writeln!(out, "    {key}: {value}");
    }
    if out.len() == empty {
        out.truncate(start);
        let _ = writeln!(out, "  {key}: {{}}");
    }
}

fn bound<T>(bound: &Bound<T>, show: impl Fn(&T) -> String) -> String {
    format!("{{{}: {}}}", bound.key(), show(bound.value()))
}

fn flow(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// Plain where nothing in it means anything to YAML, else between single quotes; between double ones, spelled out, where
/// a reader would change it or it would be invisible.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '=');
    let word = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain);
    if word && !text.eq_ignore_ascii_case("null") {
        text.to_owned()
    } else if text.chars().all(is_seen) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        let mut out = String::from('"');
        for symbol in text.chars() {
            match symbol {
                '"' | '\\' => out.extend(['\\', symbol]),
                _ if is_seen(symbol) => out.push(symbol),
                // Writing to a String cannot fail.
                _ => {
                    let _ = write!(out, "\\U{:08x}", u32::from(symbol));
                }
            }
        }
        out.push('"');
        out
    }
}

/// Letters, digits and what a keyboard has beside them.
fn is_seen(symbol: char) -> bool {
    symbol == ' ' || symbol.is_ascii_graphic() || symbol.is_alphanumeric()
}
