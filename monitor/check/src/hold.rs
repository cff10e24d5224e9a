//! Since when a condition holds that comes and goes with every pass of the gc.
//!
//! In: a finding with its reading, what the daemon remembers. Out: the finding, with since when, and no more than worth
//! knowing while the alert would still wait. Must not: soften what nobody watched: then it says that it cannot tell.

use std::time::Duration;

use monitor_model::duration;

use crate::alerts::{Evidence, Reading};
use crate::finding::{Finding, Level};
use crate::history::{Active, History};

/// Says since when it has been so, and waits as the alert does where that is known.
pub(super) fn waiting(mut finding: Finding, reading: &Reading, evidence: &Evidence<'_>) -> Finding {
    if !reading.definition.between_passes {
        return finding;
    }
    let Evidence { history, settings, .. } = evidence;
    let hold =
        settings.thresholds.get(reading.alert(), reading.severity).map_or(Duration::ZERO, |rule| rule.hold);
    let whole = duration::format_seconds;
    let since = match history.map(|history| held(history, reading)) {
        None => "; since when cannot be told: ask beside the daemon of this node".to_owned(),
        // It was not so when the daemon looked last.
        Some(None) if hold > Duration::ZERO => {
            finding.level = Level::INFO;
            format!("; so since a moment, the alert waits for {}", whole(hold))
        }
        Some(None) => return finding,
        Some(Some(active)) if active.held >= hold => format!("; so for {}", whole(active.held)),
        Some(Some(active)) if active.from_the_start => {
            format!("; so for {} at least: the daemon has not watched for longer", whole(active.held))
        }
        Some(Some(active)) => {
            finding.level = Level::INFO;
            format!("; so for {}, the alert waits for {}", whole(active.held), whole(hold))
        }
    };
    finding.evidence.push_str(&since);
    finding
}

/// How long a reading has been active; `None` where the daemon does not know it.
fn held<'h>(history: &'h History, reading: &Reading) -> Option<&'h Active> {
    history.active.iter().find(|active| {
        active.alert.name == reading.alert().name
            && active.severity == reading.severity
            && active.map_name == reading.map_name
            && active.target == reading.target
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::DEFINITIONS;
    use crate::finding::own;
    use crate::testing::{defaults, nothing};

    /// A reading of that alert on one map.
    fn reading(name: &str) -> Reading {
        let definition = DEFINITIONS.iter().find(|definition| definition.alert.name == name).unwrap();
        Reading {
            definition,
            severity: definition.alert.severities[0].severity,
            map_name: "ct4_global".to_owned(),
            target: String::new(),
            value: 1.0,
            threshold: 0.0,
            active: true,
        }
    }

    fn said(reading: &Reading, history: Option<&History>) -> (Level, String) {
        let settings = defaults();
        let evidence = Evidence { snapshot: &nothing(&settings), history, settings: &settings };
        let finding = waiting(own(reading.alert().name, Level::WARNING, "dead", ""), reading, &evidence);
        (finding.level, finding.evidence)
    }

    fn check(name: &str, active: Option<(u64, bool)>, level: Level, since: &str) {
        let reading = reading(name);
        let history = active.map(|(seconds, from_the_start)| History {
            active: vec![Active {
                alert: reading.alert(),
                severity: reading.severity,
                map_name: "ct4_global".to_owned(),
                target: String::new(),
                held: Duration::from_secs(seconds),
                from_the_start,
            }],
            ..History::default()
        });
        assert_eq!(said(&reading, history.as_ref()), (level, since.to_owned()), "{name} {active:?}");
    }

    #[test]
    fn the_alerts_hold_applies_where_the_daemon_knows_the_past() {
        let lagging = "CtmonCollectionLagging";
        check(lagging, Some((180, false)), Level::INFO, "dead; so for 3m, the alert waits for 15m");
        check(lagging, Some((900, false)), Level::WARNING, "dead; so for 15m");
        let young = "dead; so for 3m at least: the daemon has not watched for longer";
        check(lagging, Some((180, true)), Level::WARNING, young);
        let alone = "dead; since when cannot be told: ask beside the daemon of this node";
        check(lagging, None, Level::WARNING, alone);
        check("CtmonMapFull", Some((1, false)), Level::WARNING, "dead");
    }

    #[test]
    fn what_began_since_the_daemon_looked_waits_as_long_as_the_alert() {
        let expected = (Level::INFO, "dead; so since a moment, the alert waits for 15m".to_owned());
        assert_eq!(said(&reading("CtmonCollectionLagging"), Some(&History::default())), expected);
    }
}
