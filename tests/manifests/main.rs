//! What stands in `deploy/`: does it build, does it ask for no more than it says, do its parts agree with each other.
//!
//! In: the files of `deploy/`, kubectl, git, promtool, and Python with `helm-python-sdk` and `kubernetes-validate`.
//! Out: pass or fail; a tool that is missing is a failure that says what to install.
//! Must not: reach a cluster or the network.

mod tools;

mod render;

mod objects;

mod kustomize;

mod remote;

mod names;

mod pod;

mod chart;

mod values;

mod alerts;

mod schema;

mod contract;

mod dashboard;

mod runbooks;

mod commands;

mod install;

mod tuning;
