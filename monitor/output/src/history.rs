//! What the daemon remembers, on its way to commands on the same host.
//!
//! In: a history; at the other end the document. Out: one JSON document; a history.
//! Must not: carry an address of traffic.

use std::time::Duration;

use monitor_check::ALERTS;
use monitor_check::files::Files;
use monitor_check::history::{Active, Followed, History};
use monitor_check::lookback::LookbackReading;
use monitor_model::alert::{Alert, Severity};
use monitor_model::snapshot::GcFacts;
use serde::{Deserialize, Serialize};

/// What the daemon serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    maps: Vec<MapObject>,
    windows: Vec<WindowObject>,
    #[serde(default)]
    files: FilesObject,
    #[serde(default)]
    active: Vec<ActiveObject>,
}

/// A map, and the passes of Cilium's collector over it; `null` where they are not followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct MapObject {
    map_name: String,
    id: u32,
    collector: Option<CollectorObject>,
}

/// Each is `null` until a pass told it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct CollectorObject {
    passes: u64,
    last_pass_age_seconds: Option<f64>,
    last_removed: Option<u64>,
    interval_seconds: Option<f64>,
    #[serde(default)]
    interval_before_seconds: Option<f64>,
    #[serde(default)]
    dying_per_second: Option<f64>,
}

/// One series of one alert that looks back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WindowObject {
    alert: String,
    severity: String,
    map_name: String,
    target: String,
    subject: String,
    window_seconds: f64,
    value: f64,
}

/// The files the daemon was given; `null` where it has no such file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct FilesObject {
    config_refused: bool,
    #[serde(default)]
    config_problem: Option<String>,
    web_refused: Option<bool>,
    certificate_left_seconds: Option<f64>,
}

/// A condition that holds, and for how long it did at the least.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ActiveObject {
    alert: String,
    severity: String,
    map_name: String,
    target: String,
    held_seconds: f64,
    from_the_start: bool,
}

impl From<&GcFacts> for CollectorObject {
    fn from(facts: &GcFacts) -> Self {
        let GcFacts { passes, last_pass_age, last_removed, interval, interval_before, dying } = *facts;
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        Self {
            passes,
            last_pass_age_seconds: seconds(last_pass_age),
            last_removed,
            interval_seconds: seconds(interval),
            interval_before_seconds: seconds(interval_before),
            dying_per_second: dying,
        }
    }
}

impl From<CollectorObject> for GcFacts {
    fn from(object: CollectorObject) -> Self {
        let CollectorObject {
            passes,
            last_pass_age_seconds,
            last_removed,
            interval_seconds,
            interval_before_seconds,
            dying_per_second,
        } = object;
        let duration =
            |seconds: Option<f64>| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self {
            passes,
            last_pass_age: duration(last_pass_age_seconds),
            last_removed,
            interval: duration(interval_seconds),
            interval_before: duration(interval_before_seconds),
            dying: dying_per_second,
        }
    }
}

impl From<&History> for Document {
    fn from(History { maps, lookback, files, active }: &History) -> Self {
        let maps = maps.iter().map(|Followed { map_name, id, gc }| MapObject {
            map_name: map_name.clone(),
            id: *id,
            collector: gc.as_ref().map(CollectorObject::from),
        });
        let windows = lookback.iter().map(|reading| {
            let LookbackReading { alert, severity, map_name, target, subject, window, value } = reading;
            WindowObject {
                alert: alert.name.to_owned(),
                severity: severity.name().to_owned(),
                map_name: map_name.clone(),
                target: target.clone(),
                subject: subject.clone(),
                window_seconds: window.as_secs_f64(),
                value: *value,
            }
        });
        let Files { config_refused, config_problem, web_refused, certificate_left } = files;
        let files = FilesObject {
            config_refused: *config_refused,
            config_problem: config_problem.clone(),
            web_refused: *web_refused,
            certificate_left_seconds: *certificate_left,
        };
        let active =
            active.iter().map(|Active { alert, severity, map_name, target, held, from_the_start }| {
                ActiveObject {
                    alert: alert.name.to_owned(),
                    severity: severity.name().to_owned(),
                    map_name: map_name.clone(),
                    target: target.clone(),
                    held_seconds: held.as_secs_f64(),
                    from_the_start: *from_the_start,
                }
            });
        Self { maps: maps.collect(), windows: windows.collect(), files, active: active.collect() }
    }
}

