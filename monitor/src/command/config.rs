//! `ctmon config`: the effective configuration, every default spelled out.
//!
//! In: settings. Out: YAML that reads back to the same settings.
//! Must not: read a file or the host: what is printed is what the other verbs were given.

use std::io::{self, Write};

use monitor_config::Settings;

/// Prints the configuration.
pub fn run(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    out.write_all(settings.to_yaml().as_bytes())
}
