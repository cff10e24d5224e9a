//! Families under construction, encoded by the prometheus crate.
//!
//! In: samples, metric by metric. Out: the text page. Must not: emit a family without samples: absent is unknown.

use std::io;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// A family: its name, kind and help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
}

/// The page so far.
#[derive(Default)]
pub struct Page {
    families: Vec<MetricFamily>,
}

/// Label names and values of one sample.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Metric {
    pub(super) const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, help }
    }

    pub(super) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, help }
    }
}

impl Page {
    /// Adds a sample to a family; the first one opens it.
    pub fn sample(&mut self, metric: Metric, labels: Labels<'_>, value: f64) {
        let mut sample = Sample::default();
        sample.set_label(
            labels
                .iter()
                .map(|(name, value)| {
                    let mut pair = LabelPair::default();
                    pair.set_name((*name).to_owned());
                    pair.set_value((*value).to_owned());
                    pair
                })
                .collect(),
        );
        match metric.kind {
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
        self.family(metric).mut_metric().push(sample);
    }

    /// Adds a count.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn count(&mut self, metric: Metric, labels: Labels<'_>, value: u64) {
        self.sample(metric, labels, value as f64);
    }

    /// Adds a sample if there is one to add.
    pub fn maybe(&mut self, metric: Metric, labels: Labels<'_>, value: Option<f64>) {
        if let Some(value) = value {
            self.sample(metric, labels, value);
        }
    }

    /// Adds families collected elsewhere.
    pub fn extend(&mut self, families: impl IntoIterator<Item = MetricFamily>) {
        self.families.extend(families);
    }

    /// Writes the page as text format 0.0.4.
    pub fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        TextEncoder::new().encode(&self.families, out).map_err(io::Error::other)
    }

    fn family(&mut self, metric: Metric) -> &mut MetricFamily {
        // Families of one group are filled side by side: the wanted one is among the last few.
        let index = self.families.iter().rposition(|family| family.name() == metric.name);
        let index = index.unwrap_or_else(|| {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Gauge => MetricType::GAUGE,
                Kind::Counter => MetricType::COUNTER,
            });
            self.families.push(family);
            self.families.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.families[index]
    }
}
