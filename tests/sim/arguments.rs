//! The command line of the simulated node.
//!
//! In: arguments. Out: typed values, and the help that documents the incident. Must not: act.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

/// Shown by `--help` after the options.
const PHASES: &str = "\
Phases of the incident, at its default length of 10 minutes (each is a share of --duration):
  calm           20 s  live connections of pods, services, DNS and NAS mounts; hardly any closing
  pile-up       105 s  260 connections a second to the NAS come and go; closed entries stay until the next pass,
                       and passes get rarer: Cilium's gc waits 1.5 times longer whenever it deleted less
                       than 5 % of a map's max_entries
  half-closing   25 s  the same, and some ends no longer answer a FIN: RxClosing or TxClosing alone
  unanswered    330 s  the same, and SYNs to SMB and iSCSI get no answer: entries stay opening, kept alive by
                       retransmission; as long as the alert on it, 2 minutes over a window of 3, takes to fire
  repair         60 s  the interval is fixed at 5 minutes, the NAS answers and resets what it forgot: all drains
  healthy        60 s  and then for good, or everything again with --loop

Time: lifetimes are stamped with the real clock (60 s after a SYN, 8000 s while established, 10 s after both
FINs). Only the gc's interval is scaled: it runs by Cilium's own rule, starting at 5 minutes, on a clock
that is --speed times as fast, so that hours of drift fit into minutes. The summary prints its own time.
Seconds overdue are therefore real ones: to see lingering entries, give ctmon a short stale_after, 30s say. A
shorter incident has more arrivals a second, and ends before the alert on unanswered SYNs can fire.";

/// Plays a Cilium node: creates the six LRU maps of conntrack and NAT and writes them as the datapath and the agent
/// would during the incident described below.
#[derive(Debug, Parser)]
#[command(name = "ctmon-sim", version, after_long_help = PHASES)]
pub(crate) struct Arguments {
    /// Directory of the bpffs; one is mounted there, and taken away at the end, unless it is one already
    #[arg(long, value_name = "DIR")]
    pub(crate) bpffs: PathBuf,

    /// Written when the maps are there and hold the live connections; removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,

    /// What to play
    #[arg(long, value_enum, default_value_t = Scenario::Incident)]
    pub(crate) scenario: Scenario,

    /// Length of the incident, like 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) duration: Duration,

    /// How many seconds of the gc pass in a real one [default: 80, and more for a shorter incident]
    #[arg(long, value_name = "N", value_parser = speed)]
    pub(crate) speed: Option<f64>,

    /// Play the incident again and again
    #[arg(long = "loop")]
    pub(crate) repeat: bool,

    /// Clock of the lifetimes: monotonic seconds, or `jiffies >> 8` as with bpfClockProbe
    #[arg(long, value_enum, default_value_t = Clock::Ktime)]
    pub(crate) clock: Clock,

    /// `max_entries` of the TCP and NAT maps; the others get half [default: a 32 GB node's 295414]
    ///
    /// It steers the gc, whose rule compares with it. Below 50000 the kernel evicts entries at the incident's
    /// height; the summary then tells what was written, not what the kernel kept.
    #[arg(long, value_name = "ENTRIES", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(crate) capacity: Option<u32>,

    /// Give each CPU its own share of the maps, as bpf.distributedLRU.enabled does
    #[arg(long)]
    pub(crate) distributed_lru: bool,

    /// Another seed gives other addresses and ports
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// What to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The incident, then its repair
    Incident,
    /// A node on which nothing is wrong
    Healthy,
}

/// How lifetimes are stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clock {
    Ktime,
    Jiffies,
}

/// `90s`, `4m`, `1h` or plain seconds.
fn duration(text: &str) -> Result<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).context("not a time")?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        other => bail!("unknown unit {other}: use s, m or h"),
    };
    let number: u64 = number.parse().context("a time is a number and a unit, like 90s")?;
    let duration = Duration::from_secs(number.checked_mul(seconds).context("too long")?);
    if duration.is_zero() {
        bail!("must be more than nothing");
    }
    Ok(duration)
}

/// A factor that leaves passes between a millisecond and days apart.
fn speed(text: &str) -> Result<f64> {
    let speed: f64 = text.parse().context("not a number")?;
    if !(0.01..=100_000.0).contains(&speed) {
        bail!("must be between 0.01 and 100000");
    }
    Ok(speed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use support::simulate::phase::{LENGTH, Phase, SCRIPT};

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("4m", 240), ("1h", 3600)] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds);
        }
        for text in ["", "s", "0", "-1s", "1d", "1.5m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn speeds_are_positive_and_finite() {
        assert!(speed("80").is_ok_and(|speed| speed > 79.9));
        for text in ["", "0", "-1", "NaN", "inf"] {
            assert!(speed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_help_tells_the_phases_as_they_are_played() {
        Arguments::command().debug_assert();
        let default = Arguments::try_parse_from(["ctmon-sim", "--bpffs", "/"]).unwrap();
        assert_eq!(default.duration, LENGTH);
        assert!(PHASES.contains(&format!("length of {} minutes", LENGTH.as_secs() / 60)));
        for (phase, seconds) in SCRIPT {
            let line = PHASES.lines().find(|line| line.trim_start().starts_with(phase.name())).unwrap();
            assert!(line.contains(&format!(" {seconds} s ")), "{line}");
        }
        assert!(PHASES.contains(&format!("{} connections", Phase::PileUp.rates().nas_closing)));
    }
}
