//! Every finding of a snapshot.
//!
//! In: readings, snapshot, what a daemon remembers, settings. Out: a list in order of weight.
//! Must not: hold the words of an alert: they stand in its file.

use monitor_abi::scan::Clock;
use monitor_config::Settings;
use monitor_model::eviction_plan::{Mode, Plan, Reason};
use monitor_model::snapshot::Snapshot;

use crate::alerts::unwatched::UNWATCHED;
use crate::alerts::{Condition, DEFINITIONS, Definition, Evidence, Reading, Words, definition_of};
use crate::finding::{Finding, Level, own};
use crate::history::History;
use crate::lookback::reading::LookbackReading;
use crate::{deep, expected, gc, hold, storage, tuning};

/// Whether this says that nothing could be told at all: whatever else was asked for has no answer then.
#[must_use]
pub fn is_blank(finding: &Finding) -> bool {
    finding.check == "conntrack" && finding.level == Level::Unknown
}

/// Every finding of a snapshot with its readings and what a daemon remembers, the heaviest first.
#[must_use]
pub fn findings(
    readings: &[Reading],
    snapshot: &Snapshot,
    history: Option<&History>,
    settings: &Settings,
) -> Vec<Finding> {
    let evidence = Evidence { snapshot, history, settings };
    let mut all = of_readings(readings, &evidence);
    all.extend(history.iter().flat_map(|history| of_lookback(history, settings)));
    all.extend(DEFINITIONS.iter().filter_map(|alert| alert.findings).flat_map(|find| find(&evidence)));
    all.extend(history.and_then(|history| history.files.certificate()));
    all.extend(tuning::circumstances(snapshot, settings));
    all.extend(unknowns(snapshot));
    all.extend(circumstances(snapshot));
    all.extend(deep::findings(snapshot));
    all.extend(expected::findings(snapshot, settings));
    all.extend(storage::circumstances(snapshot, settings));
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    all
}

/// A finding for each series whose lookback window is beyond its threshold.
pub(crate) fn of_lookback(history: &History, settings: &Settings) -> Vec<Finding> {
    history.beyond(settings).filter_map(explain_lookback).collect()
}

/// `None` for an alert that does not look back.
fn explain_lookback(reading: &LookbackReading) -> Option<Finding> {
    let Condition::Lookback { words, .. } = definition_of(reading.alert)?.condition else { return None };
    let Words { evidence, advice } = words(reading);
    Some(Finding {
        map_name: reading.map_name.clone(),
        target: reading.target.clone(),
        ..own(reading.alert.name, Level::Of(reading.severity), &evidence, &advice)
    })
}

/// One finding for each alert and series that is beyond its threshold: of several severities the gravest.
fn of_readings(readings: &[Reading], evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for reading in readings.iter().filter(|reading| reading.active && !is_outdone(reading, readings)) {
        let Some(finding) = explain(reading, evidence) else { continue };
        match all.iter_mut().find(|known| same_series(known, &finding)) {
            Some(known) if known.level < finding.level => *known = finding,
            Some(_) => {}
            None => all.push(finding),
        }
    }
    all
}

/// Whether the finding of another alert about the same map says it too.
fn is_outdone(reading: &Reading, readings: &[Reading]) -> bool {
    let mut others = readings.iter().filter(|other| other.active && other.map_name == reading.map_name);
    others.any(|other| other.definition.outdoes == Some(reading.alert().name))
}

fn same_series(a: &Finding, b: &Finding) -> bool {
    a.check == b.check && a.map_name == b.map_name && a.target == b.target
}

/// `None` where the alert's own findings say it.
fn explain(reading: &Reading, evidence: &Evidence<'_>) -> Option<Finding> {
    let Definition { alert, condition: Condition::Now { words: Some(words), .. }, .. } = reading.definition
    else {
        return None;
    };
    let words = words(reading, evidence);
    let finding = Finding {
        check: alert.name.to_owned(),
        level: Level::Of(reading.severity),
        map_name: reading.map_name.clone(),
        target: reading.target.clone(),
        evidence: words.evidence,
        advice: words.advice,
    };
    Some(hold::waiting(finding, reading, evidence))
}

/// What is unknown, and why.
fn unknowns(snapshot: &Snapshot) -> Vec<Finding> {
    let mut all = Vec::new();
    let conntrack = || snapshot.present().filter(|(map, _)| map.map.is_conntrack());
    if conntrack().next().is_none() {
        all.push(own(
            "conntrack",
            Level::Unknown,
            "no conntrack map could be read",
            &format!("see {}", UNWATCHED.alert.name),
        ));
    } else if snapshot.clock.mode == Clock::Undecided
        && conntrack().any(|(_, present)| present.scan.entries > 0)
    {
        all.push(own(
            "clock",
            Level::Unknown,
            "the clock of the entries' lifetimes could not be told from them: expired and lingering are unknown",
            "set `clock: ktime` or `clock: jiffies` as Cilium's enable-bpf-clock-probe says (false: ktime)",
        ));
    }
    all
}

/// What is normal but worth knowing when reading the rest.
fn circumstances(snapshot: &Snapshot) -> Vec<Finding> {
    let mut all = Vec::new();
    all.extend(per_cpu(snapshot));
    all.extend(tracking(&snapshot.evictions.tracking));
    if let Some(outlook) = gc::outlook(snapshot) {
        let mut words = outlook.words();
        if !snapshot.map_count.works() {
            words.push_str("; passes are told by walks alone, since ");
            words.push_str(&snapshot.map_count.words());
        }
        all.push(own("collector", Level::INFO, &words, &outlook.general_advice()));
    }
    if snapshot.maps_skipped > 0 {
        all.push(own(
            "maps_skipped",
            Level::INFO,
            &format!("{} per-cluster maps beyond the limit are not read", snapshot.maps_skipped),
            "",
        ));
    }
    all
}

