//! Thresholds: what the alerts compare with, and for how long.
//!
//! In: the key `thresholds`, and a list of alerts with their defaults. Out: one [`Rule`] for each alert and severity.
//! Must not: know the alerts: what is not in the list is an error that says what is.

use std::fmt::{self, Formatter};
use std::marker::PhantomData;

use monitor_model::alert::{Alert, Severity, Unit};
use monitor_model::rule::Rule;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::field::{Bounded, Choice, Field, choose, read_as};

/// The alerts that can be configured; whoever reads a configuration names them.
pub trait AlertList {
    /// In display order.
    fn alerts() -> &'static [&'static Alert];
}

/// One severity of one alert, and how it is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    pub alert: &'static Alert,
    pub severity: Severity,
    pub rule: Rule,
}

/// Every severity of every alert, in display order.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(Vec<Threshold>);

impl Thresholds {
    /// What the alerts say by themselves.
    #[must_use]
    pub fn defaults(alerts: &[&'static Alert]) -> Self {
        let grades = |alert: &'static Alert| {
            alert.severities.iter().map(move |grade| Threshold {
                alert,
                severity: grade.severity,
                rule: alert.default_rule(grade),
            })
        };
        Self(alerts.iter().copied().flat_map(grades).collect())
    }

    /// All of them, in display order.
    pub fn iter(&self) -> impl Iterator<Item = &Threshold> {
        self.0.iter()
    }

    /// The rule of one alert and severity; `None` where it has no such severity.
    #[must_use]
    pub fn get(&self, alert: &Alert, severity: Severity) -> Option<&Rule> {
        self.named(alert.name).find(|known| known.severity == severity).map(|known| &known.rule)
    }

    /// Whether any severity of the alert is on.
    #[must_use]
    pub fn is_on(&self, alert: &Alert) -> bool {
        self.named(alert.name).any(|known| known.rule.value.is_some())
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Threshold> {
        self.0.iter().filter(move |known| known.alert.name == name)
    }

    /// In words, for an error.
    fn severities(&self, name: &str) -> String {
        self.named(name).map(|known| known.severity.name()).collect::<Vec<_>>().join(" and ")
    }

    fn get_mut(&mut self, name: &str, severity: Severity) -> Option<&mut Threshold> {
        self.0.iter_mut().find(|known| known.alert.name == name && known.severity == severity)
    }
}

/// `for` and `keep_firing_for`: a day is longer than any of our saw-teeth.
pub(super) type Hold = Bounded<0, 86_400_000>;
/// Windows: shorter than 2 s cannot hold two samples.
pub(super) type Window = Bounded<2_000, 86_400_000>;

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a rule: {value: 0.8, for: 10m}, or null for off")]
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

impl Number {
    /// As a threshold of this alert: beyond the whole of something nothing ever is.
    fn of(&self, alert: &Alert) -> Result<f64, String> {
        if alert.unit == Unit::Ratio && self.0 > 1.0 {
            let (name, value) = (alert.name, self.0);
            return Err(format!(
                "{name} compares with a ratio: {value} is not between 0 and 1, 75 % is 0.75"
            ));
        }
        Ok(self.0)
    }
}

impl Field for Number {
    type Raw = String;
    const EXPECTED: &'static str = "a number, or null for off";

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
        if ["value", "for", "keep_firing_for", "window"].contains(&raw.as_str()) {
            return Err(format!("`{raw}` stands below a severity, like {{warning: {{{raw}: ..}}}}"));
        }
        choose(&raw)
    }
}

/// A name of the list, with or without its prefix.
struct AlertName<L>(&'static str, PhantomData<L>);

impl<L: AlertList> Field for AlertName<L> {
    type Raw = String;
    const EXPECTED: &'static str = "the name of an alert";

    fn check(raw: String) -> Result<Self, String> {
        let known = L::alerts().iter().find(|alert| alert.name == raw || alert.short_name() == raw);
        known.map(|alert| Self(alert.name, PhantomData)).ok_or_else(|| {
            let mut names: Vec<_> = L::alerts().iter().map(|alert| alert.short_name()).collect();
            names.dedup();
            format!("there is no alert `{raw}`: use one of {}", names.join(", "))
        })
    }
}

read_as!(text: Number, Named);

impl<'de, L: AlertList> Deserialize<'de> for AlertName<L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::field::text(deserializer)
    }
}

/// The key `thresholds` over the alerts of a list.
pub(super) struct Configured<L>(pub(super) Thresholds, PhantomData<L>);

impl<'de, L: AlertList> Deserialize<'de> for Configured<L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AlertsVisitor(PhantomData))
    }
}

struct AlertsVisitor<L>(PhantomData<L>);

impl<'de, L: AlertList> Visitor<'de> for AlertsVisitor<L> {
    type Value = Configured<L>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("alerts: {MapFilling: {warning: {value: 0.8, for: 10m}}}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Configured<L>, A::Error> {
        let mut thresholds = Thresholds::defaults(L::alerts());
        let mut seen = Vec::new();
        while let Some(AlertName::<L>(alert, _)) = access.next_key()? {
            if seen.contains(&alert) {
                return Err(Error::custom(format!("{alert} is given twice: keep one of them")));
            }
            seen.push(alert);
            access.next_value_seed(OneAlert { alert, thresholds: &mut thresholds })?;
        }
        Ok(Configured(thresholds, PhantomData))
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
        for threshold in self.thresholds.0.iter_mut().filter(|known| known.alert.name == self.alert) {
            threshold.rule.value = None;
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
            let Some(threshold) = self.thresholds.get_mut(alert, severity) else {
                return Err(Error::custom(format!(
                    "{alert} has no severity {}: it has {}",
                    severity.name(),
                    self.thresholds.severities(alert)
                )));
            };
            match access.next_value::<Option<RawRule>>()? {
                None => threshold.rule.value = None,
                Some(raw) => raw.apply(threshold).map_err(Error::custom)?,
            }
        }
        Ok(())
    }
}

impl RawRule {
    fn apply(self, threshold: &mut Threshold) -> Result<(), String> {
        let Threshold { alert, severity: _, rule } = threshold;
        let Self { value, hold, keep_firing_for, window } = self;
        if let Value::Given(value) = value {
            rule.value = value.map(|number| number.of(alert)).transpose()?;
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
