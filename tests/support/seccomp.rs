//! `RuntimeDefault`: what a container runtime lets a program with these capabilities call.
//!
//! In: `fixtures/seccomp/default.json`, see its ORIGIN.md, and capabilities. Out: filters for the kernel.
//! Must not: allow a call that the profile does not.

use std::env::consts::ARCH;

use anyhow::{Context, Result, bail, ensure};
use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sys::Capability;

const PROFILE: &str = include_str!("../fixtures/seccomp/default.json");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: Action,
    default_errno_ret: Option<u32>,
    syscalls: Vec<Rule>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum Action {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
}

/// Holds for a pod that has one of `includes` and none of `excludes`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: Action,
    errno_ret: Option<u32>,
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Any kernel supported has `minKernel`, so that one is not asked for.
#[derive(Default, Deserialize)]
struct Condition {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

/// What to install, in this order, for a program with these capabilities.
pub fn runtime_default(capabilities: &[Capability]) -> Result<Vec<BpfProgram>> {
    let profile: Profile = serde_json::from_str(PROFILE).context("failed to read the seccomp profile")?;
    ensure!(profile.default_action == Action::Errno, "the profile allows what it does not name");
    let arch = match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("no seccomp filter is known for {other}"),
    };
    let caps: Vec<&str> = capabilities.iter().map(|capability| capability.name()).collect();
    let rules = profile.syscalls.iter().filter(|rule| rule.holds(&caps, arch));
    let (allowed, refused): (Vec<&Rule>, Vec<&Rule>) = rules.partition(|rule| rule.action == Action::Allow);
    let mut filters = Vec::new();
    let mut listed = json_rules(&allowed)?;
    for rule in &refused {
        let own = json_rules(&[*rule])?;
        // A filter knows one answer besides its default, and of two refusals the one installed last is given: the
        // list allows the call, so that no other refusal stands beside the rule's own.
        let answer = rule.errno_ret.context("a refusal without an error number")?;
        filters.push(compile(&json!("allow"), &json!({ "errno": answer }), &own)?);
        listed.extend(own);
    }
    let default = profile.default_errno_ret.unwrap_or(libc::EPERM.unsigned_abs());
    filters.push(compile(&json!({ "errno": default }), &json!("allow"), &listed)?);
    Ok(filters)
}

impl Rule {
    fn holds(&self, caps: &[&str], arch: &str) -> bool {
        let has = |names: &[String]| names.iter().any(|name| caps.contains(&name.as_str()));
        let is = |names: &[String]| names.iter().any(|name| name == arch);
        let Condition { caps: wanted, arches } = &self.includes;
        let Condition { caps: unwanted, arches: elsewhere } = &self.excludes;
        (wanted.is_empty() || has(wanted))
            && (arches.is_empty() || is(arches))
            && !has(unwanted)
            && !is(elsewhere)
    }
}

/// The rules in the compiler's own words. Calls that this architecture does not have, or that are newer than the
/// compiler, are left out: they get the default, a refusal.
fn json_rules(rules: &[&Rule]) -> Result<Vec<Value>> {
    let mut written = Vec::new();
    for rule in rules {
        for name in rule.names.iter().filter(|name| is_known(name)) {
            let arguments =
                rule.args.iter().flatten().map(Argument::condition).collect::<Result<Vec<_>>>()?;
            written.push(if arguments.is_empty() {
                json!({ "syscall": name })
            } else {
                json!({ "syscall": name, "args": arguments })
            });
        }
    }
    Ok(written)
}

impl Argument {
    fn condition(&self) -> Result<Value> {
        let (op, value) = match self.op.as_str() {
            "SCMP_CMP_EQ" => (json!("eq"), self.value),
            "SCMP_CMP_NE" => (json!("ne"), self.value),
            "SCMP_CMP_LT" => (json!("lt"), self.value),
            "SCMP_CMP_MASKED_EQ" => (json!({ "masked_eq": self.value }), self.value_two),
            other => bail!("unknown comparison {other} in the seccomp profile"),
        };
        Ok(json!({ "index": self.index, "type": "qword", "op": op, "val": value }))
    }
}

fn is_known(name: &str) -> bool {
    compile(&json!("allow"), &json!({ "errno": 1 }), &[json!({ "syscall": name })]).is_ok()
}

/// `default` unless a rule matches, then `matched`.
fn compile(default: &Value, matched: &Value, rules: &[Value]) -> Result<BpfProgram> {
    let filter = json!({ "all": { "mismatch_action": default, "match_action": matched, "filter": rules } });
    let arch = TargetArch::try_from(ARCH).context("no seccomp filter can be made here")?;
    let mut programs =
        compile_from_json(filter.to_string().as_bytes(), arch).context("failed to make a seccomp filter")?;
    programs.remove("all").context("the filter is missing among those that were made")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which calls the list lets a program with these capabilities make.
    fn allows(capabilities: &[Capability], call: &str) -> bool {
        let profile: Profile = serde_json::from_str(PROFILE).unwrap();
        let caps: Vec<&str> = capabilities.iter().map(|capability| capability.name()).collect();
        let mut rules = profile.syscalls.iter().filter(|rule| rule.holds(&caps, "amd64"));
        rules.any(|rule| rule.action == Action::Allow && rule.names.iter().any(|name| name == call))
    }

    #[test]
    fn capabilities_open_the_calls_they_are_for_and_no_others() {
        let two = [Capability::Bpf, Capability::Perfmon];
        for call in ["bpf", "perf_event_open"] {
            assert!(allows(&two, call) && !allows(&[], call), "{call}");
        }
        assert!(!allows(&[Capability::Perfmon], "bpf") && !allows(&[Capability::Bpf], "perf_event_open"));
        for call in ["mount", "syslog", "setns", "init_module", "clone3"] {
            assert!(!allows(&two, call), "{call}");
        }
        assert!(allows(&[Capability::SysAdmin], "mount"));
        assert!(allows(&two, "socket") && allows(&two, "execve"));
    }

    #[test]
    fn a_profile_becomes_two_filters_that_differ_by_capability() {
        let none = runtime_default(&[]).unwrap();
        let two = runtime_default(&[Capability::Bpf, Capability::Perfmon]).unwrap();
        // One of its own for clone3, whose refusal sends a C library back to clone.
        assert_eq!((none.len(), two.len()), (2, 2));
        assert_eq!(none[0], two[0]);
        assert_ne!(none[1], two[1]);
        // What this architecture is known to have, and nothing that it has not.
        assert!(is_known("execve") && is_known("clone3") && !is_known("chown32"));
    }
}
