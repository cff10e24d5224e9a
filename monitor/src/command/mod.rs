//! One file per verb: wires source, snapshot, check and output.

pub mod logging;
