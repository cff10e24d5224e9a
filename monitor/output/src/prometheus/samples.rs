//! Samples of one metric on their way to the page, encoded by the prometheus crate.
//!
//! In: label values and numbers. Out: the metric's lines of the page.
//! Must not: emit a family without samples: absent is unknown.

use std::io;

use monitor_model::float::float;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::metric::{Kind, Metric};

/// Samples of one metric.
#[derive(Debug)]
pub struct Samples {
    metric: &'static Metric,
    samples: Vec<Sample>,
}

impl Samples {
    pub(super) const fn new(metric: &'static Metric) -> Self {
        Self { metric, samples: Vec::new() }
    }

    /// Adds a sample: the values of the metric's labels, in their order, and its own.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "labels of {}", self.metric.name);
        let mut sample = Sample::default();
        sample.set_label(
            self.metric.labels.iter().zip(labels).map(|(name, value)| pair(name, value)).collect(),
        );
        match self.metric.kind {
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
        self.samples.push(sample);
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
        if self.samples.is_empty() {
            return Ok(());
        }
        let mut family = MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(match self.metric.kind {
            Kind::Gauge => MetricType::GAUGE,
            Kind::Counter => MetricType::COUNTER,
        });
        family.set_metric(self.samples);
        write_families(&[family], out)
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> &[Sample] {
        &self.samples
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
