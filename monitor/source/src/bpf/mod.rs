//! The kernel side: load ctmon's programs, attach them to one map at a time, walk it; follow evictions.
//!
//! In: the kernel's BTF, read-only descriptors of Cilium's maps, what to ask for. Out: [`RawScan`] counters, or
//! the entries themselves. Must not: touch a Cilium map in any other way, or run two scans at once (`&mut self`).

mod btf;
mod probe;

mod drain;
mod error;
pub mod evict;
pub mod map_count;
mod scan;
pub mod sys;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::Iter;
use aya::{Btf, Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use monitor_abi::cell::{CHUNK, MAP_CHUNKS, TARGET_CHUNKS};
use monitor_abi::scan::{FILTER_WORDS, ask, found, pending};
use monitor_decode::scan::RawScan;
use monitor_model::clock::Clocks;
use monitor_model::eviction_plan::Choice;
use monitor_model::map_name::Shape;
use monitor_model::target::tables::{KernelTables, LpmEntry, TargetWords};

use self::btf::KernelTypes;
pub use self::error::{LoadError, ScanError};
use self::evict::Tracker;
use self::map_count::MapCounter;
pub use self::scan::Ask;
pub(crate) use self::scan::bounds_in_units;

/// The object, compiled from `monitor-ebpf`; empty where it had not been when this was built.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CTMON_BPF_OBJECT_PATH"));

/// A map a program is linked to. Dropping it ends the link.
#[derive(Debug)]
pub struct Link {
    /// Of the program that counts, where those are loaded.
    count: Option<OwnedFd>,
    show: OwnedFd,
    shape: Shape,
}

const fn check_object(object: &[u8]) -> Result<(), LoadError> {
    if object.is_empty() { Err(LoadError::NotBuilt) } else { Ok(()) }
}

/// Which programs to load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Programs {
    All,
    /// Those that show entries: the verifier takes a tenth of the time.
    Show,
}

