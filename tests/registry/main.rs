//! What a release uploads, pushed to a registry by the release's own script and read back as clients do.
//!
//! In: the artefacts of `cargo xtask dist --for-tests`, Debian's docker-registry, skopeo, umoci, Helm's own client,
//! kubectl. Out: pass or fail; a program that is missing is a failure that says what to install.
//! Must not: read anything with the code that wrote it, or listen elsewhere than on loopback.

mod server;

mod tools;

mod image;

mod chart;

mod manifests;

mod files;
