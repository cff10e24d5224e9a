//! Maps of Cilium's shape: names, sizes, capacities.
//!
//! In: a bpffs and capacities. Out: pinned maps like those of a node.
//! Must not: put entries into them.

use anyhow::{Context, Result};

use crate::bpffs::Bpffs;
use crate::simulate::table::Change;
use crate::sys::{Kind, Map, Spec};

/// Cilium's maps, in the order its command line prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MapName {
    Ct4,
    CtAny4,
    Ct6,
    CtAny6,
    Snat4,
    Snat6,
}

impl MapName {
    /// The order of `cilium-dbg bpf ct list global`, then of `bpf nat list`.
    pub const ALL: [Self; 6] = [Self::Ct4, Self::CtAny4, Self::Ct6, Self::CtAny6, Self::Snat4, Self::Snat6];
    /// The conntrack maps.
    pub const CT: [Self; 4] = [Self::Ct4, Self::CtAny4, Self::Ct6, Self::CtAny6];
    /// The NAT maps.
    pub const NAT: [Self; 2] = [Self::Snat4, Self::Snat6];

    /// The name below `tc/globals`.
    #[must_use]
    pub const fn pin(self) -> &'static str {
        match self {
            Self::Ct4 => "cilium_ct4_global",
            Self::CtAny4 => "cilium_ct_any4_global",
            Self::Ct6 => "cilium_ct6_global",
            Self::CtAny6 => "cilium_ct_any6_global",
            Self::Snat4 => "cilium_snat_v4_external",
            Self::Snat6 => "cilium_snat_v6_external",
        }
    }

    /// The label value: the pin without its prefix.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ct4 => "ct4_global",
            Self::CtAny4 => "ct_any4_global",
            Self::Ct6 => "ct6_global",
            Self::CtAny6 => "ct_any6_global",
            Self::Snat4 => "snat_v4_external",
            Self::Snat6 => "snat_v6_external",
        }
    }

    /// The pin of the inner map of a remote cluster, which Cilium pins beside the array that holds it.
    #[must_use]
    pub fn per_cluster_pin(self, cluster: u32) -> String {
        format!("{}_{cluster}", self.per_cluster_outer_pin())
    }

    /// The pin of the array of maps over all clusters.
    #[must_use]
    pub const fn per_cluster_outer_pin(self) -> &'static str {
        match self {
            Self::Ct4 => "cilium_per_cluster_ct_tcp4",
            Self::CtAny4 => "cilium_per_cluster_ct_any4",
            Self::Ct6 => "cilium_per_cluster_ct_tcp6",
            Self::CtAny6 => "cilium_per_cluster_ct_any6",
            Self::Snat4 => "cilium_per_cluster_snat_v4_external",
            Self::Snat6 => "cilium_per_cluster_snat_v6_external",
        }
    }

    #[must_use]
    pub const fn is_v6(self) -> bool {
        matches!(self, Self::Ct6 | Self::CtAny6 | Self::Snat6)
    }

    #[must_use]
    pub const fn is_nat(self) -> bool {
        matches!(self, Self::Snat4 | Self::Snat6)
    }

    #[must_use]
    pub const fn key_size(self) -> u32 {
        if self.is_v6() { 38 } else { 14 }
    }

    #[must_use]
    pub const fn value_size(self) -> u32 {
        if matches!(self, Self::Snat4) { 40 } else { 56 }
    }
}

/// `max_entries` by kind of map, as Cilium's three options give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    pub tcp: u32,
    pub any: u32,
    pub nat: u32,
}

impl Capacities {
    /// Cilium's static defaults.
    pub const STATIC: Self = Self { tcp: 524_288, any: 262_144, nat: 524_288 };
    /// What dynamic sizing gives a node of 16 GB.
    pub const NODE_16GB: Self = Self { tcp: 147_295, any: 73_647, nat: 147_295 };
    /// Enough for a test that counts a few hundred entries.
    pub const SMALL: Self = Self { tcp: 4_096, any: 2_048, nat: 4_096 };

