//! What is expected of Cilium's timeouts and of its collector, beside what is there.
//!
//! In: a snapshot, settings. Out: findings. Must not: compare with what is unknown.

use std::time::Duration;

use monitor_config::Settings;
use monitor_model::duration;
use monitor_model::snapshot::{Snapshot, TimeoutSource};
use monitor_model::timeouts::TimeoutClass;

use crate::finding::{Finding, Level};

/// Every expectation of a duration that does not hold.
pub(super) fn findings(snapshot: &Snapshot, settings: &Settings) -> Vec<Finding> {
    let mut all = Vec::new();
    for (expected, bound) in &settings.expect.ct_timeouts {
        let Some((found, source)) = timeout(snapshot, *expected) else { continue };
        // What entries show may be off by so much: the value expected, if it is as near as that, is in force.
        let tolerance = if source == ENTRIES { snapshot.timeout_tolerance() } else { Duration::ZERO };
        let nearest = (*bound.value()).clamp(found.saturating_sub(tolerance), found + tolerance);
        if bound.holds(&nearest) {
            continue;
        }
        all.push(finding(
            "ct_timeouts",
            Level::WARNING,
            format!(
                "the timeout {} is {} (as {}), expected {}",
                expected.cilium_key(),
                duration::format(whole_seconds(found)),
                source,
                bound.describe(|value| duration::format(*value))
            ),
            "set it below extraConfig in Cilium's Helm values and restart the agent: the chart has no value of its own \
             for it, and ignores those it does not know",
        ));
    }
    all.extend(not_in_force(snapshot));
    if let Some(bound) = &settings.expect.gc_interval {
        let fixed = agent_interval(snapshot);
        let seen = snapshot.present().filter_map(|(_, present)| present.gc?.interval).max();
        if let Some((found, how)) =
            fixed.map(|fixed| (fixed, "Cilium's configuration says")).or(seen.map(|seen| (seen, "was seen")))
            && !bound.holds(&whole_seconds(found))
        {
            all.push(finding(
                "gc_interval",
                Level::WARNING,
                format!(
                    "the collector's interval is {} ({how}), expected {}",
                    duration::format(whole_seconds(found)),
                    bound.describe(|value| duration::format(*value))
                ),
                "set conntrackGCInterval in Cilium's Helm values, or conntrack-gc-max-interval below extraConfig, and \
                 restart the agent",
            ));
        }
    }
    all
}

/// What Cilium is configured with and its entries do not show.
fn not_in_force(snapshot: &Snapshot) -> impl Iterator<Item = Finding> {
    let of = |source| snapshot.timeouts.iter().filter(move |fact| fact.source == source);
    let pairs = of(TimeoutSource::CiliumConfig).filter_map(move |configured| {
        Some((configured, of(TimeoutSource::Entries).find(|shown| shown.class == configured.class)?))
    });
    let tolerance = snapshot.timeout_tolerance();
    pairs.filter(move |(configured, shown)| configured.value.abs_diff(shown.value) > tolerance).map(|(configured, shown)| {
        finding(
            "ct_timeouts",
            Level::WARNING,
            format!(
                "the timeout {} is {} as Cilium's configuration says, and {} as entries show",
                configured.class.cilium_key(),
                duration::format(configured.value),
                duration::format(whole_seconds(shown.value))
            ),
            "restart the agent of this node: it reads its configuration at its start; entries take a timeout over with \
             their next packet",
        )
    })
}

/// The interval if Cilium's configuration fixes it.
fn agent_interval(snapshot: &Snapshot) -> Option<Duration> {
    snapshot.agent.as_ref()?.gc_interval.filter(|interval| !interval.is_zero())
}

/// How a timeout is known that is not configured.
const ENTRIES: &str = "entries show";

/// A timeout in force and how it is known.
fn timeout(snapshot: &Snapshot, class: TimeoutClass) -> Option<(Duration, &'static str)> {
    if !class.is_lifetime() {
        let configured = snapshot.agent.as_ref()?.ct_timeouts.get(&class)?;
        return Some((*configured, "Cilium's configuration says"));
    }
    let found = snapshot.timeout(class)?;
    let configured = snapshot
        .timeouts
        .iter()
        .any(|fact| fact.class == class && fact.source == TimeoutSource::CiliumConfig);
    Some((found, if configured { "Cilium's configuration says" } else { ENTRIES }))
}

/// Neither passes nor entries are exact to a fraction of a second: it would only look exact.
const fn whole_seconds(interval: Duration) -> Duration {
    Duration::from_secs(interval.as_secs())
}

