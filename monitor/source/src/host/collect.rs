//! One reading of the whole host, again and again.
//!
//! In: the roots, what is wanted, the targets to which addresses belong. Out: [`HostState`] and how each source
//! fared; one that is off is not listed. Must not: let one source's failure hide another, or wait on a server: all
//! of it comes from the kernel's memory and local files.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use monitor_model::host::iscsi::Session;
use monitor_model::host::logs::{LogCounts, LogPattern};
use monitor_model::host::mounts::{Mounts, superblocks};
use monitor_model::snapshot::{
    CifsState, HostState, HostTargetFacts, MountState, SocketState, SourceState, SysctlState, TargetSocket,
    Towards,
};
use monitor_model::target::TargetIndex;

use super::cifs::{CifsSums, read_cifs};
use super::logs::{Limits, LogCounter, Meter};
use super::net_scope::must_see_node;
use super::netstat::read_netstat;
use super::sockets::read_sockets;
use super::storage::Storage;
use super::sysctl::{Sysctls, read_file_handles, read_sysctls};
use super::{Host, HostError, Sample};
use crate::descriptors;
use crate::sources::read_source;

/// What is read of the host beside what is always read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether servers of mounts and sessions become targets.
    pub targets: bool,
    /// By dotted name.
    pub sysctls: Vec<String>,
    /// Counted in pod logs.
    pub logs: Vec<LogPattern>,
}

/// Reads the host, and keeps what needs more than one collection.
#[derive(Debug, Default)]
pub struct HostCollector {
    logs: Option<LogCounter>,
    /// The processor's time that a reading of the logs may take; `None` is any.
    log_cpu: Option<Duration>,
    /// What the last one took.
    log_cost: Duration,
    /// When it was last logged that they are written faster than they are read.
    short_logged: Option<ShortLog>,
    cifs: CifsSums,
}

/// A warning that logs are written faster than they are read.
#[derive(Clone, Copy, Debug)]
struct ShortLog {
    at: Instant,
    /// Readings that were short by then.
    readings: u64,
}

/// That logs are not read in time is said this often at the most.
const LOG_INTERVAL: Duration = Duration::from_secs(600);

impl HostCollector {
    /// Counts these patterns from the next reading on; what is known of those that stay is kept.
    pub fn follow_logs(&mut self, patterns: &[LogPattern]) {
        let result = if let Some(counter) = &mut self.logs {
            counter.follow(patterns)
        } else {
            let limits = Limits::within(descriptors::lift_limit());
            LogCounter::new(patterns, limits).map(|counter| self.logs = Some(counter))
        };
        if let Err(error) = result {
            tracing::error!(%error, "failed to prepare the log patterns");
        }
    }

    /// What the last reading of the logs took of the processor.
    #[must_use]
    pub const fn log_cost(&self) -> Duration {
        self.log_cost
    }

    /// Gives every reading of the logs so much of the processor's time.
    pub const fn allow_logs(&mut self, most: Duration) {
        self.log_cpu = Some(most);
    }

    fn read_logs(&mut self, host: &Host) -> Sample<LogCounts> {
        let Some(logs) = &mut self.logs else { return Ok(None) };
        let mut meter = Meter::of_this_thread(self.log_cpu.unwrap_or(Duration::MAX));
        let reading = logs.read(host, &mut meter);
        self.log_cost = meter.used();
        if let Ok(Some(reading)) = &reading {
            self.warn_if_short(reading);
        }
        reading
    }

    fn warn_if_short(&mut self, reading: &LogCounts) {
        let short = reading.totals.short_readings;
        let is_due = |log: ShortLog| short > log.readings && log.at.elapsed() >= LOG_INTERVAL;
        if self.short_logged.map_or(short > 0, is_due) {
            tracing::warn!(
                short_readings = short,
                skipped_bytes = reading.totals.skipped_bytes,
                "pod logs are written faster than they may be read: the rest is read later, or passed over; fewer or \
                 simpler patterns, or selectors for fewer pods, read more"
            );
            self.short_logged = Some(ShortLog { at: Instant::now(), readings: short });
        }
    }

    /// Reads everything else, and says which target each thing belongs to.
    pub fn collect(
        &mut self,
        host: &Host,
        wanted: &Wanted,
        storage: Storage,
        targets: &TargetIndex,
        facts: HostTargetFacts,
        sources: &mut Vec<SourceState>,
    ) -> HostState {
        let Storage { mounts, iscsi, sources: mut known } = storage;
        sources.append(&mut known);
        let mounts = mounts.map(|Mounts { source, mounts }| MountState {
            source,
            mounts: superblocks(&mounts)
                .into_iter()
                .map(|mount| Towards { target: name_of(targets, mount.address), value: mount.clone() })
                .collect(),
        });
        let cifs = read_source(sources, "cifs", || read_cifs(host));
        let cifs = cifs.map(|now| CifsState { targets: self.cifs.add(&now, mounts.as_ref(), targets), now });
        let iscsi = iscsi.map(|sessions| {
            let towards = |session: Session| Towards {
                target: name_of(targets, session.portal().map(|(address, _)| address)),
                value: session,
            };
            sessions.into_iter().map(towards).collect()
        });
        HostState {
            sysctls: read_source(sources, "sysctl", || wanted_sysctls(host, &wanted.sysctls)),
            file_handles: read_source(sources, "file_handles", || read_file_handles(host)),
            netstat: read_source(sources, "netstat", || read_netstat(host)),
            sockets: read_source(sources, "sockets", || target_sockets(host, targets)),
            logs: read_source(sources, "logs", || self.read_logs(host)),
            mounts,
            cifs,
            iscsi,
            targets: facts,
        }
    }
}

