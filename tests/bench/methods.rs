//! The ways to read a conntrack map.
//!
//! In: one map of Cilium's shape. Out: how long each way took, and how many entries it saw.
//! Must not: let one way do less than another, except where its name says so: `check` compares what they count.

use std::fs::File;
use std::hint::black_box;
use std::io::ErrorKind;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use anyhow::{Result, ensure};
use aya::programs::Iter;
use aya::{Btf, Ebpf, EbpfLoader};
use monitor_abi::class::DUE_BOUNDS;
use monitor_abi::scan::{Clock, found};
use monitor_model::map_name;
use monitor_model::prefix::Prefix;
use monitor_model::target::{ServiceSpec, TargetIndex, TargetSpec};
use monitor_source::bpf::{self, Ask, Kernel, Link, OBJECT, sys};
use monitor_source::cilium::pins;
use support::bpffs::Bpffs;
use support::cilium::MapName;
use support::sys::Map;

use crate::classifier::{Classifier, Rules};

/// What Cilium's agent asks for per batch lookup.
const BATCH: usize = 4096;
/// The storage server a tenth of the generated entries belong to.
const NAS: [u8; 4] = [192, 168, 100, 180];

/// One way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Ctmon,
    Empty,
    Batch,
    KeyByKey,
    Bpftool,
}

impl Method {
    pub(crate) const ALL: [Self; 5] = [Self::Ctmon, Self::Empty, Self::Batch, Self::KeyByKey, Self::Bpftool];

    /// Whether a round takes well below a second.
    pub(crate) const fn is_quick(self) -> bool {
        !matches!(self, Self::KeyByKey | Self::Bpftool)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ctmon => "ctmon: iterator, aggregating in the kernel",
            Self::Empty => "iterator whose program is empty",
            Self::Batch => "batch lookups, classified in user space",
            Self::KeyByKey => "key by key (get_next_key and lookup)",
            Self::Bpftool => "bpftool -j map dump",
        }
    }
}

/// Everything the methods need, made once.
pub(crate) struct Methods<'m> {
    kernel: Kernel,
    link: Link,
    rules: Rules,
    // Dropping the object would unload the empty program.
    _empty: Ebpf,
    empty_link: std::os::fd::OwnedFd,
    map: &'m Map,
    pin: PathBuf,
    now: u32,
}

impl<'m> Methods<'m> {
    pub(crate) fn new(bpffs: &Bpffs, map: &'m Map, now: u32) -> Result<Self> {
        let name = map_name::global_maps().into_iter().next().context("no maps")?;
        let open = pins::open(&name, bpffs.root())
            .map_err(|problem| anyhow::anyhow!(problem.detail))?
            .context("the map is not pinned")?;
        let btf = Btf::from_sys_fs()?;
        let mut kernel = Kernel::load_with(&btf)?;
        let targets = targets()?;
        kernel.set_targets(targets.tables())?;
        let link = kernel.link(name.shape(), open.fd.as_fd())?;
        let mut empty = EbpfLoader::new().btf(Some(&btf)).load(OBJECT)?;
        bpf::load_iterator(&mut empty, "empty", &btf)?;
        let program: &Iter = empty.program("empty").context("no empty program")?.try_into()?;
        let empty_link = sys::link_iterator(program.fd()?.as_fd(), Some(open.fd.as_fd()))?;
        let mut bounds = [0; 11];
        for (bound, seconds) in bounds.iter_mut().zip(DUE_BOUNDS) {
            *bound = i32::try_from(seconds)?;
        }
        let ask = Ask { clock: Clock::Ktime, bounds, stale_after: 600, log: false };
        let rules = Rules { targets, ask };
        Ok(Self {
            kernel,
            link,
            rules,
            _empty: empty,
            empty_link,
            map,
            pin: bpffs.pin(MapName::Ct4.pin()),
            now,
        })
    }

    /// Makes sure that user space counts what the programs count.
    pub(crate) fn check(&mut self) -> Result<()> {
        let scan = self.kernel.scan(&self.link, &self.rules.ask)?;
        // The clock as entries have it: the low half.
        let [b0, b1, b2, b3, ..] = scan.word(found::NOW).to_le_bytes();
        let mut classifier = Classifier::new(&self.rules, u32::from_le_bytes([b0, b1, b2, b3]));
        self.map.for_each_batch(BATCH, |key, value| classifier.add(key, value))?;
        classifier.check(&scan)
    }

    /// Reads the map once this way: the time it took, and the entries it saw where it can tell.
    pub(crate) fn read(&mut self, method: Method) -> Result<(Duration, Option<usize>)> {
        let start = Instant::now();
        let seen = match method {
            Method::Ctmon => {
                let scan = self.kernel.scan(&self.link, &self.rules.ask)?;
                Some(usize::try_from(scan.word(found::WALKED))?)
            }
            Method::Empty => {
                drain(sys::start_iterator(self.empty_link.as_fd())?)?;
                None
            }
            Method::Batch => {
                let mut classifier = Classifier::new(&self.rules, self.now);
                self.map.for_each_batch(BATCH, |key, value| classifier.add(key, value))?;
                Some(usize::try_from(black_box(classifier).seen())?)
            }
            Method::KeyByKey => {
                let mut classifier = Classifier::new(&self.rules, self.now);
                self.map.for_each(|key, value| classifier.add(key, value))?;
                Some(usize::try_from(black_box(classifier).seen())?)
            }
            Method::Bpftool => {
                let status = Command::new("bpftool")
                    .args(["-j", "map", "dump", "pinned"])
                    .arg(&self.pin)
                    .stdout(Stdio::null())
                    .status()
                    .context("failed to run bpftool: install it")?;
                ensure!(status.success(), "bpftool failed");
                None
            }
        };
        Ok((start.elapsed(), seen))
    }
}

fn drain(iterator: std::os::fd::OwnedFd) -> Result<()> {
    let mut file = File::from(iterator);
    let mut buffer = [0; 4096];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Err(error.into());
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn targets() -> Result<TargetIndex> {
    let service = |name: &str, ports: &[u16]| ServiceSpec {
        name: name.to_owned(),
        ports: ports.to_vec(),
        protocol: None,
    };
    Ok(TargetIndex::new(vec![TargetSpec {
        name: "qnap".to_owned(),
        prefixes: vec![Prefix::host(NAS.into())],
        services: vec![service("smb", &[445]), service("iscsi", &[3260]), service("api", &[8080, 443])],
    }])?)
}
