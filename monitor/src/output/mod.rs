//! Data goes out: one file per format.

pub mod cilium;
pub mod evictions;
pub mod history;
pub mod http;
pub mod json;
pub mod page;
pub mod prometheus;
pub mod rules;
pub mod table;
pub mod terminal;
