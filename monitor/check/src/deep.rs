//! Findings of the deep scan and of Cilium's own counters, beyond what alerts say.
//!
//! In: a snapshot. Out: findings. Must not: call a sum since boot a rate.

use monitor_model::drops::{DropReason, RETRIES};
use monitor_model::map_name::Table;
use monitor_model::snapshot::Snapshot;
use monitor_model::snapshot::deep::{DeepFacts, TargetDeep};

use crate::alerts::insert_failures::INSERT_FAILURES;
use crate::alerts::nat_mapping_failures::NAT_MAPPING_FAILURES;
use crate::finding::{Finding, Level};

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
    if let Some(ghosts) = found.ghosts.filter(|ghosts| *ghosts > 0) {
        tell(
            "ghost_entries",
            Level::INFO,
            format!("{ghosts} entries of the node's own connections have no socket behind them any more"),
            "the connections ended without a FIN that Cilium saw; the entries stay for the TCP timeout",
        );
    }
    if let Some(orphans) = found.orphans.filter(|orphans| *orphans > 0) {
        tell(
            "nat_orphans",
            Level::INFO,
            format!("{orphans} NAT entries have no conntrack entry behind them: each holds a source port"),
            "the conntrack entry was evicted or flushed; they stay until the NAT map evicts them: see LiveEvictions",
        );
    }
    if let Some(broken) = found.broken_pairs.filter(|broken| *broken > 0) {
        tell(
            "nat_broken_pairs",
            Level::WARNING,
            format!(
                "{broken} NAT entries have lost their other half: replies of these connections are dropped"
            ),
            &format!(
                "the NAT map evicts: look at how full it is and how many connections are dead, then at {}",
                Table::Nat.aliases()
            ),
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
                level: Level::INFO,
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
        level: Level::INFO,
        map_name: String::new(),
        target: String::new(),
        evidence: format!("dropped since Cilium's counters were made: {}", parts.join(", ")),
        advice: format!(
            "{} and {} tell whether they grow",
            INSERT_FAILURES.alert.name, NAT_MAPPING_FAILURES.alert.name
        ),
    })
}
