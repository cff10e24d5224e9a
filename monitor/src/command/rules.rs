//! `ctmon rules`: Prometheus rules with the configured times.
//!
//! In: settings, the group and the format. Out: the file.
//! Must not: ask Prometheus or the daemon.

use std::io::{self, Write};

use crate::config::Settings;
use crate::output::rules::{self, Format, Group};

/// Prints the rules.
pub fn run(settings: &Settings, group: Group, format: Format, out: &mut impl Write) -> io::Result<()> {
    rules::write(settings, group, format, out)
}