/// The loaded programs and their maps.
pub struct Kernel {
    // Dropping the object would unload the programs.
    bpf: Ebpf,
    ask: Array<MapData, [u64; ask::LEN]>,
    found: Array<MapData, [u64; found::LEN]>,
    pending: Array<MapData, [u64; pending::LEN]>,
    cells: Array<MapData, [u64; CHUNK]>,
    timeouts: Array<MapData, [u64; CHUNK]>,
    filter: Array<MapData, [u64; FILTER_WORDS]>,
    targets_v4: LpmTrie<MapData, [u8; 4], u32>,
    targets_v6: LpmTrie<MapData, [u8; 16], u32>,
    ports: HashMap<MapData, u32, u32>,
    /// The clock program's.
    nothing: OwnedFd,
    programs: Programs,
    loaded: Option<KernelTables>,
    tracker: Tracker,
    counter: MapCounter,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl Kernel {
    /// Loads the programs that walk, and what follows evictions as far as this kernel lets it.
    pub fn load_watching(choice: Choice) -> Result<Self, LoadError> {
        let loader = loader();
        with_types(|types| {
            let (object, facts) = map_count::prepare(OBJECT, &types.places);
            let mut kernel = Self::load_by(&mut with_btf(loader, types), &object, &types.btf, Programs::All)?;
            kernel.tracker.start(&mut kernel.bpf, types, choice);
            kernel.counter.start(&mut kernel.bpf, &types.btf, facts);
            Ok(kernel)
        })
    }

    /// Fails where this was built without the object: nothing can be loaded then, whatever the kernel lets one do.
    pub const fn check_built() -> Result<(), LoadError> {
        check_object(OBJECT)
    }

    /// Loads only what shows entries: it cannot count.
    pub fn load_to_show() -> Result<Self, LoadError> {
        let loader = loader();
        with_types(|types| Self::load_by(&mut with_btf(loader, types), OBJECT, &types.btf, Programs::Show))
    }

    /// Follows evictions in another way from now on.
    pub fn watch_evictions(&mut self, choice: Choice) -> Result<(), LoadError> {
        with_types(|types| {
            self.tracker.start(&mut self.bpf, types, choice);
            Ok(())
        })
    }

    /// What follows evictions.
    pub fn tracker(&mut self) -> &mut Tracker {
        &mut self.tracker
    }

    /// What asks the kernel how many entries maps hold.
    pub fn counter(&mut self) -> &mut MapCounter {
        &mut self.counter
    }

    /// Loads the programs with a BTF that the caller shares with other loaders.
    pub fn load_with(btf: &Btf) -> Result<Self, LoadError> {
        Self::load_by(EbpfLoader::new().btf(Some(btf)), OBJECT, btf, Programs::All)
    }

    fn load_by(
        loader: &mut EbpfLoader<'_>,
        object: &[u8],
        btf: &Btf,
        programs: Programs,
    ) -> Result<Self, LoadError> {
        check_object(object)?;
        let mut bpf = loader.load(object).map_err(|source| LoadError::Object(Box::new(source)))?;
        for shape in SHAPES {
            load_iterator(&mut bpf, shows(shape), btf)?;
            if programs == Programs::All {
                load_iterator(&mut bpf, counts(shape), btf)?;
            }
        }
        load_iterator(&mut bpf, "clock", btf)?;
        // Without a logger set up the records would only fill their ring.
        let logger = EbpfLogger::init(&mut bpf).ok();
        let nothing = match bpf.map("NOTHING") {
            Some(Map::HashMap(map)) => {
                link(&bpf, "clock", Some(map.fd().as_fd())).map_err(LoadError::Clock)?
            }
            _ => return Err(LoadError::Missing { name: "NOTHING" }),
        };
        Ok(Self {
            ask: take(&mut bpf, "ASK")?,
            found: take(&mut bpf, "FOUND")?,
            pending: take(&mut bpf, "PENDING")?,
            cells: take(&mut bpf, "CELLS")?,
            timeouts: take(&mut bpf, "TIMEOUTS")?,
            filter: take(&mut bpf, "FILTER")?,
            targets_v4: take(&mut bpf, "TARGETS_V4")?,
            targets_v6: take(&mut bpf, "TARGETS_V6")?,
            ports: take(&mut bpf, "PORTS")?,
            nothing,
            programs,
            loaded: None,
            tracker: Tracker::new(&mut bpf)?,
            counter: MapCounter::new(&mut bpf)?,
            logger,
            bpf,
        })
    }

    /// Links the programs for this shape to a map; the link stays for as many walks as wanted.
    pub fn link(&self, shape: Shape, map: BorrowedFd<'_>) -> Result<Link, ScanError> {
        let count = match self.programs {
            Programs::All => Some(link(&self.bpf, counts(shape), Some(map))?),
            Programs::Show => None,
        };
        Ok(Link { count, show: link(&self.bpf, shows(shape), Some(map))?, shape })
    }

    /// Replaces the target tables: what is gone is removed first, so that no entry finds a stale pair for long.
    pub fn set_targets(&mut self, tables: KernelTables) -> Result<(), ScanError> {
        if let Some(old) = self.loaded.take() {
            for entry in &old.v4 {
                self.targets_v4.remove(&key(entry)).or_else(missing).map_err(in_map("TARGETS_V4"))?;
            }
            for entry in &old.v6 {
                self.targets_v6.remove(&key(entry)).or_else(missing).map_err(in_map("TARGETS_V6"))?;
            }
            for (port, _) in &old.ports {
                self.ports.remove(port).or_else(missing).map_err(in_map("PORTS"))?;
            }
        }
        for entry in &tables.v4 {
            self.targets_v4.insert(&key(entry), entry.value, 0).map_err(in_map("TARGETS_V4"))?;
        }
        for entry in &tables.v6 {
            self.targets_v6.insert(&key(entry), entry.value, 0).map_err(in_map("TARGETS_V6"))?;
        }
        for (port, pair) in &tables.ports {
            self.ports.insert(port, pair, 0).map_err(in_map("PORTS"))?;
        }
        for (index, filter) in (0..).zip(&tables.filters) {
            self.filter.set(index, **filter, 0).map_err(in_map("FILTER"))?;
        }
        self.loaded = Some(tables);
        Ok(())
    }

    /// Walks the map and counts.
    pub fn scan(&mut self, link: &Link, ask: &Ask) -> Result<RawScan, ScanError> {
        let counter = link.count.as_ref().ok_or(ScanError::NotLoaded)?;
        self.set_ask(ask)?;
        let with_targets = self.has_targets(link.shape);
        let chunks = if with_targets { MAP_CHUNKS + TARGET_CHUNKS } else { MAP_CHUNKS };
        for index in (0..).take(chunks) {
            self.cells.set(index, [0; CHUNK], 0).map_err(in_map("CELLS"))?;
        }
        let shows_timeouts = matches!(link.shape, Shape::Ct4 | Shape::Ct6);
        if shows_timeouts {
            self.timeouts.set(0, [0; CHUNK], 0).map_err(in_map("TIMEOUTS"))?;
        }
        let reads = drain::count_reads(sys::start_iterator(counter.as_fd()).map_err(ScanError::Start)?)
            .map_err(ScanError::Read)?;
        let found = self.finish()?;
        let mut cells = Vec::with_capacity(chunks * CHUNK);
        for index in (0..).take(chunks) {
            cells.extend_from_slice(&self.cells.get(&index, 0).map_err(in_map("CELLS"))?);
        }
        let target_cells = cells.split_off(CHUNK * MAP_CHUNKS);
        let mut timeouts = Vec::new();
        if shows_timeouts {
            timeouts.extend_from_slice(&self.timeouts.get(&0, 0).map_err(in_map("TIMEOUTS"))?);
        }
        Ok(RawScan { found, cells, target_cells, timeouts, reads })
    }

    /// Walks the map and hands every entry to `each` until it says stop. Returns the clocks at the start.
    pub fn stream(
        &mut self,
        link: &Link,
        mut each: impl FnMut(Clocks, &[u8], &[u8]) -> std::ops::ControlFlow<()>,
    ) -> Result<Clocks, ScanError> {
        // The walk takes its own clocks; rows need them from the first one on.
        let clocks = self.clocks()?;
        self.set_ask(&Ask::default())?;
        let iterator = sys::start_iterator(link.show.as_fd()).map_err(ScanError::Start)?;
        let (key_size, value_size) = link.shape.sizes();
        let finished = drain::records(iterator, key_size, value_size, |key, value| each(clocks, key, value))
            .map_err(ScanError::Read)?;
        if finished {
            self.finish()?;
        }
        Ok(clocks)
    }

    /// Both kernel clocks at one instant.
    pub fn clocks(&mut self) -> Result<Clocks, ScanError> {
        self.set_ask(&Ask::default())?;
        drain::count_reads(sys::start_iterator(self.nothing.as_fd()).map_err(ScanError::Start)?)
            .map_err(ScanError::Read)?;
        let found = self.finish()?;
        let [ktime_ns, jiffies, ..] = found;
        Ok(Clocks { ktime_ns, jiffies })
    }

    /// Hands what the programs logged to the process's own log.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    fn set_ask(&mut self, ask: &Ask) -> Result<(), ScanError> {
        // A bound is carried in the bits of its word, sign and all.
        let signed = |value: i32| i64::from(value).cast_unsigned();
        let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10] = ask.bounds.map(signed);
        let [families, t1, t2, t3, t4, t5, t6] = self.target_words();
        let words: [u64; ask::LEN] = [
            ask.clock as u64,
            u64::from(ask.stale_after),
            u64::from(ask.log),
            b0,
            b1,
            b2,
            b3,
            b4,
            b5,
            b6,
            b7,
            b8,
            b9,
            b10,
            families,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
        ];
        self.ask.set(0, words, 0).map_err(in_map("ASK"))?;
        self.found.set(0, [0; found::LEN], 0).map_err(in_map("FOUND"))?;
        self.pending.set(0, [0; pending::LEN], 0).map_err(in_map("PENDING"))?;
        Ok(())
    }

    /// Whether entries of this shape may belong to a target.
    fn has_targets(&self, shape: Shape) -> bool {
        let [families, ..] = self.target_words();
        match shape {
            Shape::Ct4 => families & 1 != 0,
            Shape::Ct6 => families & 2 != 0,
            Shape::Nat4 | Shape::Nat6 => false,
        }
    }

    /// What the programs know of the targets without a look into their tables.
    #[must_use]
    pub fn target_words(&self) -> TargetWords {
        self.loaded.as_ref().map_or_else(TargetWords::default, KernelTables::words)
    }

    fn finish(&self) -> Result<[u64; found::LEN], ScanError> {
        let found = self.found.get(&0, 0).map_err(in_map("FOUND"))?;
        match found.get(found::FINISHED) {
            Some(1) => Ok(found),
            _ => Err(ScanError::Unfinished),
        }
    }
}

