//! Findings of the deep scan and of Cilium's own counters, beyond what alerts say.
//!
//! In: a snapshot. Out: findings. Must not: call a sum since boot a rate.

use std::time::Duration;

use monitor_model::drops::{DropReason, RETRIES};
use monitor_model::snapshot::Snapshot;
use monitor_model::snapshot::deep::{DeepFacts, TargetDeep, Untracked};

use super::finding::{Finding, Level};

/// Everything worth knowing.
pub(super) fn findings(snapshot: &Snapshot) -> Vec<Finding> {
    let mut all = Vec::new();
    if let Some(deep) = &snapshot.deep {
        all.extend(deep.targets.iter().flat_map(of_target));
        all.extend(of_maps(deep));
    }
    all.extend(drops(snapshot));
    all
}

fn of_target(found: &TargetDeep) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut tell = |check: &str, level, evidence: String, advice: &str| {
        all.push(Finding {
            check: check.to_owned(),
            level,
            map_name: String::new(),
            target: found.target.clone(),
            evidence,
            advice: advice.to_owned(),
        });
    };
    if found.collisions > 0 {
        let alive = found
            .collisions_alive
            .map_or_else(String::new, |alive| format!(", {alive} of them kept alive by packets"));
        tell(
            "CtmonReverseTupleCollision",
            Level::Warning,
            format!(
                "{} entries look as if the target had opened the connection{alive}: a new connection from such a pod \
                 port leaves without being masqueraded and gets no answer",
                found.collisions
            ),
            "`ctmon list --collisions` names the pod addresses and ports; dead ones go with the collector's next pass \
             (conntrackGCInterval), those kept alive with the pod that repeats its SYN; see cilium#47425",
        );
    }
    if let Some(ghosts) = found.ghosts.filter(|ghosts| *ghosts > 0) {
        tell(
            "ghost_entries",
            Level::Info,
            format!("{ghosts} entries of the node's own connections have no socket behind them any more"),
            "the connections ended without a FIN that Cilium saw; the entries stay for the TCP timeout",
        );
    }
    if let Some(orphans) = found.orphans.filter(|orphans| *orphans > 0) {
        tell(
            "nat_orphans",
            Level::Info,
            format!("{orphans} NAT entries have no conntrack entry behind them: each holds a source port"),
            "the conntrack entry was evicted or flushed; they stay until the NAT map evicts them: see LiveEvictions",
        );
    }
    if let Some(broken) = found.broken_pairs.filter(|broken| *broken > 0) {
        tell(
            "nat_broken_pairs",
            Level::Warning,
            format!(
                "{broken} NAT entries have lost their other half: replies of these connections are dropped"
            ),
            "the NAT map evicts: look at its fill, and at bpf.natMax",
        );
    }
    all
}

fn of_maps(deep: &DeepFacts) -> Vec<Finding> {
    let mut all = Vec::new();
    for nat in &deep.nat {
        let (orphans, broken) = (nat.orphans.unwrap_or(0), nat.broken_pairs.unwrap_or(0));
        if orphans + broken > 0 {
            all.push(Finding {
                check: "nat_pairs".to_owned(),
                level: Level::Info,
                map_name: nat.map_name.clone(),
                target: String::new(),
                evidence: format!(
                    "{orphans} NAT entries without a conntrack entry and {broken} without their other half, seen twice"
                ),
                advice: String::new(),
            });
        }
    }
    all
}

/// What `NatPortsRunningOut` says beside its number.
pub(super) fn port_words(snapshot: &Snapshot, map_name: &str, ratio: f64) -> (String, String) {
    let deep = snapshot.deep.as_ref();
    let v6 = map_name.contains("_v6");
    let fullest = deep.and_then(|deep| deep.fullest.iter().find(|line| line.remote.address.is_ipv6() == v6));
    let place = fullest.map_or_else(String::new, |line| {
        format!(": {} ports of {} to {} ({})", line.ports, line.translated, line.remote, line.protocol.name())
    });
    let age = deep.map_or(Duration::ZERO, |deep| snapshot.monotonic.saturating_sub(deep.monotonic));
    let age = if age.as_secs() == 0 { String::new() } else { format!(", {} s ago", age.as_secs()) };
    (
        format!("{:.0} % of the source ports towards one destination are in use{age}{place}", ratio * 100.0),
        "`ctmon top --by nat-ports` names the fullest destinations; keep connections open instead of making new ones, \
         give the pods more egress addresses, or let dead ones go sooner (conntrackGCInterval)"
            .to_owned(),
    )
}

/// What `TargetUntracked` says beside its number.
pub(super) fn untracked_words(snapshot: &Snapshot, target: &str) -> (String, String) {
    let found =
        snapshot.deep.as_ref().and_then(|deep| deep.targets.iter().find(|found| found.target == target));
    let untracked = found.and_then(|found| found.untracked).unwrap_or_default();
    let Untracked { low_port, no_masquerade, idle, unknown } = untracked;
    let reasons = [
        (low_port, "their source port lies below those Cilium masquerades to"),
        (no_masquerade, "BPF masquerading is off: the node's own traffic does not pass Cilium's NAT"),
        (idle, "they were silent for longer than the TCP timeout"),
        (unknown, "the reason cannot be told from here"),
    ];
    let reasons: Vec<_> = reasons
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count}: {why}"))
        .collect();
    (
        format!(
            "{} sockets of the node have no conntrack entry ({}): \"0 stale\" proves nothing about them",
            untracked.all(),
            reasons.join("; ")
        ),
        "`ss -tn dst ADDRESS` shows them; conntrack limits do not touch them either".to_owned(),
    )
}

/// Sums since Cilium made its counters: whether they still grow is for the alerts.
fn drops(snapshot: &Snapshot) -> Option<Finding> {
    let drops = snapshot.drops.as_ref()?;
    let mut parts: Vec<_> = DropReason::ALL
        .iter()
        .filter_map(|reason| Some((drops.of(*reason).filter(|packets| *packets > 0)?, reason.text())))
        .map(|(packets, words)| format!("{packets} \"{words}\""))
        .collect();
    for (family, counts) in &drops.retries {
        let gave_up = RETRIES.iter().zip(counts).find(|(name, _)| **name == "exhausted");
        if let Some((_, count)) = gave_up.filter(|(_, count)| **count > 0) {
            parts.push(format!("{count} {family} connections found no source port"));
        }
    }
    (!parts.is_empty()).then(|| Finding {
        check: "datapath_drops".to_owned(),
        level: Level::Info,
        map_name: String::new(),
        target: String::new(),
        evidence: format!("dropped since Cilium's counters were made: {}", parts.join(", ")),
        advice: "CtmonInsertFailures and CtmonNatMappingFailures tell whether they grow".to_owned(),
    })
}