    #[must_use]
    pub const fn of(self, name: MapName) -> u32 {
        match name {
            MapName::Ct4 | MapName::Ct6 => self.tcp,
            MapName::CtAny4 | MapName::CtAny6 => self.any,
            MapName::Snat4 | MapName::Snat6 => self.nat,
        }
    }
}

/// The six maps of a node, pinned.
#[derive(Debug)]
pub struct Maps {
    maps: [Map; 6],
}

impl Maps {
    /// Creates and pins all six; `flags` is 0 or [`crate::sys::NO_COMMON_LRU`].
    pub fn create(bpffs: &Bpffs, capacities: Capacities, flags: u32) -> Result<Self> {
        let make = |name: MapName| create(bpffs, name, name.pin(), capacities.of(name), flags);
        let maps = [
            make(MapName::Ct4)?,
            make(MapName::CtAny4)?,
            make(MapName::Ct6)?,
            make(MapName::CtAny6)?,
            make(MapName::Snat4)?,
            make(MapName::Snat6)?,
        ];
        Ok(Self { maps })
    }

    #[must_use]
    pub const fn get(&self, name: MapName) -> &Map {
        let [ct4, ct_any4, ct6, ct_any6, snat4, snat6] = &self.maps;
        match name {
            MapName::Ct4 => ct4,
            MapName::CtAny4 => ct_any4,
            MapName::Ct6 => ct6,
            MapName::CtAny6 => ct_any6,
            MapName::Snat4 => snat4,
            MapName::Snat6 => snat6,
        }
    }
}

impl Maps {
    /// Carries out changes: updates in batches per map, deletions one by one as an entry may be gone already.
    pub fn apply(&self, changes: &[Change]) -> Result<()> {
        for name in MapName::ALL {
            let map = self.get(name);
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for change in changes.iter().filter(|change| change.map == name) {
                if let Some(value) = &change.value {
                    keys.extend_from_slice(&change.key);
                    values.extend_from_slice(value);
                } else {
                    map.delete(&change.key)?;
                }
            }
            map.update_batch(&keys, &values).with_context(|| format!("failed to write {}", name.pin()))?;
        }
        Ok(())
    }
}

/// Creates one LRU hash map of Cilium's shape and pins it under any name.
pub fn create(bpffs: &Bpffs, shape: MapName, pin: &str, max_entries: u32, flags: u32) -> Result<Map> {
    let map = Map::create(&Spec {
        name: pin,
        kind: Kind::LruHash,
        key_size: shape.key_size(),
        value_size: shape.value_size(),
        max_entries,
        flags,
        inner: None,
    })?;
    map.pin(&bpffs.pin(pin))?;
    Ok(map)
}

/// Creates the inner map of a cluster, pins it, and puts it into the pinned array, which is made when missing.
pub fn create_per_cluster(bpffs: &Bpffs, shape: MapName, cluster: u32, max_entries: u32) -> Result<Map> {
    let inner = create(bpffs, shape, &shape.per_cluster_pin(cluster), max_entries, 0)?;
    let path = bpffs.pin(shape.per_cluster_outer_pin());
    let outer = if path.exists() {
        Map::open(&path)?
    } else {
        let outer = Map::create(&Spec {
            name: shape.per_cluster_outer_pin(),
            kind: Kind::ArrayOfMaps,
            key_size: 4,
            value_size: 4,
            max_entries: 256,
            flags: 0,
            inner: Some(&inner),
        })?;
        outer.pin(&path)?;
        outer
    };
    outer.set_inner(cluster, &inner).with_context(|| format!("failed to store cluster {cluster}'s map"))?;
    Ok(inner)
}

