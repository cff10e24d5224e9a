//! What is expected of Cilium's timeouts and of its collector, beside what is there.
//!
//! In: a snapshot, settings. Out: findings. Must not: compare with what is unknown.

use std::time::Duration;

use super::finding::{Finding, Level};
use crate::config::{Settings, TimeoutClass as Expected, duration};
use crate::snapshot::{Snapshot, TimeoutClass, TimeoutSource};

/// Every expectation of a duration that does not hold.
pub(super) fn findings(snapshot: &Snapshot, settings: &Settings) -> Vec<Finding> {
    let mut all = Vec::new();
    for (expected, bound) in &settings.expect.ct_timeouts {
        let Some((found, source)) = timeout(snapshot, *expected) else { continue };
        if bound.holds(&found) {
            continue;
        }
        // Entries show the longest lifetime left: never more than the timeout, and less while its class is quiet.
        let may_be_quiet = source == ENTRIES && found < *bound.value();
        let level = if may_be_quiet { Level::Info } else { Level::Warning };
        all.push(finding(
            "ct_timeouts",
            level,
            format!(
                "the timeout {} is {} (as {}), expected {}",
                expected.cilium_key(),
                duration::format(found),
                source,
                bound.describe(|value| duration::format(*value))
            ),
            "set it below extraConfig in Cilium's Helm values and restart the agent: the chart has no value of its own \
             for it, and ignores those it does not know",
        ));
    }
    if let Some(bound) = &settings.expect.gc_interval {
        let fixed = agent_interval(snapshot);
        let seen = snapshot.present().filter_map(|(_, present)| present.gc?.interval).max();
        if let Some((found, how)) =
            fixed.map(|fixed| (fixed, "Cilium's configuration says")).or(seen.map(|seen| (seen, "was seen")))
            && !bound.holds(&whole_seconds(found))
        {
            all.push(finding(
                "gc_interval",
                Level::Warning,
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

/// The interval if Cilium's configuration fixes it.
fn agent_interval(snapshot: &Snapshot) -> Option<Duration> {
    snapshot.agent.as_ref()?.gc_interval.filter(|interval| !interval.is_zero())
}

/// How a timeout is known that nobody told.
const ENTRIES: &str = "entries show";

/// A timeout in force and how it is known.
fn timeout(snapshot: &Snapshot, class: Expected) -> Option<(Duration, &'static str)> {
    let class = match class {
        Expected::Tcp => TimeoutClass::Tcp,
        Expected::Any => TimeoutClass::Any,
        Expected::Syn => TimeoutClass::Syn,
        Expected::Fin => TimeoutClass::Fin,
        Expected::ServiceTcp => TimeoutClass::ServiceTcp,
        Expected::ServiceAny => TimeoutClass::ServiceAny,
        // No entry shows it; only the configuration tells.
        Expected::ServiceTcpGrace => {
            let told = snapshot.agent.as_ref()?.ct_timeouts.service_tcp_grace?;
            return Some((told, "Cilium's configuration says"));
        }
    };
    let found = snapshot.timeout(class)?;
    let told = snapshot
        .timeouts
        .iter()
        .any(|fact| fact.class == class && fact.source == TimeoutSource::CiliumConfig);
    Some((found, if told { "Cilium's configuration says" } else { ENTRIES }))
}

/// Passes are told to within a scan: fractions of a second would only look exact.
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
    use super::super::testing::{nothing, walked};
    use super::*;
    use crate::config::parse;
    use crate::snapshot::{Content, GcFacts, MapState, PresentMap, TimeoutFact};
    use crate::source::cilium::agent_config::AgentConfig;
    use crate::source::cilium::pins;

    fn levels(snapshot: &Snapshot, settings: &Settings) -> Vec<(String, Level)> {
        findings(snapshot, settings).into_iter().map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn a_collector_that_drifted_is_told_unless_its_interval_is_fixed() {
        let settings = parse("expect: {gc_interval: {at_most: 5m}}").unwrap();
        let check = |seen: Option<u64>, fixed: Option<u64>, expected: &[&str]| {
            let mut snapshot = nothing(&settings);
            snapshot.agent = fixed.map(|seconds| AgentConfig {
                gc_interval: Some(Duration::from_secs(seconds)),
                ..AgentConfig::default()
            });
            let gc = GcFacts { interval: seen.map(Duration::from_secs), ..GcFacts::default() };
            let content = Content::Present(PresentMap { gc: Some(gc), ..walked(0) });
            let map = pins::global_maps().into_iter().next().unwrap();
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
    fn a_timeout_that_entries_show_is_wrong_for_certain_only_when_it_is_longer() {
        let settings = parse("expect: {ct_timeouts: {tcp: {equals: 6h}}}").unwrap();
        let check = |source, seconds, expected: Option<Level>| {
            let mut snapshot = nothing(&settings);
            let value = Duration::from_secs(seconds);
            snapshot.timeouts = vec![TimeoutFact { class: TimeoutClass::Tcp, source, value }];
            let expected: Vec<_> =
                expected.map(|level| ("ct_timeouts".to_owned(), level)).into_iter().collect();
            assert_eq!(levels(&snapshot, &settings), expected, "{source:?} {seconds}");
        };
        check(TimeoutSource::Entries, 21_600, None);
        check(TimeoutSource::Entries, 28_800, Some(Level::Warning));
        check(TimeoutSource::Entries, 8_000, Some(Level::Info));
        check(TimeoutSource::CiliumConfig, 8_000, Some(Level::Warning));
        assert_eq!(levels(&nothing(&settings), &settings), []);
    }
}