fn finding(check: &str, level: Level, evidence: String, advice: &str) -> Finding {
    Finding {
        check: check.to_owned(),
        level,
        map_name: String::new(),
        target: String::new(),
        evidence,
        advice: advice.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use monitor_model::agent_config::AgentConfig;
    use monitor_model::map_name;
    use monitor_model::snapshot::{Content, GcFacts, MapState, PresentMap, TimeoutFact};

    use super::*;
    use crate::testing::{defaults, nothing, parse, walked};

    fn levels(snapshot: &Snapshot, settings: &Settings) -> Vec<(String, Level)> {
        findings(snapshot, settings).into_iter().map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn a_collector_that_drifted_is_told_unless_its_interval_is_fixed() {
        let settings = parse("expect: {gc_interval: {at_most: 5m}}");
        let check = |seen: Option<u64>, fixed: Option<u64>, expected: &[&str]| {
            let mut snapshot = nothing(&settings);
            snapshot.agent = fixed.map(|seconds| AgentConfig {
                gc_interval: Some(Duration::from_secs(seconds)),
                ..AgentConfig::default()
            });
            let gc = GcFacts { interval: seen.map(Duration::from_secs), ..GcFacts::default() };
            let content = Content::Present(PresentMap { gc: Some(gc), ..walked(0) });
            let map = map_name::global_maps().into_iter().next().unwrap();
            snapshot.maps = vec![MapState { map, content, recreations: 0 }];
            let evidence: Vec<_> =
                findings(&snapshot, &settings).into_iter().map(|finding| finding.evidence).collect();
            assert_eq!(evidence, expected, "{seen:?} {fixed:?}");
        };
        check(None, None, &[]);
        check(Some(300), None, &[]);
        check(Some(640), None, &["the collector's interval is 10m40s (was seen), expected at most 5m"]);
        check(Some(640), Some(0), &["the collector's interval is 10m40s (was seen), expected at most 5m"]);
        check(Some(640), Some(300), &[]);
        check(
            None,
            Some(600),
            &["the collector's interval is 10m (Cilium's configuration says), expected at most 5m"],
        );
    }

    #[test]
    fn a_timeout_that_entries_show_may_be_off_by_a_report_interval() {
        let settings = parse("expect: {ct_timeouts: {tcp: {equals: 6h}}}");
        let check = |source, seconds, expected: Option<Level>| {
            let mut snapshot = nothing(&settings);
            let value = Duration::from_secs(seconds);
            snapshot.timeouts = vec![TimeoutFact { class: TimeoutClass::Tcp, source, value }];
            let expected: Vec<_> =
                expected.map(|level| ("ct_timeouts".to_owned(), level)).into_iter().collect();
            assert_eq!(levels(&snapshot, &settings), expected, "{source:?} {seconds}");
        };
        check(TimeoutSource::Entries, 21_600, None);
        check(TimeoutSource::Entries, 21_607, None);
        check(TimeoutSource::Entries, 21_608, Some(Level::WARNING));
        check(TimeoutSource::Entries, 21_593, None);
        check(TimeoutSource::Entries, 8_000, Some(Level::WARNING));
        check(TimeoutSource::CiliumConfig, 8_000, Some(Level::WARNING));
        check(TimeoutSource::CiliumConfig, 21_601, Some(Level::WARNING));
        assert_eq!(levels(&nothing(&settings), &settings), []);
    }

    #[test]
    fn what_cilium_was_told_and_entries_do_not_show_is_told() {
        let settings = defaults();
        let check = |configured: u64, shown: u64, interval: Option<u64>, expected: &[&str]| {
            let mut snapshot = nothing(&settings);
            let fact = |source, seconds| {
                let value = Duration::from_secs(seconds);
                TimeoutFact { class: TimeoutClass::Fin, source, value }
            };
            snapshot.timeouts =
                vec![fact(TimeoutSource::CiliumConfig, configured), fact(TimeoutSource::Entries, shown)];
            snapshot.agent = interval.map(|seconds| AgentConfig {
                monitor_aggregation_interval: Some(Duration::from_secs(seconds)),
                ..AgentConfig::default()
            });
            let evidence: Vec<_> =
                findings(&snapshot, &settings).into_iter().map(|finding| finding.evidence).collect();
            assert_eq!(evidence, expected, "{configured} {shown} {interval:?}");
        };
        check(10, 10, None, &[]);
        check(10, 17, None, &[]);
        let found = "the timeout bpf-ct-timeout-regular-tcp-fin is 10s as Cilium's configuration says, and 18s as entries \
                     show";
        check(10, 18, None, &[found]);
        check(10, 18, Some(10), &[]);
        check(10, 3, None, &[]);
    }
}
