//! Findings: what is wrong or worth knowing, with the node's own numbers and what to do.
//!
//! In: readings, snapshot, settings. Out: a list in order of weight.
//! Must not: repeat the reading's number without saying what it means.

use monitor_abi::scan::Clock;
use monitor_config::Settings;
use monitor_model::catalog::Severity;
use monitor_model::catalog::conntrack::{MAP_FILLING, MAP_FULL};
use monitor_model::duration;
use monitor_model::eviction_plan::{Mode, Plan, Reason};
use monitor_model::host::sysctl::FileHandles;
use monitor_model::map_name::Table;
use monitor_model::snapshot::{Content, Snapshot};

use super::alerts::{OVERDUE, Reading, expected_capacity};
use super::history::History;
use super::{collector, deep, expected, held, storage, tuning, unanswered};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The alert's name, or a name of its own in the same style.
    pub check: String,
    pub level: Level,
    /// Empty where it does not apply.
    pub map_name: String,
    /// Empty where it does not apply.
    pub target: String,
    /// The numbers behind it.
    pub evidence: String,
    /// What to do; empty where nothing needs to be done.
    pub advice: String,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing; no finding in the sense of the exit code.
    Info,
    Warning,
    Critical,
    /// Something could not be told.
    Unknown,
}

impl Level {
    /// The word users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

/// Every finding of a snapshot with its readings and what a daemon remembers, the heaviest first.
#[must_use]
pub fn findings(
    readings: &[Reading],
    snapshot: &Snapshot,
    history: Option<&History>,
    settings: &Settings,
) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    // Tuning has a finding for each sysctl and mount instead of one for each reading.
    let active = |reading: &&Reading| {
        reading.active && reading.alert.name != tuning::ALERT && !is_outdone(reading, readings)
    };
    for reading in readings.iter().filter(active) {
        let finding = held::told(explain(reading, snapshot, settings), reading, history, settings);
        // Of one alert on one series only the gravest severity is told.
        match all.iter_mut().find(|known| same_series(known, &finding)) {
            Some(known) if known.level < finding.level => *known = finding,
            Some(_) => {}
            None => all.push(finding),
        }
    }
    all.extend(history.iter().flat_map(|history| history.findings(settings)));
    all.extend(unanswered::findings(snapshot, history, settings));
    all.extend(tuning::findings(snapshot, settings));
    all.extend(unknowns(snapshot));
    all.extend(circumstances(snapshot));
    all.extend(deep::findings(snapshot));
    all.extend(expected::findings(snapshot, settings));
    all.extend(storage::circumstances(snapshot, settings));
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    all
}

/// A map that is full was filling before: one finding says both.
fn is_outdone(reading: &Reading, readings: &[Reading]) -> bool {
    reading.alert.name == MAP_FILLING.name
        && readings.iter().any(|other| {
            other.active && other.alert.name == MAP_FULL.name && other.map_name == reading.map_name
        })
}

fn same_series(a: &Finding, b: &Finding) -> bool {
    a.check == b.check && a.map_name == b.map_name && a.target == b.target
}

fn explain(reading: &Reading, snapshot: &Snapshot, settings: &Settings) -> Finding {
    let name = reading.alert.name;
    let (evidence, advice) = match name {
        "CtmonMapFilling" | "CtmonMapFull" => filling(reading, snapshot),
        "CtmonStaleConnections" | "CtmonHalfClosedPileUp" => lingering(reading, snapshot, settings),
        "CtmonCollectionLagging" | "CtmonCollectionSlow" => collection(reading, snapshot),
        "CtmonNatPortsRunningOut" => deep::port_words(snapshot, &reading.map_name, reading.value),
        "CtmonTargetUntracked" => deep::untracked_words(snapshot, &reading.target),
        "CtmonMapSmallerThanExpected" => smaller(reading, snapshot, settings),
        "CtmonMapUnreadable" => (problem(&reading.map_name, snapshot), UNREADABLE.to_owned()),
        "CtmonStoragePathStalled" => storage::explain_stalled(&snapshot.host, &reading.target),
        "CtmonIscsiSessionDown" => storage::explain_sessions(&snapshot.host, &reading.target),
        "CtmonFileHandlesHigh" => handles(snapshot),
        "CtmonSourceDown" => {
            (down(snapshot), "the source's metrics are absent until the cause is gone".to_owned())
        }
        "CtmonEntriesAboveNormal" | "CtmonEntriesHigh" => (
            format!(
                "{:.0} conntrack entries, more than the {:.0} configured",
                reading.value, reading.threshold
            ),
            "`ctmon top` tells who fills the table, `ctmon list --expired --count` how much of it is dead"
                .to_owned(),
        ),
        _ => (
            format!("{} is beyond {}", format_number(reading.value), format_number(reading.threshold)),
            String::new(),
        ),
    };
    Finding {
        check: name.to_owned(),
        level: reading.alert.severity.into(),
        map_name: reading.map_name.clone(),
        target: reading.target.clone(),
        evidence,
        advice,
    }
}

