//! `ctmon scrape`: one collection as a metrics page.
//!
//! In: global flags, settings. Out: the page on standard output.
//! Must not: start a server.

use std::io::Write;

use monitor_config::Settings;
use monitor_output::prometheus::{self, Input};
use monitor_serve::age_lines;
use monitor_source::bpf::sys;

use super::global::GlobalArgs;
use super::node;

/// Collects once and prints.
pub(super) fn run(global: &GlobalArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let snapshot = node::collector(global, settings)?.collect();
    let readings = monitor_check::readings(&snapshot, settings);
    let input = Input { snapshot: &snapshot, settings, readings: &readings, daemon: None };
    prometheus::write(&input, out)?;
    out.write_all(age_lines(sys::monotonic().saturating_sub(snapshot.monotonic)).as_bytes())?;
    Ok(())
}