impl From<Document> for History {
    /// Alerts this version does not know are left out.
    fn from(Document { maps, windows, files, active }: Document) -> Self {
        let duration = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let maps = maps.into_iter().map(|MapObject { map_name, id, collector }| Followed {
            map_name,
            id,
            gc: collector.map(GcFacts::from),
        });
        let lookback = windows.into_iter().filter_map(|window| {
            let WindowObject { alert, severity, map_name, target, subject, window_seconds, value } = window;
            let (alert, severity) = known(&alert, &severity)?;
            let window = duration(window_seconds);
            Some(LookbackReading { alert, severity, map_name, target, subject, window, value })
        });
        let FilesObject { config_refused, config_problem, web_refused, certificate_left_seconds } = files;
        let files =
            Files { config_refused, config_problem, web_refused, certificate_left: certificate_left_seconds };
        let active = active.into_iter().filter_map(|object| {
            let ActiveObject { alert, severity, map_name, target, held_seconds, from_the_start } = object;
            let (alert, severity) = known(&alert, &severity)?;
            Some(Active { alert, severity, map_name, target, held: duration(held_seconds), from_the_start })
        });
        Self { maps: maps.collect(), lookback: lookback.collect(), files, active: active.collect() }
    }
}

/// The alert and severity of these names; `None` for those of another version.
fn known(name: &str, severity: &str) -> Option<(&'static Alert, Severity)> {
    let named = ALERTS.iter().filter(|alert| alert.name == name);
    let grades = named.flat_map(|alert| alert.severities.iter().map(|grade| (*alert, grade.severity)));
    grades.into_iter().find(|(_, known)| known.name() == severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let gc = GcFacts {
            passes: 3,
            last_pass_age: Some(Duration::from_millis(90_500)),
            last_removed: Some(1_204),
            interval: None,
            interval_before: Some(Duration::from_secs(300)),
            dying: Some(0.25),
        };
        let all =
            ALERTS.iter().flat_map(|alert| alert.severities.iter().map(|grade| (*alert, grade.severity)));
        let lookback = all.zip(0_u8..).map(|((alert, severity), number)| LookbackReading {
            alert,
            severity,
            map_name: format!("map{number}"),
            target: format!("target{number}"),
            subject: format!("subject{number}"),
            window: Duration::from_secs(number.into()),
            value: f64::from(number) / 4.0,
        });
        let history = History {
            maps: vec![
                Followed { map_name: "ct4_global".to_owned(), id: 7, gc: Some(gc) },
                Followed { map_name: "snat_v4_external".to_owned(), id: 8, gc: None },
            ],
            lookback: lookback.collect(),
            files: Files {
                config_refused: true,
                config_problem: Some("why".to_owned()),
                web_refused: Some(false),
                certificate_left: Some(-1.5),
            },
            active: vec![Active {
                alert: ALERTS[0],
                severity: Severity::Warning,
                map_name: "ct4_global".to_owned(),
                target: String::new(),
                held: Duration::from_secs(90),
                from_the_start: true,
            }],
        };
        let document = Document::from(&history);
        let text = serde_json::to_string(&document).unwrap();
        let read: Document = serde_json::from_str(&text).unwrap();
        assert_eq!(read, document);
        let again = History::from(read);
        assert_eq!(again.maps, history.maps);
        assert_eq!(again.files, history.files);
        assert_eq!(again.active, history.active);
        assert_eq!(Document::from(&again), document);
    }

    #[test]
    fn what_another_version_knows_is_left_out() {
        let text = r#"{"maps":[],"windows":[{"alert":"CtmonNew","severity":"info","map_name":"","target":"",
            "subject":"","window_seconds":1,"value":9}],"timeouts":[]}"#;
        let history = History::from(serde_json::from_str::<Document>(text).unwrap());
        assert!(history.lookback.is_empty());
    }
}
