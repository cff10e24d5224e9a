//! `ctmon scrape`: one collection as a metrics page.
//!
//! In: global flags, settings. Out: the page on standard output.
//! Must not: start a server.

use std::io::Write;

use super::cli::GlobalArgs;
use super::node;
use crate::check;
use crate::config::Settings;
use crate::output::http::age_lines;
use crate::output::prometheus;
use crate::source::bpf::sys;

/// Collects once and prints.
pub(super) fn run(global: &GlobalArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let snapshot = node::collector(global, settings)?.collect();
    let readings = check::readings(&snapshot, settings);
    prometheus::write(&snapshot, settings, &readings, out)?;
    out.write_all(age_lines(sys::monotonic().saturating_sub(snapshot.monotonic)).as_bytes())?;
    Ok(())
}
