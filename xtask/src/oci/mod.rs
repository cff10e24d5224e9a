//! What registries keep: content by its digest, and layouts of it on disk.
//!
//! In: bytes and documents. Out: the bytes of an OCI image layout in a tar.
//! Must not: know what is in it, touch files, or differ between two calls of the same.

mod blob;
mod layout;
mod pack;

pub(crate) use self::blob::{Blob, digest, json};
pub(crate) use self::layout::Layout;
pub(crate) use self::pack::{Entry, gzip, tar};
