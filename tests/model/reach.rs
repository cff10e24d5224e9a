//! Whether the incident, played once at its own length, reaches every alert it is about, and clears it again.
//!
//! In: the simulated node in virtual time, the configuration and the alerts' times that `cargo xtask run` watches it with.
//! Out: pass or fail. Must not: wait: how expressions are evaluated is for the laboratory with a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use monitor_config::{Bound, Settings};
use monitor_model::alert::Severity;
use monitor_model::rule::Rule;
use support::cilium::MapName;
use support::clock::Units;
use support::simulate::entry::{RX_CLOSING, SEEN_NON_SYN, TX_CLOSING};
use support::simulate::model::{Model, Setup};
use support::simulate::node::NAS;
use support::simulate::phase::{LENGTH, Phase, Scenario};

/// What the incident is about: alert, severity, and what tells its series apart.
const ABOUT: [(&str, Severity, &str); 9] = [
    ("CtmonStaleConnections", Severity::Info, ""),
    ("CtmonStaleConnections", Severity::Warning, ""),
    ("CtmonHalfClosedPileUp", Severity::Warning, ""),
    ("CtmonEntriesAboveNormal", Severity::Info, ""),
    ("CtmonEntriesHigh", Severity::Warning, ""),
    ("CtmonCollectionSlow", Severity::Warning, "ct4_global"),
    ("CtmonCollectionSlow", Severity::Warning, "ct_any4_global"),
    ("CtmonTargetUnanswered", Severity::Critical, "445"),
    ("CtmonTargetUnanswered", Severity::Critical, "3260"),
];

/// The map clock when the play begins.
const START: u32 = 5_000;

/// What one scan says, by alert and series.
type Values = BTreeMap<(&'static str, String), f64>;

fn settings() -> Result<Settings> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/simulated.yaml");
    let text = fs::read_to_string(&file).context("the configuration of the simulated node")?;
    monitor_config::parse_file::<monitor_check::Catalog>(&file, &text)
        .context("the configuration of the simulated node")
}

/// Four bytes of a value, as its writer's processor has them.
fn word(value: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_ne_bytes(value.get(at..at + 4).context("a short value")?.try_into()?))
}

/// How the alert of that name is evaluated.
fn rule<'a>(settings: &'a Settings, name: &str, severity: Severity) -> Option<&'a Rule> {
    let mut all = settings.thresholds.iter();
    all.find(|known| known.alert.name == name && known.severity == severity).map(|known| &known.rule)
}

/// The numbers that alerts compare with, from the bytes the model holds.
fn scan(model: &Model, now: u32, settings: &Settings) -> Result<Values> {
    let mut values: Values = ABOUT.map(|(alert, _, series)| ((alert, series.to_owned()), 0.0)).into();
    let mut most = |alert, series: &str, value: f64| {
        if let Some(known) = values.get_mut(&(alert, series.to_owned())) {
            *known = known.max(value);
        }
    };
    let (mut entries, mut lingering, mut half_closed) = (0.0, 0.0, 0.0);
    let mut unanswered = BTreeMap::from([(445_u16, 0.0), (3_260, 0.0)]);
    let stale_after = u32::try_from(settings.stale_after.as_secs())?;
    let interval = match settings.expect.gc_interval {
        Some(Bound::AtMost(interval)) => interval.as_secs_f64(),
        // Off: nothing is ever slow.
        _ => f64::INFINITY,
    };
    for (map, key, value) in model.table().records().filter(|(map, ..)| !map.is_nat()) {
        entries += 1.0;
        let lifetime = word(&value, 32)?;
        if let Some(late) = now.checked_sub(lifetime) {
            let name = map.pin().trim_start_matches("cilium_");
            most("CtmonCollectionSlow", name, f64::from(late) / interval);
        }
        let is_ours = matches!(map, MapName::Ct4)
            && key.get(..8).is_some_and(|ends| ends.chunks(4).any(|end| end == NAS.octets()));
        if !is_ours {
            continue;
        }
        let silent = now - word(&value, 48)?.max(word(&value, 52)?);
        let flags = u16::try_from(word(&value, 36)? & 0xffff)?;
        let closing = flags & (RX_CLOSING | TX_CLOSING);
        if closing != 0 && silent >= stale_after {
            lingering += 1.0;
            half_closed += f64::from(u8::from(closing != RX_CLOSING | TX_CLOSING));
        }
        if closing == 0 && flags & SEEN_NON_SYN == 0 && silent >= 2 && lifetime >= now {
            let port = u16::from_be_bytes(key.get(8..10).context("a short key")?.try_into()?);
            if let Some(count) = unanswered.get_mut(&port) {
                *count += 1.0;
            }
        }
    }
    most("CtmonStaleConnections", "", lingering);
    most("CtmonHalfClosedPileUp", "", half_closed);
    most("CtmonEntriesAboveNormal", "", entries);
    most("CtmonEntriesHigh", "", entries);
    for (port, count) in unanswered {
        most("CtmonTargetUnanswered", &port.to_string(), count);
    }
    Ok(values)
}

