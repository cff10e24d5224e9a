//! What fires during the incident, when it is repaired, and on a healthy node.
//!
//! In: a laboratory. Out: pass or fail. Must not: wait for seconds where evaluations can be counted.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use support::simulate::phase::Phase;

use crate::lab::{EXPECT, Lab};

/// What the incident must raise, and nothing else. Fill is not its symptom (a tenth of the map), nor is a gc
/// later than it ever may be: it only slowed itself down.
const INCIDENT: [&str; 9] = [
    // Closed connections towards the NAS that nobody collects, and the size that they make.
    "CtmonStaleConnections info target=qnap",
    "CtmonStaleConnections warning target=qnap",
    "CtmonEntriesAboveNormal info",
    "CtmonEntriesHigh warning",
    // The cause: passes get rarer. The second map is that of DNS.
    "CtmonCollectionSlow warning map_name=ct4_global",
    "CtmonCollectionSlow warning map_name=ct_any4_global",
    // Ends that no longer answer a FIN.
    "CtmonHalfClosedPileUp warning target=qnap",
    // "Works initially, then stops": SYNs to both storage services.
    "CtmonTargetUnanswered critical target=qnap target_service=smb",
    "CtmonTargetUnanswered critical target=qnap target_service=iscsi",
];

/// Companions of the IPv6 connections expire once, all at the same time: whether the next pass comes soon enough for
/// no alert, or too late, is as with any pass of a slow gc.
const PERHAPS: &str = "CtmonCollectionSlow warning map_name=ct_any6_global";

/// An interval of the gc, in its own time, with which closed entries linger between passes.
const DRIFTED: Duration = Duration::from_secs(80 * 60);

/// Longer than the longest `for` and `keep_firing_for` here (15 s), at one evaluation a second.
const EVALUATIONS: usize = 20;

#[test]
fn the_incident_fires_what_it_should_and_nothing_else_and_its_repair_clears_it() -> Result<()> {
    let expected: BTreeSet<String> = INCIDENT.map(str::to_owned).into();
    let lab = Lab::start(EXPECT, Phase::Calm)?;
    lab.evaluations(3)?;
    assert_eq!(lab.firing()?, BTreeSet::new(), "before anything happens");
    lab.player.play(Phase::PileUp)?;
    lab.until("the gc's drift", |lab| Ok((lab.player.status().interval >= DRIFTED).then_some(())))?;
    lab.player.play(Phase::HalfClosing)?;
    lab.evaluations(5)?;
    lab.player.play(Phase::Unanswered)?;
    lab.until("what the incident must raise", |lab| Ok(lab.firing()?.is_superset(&expected).then_some(())))?;
    lab.evaluations(EVALUATIONS)?;

    lab.player.play(Phase::Repair)?;
    lab.until("the end of every alert", |lab| Ok(lab.firing()?.is_empty().then_some(())))?;
    lab.player.play(Phase::Healthy)?;
    lab.evaluations(EVALUATIONS)?;
    assert_eq!(lab.firing()?, BTreeSet::new(), "some came back after the repair");
    let mut fired = lab.fired()?;
    fired.remove(PERHAPS);
    assert_eq!(fired, expected, "over the whole incident");
    Ok(())
}

#[test]
fn a_healthy_node_fires_nothing() -> Result<()> {
    let lab = Lab::start(EXPECT, Phase::Healthy)?;
    lab.evaluations(2 * EVALUATIONS)?;
    assert_eq!(lab.fired()?, BTreeSet::new());
    let of_this_host = lab.of_this_host()?;
    lab.until("what this host is blind to", |lab| {
        Ok((lab.prometheus.firing()? == of_this_host).then_some(()))
    })?;
    Ok(())
}
