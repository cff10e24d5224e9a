//! cilium
