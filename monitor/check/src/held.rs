//! Since when a condition holds that comes and goes with every pass of the collector.
//!
//! In: a finding with its reading, what the daemon remembers. Out: the finding, with since when, and no more than worth
//! knowing while the alert would still wait. Must not: soften what nobody watched: then it says that it cannot tell.

use std::time::Duration;

use monitor_config::Settings;
use monitor_model::duration;

use super::alerts::Reading;
use super::finding::{Finding, Level};
use super::history::History;

/// Alerts whose condition comes and goes with every pass: how long it holds is what counts.
const BETWEEN_PASSES: [&str; 2] = ["CtmonCollectionLagging", "CtmonCollectionSlow"];

/// Says since when it has been so, and waits as the alert does where that is known.
pub(super) fn told(
    mut finding: Finding,
    reading: &Reading,
    history: Option<&History>,
    settings: &Settings,
) -> Finding {
    let alert = reading.alert;
    if !BETWEEN_PASSES.contains(&alert.name) {
        return finding;
    }
    let hold = settings.thresholds.get(alert.name, alert.severity).map_or(alert.hold, |rule| rule.hold);
    let whole = |time: Duration| duration::format(Duration::from_secs(time.as_secs()));
    let since = match history.map(|history| history.held(reading)) {
        None => "; since when cannot be told: ask beside the daemon of this node".to_owned(),
        // It was not so when the daemon looked last.
        Some(None) if hold > Duration::ZERO => {
            finding.level = Level::Info;
            format!("; so since a moment, the alert waits for {}", whole(hold))
        }
        Some(None) => return finding,
        Some(Some(active)) if active.held >= hold => format!("; so for {}", whole(active.held)),
        Some(Some(active)) if active.from_the_start => {
            format!("; so for {} at least: the daemon has not watched for longer", whole(active.held))
        }
        Some(Some(active)) => {
            finding.level = Level::Info;
            format!("; so for {}, the alert waits for {}", whole(active.held), whole(hold))
        }
    };
    finding.evidence.push_str(&since);
    finding
}

#[cfg(test)]
mod tests {
    use monitor_model::catalog::ALERTS;

    use super::*;
    use crate::finding::own;
    use crate::history::Active;

    fn check(name: &str, active: Option<(u64, bool)>, level: Level, since: &str) {
        let alert = ALERTS.iter().find(|alert| alert.name == name).unwrap();
        let reading = Reading {
            alert,
            map_name: "ct4_global".to_owned(),
            target: String::new(),
            value: 1.0,
            threshold: 0.0,
            active: true,
        };
        let history = active.map(|(seconds, from_the_start)| History {
            active: vec![Active {
                alert: name.to_owned(),
                severity: alert.severity,
                map_name: "ct4_global".to_owned(),
                target: String::new(),
                held: Duration::from_secs(seconds),
                from_the_start,
            }],
            ..History::default()
        });
        let finding = own(name, Level::Warning, "dead", "");
        let told = told(finding, &reading, history.as_ref(), &Settings::default());
        assert_eq!((told.level, told.evidence.as_str()), (level, since), "{name} {active:?}");
    }

    #[test]
    fn the_alerts_hold_applies_where_the_daemon_knows_the_past() {
        let lagging = "CtmonCollectionLagging";
        check(lagging, Some((180, false)), Level::Info, "dead; so for 3m, the alert waits for 15m");
        check(lagging, Some((900, false)), Level::Warning, "dead; so for 15m");
        let young = "dead; so for 3m at least: the daemon has not watched for longer";
        check(lagging, Some((180, true)), Level::Warning, young);
        let alone = "dead; since when cannot be told: ask beside the daemon of this node";
        check(lagging, None, Level::Warning, alone);
        check("CtmonMapFull", Some((1, false)), Level::Warning, "dead");
    }

    #[test]
    fn what_began_since_the_daemon_looked_waits_as_long_as_the_alert() {
        let alert = ALERTS.iter().find(|alert| alert.name == "CtmonCollectionLagging").unwrap();
        let (map_name, target) = ("ct4_global".to_owned(), String::new());
        let reading = Reading { alert, map_name, target, value: 1.0, threshold: 0.0, active: true };
        let finding = own(alert.name, Level::Warning, "dead", "");
        let told = told(finding, &reading, Some(&History::default()), &Settings::default());
        let expected = (Level::Info, "dead; so since a moment, the alert waits for 15m");
        assert_eq!((told.level, told.evidence.as_str()), expected);
    }
}
