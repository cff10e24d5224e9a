//! `ctmon rules`: Prometheus rules with the configured times.
//!
//! In: settings and the format. Out: the file.
//! Must not: ask Prometheus or the daemon.

use std::io::{self, Write};

use crate::config::Settings;
use crate::output::rules::{self, Format};

/// Prints the rules.
pub fn run(settings: &Settings, format: Format, out: &mut impl Write) -> io::Result<()> {
    rules::write(settings, format, out)
}