const UNREADABLE: &str =
    "nothing ctmon shows covers this map; compare the pin with `bpftool map show pinned PATH`";
fn filling(reading: &Reading, snapshot: &Snapshot) -> (String, String) {
    let Some((map, present)) = snapshot.present().find(|(map, _)| map.map.name == reading.map_name) else {
        return (String::new(), String::new());
    };
    let (entries, capacity) = (present.scan.entries, present.capacity);
    let dead = present.scan.count(|cell| cell.due.expired() == Some(true));
    let evidence = format!(
        "{entries} of {capacity} entries ({:.0} %), {dead} of them past their lifetime; at 100 % the kernel evicts \
         entries of live connections without a word",
        reading.value * 100.0
    );
    let outlook = collector::outlook(snapshot).filter(|_| dead * 2 > entries && map.map.is_conntrack());
    let advice = if let Some(outlook) = outlook {
        format!("most of it is dead: {}", outlook.advice(&map.map.name))
    } else {
        "`ctmon top` tells who fills the map; bpf.ctTcpMax, bpf.ctAnyMax and bpf.natMax set the sizes"
            .to_owned()
    };
    (evidence, advice)
}

fn lingering(reading: &Reading, snapshot: &Snapshot, settings: &Settings) -> (String, String) {
    let (mut closed, mut half, mut stale) = (0, 0, 0);
    for state in snapshot.targets.iter().filter(|state| state.target == reading.target) {
        closed += state.silent.map_or(0, |silent| silent.lingering_closed);
        half += state.silent.map_or(0, |silent| silent.lingering_half_closed);
        stale += state.stale();
    }
    let silent = duration::format(settings.stale_after);
    let evidence = format!(
        "{closed} closed and {half} half-closed entries silent for {silent} or longer, of {stale} stale ones in all"
    );
    let advice = if half > closed {
        "half-closed entries keep the full TCP timeout: find the side that never sends its FIN \
         (`ctmon list --lingering`), or lower bpf-ct-timeout-regular-tcp"
            .to_owned()
    } else {
        let remedy = collector::outlook(snapshot).map(|outlook| outlook.general_advice()).unwrap_or_default();
        if remedy.is_empty() {
            "closed entries wait for the collector: its next pass takes them".to_owned()
        } else {
            format!("closed entries wait for the collector: {remedy}")
        }
    };
    (evidence, advice)
}

fn collection(reading: &Reading, snapshot: &Snapshot) -> (String, String) {
    let Some((_, present)) = snapshot.present().find(|(map, _)| map.map.name == reading.map_name) else {
        return (String::new(), String::new());
    };
    let scan = &present.scan;
    let dead = scan.count(|cell| OVERDUE.contains(&cell.due));
    let oldest = duration::format(std::time::Duration::from_secs(scan.oldest_expired.unwrap_or(0)));
    let outlook = collector::outlook(snapshot);
    // Where that leads is told once, for all maps.
    let words = outlook.as_ref().map_or_else(String::new, |outlook| format!("; {}", outlook.passes()));
    let evidence = format!(
        "{dead} of {} entries are past their lifetime, the oldest since {oldest}; the map holds {}{words}",
        scan.entries, present.capacity
    );
    (evidence, outlook.map(|outlook| outlook.advice(&reading.map_name)).unwrap_or_default())
}