/// When an alert fires, given what each scan said: the least value of its window is above, and was for as long as it
/// has to be. A window's share of scans would be reached earlier than its least value.
fn firing(scans: &[Values], step: Duration, of: (&'static str, &str), rule: &Rule) -> Result<Vec<Duration>> {
    let threshold = rule.value.with_context(|| format!("{} is off", of.0))?;
    let key = (of.0, of.1.to_owned());
    let above: Vec<bool> =
        scans.iter().map(|values| values.get(&key).is_some_and(|v| *v > threshold)).collect();
    let window = rule.window.unwrap_or_default().as_secs() / step.as_secs();
    let (mut since, mut kept, mut fired) = (None, None, Vec::new());
    for number in 0..above.len() {
        let at = step * u32::try_from(number)?;
        let first = number.saturating_sub(usize::try_from(window)?);
        let holds = above.get(first..=number).is_some_and(|window| window.iter().all(|above| *above));
        since = holds.then(|| since.unwrap_or(at));
        if since.is_some_and(|since| at >= since + rule.hold) {
            kept = Some(at + rule.keep_firing_for);
        }
        if kept.is_some_and(|until| at <= until) {
            fired.push(at);
        }
    }
    Ok(fired)
}

#[test]
fn every_alert_of_the_incident_fires_in_one_play_of_it() -> Result<()> {
    let settings = settings()?;
    let mut model = Model::new(Setup::new(Scenario::Incident, LENGTH, Units::Seconds));
    let step = Duration::from_secs(15);
    let mut scans = Vec::new();
    for second in 0..=LENGTH.as_secs() {
        let now = START + u32::try_from(second)?;
        model.advance(Duration::from_secs(second), now);
        if second % step.as_secs() == 0 {
            scans.push(scan(&model, now, &settings)?);
        }
    }
    let mut silent = BTreeSet::new();
    for (alert, severity, series) in ABOUT {
        let rule = rule(&settings, alert, severity).with_context(|| format!("no {alert}"))?;
        // The scrapes of a Prometheus as it is set up here and there.
        for every in [1, 2] {
            let scans: Vec<_> = scans.iter().step_by(every).cloned().collect();
            let fired = firing(&scans, step * u32::try_from(every)?, (alert, series), rule)?;
            let told = format!("{alert} {} {series} every {} s", severity.name(), 15 * every);
            let (Some(first), Some(last)) = (fired.first(), fired.last()) else {
                silent.insert(told);
                continue;
            };
            println!("{told}: {first:?} to {last:?}");
            assert!(Phase::at(*first, LENGTH) != Phase::Calm, "{told}: before anything happened");
            assert!(*last < LENGTH, "{told}: still there when the play is over");
        }
    }
    assert!(silent.is_empty(), "never fired: {silent:#?}");
    Ok(())
}
