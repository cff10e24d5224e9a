//! Maps that the datapath of Cilium 1.18.10 wrote, read for tests.
//!
//! In: `tests/fixtures/cilium-1.18.10-real`. Out: the files, and a walk over their maps.
//! Must not: decode: the files hold keys and values as the maps do.

use std::path::PathBuf;

use monitor_model::clock::ClockNow;

/// Inside the interval that `maps.json` notes (1860.44 .. 1861.19 s), the instants at which the CLI read the clock.
pub const CT_NOW: ClockNow = ClockNow::ktime(1860);
pub const NAT_NOW: ClockNow = ClockNow::ktime(1861);

/// A file of the capture.
pub fn file(name: &str) -> Vec<u8> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/cilium-1.18.10-real").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
}

/// A text file of the capture.
pub fn text(name: &str) -> String {
    String::from_utf8(file(name)).unwrap()
}

/// The records of a map: key and value.
pub fn records(map: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (key, value) = match map {
        "snat_v4_external" => (14, 40),
        "ct4_global" | "ct_any4_global" => (14, 56),
        _ => (38, 56),
    };
    let bytes = file(&format!("cilium_{map}.bin"));
    assert_eq!(bytes.len() % (key + value), 0, "{map}");
    let pairs = bytes.chunks_exact(key + value).map(|record| record.split_at(key));
    pairs.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}