fn smaller(reading: &Reading, snapshot: &Snapshot, settings: &Settings) -> (String, String) {
    let found = snapshot.present().find(|(map, _)| map.map.name == reading.map_name);
    let Some((map, present)) = found else { return (String::new(), String::new()) };
    let expected = expected_capacity(&map.map, settings).unwrap_or(0);
    let memory = present.memory_bytes.map(|bytes| {
        let wanted = bytes / u64::from(present.capacity).max(1) * expected;
        let (now, then) = (tuning::mebibytes(bytes), tuning::mebibytes(wanted));
        format!("; it takes {now} of memory, the expected size would take about {then}")
    });
    let memory = memory.unwrap_or_default();
    let key = match map.map.table {
        Table::CtTcp => "bpf.ctTcpMax",
        Table::CtAny => "bpf.ctAnyMax",
        Table::Nat => "bpf.natMax",
    };
    (
        format!("the map holds {} entries, expected at least {expected}{memory}", present.capacity),
        format!(
            "set {key} in Cilium's Helm values: bpf.mapMax.*, bpf.ctTcpTimeout and the like do not exist and are \
             silently ignored"
        ),
    )
}

fn handles(snapshot: &Snapshot) -> (String, String) {
    let Some(FileHandles { used, max }) = snapshot.host.file_handles else {
        return (String::new(), String::new());
    };
    (
        format!(
            "{used} of {max} file handles are in use; beyond fs.file-max nothing can open a file or a socket"
        ),
        "find the process that leaks them (`ls /proc/PID/fd | wc -l`) and restart it, or raise fs.file-max"
            .to_owned(),
    )
}

fn problem(map_name: &str, snapshot: &Snapshot) -> String {
    snapshot
        .maps
        .iter()
        .find_map(|map| match &map.content {
            Content::Problem(problem) if map.map.name == map_name => Some(problem.detail.clone()),
            _ => None,
        })
        .unwrap_or_default()
}

fn down(snapshot: &Snapshot) -> String {
    let errors = snapshot
        .sources
        .iter()
        .filter_map(|source| source.error.as_ref().map(|error| format!("{}: {error}", source.name)));
    errors.collect::<Vec<_>>().join("; ")
}

/// What could not be told.
fn unknowns(snapshot: &Snapshot) -> Vec<Finding> {
    let mut all = Vec::new();
    let conntrack = || snapshot.present().filter(|(map, _)| map.map.is_conntrack());
    if conntrack().next().is_none() {
        all.push(own("conntrack", Level::Unknown, "no conntrack map could be read", "see CtmonSourceDown"));
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
    if let Some(outlook) = collector::outlook(snapshot) {
        let mut words = outlook.words();
        if !snapshot.map_count.works() {
            words.push_str("; passes are told by walks alone, since ");
            words.push_str(&snapshot.map_count.words());
        }
        all.push(own("collector", Level::Info, &words, &outlook.general_advice()));
    }
    if snapshot.maps_skipped > 0 {
        all.push(own(
            "maps_skipped",
            Level::Info,
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
        format!("{share} of {} in {}", present.capacity, map.map)
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
    (!maps.is_empty()).then(|| own("per_cpu_lru", Level::Info, &evidence, advice))
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
    Some(own("eviction_tracking", Level::Info, &evidence, advice))
}

pub(super) fn own(check: &str, level: Level, evidence: &str, advice: &str) -> Finding {
    Finding {
        check: check.to_owned(),
        level,
        map_name: String::new(),
        target: String::new(),
        evidence: evidence.to_owned(),
        advice: advice.to_owned(),
    }
}

pub(super) fn format_number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use monitor_config::parse;
    use monitor_model::map_name::global_maps;
    use monitor_model::snapshot::{MapState, PresentMap};

    use super::super::testing::{findings, nothing, walked};
    use super::*;

    /// A node whose six maps are these.
    fn node(map: impl Fn(u32) -> PresentMap) -> (Snapshot, Settings) {
        let settings = parse("targets_from_host: false").unwrap();
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
