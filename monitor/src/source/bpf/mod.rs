//! The kernel side: load, attach, walk.