/// One finding for all maps of this kind: they are so by one option of Cilium.
fn per_cpu(snapshot: &Snapshot) -> Option<Finding> {
    let maps: Vec<_> = snapshot.present().filter(|(_, present)| present.is_per_cpu()).collect();
    let shares = maps.iter().map(|(map, present)| {
        let share = present.percpu_share.map_or_else(|| "a share".to_owned(), |share| share.to_string());
        format!("{share} of {} in {}", present.capacity, map.map.with_aliases())
    });
    let owns = format!(
        "every CPU owns a part of the entries and evicts beyond it, so that the fill ratio says little: {}",
        shares.collect::<Vec<_>>().join(", ")
    );
    let (evidence, advice) = if snapshot.evictions.tracking.mode == Mode::Off {
        let blind = "since evictions are not followed, nothing tells when a CPU throws live connections away";
        (format!("{owns}; {blind}"), "see eviction_tracking, or set bpf.distributedLRU.enabled to false")
    } else {
        (owns, "watch ctmon_evictions_total")
    };
    (!maps.is_empty()).then(|| own("per_cpu_lru", Level::INFO, &evidence, advice))
}

/// What is not seen of evictions.
fn tracking(plan: &Plan) -> Option<Finding> {
    let Plan { mode, reason, detail } = plan;
    let unseen = match mode {
        Mode::Full => return None,
        Mode::Count => "evictions are counted by map; what the victims were and whose is not seen",
        Mode::Off => "evictions are not seen: a map that throws live connections away looks like any other",
    };
    let mut evidence = format!("{unseen}, because {}", reason.text());
    if !detail.is_empty() {
        evidence.push_str(": ");
        evidence.push_str(detail);
    }
    let advice = match reason {
        Reason::Works => "",
        Reason::Config => "set `evictions: auto`",
        Reason::MemoryRefused => "lockdown=integrity is enough for Secure Boot and lets victims be read",
        Reason::NoOffsets | Reason::NoFunction => {
            "such a kernel was built without what is needed (CONFIG_DEBUG_INFO_BTF); the fill of the maps still tells"
        }
        Reason::TracingRefused => {
            "capabilities are not what is missing: the walks' programs load with the same ones. A sandbox, a security module \
             or the lack of CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS does that; the fill of the maps still tells"
        }
    };
    Some(own("eviction_tracking", Level::INFO, &evidence, advice))
}

#[cfg(test)]
mod tests {
    use monitor_model::map_name::global_maps;
    use monitor_model::snapshot::{Content, MapState, PresentMap};

    use super::*;
    use crate::testing::{findings, nothing, parse, walked};

    /// A node whose six maps are these.
    fn node(map: impl Fn(u32) -> PresentMap) -> (Snapshot, Settings) {
        let settings = parse("targets_from_host: false");
        let mut snapshot = nothing(&settings);
        snapshot.maps = (0..)
            .zip(global_maps())
            .map(|(number, name)| MapState {
                map: name,
                content: Content::Present(map(number)),
                recreations: 0,
            })
            .collect();
        (snapshot, settings)
    }

    fn called<'a>(all: &'a [Finding], check: &str) -> Vec<&'a Finding> {
        all.iter().filter(|finding| finding.check == check).collect()
    }

    #[test]
    fn six_maps_with_an_lru_per_cpu_are_one_finding_that_names_them_all() {
        const NO_COMMON_LRU: u32 = 2;
        let (snapshot, settings) =
            node(|number| PresentMap { flags: NO_COMMON_LRU, percpu_share: Some(100 + number), ..walked(1) });
        let all = findings(&snapshot, &settings);
        let [only] = called(&all, "per_cpu_lru")[..] else { panic!("{all:?}") };
        for map in global_maps() {
            assert!(only.evidence.contains(&map.name), "{only:?}");
        }
        assert!(only.evidence.contains("100 of 4096 in ct4_global"), "{only:?}");
        let (common, settings) = node(|_| walked(1));
        assert!(called(&findings(&common, &settings), "per_cpu_lru").is_empty());
    }

    #[test]
    fn a_full_map_is_not_also_said_to_be_filling() {
        let (snapshot, settings) = node(|number| walked(if number == 0 { 4_000 } else { 3_300 }));
        let all = findings(&snapshot, &settings);
        let maps = |check| called(&all, check).iter().map(|found| found.map_name.clone()).collect::<Vec<_>>();
        assert_eq!(maps("CtmonMapFull"), ["ct4_global"]);
        let filling = maps("CtmonMapFilling");
        assert!(filling.len() == 5 && !filling.contains(&"ct4_global".to_owned()), "{filling:?}");
    }

    #[test]
    fn a_refused_tracing_program_is_told_with_its_call_and_what_is_not_missing() {
        let detail =
            "BPF_PROG_LOAD of evict_count, fexit on htab_lru_map_delete_node: Operation not permitted"
                .to_owned();
        let refused = Plan { mode: Mode::Off, reason: Reason::TracingRefused, detail };
        let found = tracking(&refused).unwrap();
        assert!(
            found.evidence.contains("BPF_PROG_LOAD of evict_count")
                && found.evidence.contains("not permitted")
        );
        assert!(!found.advice.contains("give ctmon"), "{found:?}");
        assert!(found.advice.contains("capabilities are not what is missing"), "{found:?}");
    }
}