/// A name that fails makes the source fail: its value would be missing without a reason.
fn wanted_sysctls(host: &Host, names: &[String]) -> Sample<SysctlState> {
    // Without the folder it is the root that is wrong, not every name.
    if names.is_empty() || !host.proc("sys").exists() {
        return Ok(None);
    }
    let Sysctls { values, absent, failed } = read_sysctls(host, names.iter().map(String::as_str));
    match failed.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(Some(SysctlState { values, absent })),
    }
}

/// Without targets there is nothing to look for.
fn target_sockets(host: &Host, targets: &TargetIndex) -> Sample<SocketState> {
    if targets.targets().is_empty() {
        return Ok(None);
    }
    must_see_node(host)?;
    let found =
        read_sockets(|remote| targets.target_of(remote.to_canonical()).is_some()).map_err(HostError::from)?;
    let sockets = found.sockets.into_iter().filter_map(|socket| {
        let (target, service) =
            targets.names_of_tcp(socket.remote.ip().to_canonical(), socket.remote.port())?;
        Some(TargetSocket { target: target.to_owned(), service: service.to_owned(), socket })
    });
    Ok(Some(SocketState {
        sockets: sockets.collect(),
        skipped: found.skipped + found.skipped_ended,
        undecoded: found.undecoded,
    }))
}

/// The name of the target that has this address.
fn name_of(targets: &TargetIndex, address: Option<IpAddr>) -> Option<String> {
    let target = targets.targets().get(targets.target_of(address?.to_canonical())?)?;
    Some(target.name.clone())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use monitor_model::prefix::Prefix;
    use monitor_model::target::{OTHER_SERVICE, ServiceSpec, TargetSpec};

    use super::super::targets::HostTargets;
    use super::super::testing::{TempDir, fixture, fixture_path};
    use super::*;

    fn names(sources: &[SourceState]) -> Vec<(&str, bool)> {
        sources.iter().map(|source| (source.name, source.error.is_none())).collect()
    }

    fn collect(host: &Host, wanted: &Wanted, targets: &TargetIndex) -> (HostState, Vec<SourceState>) {
        let mut sources = Vec::new();
        let facts = HostTargetFacts::default();
        let state =
            HostCollector::default().collect(host, wanted, Storage::read(host), targets, facts, &mut sources);
        (state, sources)
    }

    #[test]
    fn a_source_without_files_is_not_listed_and_one_that_fails_hides_no_other() {
        let dir = TempDir::new();
        let wanted = Wanted { sysctls: vec!["fs.file-max".to_owned()], ..Wanted::default() };
        let (_, sources) = collect(&dir.host(), &wanted, &TargetIndex::default());
        assert_eq!(names(&sources), []);

        dir.write("proc/1/mountinfo", b"not a mount\n");
        dir.write("proc/sys/fs/file-nr", &fixture("sysctl/file-nr"));
        std::fs::create_dir_all(dir.path().join("proc/sys/fs/file-max")).unwrap();
        let (state, sources) = collect(&dir.host(), &wanted, &TargetIndex::default());
        assert_eq!(names(&sources), [("mounts", false), ("sysctl", false), ("file_handles", true)]);
        assert!(state.mounts.is_none() && state.sysctls.is_none() && state.file_handles.is_some());
    }

    #[test]
    fn targets_come_from_mounts_and_sessions_and_stay_while_either_cannot_be_read() {
        let dir = TempDir::new();
        dir.write("proc/1/mountinfo", &fixture("mounts/mountinfo-6.12"));
        let host = Host { sysfs: fixture_path("iscsi/6.12-failed/sys"), ..dir.host() };
        let found = Storage::read(&host).targets().unwrap();
        let [server] = found.targets.as_slice() else { panic!("{found:?}") };
        let services: Vec<_> =
            server.services.iter().map(|service| (service.name.as_str(), service.port)).collect();
        assert_eq!(
            (server.name.as_str(), services),
            ("192-168-100-180", vec![("iscsi", 3260), ("smb", 445)])
        );
        dir.write("proc/1/mountinfo", b"not a mount\n");
        assert_eq!(Storage::read(&host).targets(), None);
        assert_eq!(Storage::read(&TempDir::new().host()).targets(), Some(HostTargets::default()));
    }

    #[test]
    fn a_real_socket_is_given_to_its_target_and_service() {
        let address = Ipv4Addr::new(127, 78, 0, 1);
        let listener = TcpListener::bind((address, 0)).unwrap();
        let other = TcpListener::bind((address, 0)).unwrap();
        let mut clients: Vec<TcpStream> =
            [&listener, &other].map(|to| TcpStream::connect(to.local_addr().unwrap()).unwrap()).into();
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        let named = ServiceSpec {
            name: "smb".to_owned(),
            ports: vec![listener.local_addr().unwrap().port()],
            protocol: None,
        };
        let target = TargetSpec {
            name: "nas".to_owned(),
            prefixes: vec![Prefix::host(address.into())],
            services: vec![named],
        };
        let (state, _) =
            collect(&TempDir::new().host(), &Wanted::default(), &TargetIndex::new(vec![target]).unwrap());
        let sockets = state.sockets.unwrap();
        let service = |client: &TcpStream| {
            let local = client.local_addr().unwrap();
            let socket = sockets.of("nas").find(|socket| socket.socket.local == local);
            socket.map(|socket| socket.service.as_str())
        };
        let services: Vec<_> = clients.iter().map(service).collect();
        assert_eq!(services, [Some("smb"), Some(OTHER_SERVICE)]);
    }
}