/// Re-creates a map under its pin, empty and with another id, as Cilium does when its properties change.
pub fn recreate(bpffs: &Bpffs, shape: MapName, max_entries: u32) -> Result<Map> {
    bpffs.unpin(shape.pin())?;
    create(bpffs, shape, shape.pin(), max_entries, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::NO_COMMON_LRU;

    #[test]
    fn maps_have_the_shape_they_are_asked_for() {
        let bpffs = Bpffs::mount().unwrap();
        let maps = Maps::create(&bpffs, Capacities::SMALL, NO_COMMON_LRU).unwrap();
        for name in MapName::ALL {
            let info = maps.get(name).info();
            let pinned = Map::open_read_only(&bpffs.pin(name.pin())).unwrap().info();
            assert_eq!(info, pinned, "{}", name.pin());
            assert_eq!((info.kind, info.flags), (Kind::LruHash as u32, NO_COMMON_LRU));
            assert_eq!((info.key_size, info.value_size), (name.key_size(), name.value_size()));
            assert!(info.max_entries >= Capacities::SMALL.of(name));
            assert_eq!(name.pin().strip_prefix("cilium_"), Some(name.label()));
        }
    }

    #[test]
    fn a_read_only_descriptor_refuses_writes() {
        let bpffs = Bpffs::mount().unwrap();
        let maps = Maps::create(&bpffs, Capacities::SMALL, 0).unwrap();
        let reader = Map::open_read_only(&bpffs.pin(MapName::Ct4.pin())).unwrap();
        let error = reader.update(&[0; 14], &[0; 56]).unwrap_err();
        let error = error.downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert_eq!(maps.get(MapName::Ct4).count().unwrap(), 0);
    }

    #[test]
    fn per_cluster_maps_are_pinned_and_reachable_through_the_array() {
        let bpffs = Bpffs::mount().unwrap();
        let three = create_per_cluster(&bpffs, MapName::Ct4, 3, 1024).unwrap();
        let nine = create_per_cluster(&bpffs, MapName::Ct4, 9, 1024).unwrap();
        let outer = Map::open(&bpffs.pin("cilium_per_cluster_ct_tcp4")).unwrap();
        assert_eq!(outer.lookup(&3u32.to_ne_bytes()).unwrap().unwrap(), three.info().id.to_ne_bytes());
        assert_eq!(outer.lookup(&9u32.to_ne_bytes()).unwrap().unwrap(), nine.info().id.to_ne_bytes());
        assert_eq!(Map::open(&bpffs.pin("cilium_per_cluster_ct_tcp4_3")).unwrap().info(), three.info());
    }

    #[test]
    fn changes_are_carried_out_on_the_map_they_name() {
        let bpffs = Bpffs::mount().unwrap();
        let maps = Maps::create(&bpffs, Capacities::SMALL, 0).unwrap();
        let change = |key: u8, value: Option<u8>| Change {
            map: MapName::Snat4,
            key: vec![key; 14],
            value: value.map(|value| vec![value; 40]),
        };
        maps.apply(&[change(1, Some(1)), change(2, Some(2)), change(3, None)]).unwrap();
        maps.apply(&[change(1, None), change(2, Some(9))]).unwrap();
        assert_eq!(maps.get(MapName::Snat4).entries().unwrap(), [(vec![2; 14], vec![9; 40])]);
        assert_eq!(maps.get(MapName::Ct4).count().unwrap(), 0);
    }

    #[test]
    fn a_recreated_map_is_empty_and_another() {
        let bpffs = Bpffs::mount().unwrap();
        let maps = Maps::create(&bpffs, Capacities::SMALL, 0).unwrap();
        let old = maps.get(MapName::CtAny4);
        old.update(&[1; 14], &[2; 56]).unwrap();
        let new = recreate(&bpffs, MapName::CtAny4, 8192).unwrap();
        assert_ne!(new.info().id, old.info().id);
        assert_eq!(Map::open(&bpffs.pin(MapName::CtAny4.pin())).unwrap().info(), new.info());
        assert_eq!((old.count().unwrap(), new.count().unwrap()), (1, 0));
    }
}