/// Lends out the kernel's BTF: it is read anew each time, in memory once at a time, and gone afterwards.
fn with_types<T>(work: impl FnOnce(&KernelTypes) -> Result<T, LoadError>) -> Result<T, LoadError> {
    let types = KernelTypes::read(probe::FUNCTION).map_err(LoadError::Btf)?;
    let worked = work(&types);
    drop(types);
    sys::trim_heap();
    worked
}

/// The same loader, with a BTF that was read already.
fn with_btf<'t>(mut loader: EbpfLoader<'t>, types: &'t KernelTypes) -> EbpfLoader<'t> {
    loader.btf(Some(&types.btf));
    loader
}

const SHAPES: [Shape; 4] = [Shape::Ct4, Shape::Ct6, Shape::Nat4, Shape::Nat6];

/// The program that counts what maps of this shape hold.
const fn counts(shape: Shape) -> &'static str {
    match shape {
        Shape::Ct4 => "ct4",
        Shape::Ct6 => "ct6",
        Shape::Nat4 => "nat4",
        Shape::Nat6 => "nat6",
    }
}

/// The program that shows the entries of maps of this shape.
const fn shows(shape: Shape) -> &'static str {
    match shape {
        Shape::Ct4 => "show_ct4",
        Shape::Ct6 => "show_ct6",
        Shape::Nat4 => "show_nat4",
        Shape::Nat6 => "show_nat6",
    }
}

