//! This process: processor time, memory, descriptors.
//!
//! In: `/proc/self`. Out: the `process_*` families of the metrics page. Must not: look at any other process.

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;

/// What the kernel says of this process.
#[must_use]
pub fn process_metrics() -> Vec<MetricFamily> {
    ProcessCollector::for_self().collect()
}
