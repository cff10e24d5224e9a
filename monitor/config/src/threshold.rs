//! Thresholds: what the alerts compare with, and for how long.
//!
//! In: the `thresholds` key over the defaults of the catalogue. Out: one [`Rule`] for each alert and severity.
//! Must not: invent alerts: what is not in the catalogue is an error that lists what is.

use std::fmt::{self, Formatter};

use monitor_model::catalog::{ALERTS, Alert, Severity};
use monitor_model::rule::Rule;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::field::{Bounded, Choice, Field, choose, read_as};

/// One [`Rule`] for each entry of the catalogue, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(Vec<Rule>);

impl Default for Thresholds {
    fn default() -> Self {
        Self(ALERTS.iter().map(Rule::default_of).collect())
    }
}

impl Thresholds {
    /// The catalogue with its rules, in display order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Alert, &Rule)> {
        ALERTS.iter().zip(&self.0)
    }

    /// The rule of one alert and severity.
    #[must_use]
    pub fn get(&self, alert: &str, severity: Severity) -> Option<&Rule> {
        self.iter().find(|(known, _)| known.name == alert && known.severity == severity).map(|(_, rule)| rule)
    }

    fn get_mut(&mut self, alert: &str, severity: Severity) -> Option<(&'static Alert, &mut Rule)> {
        ALERTS.iter().zip(&mut self.0).find(|(known, _)| known.name == alert && known.severity == severity)
    }
}

/// `for` and `keep_firing_for`: a day is longer than any of our saw-teeth.
pub(super) type Hold = Bounded<0, 86_400_000>;
/// Windows: shorter than 2 s cannot hold two samples.
pub(super) type Window = Bounded<2_000, 86_400_000>;

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    value: Value,
    #[serde(rename = "for")]
    hold: Option<Hold>,
    keep_firing_for: Option<Hold>,
    window: Option<Window>,
}

/// Tells `value: null` (off) from no `value` (the default).
#[derive(Default)]
enum Value {
    #[default]
    Absent,
    Given(Option<Number>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Given)
    }
}

struct Number(f64);

impl Field for Number {
    type Raw = String;
    const EXPECTED: &'static str = "a number";

    fn check(raw: String) -> Result<Self, String> {
        match raw.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(Self(number)),
            _ => Err(format!("`{raw}` is not a threshold: give a number from 0 up, or null for off")),
        }
    }
}

/// A severity by its name.
#[derive(Clone, Copy)]
struct Named(Severity);

impl Choice for Named {
    const ALL: &'static [Self] = &[Self(Severity::Info), Self(Severity::Warning), Self(Severity::Critical)];

    fn word(self) -> &'static str {
        self.0.name()
    }
}

impl Field for Named {
    type Raw = String;
    const EXPECTED: &'static str = "one of info warning critical";

    fn check(raw: String) -> Result<Self, String> {
        choose(&raw)
    }
}

/// A name of the catalogue, with or without its prefix.
struct AlertName(&'static str);

impl Field for AlertName {
    type Raw = String;
    const EXPECTED: &'static str = "the name of an alert";

    fn check(raw: String) -> Result<Self, String> {
        ALERTS.iter().find(|alert| alert.name == raw || alert.short_name() == raw).map_or_else(
            || {
                let mut names: Vec<_> = ALERTS.iter().map(Alert::short_name).collect();
                names.dedup();
                Err(format!("there is no alert `{raw}`: use one of {}", names.join(", ")))
            },
            |alert| Ok(Self(alert.name)),
        )
    }
}

read_as!(text: Number, AlertName, Named);

impl<'de> Deserialize<'de> for Thresholds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AlertsVisitor)
    }
}

struct AlertsVisitor;

impl<'de> Visitor<'de> for AlertsVisitor {
    type Value = Thresholds;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("alerts: {MapFilling: {warning: {value: 0.8, for: 10m}}}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Thresholds, A::Error> {
        let mut thresholds = Thresholds::default();
        let mut seen = Vec::new();
        while let Some(AlertName(alert)) = access.next_key()? {
            if seen.contains(&alert) {
                return Err(Error::custom(format!("{alert} is given twice: keep one of them")));
            }
            seen.push(alert);
            access.next_value_seed(OneAlert { alert, thresholds: &mut thresholds })?;
        }
        Ok(thresholds)
    }
}

/// Reads the severities of one alert into the thresholds.
struct OneAlert<'a> {
    alert: &'static str,
    thresholds: &'a mut Thresholds,
}

impl<'de> DeserializeSeed<'de> for OneAlert<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneAlert<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("severities: {warning: {value: 0.8, for: 10m}}, or null for off")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        for severity in Severity::ALL {
            if let Some((_, rule)) = self.thresholds.get_mut(self.alert, *severity) {
                rule.value = None;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while let Some(Named(severity)) = access.next_key::<Named>()? {
            let alert = self.alert;
            if seen.contains(&severity) {
                return Err(Error::custom(format!("{} is given twice: keep one of them", severity.name())));
            }
            seen.push(severity);
            let Some((known, rule)) = self.thresholds.get_mut(alert, severity) else {
                return Err(Error::custom(format!(
                    "{alert} has no severity {}: it has {}",
                    severity.name(),
                    severities(alert)
                )));
            };
            match access.next_value::<Option<RawRule>>()? {
                None => rule.value = None,
                Some(raw) => raw.apply(known, rule).map_err(Error::custom)?,
            }
        }
        Ok(())
    }
}

impl RawRule {
    fn apply(self, alert: &Alert, rule: &mut Rule) -> Result<(), String> {
        let Self { value, hold, keep_firing_for, window } = self;
        if let Value::Given(value) = value {
            rule.value = value.map(|number| number.0);
        }
        if let Some(hold) = hold {
            rule.hold = hold.0;
        }
        if let Some(keep) = keep_firing_for {
            rule.keep_firing_for = keep.0;
        }
        match (window, &mut rule.window) {
            (Some(window), Some(own)) => *own = window.0,
            (Some(_), None) => return Err(format!("{} looks at one instant: remove the window", alert.name)),
            (None, _) => {}
        }
        Ok(())
    }
}

fn severities(alert: &str) -> String {
    let names: Vec<_> =
        ALERTS.iter().filter(|known| known.name == alert).map(|known| known.severity.name()).collect();
    names.join(" and ")
}
