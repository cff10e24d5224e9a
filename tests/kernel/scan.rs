//! What one walk counts equals what Cilium's own CLI printed of the same maps.

use std::os::fd::AsFd;

use anyhow::Result;
use monitor_abi::scan::found;
use monitor_model::eviction_plan::Choice;
use monitor_model::map_name;
use monitor_source::bpf::{Ask, Kernel};
use monitor_source::cilium::pins;
use support::bpffs::Bpffs;
use support::fixture::{self, Lifetimes};

#[test]
fn a_walk_sees_every_entry_of_every_map() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let _maps = fixture::replay(&bpffs, Lifetimes::AsCaptured)?;
    let mut kernel = Kernel::load_watching(Choice::Off)?;
    let mut seen = Vec::new();
    for name in map_name::global_maps() {
        let open = pins::open(&name, bpffs.root()).expect("opens").expect("exists");
        let link = kernel.link(name.shape(), open.fd.as_fd())?;
        let scan = kernel.scan(&link, &Ask::default())?;
        println!("{name}: {:?} reads {}", scan.found, scan.reads);
        assert_eq!(scan.cells.iter().sum::<u64>(), scan.word(found::WALKED), "{name}");
        seen.push((name.name, scan.word(found::WALKED)));
    }
    let expected = [
        ("ct4_global", 335),
        ("ct_any4_global", 10),
        ("ct6_global", 48),
        ("ct_any6_global", 6),
        ("snat_v4_external", 490),
        ("snat_v6_external", 102),
    ];
    assert_eq!(seen, expected.map(|(name, entries)| (name.to_owned(), entries)));
    Ok(())
}
