//! Captured files, put into the tests when they are compiled: nothing here reads.

/// The bytes of a file below `tests/fixtures/host`.
macro_rules! fixture {
    ($name:literal) => {
        &include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/host/", $name))[..]
    };
}
