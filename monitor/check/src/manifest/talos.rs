//! Talos machine configurations: values that are not taken, do something else, or are not what is expected or in force.
//!
//! In: what documents and patches set, what is expected, what the node has. Out: findings. Must not: call wrong what only
//! another version of Talos or of the kernel knows.

use std::collections::BTreeSet;

use monitor_model::host::net_scope::NetScope;
use monitor_model::host::sysctl::{Sysctl, dotted};
use monitor_model::manifest::{KernelParam, Kubelet, MachineConfig, Manifest, Object, Written};

use super::keys::instead_of_sysctl;
use super::{KernelParams, ManifestFinding, Reference};
use crate::Level;

/// Every sysctl that manifests set, in its dotted form.
#[must_use]
pub fn sysctl_names(manifests: &[Manifest]) -> BTreeSet<String> {
    let names = machines(manifests).flat_map(|config| &config.sysctls);
    names.filter_map(|param| dotted(&param.name)).collect()
}

/// Every file below `/sys` that manifests set, as Talos writes it: with dots between its parts.
#[must_use]
pub fn sysfs_names(manifests: &[Manifest]) -> BTreeSet<String> {
    let names = machines(manifests).flat_map(|config| &config.sysfs);
    names.filter_map(|param| dotted(&param.name)).collect()
}

fn machines(manifests: &[Manifest]) -> impl Iterator<Item = &MachineConfig> {
    manifests.iter().flat_map(|manifest| &manifest.objects).filter_map(|object| match object {
        Object::Machine(config) => Some(config.as_ref()),
        _ => None,
    })
}

/// One document or patch.
pub(super) fn machine(
    config: &MachineConfig,
    reference: &Reference<'_>,
    findings: &mut Vec<ManifestFinding>,
) {
    let mut tell = |check, severity, evidence: String, advice: &str| {
        let (object, advice) = (config.id.to_string(), advice.to_owned());
        findings.push(ManifestFinding { object, check, evidence, advice, severity });
    };
    for param in &config.sysctls {
        spelling(param, "sysctl", &mut tell);
        sysctl(param, reference, &mut tell);
    }
    for param in &config.sysfs {
        spelling(param, "sysfs file", &mut tell);
        let here = |kernel: &KernelParams| {
            dotted(&param.name).is_some_and(|name| kernel.absent_sysfs.contains(&name))
        };
        if reference.kernel.is_some_and(here) {
            tell(
                "TalosParamAbsent",
                Level::WARNING,
                format!("{}: this node has no such file below /sys", param.name),
                ABSENT,
            );
        }
    }
    left_out(config, reference, &mut tell);
    modules(config, &mut tell);
    kubelet(&config.kubelet, &mut tell);
    beside_cilium(config, &mut tell);
}

const ABSENT: &str = "correct the name: Talos applies the others, and logs this one again and again";

