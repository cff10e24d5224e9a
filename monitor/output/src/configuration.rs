//! The reference of the configuration file, `deploy/docs/configuration.md`.
//!
//! In: the registry of keys, settings for the defaults. Out: Markdown. Must not: know a key.

use std::io::{self, Write};

use monitor_config::Settings;
use monitor_config::keys::{Key, SECTIONS, Section};
use monitor_model::catalog::Alert;
use monitor_model::duration;
use monitor_model::rule::Rule;

/// Writes the reference; defaults are those of these settings.
pub fn write(defaults: &Settings, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "# The configuration file\n\n\
         `{}` or the file of `--config`, in YAML. `ctmon config` prints what is in force, every default spelled out.\n",
        monitor_config::DEFAULT_PATH
    )?;
    for section in SECTIONS {
        write_section(section, defaults, out)?;
    }
    write_alerts(defaults, out)
}

fn write_section(section: &Section, defaults: &Settings, out: &mut impl Write) -> io::Result<()> {
    let Section { parent, meaning, wrapper: _, keys } = section;
    if parent.is_empty() {
        writeln!(out, "{meaning}\n")?;
    } else {
        writeln!(out, "## `{parent}`\n\n{meaning}\n")?;
    }
    writeln!(out, "| key | value | without it | meaning | example |\n|---|---|---|---|---|")?;
    for key in *keys {
        write_key(key, defaults, out)?;
    }
    writeln!(out)
}

fn write_key(key: &Key, defaults: &Settings, out: &mut impl Write) -> io::Result<()> {
    let Key { name, kind, range, absent: _, meaning, example } = key;
    let range = range.text();
    let comma = if range.is_empty() { "" } else { ": " };
    let absent = key.absent(defaults);
    writeln!(out, "| `{name}` | {kind}{comma}{range} | {absent} | {meaning} | `{example}` |")
}

/// What every alert compares with unless configured otherwise.
fn write_alerts(defaults: &Settings, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "## Alerts\n\n\
         | alert | severity | `value` | `for` | `keep_firing_for` | `window` |\n|---|---|---|---|---|---|"
    )?;
    for (alert, rule) in defaults.thresholds.iter() {
        write_alert(alert, rule, out)?;
    }
    Ok(())
}

fn write_alert(alert: &Alert, rule: &Rule, out: &mut impl Write) -> io::Result<()> {
    let Rule { value, hold, keep_firing_for, window } = rule;
    let (name, severity) = (alert.short_name(), alert.severity.name());
    let value = value.map_or_else(|| "off".to_owned(), |value| value.to_string());
    let [hold, keep] = [*hold, *keep_firing_for].map(duration::format);
    let window = window.map(duration::format).unwrap_or_default();
    writeln!(out, "| {name} | {severity} | {value} | {hold} | {keep} | {window} |")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests compare with the committed file")]
mod tests {
    use std::path::Path;

    use super::*;

    /// Compares with the committed file; `CTMON_BLESS=1` writes it instead.
    #[test]
    fn the_committed_reference_is_what_is_printed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/docs/configuration.md");
        let mut printed = Vec::new();
        write(&Settings::default(), &mut printed).expect("writing to memory");
        if std::env::var_os("CTMON_BLESS").is_some() {
            std::fs::write(&path, &printed).expect("a writable tree");
        }
        let file = std::fs::read(&path).unwrap_or_default();
        assert!(
            file == printed,
            "{} is not what is printed: run this test with CTMON_BLESS=1",
            path.display()
        );
    }
}
