//! What pod logs may take of the process: memory for lines that never end, descriptors when all are rotated at once.
//!
//! In: as many log files as are followed, written by somebody who means no good. Out: growth of this process's peak, and
//! its open descriptors, so this file must stay a process of its own with a single test.

mod folder;
mod peak;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use folder::Folder;
use monitor_model::host::logs::LogPattern;
use monitor_model::snapshot::{HostState, HostTargetFacts, SourceState};
use monitor_model::target::TargetIndex;
use monitor_source::descriptors;
use monitor_source::host::Host;
use monitor_source::host::collect::{HostCollector, Wanted};
use monitor_source::host::storage::Storage;

/// More than are ever followed.
const FILES: usize = 600;
/// What all unfinished text may take, and as much again for everything else a reading needs.
const MOST_KIB: u64 = 8 * 1024;
const _: () = assert!(MOST_KIB < peak::MOST_KIB, "a source takes less than a verb over a whole table");

struct Pods(Folder);

impl Pods {
    fn new() -> io::Result<Self> {
        let pods = Self(Folder::new()?);
        for number in 0..FILES {
            fs::create_dir_all(pods.folder(number))?;
            File::create(pods.folder(number).join("0.log"))?;
        }
        Ok(pods)
    }

    fn folder(&self, number: usize) -> PathBuf {
        self.0.path().join(format!("pods/ns_pod-{number}_uid/app"))
    }

    fn host(&self) -> Host {
        let nothing = self.0.path().join("nothing");
        Host {
            procfs: nothing.clone(),
            sysfs: nothing,
            pod_logs: self.0.path().join("pods"),
            cilium_config: None,
        }
    }

    /// A message without an end in each of both streams, and a line without an end.
    fn write_endless(&self) -> io::Result<()> {
        let (stdout, stderr) = ("o".repeat(40 << 10), "e".repeat(40 << 10));
        let time = "2026-11-22T00:17:09.669794202Z";
        let text = format!("{time} stdout P {stdout}\n{time} stderr P {stderr}\n{time} stdout F {stdout}");
        for number in 0..FILES {
            let path = self.folder(number).join("0.log");
            OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        for number in 0..FILES {
            let folder = self.folder(number);
            fs::rename(folder.join("0.log"), folder.join("0.log.20261122-001709"))?;
            File::create(folder.join("0.log"))?;
        }
        Ok(())
    }
}

fn open_descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

fn limit_descriptors(limit: &str) -> io::Result<bool> {
    let pid = std::process::id().to_string();
    Ok(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}")]).status()?.success())
}

#[test]
fn logs_leave_memory_and_descriptors_to_the_rest() {
    // The usual limit, and a node that allows a little more: what may be lifted is lifted.
    assert!(limit_descriptors("512:1280").unwrap());
    assert_eq!(descriptors::lift_limit(), 1280);
    let followed = (1280 - 512) / 2;

    let pods = Pods::new().unwrap();
    let host = pods.host();
    let pattern = LogPattern {
        name: "errors".to_owned(),
        pattern: "error".to_owned(),
        namespaces: vec![],
        pods: vec![],
        containers: vec![],
    };
    let mut collector = HostCollector::default();
    collector.follow_logs(&[pattern]);
    let mut collect = || -> (HostState, Vec<SourceState>) {
        let mut sources = Vec::new();
        let (targets, facts) = (TargetIndex::default(), HostTargetFacts::default());
        let storage = Storage::read(&host);
        (collector.collect(&host, &Wanted::default(), storage, &targets, facts, &mut sources), sources)
    };
    let before = open_descriptors().unwrap();
    let (state, _) = collect();
    let logs = state.logs.unwrap();
    assert_eq!((logs.files, logs.skipped_files, logs.totals.failures), (followed, FILES - followed, 0));
    assert_eq!(open_descriptors().unwrap(), before + followed);

    let peak = peak::kib();
    pods.write_endless().unwrap();
    let mut bytes = 0;
    // Until everything was read: one reading is bounded.
    loop {
        let (state, _) = collect();
        let totals = state.logs.unwrap().totals;
        if totals.bytes == bytes {
            break;
        }
        bytes = totals.bytes;
    }
    assert!(bytes > 40_000_000, "{bytes} bytes were read");
    let grown = peak::kib() - peak;
    assert!(grown < MOST_KIB, "unfinished lines of {followed} files took {grown} KiB");

    pods.rotate().unwrap();
    let (state, sources) = collect();
    let logs = state.logs.unwrap();
    assert_eq!((logs.files, logs.totals.failures), (followed, 0));
    assert!(sources.iter().all(|source| source.error.is_none()), "{sources:?}");
    let taken = open_descriptors().unwrap();
    assert_eq!(taken, before + 2 * followed, "both files of each are open");
    // What the rest of the process needs is free: maps, connections, files read for a moment.
    let others: Vec<io::Result<File>> = (0..400).map(|_| File::open("/dev/null")).collect();
    assert!(others.iter().all(Result::is_ok));
    println!("{followed} files: {grown} KiB for unfinished lines, {taken} descriptors while all are rotated");
}