/// What is said of a document: check, level, evidence, advice.
type Tell<'a> = &'a mut dyn FnMut(&'static str, Level, String, &str);

/// How name and value are written.
fn spelling(param: &KernelParam, what: &str, tell: Tell<'_>) {
    let KernelParam { name, value } = param;
    let mut wrong =
        |level, how: &str, advice: &str| tell("TalosValueInvalid", level, format!("{name}: {how}"), advice);
    if dotted(name).is_none() {
        wrong(
            Level::WARNING,
            &format!("not the name of a {what}"),
            "write it with dots, such as net.ipv4.tcp_keepalive_time",
        );
    }
    match value {
        Written::Text(_) => {}
        Written::Whole(number) => {
            wrong(
                Level::INFO,
                &format!("{number} is a number where Talos's schema has text"),
                "put it into quotes",
            );
        }
        Written::Other(text) => wrong(
            Level::WARNING,
            &format!(
                "{} is no text, and is not what the kernel reads",
                text.chars().take(80).collect::<String>()
            ),
            "put into quotes what the file below /proc/sys or /sys would hold, such as \"1\"",
        ),
        Written::Nothing => {
            wrong(Level::WARNING, "has no value: nothing is written", "give a value, or remove the line");
        }
        Written::Compound => wrong(
            Level::WARNING,
            "is a list or a mapping: Talos refuses the whole document",
            "write several numbers as one text: \"4096 131072 6291456\"",
        ),
    }
}

fn sysctl(param: &KernelParam, reference: &Reference<'_>, tell: Tell<'_>) {
    let Some(name) = dotted(&param.name) else { return };
    let (Written::Text(value) | Written::Whole(value) | Written::Other(value)) = &param.value else { return };
    if is_kernel_conntrack(&name) {
        let evidence = format!("{name}: sets the kernel's own conntrack, which has no meaning for Cilium's");
        tell("TalosSysctlWithoutEffect", Level::INFO, evidence, OWN_CONNTRACK);
    } else if let Some(right) = instead_of_sysctl(&name) {
        let advice = format!("{right}: Talos applies the others, and logs this one again and again");
        tell("TalosParamAbsent", Level::WARNING, format!("{name}: there is no such sysctl"), &advice);
        return;
    }
    if let Some(bound) = reference.expected_sysctls.get(&name)
        && !bound.holds_text(value)
    {
        let expected = bound.describe(ToString::to_string);
        let advice = "change this value, or what expect.sysctls says";
        tell(
            "TalosSysctlUnexpected",
            Level::WARNING,
            format!("{name} is {value} here, expected {expected}"),
            advice,
        );
    }
    if let Some(kernel) = reference.kernel {
        on_node(&name, value, kernel, tell);
    }
}

const OWN_CONNTRACK: &str = "size Cilium's tables by bpf.ctTcpMax (bpf-ct-global-tcp-max, the map cilium_ct4_global), and only if live \
                             entries need it; keep this for iptables masquerading or kube-proxy";

/// `net.netfilter.nf_conntrack_max` and friends.
fn is_kernel_conntrack(name: &str) -> bool {
    name.starts_with("net.netfilter.nf_conntrack") || name == "net.nf_conntrack_max"
}

fn on_node(name: &str, value: &str, kernel: &KernelParams, tell: Tell<'_>) {
    if kernel.sysctls.absent.iter().any(|absent| absent == name) {
        tell("TalosParamAbsent", Level::WARNING, format!("{name}: this node has no such sysctl"), ABSENT);
    }
    let found = kernel.sysctls.values.iter().find(|found| found.name == name);
    // Another network namespace than the node's says nothing about it.
    let found = found.filter(|found| found.scope != Some(NetScope::Own));
    if let Some(Sysctl { text, .. }) = found
        && *text != value.split_whitespace().collect::<Vec<_>>().join(" ")
    {
        let advice =
            "apply the configuration; or something else on the node sets it, as Cilium does some below net";
        tell(
            "TalosSysctlNotInForce",
            Level::WARNING,
            format!("{name} is {value} here, this node has {text}"),
            advice,
        );
    }
}

/// A whole configuration that does not set what is expected; a patch leaves it to others.
fn left_out(config: &MachineConfig, reference: &Reference<'_>, tell: Tell<'_>) {
    let set = |name: &String| config.sysctls.iter().any(|param| dotted(&param.name).as_ref() == Some(name));
    let missing: Vec<&str> =
        reference.expected_sysctls.keys().filter(|name| !set(name)).map(String::as_str).collect();
    if config.whole && !missing.is_empty() {
        let evidence =
            format!("machine.sysctls does not set {}, of which something is expected", missing.join(", "));
        let advice =
            "the default may do, or a SysctlConfig beside it sets them; ctmon check on the node tells";
        tell("TalosSysctlUnset", Level::INFO, evidence, advice);
    }
}

/// File systems and transports that Talos's kernels have built in.
const BUILT_IN: &[&str] = &["cifs", "iscsi_tcp"];

fn modules(config: &MachineConfig, tell: Tell<'_>) {
    for (name, parameters) in &config.modules {
        if name == "nf_conntrack" && !parameters.is_empty() {
            let evidence = format!(
                "module nf_conntrack {}: sizes the kernel's own conntrack, not Cilium's",
                parameters.join(" ")
            );
            tell("TalosSysctlWithoutEffect", Level::INFO, evidence, OWN_CONNTRACK);
        }
        if BUILT_IN.contains(&name.as_str()) {
            let evidence = format!("module {name} is built into Talos's kernels");
            tell("TalosModuleBuiltIn", Level::INFO, evidence, "leave it out");
        }
    }
}

/// What Talos sets itself and lets nobody override: it then writes no kubelet configuration at all.
const OWN_CONFIG: &[&str] = &[
    "apiVersion",
    "authentication",
    "authorization",
    "cgroupRoot",
    "kind",
    "kubeletCgroups",
    "port",
    "protectKernelDefaults",
    "resolvConf",
    "rotateCertificates",
    "seccompDefault",
    "staticPodPath",
    "systemCgroups",
];
const OWN_ARGS: &[&str] = &[
    "bootstrap-kubeconfig",
    "cert-dir",
    "config",
    "container-runtime",
    "container-runtime-endpoint",
    "kubeconfig",
];

fn kubelet(kubelet: &Kubelet, tell: Tell<'_>) {
    for (place, keys, own) in
        [("extraConfig", &kubelet.extra_config, OWN_CONFIG), ("extraArgs", &kubelet.extra_args, OWN_ARGS)]
    {
        let refused: Vec<&str> = keys.iter().map(String::as_str).filter(|key| own.contains(key)).collect();
        if !refused.is_empty() {
            let evidence = format!("machine.kubelet.{place}: {} cannot be overridden", refused.join(", "));
            tell(
                "TalosKubeletRefused",
                Level::WARNING,
                evidence,
                "remove it: until then the kubelet keeps its former configuration",
            );
        }
    }
    for mount in &kubelet.extra_mounts {
        if !mount.options.iter().any(|option| option == "rshared") {
            let evidence = format!("machine.kubelet.extraMounts: {} without rshared", mount.destination);
            let advice = "add rshared: what is mounted below it in the kubelet is not seen by the node, and so neither by ctmon";
            tell("TalosMountNotShared", Level::INFO, evidence, advice);
        }
    }
}

/// Parts of Kubernetes that Cilium takes the place of.
fn beside_cilium(config: &MachineConfig, tell: Tell<'_>) {
    let conntrack: Vec<&str> = config
        .proxy
        .extra_args
        .iter()
        .map(String::as_str)
        .filter(|name| name.starts_with("conntrack-"))
        .collect();
    if !conntrack.is_empty() {
        let evidence = format!(
            "cluster.proxy.extraArgs: {} set the kernel's own conntrack, not Cilium's",
            conntrack.join(", ")
        );
        tell("TalosSysctlWithoutEffect", Level::INFO, evidence, OWN_CONNTRACK);
    }
    if config.proxy.disabled == Some(false) {
        let advice = "set cluster.proxy.disabled: true where Cilium has kubeProxyReplacement: true: else both program services";
        tell("TalosProxyBesideCilium", Level::INFO, "cluster.proxy.disabled: false".to_owned(), advice);
    }
    if config.cni.as_deref() == Some("flannel") {
        let advice = "set cluster.network.cni.name: none where Cilium is installed";
        tell("TalosCniBesideCilium", Level::WARNING, "cluster.network.cni.name: flannel".to_owned(), advice);
    }
}

/// An ingress firewall that blocks by default and lets nobody in where ctmon listens.
pub(super) fn closed_port(manifests: &[Manifest], reference: &Reference<'_>) -> Option<ManifestFinding> {
    let configs = || machines(manifests);
    let blocking = configs().find(|config| config.default_ingress.as_deref() == Some("block"))?;
    let open = |port: u16| {
        let mut rules = configs().filter_map(|config| config.rule.as_ref());
        rules.any(|rule| {
            rule.protocol == "tcp" && rule.ports.iter().any(|(first, last)| (*first..=*last).contains(&port))
        })
    };
    let closed: Vec<String> =
        reference.ports.iter().filter(|port| !open(**port)).map(ToString::to_string).collect();
    (!closed.is_empty()).then(|| ManifestFinding {
        object: blocking.id.to_string(),
        check: "TalosPortClosed",
        evidence: format!("ingress: block, and no rule given opens {}/tcp, where ctmon listens", closed.join(", ")),
        advice: "append deploy/kustomize/overlays/talos/talos/ingress-firewall.yaml, or give the file that opens it, too".to_owned(),
        severity: Level::WARNING,
    })
}

#[cfg(test)]
mod tests {
    use monitor_decode::manifest::parse_manifest;
    use monitor_model::snapshot::SysctlState;

    use super::super::manifest_findings;
    use super::*;

    /// Check and what is said, `level check: evidence`, without the document's name.
    fn told(text: &str, reference: &Reference<'_>) -> Vec<String> {
        let manifest = parse_manifest(text.as_bytes()).unwrap();
        let found = manifest_findings(&manifest, reference);
        found.into_iter().map(|f| format!("{} {}: {}", f.severity.name(), f.check, f.evidence)).collect()
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(told(text, &Reference::default()), expected, "{text}");
    }

    fn sysctls(text: &str) -> String {
        format!("machine: {{sysctls: {text}}}")
    }

    #[test]
    fn a_value_that_is_no_text_is_told() {
        check(&sysctls("{net.core.somaxconn: '65535', net.ipv4.tcp_rmem: '4096 131072 6291456'}"), &[]);
        check(
            &sysctls("{net.core.somaxconn: 65535}"),
            &["info TalosValueInvalid: net.core.somaxconn: 65535 is a number where Talos's schema has text"],
        );
        check(
            &sysctls("{net.core.somaxconn: 1.5}"),
            &[
                "warning TalosValueInvalid: net.core.somaxconn: 1.5 is no text, and is not what the kernel reads",
            ],
        );
        check(
            &sysctls("{net.core.somaxconn: ''}"),
            &["warning TalosValueInvalid: net.core.somaxconn: has no value: nothing is written"],
        );
        check(&sysctls("{net..x: '1'}"), &["warning TalosValueInvalid: net..x: not the name of a sysctl"]);
        check(
            "machine: {sysfs: {devices.system.cpu.x: [1]}}",
            &[
                "warning TalosValueInvalid: devices.system.cpu.x: is a list or a mapping: Talos refuses the whole document",
            ],
        );
    }

    #[test]
    fn what_sets_the_kernels_own_conntrack_has_no_meaning_for_ciliums() {
        let told = told(
            "machine: {kernel: {modules: [{name: nf_conntrack, parameters: [hashsize=1]}, {name: cifs}, {name: nbd}]}}",
            &Reference::default(),
        );
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].contains("module nf_conntrack hashsize=1: sizes the kernel's own conntrack"),
            "{told:?}"
        );
        assert!(told[1].contains("module cifs is built into Talos's kernels"), "{told:?}");
        check(
            &sysctls("{net.nf_conntrack_max: '1'}"),
            &[
                "info TalosSysctlWithoutEffect: net.nf_conntrack_max: sets the kernel's own conntrack, which has no meaning for Cilium's",
            ],
        );
    }

    #[test]
    fn what_cilium_takes_the_place_of_is_told() {
        check("cluster: {network: {cni: {name: none}}, proxy: {disabled: true}}", &[]);
        check(
            "cluster: {network: {cni: {name: flannel}}, proxy: {disabled: false}}",
            &[
                "info TalosProxyBesideCilium: cluster.proxy.disabled: false",
                "warning TalosCniBesideCilium: cluster.network.cni.name: flannel",
            ],
        );
    }

    #[test]
    fn the_kubelet_keeps_what_talos_sets_and_shares_what_is_mounted() {
        check(
            "machine: {kubelet: {extraArgs: {config: /x, v: 4}, extraConfig: {maxPods: 200, port: 1, authentication: {}}, extraMounts: \
             [{destination: /var/mnt, options: [bind, rshared, rw]}, {destination: /var/lib/x, options: [bind]}]}}",
            &[
                "warning TalosKubeletRefused: machine.kubelet.extraConfig: port, authentication cannot be overridden",
                "warning TalosKubeletRefused: machine.kubelet.extraArgs: config cannot be overridden",
                "info TalosMountNotShared: machine.kubelet.extraMounts: /var/lib/x without rshared",
            ],
        );
    }

    #[test]
    fn values_are_compared_with_what_is_expected_and_with_the_node() {
        let settings = crate::testing::parse(
            "expect: {sysctls: {net.ipv4.conf.eth0/100.rp_filter: {equals: 2}, net.core.somaxconn: {at_least: 4096}}}",
        );
        let value = |name: &str, text: &str, scope| Sysctl {
            name: name.to_owned(),
            text: text.to_owned(),
            numbers: Vec::new(),
            scope,
        };
        let kernel = KernelParams {
            sysctls: SysctlState {
                values: vec![
                    value("net.ipv4.tcp_rmem", "4096 131072 6291456", Some(NetScope::Node)),
                    value("net.core.somaxconn", "4096", Some(NetScope::Own)),
                    value("fs.file-max", "100", None),
                ],
                absent: vec!["net.ipv4.invented".to_owned()],
            },
            absent_sysfs: vec!["module.x".to_owned()],
        };
        let reference = super::super::reference(&settings, None, &[], Some(&kernel));
        let told = |text: &str| told(text, &reference);
        assert_eq!(
            told(&sysctls("{net/ipv4/conf/eth0.100/rp_filter: '2', net.core.somaxconn: '65535'}")),
            [""; 0]
        );
        assert_eq!(
            told(&sysctls(
                "{net.ipv4.conf.eth0/100.rp_filter: '1', net.ipv4.tcp_rmem: \"4096  131072\\t6291456\"}"
            )),
            ["warning TalosSysctlUnexpected: net.ipv4.conf.eth0/100.rp_filter is 1 here, expected 2"]
        );
        assert_eq!(
            told(&sysctls("{net.ipv4.invented: '1', fs.file-max: '200'}")),
            [
                "warning TalosParamAbsent: net.ipv4.invented: this node has no such sysctl",
                "warning TalosSysctlNotInForce: fs.file-max is 200 here, this node has 100",
            ]
        );
        assert_eq!(
            told("machine: {sysfs: {module.x: '1', module.y: '1'}}"),
            ["warning TalosParamAbsent: module.x: this node has no such file below /sys"]
        );
        assert_eq!(
            told("machine: {type: worker, sysctls: {net.core.somaxconn: '4096'}}"),
            [
                "info TalosSysctlUnset: machine.sysctls does not set net.ipv4.conf.eth0/100.rp_filter, of which something is expected"
            ]
        );
    }

    #[test]
    fn all_files_together_open_the_port_or_not() {
        let block = "apiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: block\n";
        let rule = |port: &str, protocol: &str| {
            format!(
                "apiVersion: v1alpha1\nkind: NetworkRuleConfig\nname: a\nportSelector: {{ports: [{port}], protocol: {protocol}}}\n"
            )
        };
        let check = |files: &[&str], closed: bool| {
            let manifests: Vec<_> =
                files.iter().map(|text| parse_manifest(text.as_bytes()).unwrap()).collect();
            let settings = crate::testing::defaults();
            let reference = super::super::reference(&settings, None, &[], None);
            assert_eq!(closed_port(&manifests, &reference).is_some(), closed, "{files:?}");
        };
        check(&[block], true);
        check(&[block, &rule("10469", "tcp")], false);
        check(&[block, &rule("10000-10500", "tcp")], false);
        check(&[block, &rule("10469", "udp")], true);
        check(&[block, &rule("9469", "tcp")], true);
        check(&[&rule("9469", "tcp"), &block.replace("block", "accept")], false);
    }
}