/// A loader without types. The library's parses the kernel's on its own when it is made, 20 MB of them: they go
/// before ours come.
fn loader<'a>() -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    sys::trim_heap();
    loader
}

/// Loads one iterator program by name, for [`Kernel`] and for whoever compares with another program.
pub fn load_iterator(bpf: &mut Ebpf, name: &'static str, btf: &Btf) -> Result<(), LoadError> {
    let program: &mut Iter = bpf
        .program_mut(name)
        .ok_or(LoadError::Missing { name })?
        .try_into()
        .map_err(|source| LoadError::Program { name, source: Box::new(source) })?;
    program.load("bpf_map_elem", btf).map_err(|source| LoadError::Program { name, source: Box::new(source) })
}

fn link(bpf: &Ebpf, name: &'static str, map: Option<BorrowedFd<'_>>) -> Result<OwnedFd, ScanError> {
    let program: &Iter = bpf
        .program(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| ScanError::Link(io::Error::other(format!("program {name} is not loaded"))))?;
    let fd = program.fd().map_err(|error| ScanError::Link(io::Error::other(error)))?;
    sys::link_iterator(fd.as_fd(), map).map_err(ScanError::Link)
}

fn take<T: TryFrom<Map, Error = MapError>>(bpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError> {
    let map = bpf.take_map(name).ok_or(LoadError::Missing { name })?;
    T::try_from(map).map_err(|source| LoadError::Map { name, source: Box::new(source) })
}

fn in_map(name: &'static str) -> impl FnOnce(MapError) -> ScanError {
    move |source| ScanError::Map { name, source: Box::new(source) }
}

fn key<A: aya::Pod>(entry: &LpmEntry<A>) -> Key<A> {
    Key::new(entry.length.into(), entry.address)
}

/// What is not there any more needs no removal.
fn missing(error: MapError) -> Result<(), MapError> {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => Ok(()),
        MapError::SyscallError(error) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_object_says_which_command_makes_one() {
        let error = check_object(b"").unwrap_err().to_string();
        assert!(error.contains("`cargo xtask build`") && !error.contains('\n'), "{error}");
        assert!(check_object(b"\x7fELF").is_ok());
    }
}
