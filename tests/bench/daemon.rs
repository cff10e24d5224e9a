//! The daemon's own costs: resident memory with six maps, and the time a scrape takes.
//!
//! In: the release binary. Out: kibibytes and a duration. Must not: count the start of a connection as a scrape.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use support::bpffs::Bpffs;
use support::cilium::{Capacities, MapName, Maps};
use support::daemon::Daemon;
use support::reference::Clock;
use support::{generate, http, sys};

/// Requests on one connection.
const SCRAPES: usize = 500;

/// What the daemon costs.
pub(crate) struct DaemonCosts {
    pub rss_kib: u64,
    pub peak_kib: u64,
    /// Median.
    pub scrape: Duration,
}

pub(crate) fn measure() -> Result<DaemonCosts> {
    let bpffs = Bpffs::mount()?;
    let maps = Maps::create(&bpffs, Capacities::STATIC, 0)?;
    let clock = Clock::ktime(u32::try_from(sys::monotonic()?.as_secs())?);
    for name in MapName::ALL {
        generate::fill(maps.get(name), 20_000, clock)?;
    }
    let address = http::free_address()?;
    let root = bpffs.root().to_str().context("the path of the bpffs is no text")?.to_owned();
    let listen = address.to_string();
    let mut daemon = Daemon::start(&["run", "--bpffs", &root, "--listen", &listen])?;
    daemon.wait_for_page(address, Duration::from_secs(30), |page| {
        page.sum("ctmon_map_entries", &[]).is_some_and(|entries| entries >= 120_000.0)
    })?;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let kib = |key: &str| {
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(key)?.trim_start_matches(':').split_whitespace().next()?.parse().ok()
            })
            .with_context(|| format!("no {key} in /proc/PID/status"))
    };
    let (rss_kib, peak_kib) = (kib("VmRSS")?, kib("VmHWM")?);
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut times = (0..SCRAPES).map(|_| scrape(&mut reader)).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(DaemonCosts { rss_kib, peak_kib, scrape: times.get(SCRAPES / 2).copied().unwrap_or_default() })
}

/// One request as Prometheus makes it, gzip included.
fn scrape(reader: &mut BufReader<TcpStream>) -> Result<Duration> {
    let start = Instant::now();
    reader.get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nAccept-Encoding: gzip\r\n\r\n")?;
    let mut length = 0_usize;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(start.elapsed())
}
