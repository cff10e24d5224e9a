//! End to end: a simulated node, `ctmon run` on it, a real Prometheus that scrapes it and evaluates its rules.
//!
//! In: the built binary, Debian's prometheus, real maps in a private bpffs. Out: pass or fail.
//! Must not: reach beyond loopback, or depend on how fast anything is: a test waits for what must happen, and for a
//! number of rule evaluations where nothing must.

mod dashboard;
mod lab;
mod prometheus;
mod scenes;
