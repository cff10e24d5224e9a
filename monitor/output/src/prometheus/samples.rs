//! Samples of one metric on their way to the page, encoded by the prometheus crate.
//!
//! In: label values and numbers. Out: the metric's lines of the page.
//! Must not: emit a family without samples: absent is unknown.

use std::io;

use monitor_model::float::float;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// Samples of one metric.
#[derive(Debug)]
pub struct Samples {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    collected: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
}

impl Kind {
    /// As `# TYPE` lines spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

impl Samples {
    pub(super) const fn new(
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, help, kind, labels, collected: Vec::new() }
    }

    /// Adds a sample: the values of the metric's labels, in their order, and its own.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), self.labels.len(), "labels of {}", self.name);
        let mut sample = Sample::default();
        sample.set_label(self.labels.iter().zip(labels).map(|(name, value)| pair(name, value)).collect());
        match self.kind {
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
        }
        self.collected.push(sample);
    }

    pub(super) fn count(&mut self, labels: &[&str], value: u64) {
        self.add(labels, float(value));
    }

    pub(super) fn yes_no(&mut self, labels: &[&str], value: bool) {
        self.count(labels, u64::from(value));
    }

    /// Adds what is known; what is not stays absent.
    pub(super) fn known(&mut self, labels: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.add(labels, value);
        }
    }

    /// Writes the family, if there is anything in it.
    pub(super) fn write(self, out: &mut impl io::Write) -> io::Result<()> {
        if self.collected.is_empty() {
            return Ok(());
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Gauge => MetricType::GAUGE,
            Kind::Counter => MetricType::COUNTER,
        });
        family.set_metric(self.collected);
        write_families(&[family], out)
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> &[Sample] {
        &self.collected
    }
}

/// Writes families as text format 0.0.4.
pub(super) fn write_families(families: &[MetricFamily], out: &mut impl io::Write) -> io::Result<()> {
    TextEncoder::new().encode(families, out).map_err(io::Error::other)
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
