//! `ctmon check --manifest` by the built binary: every line of the tuning's table of what is silently ignored, and the files
//! that are shipped.
//!
//! In: that table, manifests as people write them. Out: pass or fail. Must not: need a node: what is compared with one is
//! tested with maps.

mod folder;

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use folder::Folder;

const README: &str = include_str!("../../deploy/tuning/README.md");

/// Ends with this code and tells these findings, `level check: evidence`; no node is near.
fn check_with(config: &str, manifest: &str) -> Result<(i32, Vec<String>)> {
    let folder = Folder::new()?;
    let (file, settings) = (folder.path().join("manifest.yaml"), folder.path().join("config.yaml"));
    fs::write(&file, manifest)?;
    fs::write(&settings, config)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctmon"));
    command.env_clear().args(["check", "-o", "json", "--bpffs", "/nowhere", "--config"]).arg(&settings);
    let output = command.arg("--manifest").arg(&file).output()?;
    let found = String::from_utf8(output.stdout)?.lines().map(shown).collect::<Result<_>>()?;
    Ok((output.status.code().context("a signal")?, found))
}

fn shown(line: &str) -> Result<String> {
    let finding: serde_json::Value = serde_json::from_str(line)?;
    let word = |key: &str| finding.get(key).and_then(serde_json::Value::as_str).context("a word is missing");
    Ok(format!("{} {}: {}", word("level")?, word("check")?, word("evidence")?))
}

fn values(text: &str) -> String {
    format!("conntrackGCInterval: 5m\n{text}")
}

fn sysctls(text: &str) -> String {
    format!("machine:\n  sysctls:\n    {text}\n")
}

const EXPECTED: &str =
    "expect: {sysctls: {net.ipv4.tcp_fin_timeout: {equals: 30}}, mount_options: {cifs: {has: [noatime]}}}";
const CONTROLLER: &str = "kind: Deployment\nmetadata: {name: trident-controller, namespace: trident}\nspec: {template: {spec: {containers: \
     [{name: csi-attacher, args: [--v=2], resources: {requests: {cpu: 1m}}}]}}}\n";

/// A cell `written` of the table, with manifests of somebody who wrote that and what they are told.
type Case = (&'static str, Vec<(String, &'static str)>);

fn of_cilium() -> Vec<Case> {
    let ignored = |key: &str, told| (values(&format!("bpf: {{{key}}}")), told);
    vec![
        (
            "`bpf.mapMax.ct.tcp`, `bpf.mapMax.ct.any`, `bpf.mapMax.nat`",
            vec![
                ignored("mapMax: {ct: {tcp: 1}}", "bpf.mapMax.ct.tcp: 1 is accepted and does nothing"),
                ignored("mapMax: {ct: {any: 1}}", "bpf.mapMax.ct.any: 1 is accepted and does nothing"),
                ignored("mapMax: {nat: 1}", "bpf.mapMax.nat: 1 is accepted and does nothing"),
            ],
        ),
        (
            "`bpf.ctGlobalTCPMax`, `bpf.ctGlobalAnyMax`",
            vec![
                ignored("ctGlobalTCPMax: 1", "bpf.ctGlobalTCPMax: 1 is accepted and does nothing"),
                ignored("ctGlobalAnyMax: 1", "bpf.ctGlobalAnyMax: 1 is accepted and does nothing"),
            ],
        ),
        (
            "`bpf.ctTcpTimeout`, `bpf.ctAnyTimeout`",
            vec![
                ignored("ctTcpTimeout: 1", "bpf.ctTcpTimeout: 1 is accepted and does nothing"),
                ignored("ctAnyTimeout: 1", "bpf.ctAnyTimeout: 1 is accepted and does nothing"),
            ],
        ),
        (
            "`bpf.ctTcpTimeoutFin`, `bpf.ctTcpTimeoutClose`",
            vec![
                ignored("ctTcpTimeoutFin: 1", "bpf.ctTcpTimeoutFin: 1 is accepted and does nothing"),
                ignored("ctTcpTimeoutClose: 1", "bpf.ctTcpTimeoutClose: 1 is accepted and does nothing"),
            ],
        ),
        (
            "`bpf.conntrackGCInterval`",
            vec![ignored(
                "conntrackGCInterval: 5m",
                "bpf.conntrackGCInterval: 5m is accepted and does nothing",
            )],
        ),
        (
            "`conntrackGCMaxInterval` beside `conntrackGCInterval`",
            vec![(
                values("conntrackGCMaxInterval: 15m"),
                "info CiliumKeyIgnored: values cilium: conntrack-gc-max-interval (the chart's conntrackGCMaxInterval): 15m does \
                 nothing beside conntrack-gc-interval (the chart's conntrackGCInterval): 5m",
            )],
        ),
        (
            "`conntrackGCInterval: 5`",
            vec![(
                "conntrackGCInterval: 5\n".to_owned(),
                "warning CiliumValueInvalid: values cilium: conntrack-gc-interval (the chart's conntrackGCInterval): 5 is 5ns to \
                 the agent",
            )],
        ),
        (
            "`bpf.preallocateMaps: true`",
            vec![ignored(
                "preallocateMaps: true",
                "info CiliumKeyWithoutEffect: values cilium: bpf.preallocateMaps: true",
            )],
        ),
        (
            "`extraConfig.conntrack-gc-interval` beside `conntrackGCInterval`",
            vec![(
                values("extraConfig: {conntrack-gc-interval: 1h}"),
                "warning CiliumKeyTwice: values cilium: extraConfig.conntrack-gc-interval: 1h stands beside \
                 conntrackGCInterval: 5m, and is what counts",
            )],
        ),
    ]
}

fn of_talos() -> Vec<Case> {
    vec![
        (
            "`net.netfilter.nf_conntrack_max` and friends",
            vec![
                (
                    sysctls("net.netfilter.nf_conntrack_max: \"524288\""),
                    "info TalosSysctlWithoutEffect: MachineConfig patch: net.netfilter.nf_conntrack_max: sets the kernel's own \
                     conntrack, which has no meaning for Cilium's",
                ),
                (
                    sysctls("net/netfilter/nf_conntrack_tcp_timeout_established: \"86400\""),
                    "net.netfilter.nf_conntrack_tcp_timeout_established: sets the kernel's own",
                ),
                (
                    "cluster: {proxy: {extraArgs: {conntrack-max-per-core: 1}}}\n".to_owned(),
                    "conntrack-max-per-core set the kernel's own conntrack",
                ),
            ],
        ),
        (
            "`net.ipv4.tcp_keepalive_interval`, `net.ipv4.somaxconn` and others that do not exist",
            vec![
                (
                    sysctls("net.ipv4.tcp_keepalive_interval: \"60\""),
                    "warning TalosParamAbsent: MachineConfig patch: net.ipv4.tcp_keepalive_interval: there is no such sysctl",
                ),
                (sysctls("net.ipv4.somaxconn: \"1\""), "net.ipv4.somaxconn: there is no such sysctl"),
            ],
        ),
        (
            "a sysctl without a value, or with `true` or a list",
            vec![
                (
                    sysctls("net.core.somaxconn:"),
                    "warning TalosValueInvalid: MachineConfig patch: net.core.somaxconn: has no value: nothing is written",
                ),
                (sysctls("net.ipv4.ip_forward: true"), "net.ipv4.ip_forward: true is no text"),
                (sysctls("net.ipv4.tcp_rmem: [1, 2, 3]"), "net.ipv4.tcp_rmem: is a list or a mapping"),
            ],
        ),
        (
            "a sysctl that is not what `expect.sysctls` says, or (on the node) not what is in force",
            vec![(
                sysctls("net.ipv4.tcp_fin_timeout: \"60\""),
                "warning TalosSysctlUnexpected: MachineConfig patch: net.ipv4.tcp_fin_timeout is 60 here, expected 30",
            )],
        ),
        (
            "`machine.kubelet.extraConfig` with `protectKernelDefaults` and others that Talos sets itself",
            vec![(
                "machine: {kubelet: {extraConfig: {protectKernelDefaults: false}}}\n".to_owned(),
                "warning TalosKubeletRefused: MachineConfig patch: machine.kubelet.extraConfig: protectKernelDefaults",
            )],
        ),
        (
            "`ingress: block` and no rule for ctmon's port",
            vec![(
                "apiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: block\n".to_owned(),
                "warning TalosPortClosed: NetworkDefaultActionConfig v1alpha1: ingress: block, and no rule given opens 10469/tcp",
            )],
        ),
    ]
}

fn of_storage() -> Vec<Case> {
    vec![
        (
            "`mountOptions` without those of `expect.mount_options`, or (on the node) of a volume that is mounted with others",
            vec![(
                "kind: PersistentVolume\nmetadata: {name: v}\nspec: {csi: {driver: smb.csi.k8s.io}}\n".to_owned(),
                "warning VolumeMountOptions: PersistentVolume v: mountOptions lack noatime",
            )],
        ),
        (
            "`TridentOrchestrator` with `resources`, `k8sAPIQPS`, sidecar arguments",
            vec![(
                "apiVersion: trident.qnap.io/v1\nkind: TridentOrchestrator\nmetadata: {name: trident}\nspec: {resources: {}, \
                 k8sAPIQPS: 200, sidecarArgs: []}\n"
                    .to_owned(),
                "warning TridentKeyIgnored: TridentOrchestrator trident: resources, k8sAPIQPS, sidecarArgs below spec",
            )],
        ),
        (
            "sidecars without `--kube-api-qps` and `--kube-api-burst`",
            vec![(
                CONTROLLER.to_owned(),
                "warning TridentApiRateLimit: Deployment trident/trident-controller container csi-attacher",
            )],
        ),
        (
            "`TridentBackendConfig` without `limitVolumeSize`",
            vec![(
                "kind: TridentBackendConfig\nmetadata: {name: qts, namespace: trident}\nspec: {}\n".to_owned(),
                "warning TridentBackendWithoutLimit: TridentBackendConfig trident/qts",
            )],
        ),
    ]
}

#[test]
fn every_line_of_the_table_of_ignored_keys_is_told() {
    let table =
        README.split("## Keys that are silently ignored").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let written: Vec<&str> = rows.map(|row| row.split('|').nth(2).unwrap().trim()).collect();
    let cases = [of_cilium(), of_talos(), of_storage()].concat();
    assert_eq!(written, cases.iter().map(|(cell, _)| *cell).collect::<Vec<_>>());
    for (cell, told) in cases {
        for (manifest, expected) in told {
            let (code, found) = check_with(EXPECTED, &manifest).unwrap();
            assert!(found.iter().any(|finding| finding.contains(expected)), "{cell}\n{manifest}\n{found:#?}");
            let warns = found.iter().any(|finding| finding.starts_with("warning"));
            assert_eq!(code, i32::from(warns), "{cell}: {found:#?}");
        }
    }
}

#[test]
fn the_files_that_are_shipped_give_no_reason_to_complain() {
    let expected = "expect: {preset: nas-tuning}";
    for file in [
        include_str!("../../deploy/tuning/talos-sysctls.yaml"),
        include_str!("../../deploy/tuning/cilium-values.yaml"),
        include_str!("../../deploy/tuning/smb.yaml"),
        include_str!("../../deploy/tuning/trident/orchestrator.yaml"),
        include_str!("../../deploy/kustomize/overlays/talos/talos/ingress-firewall.yaml"),
    ] {
        assert_eq!(check_with(expected, file).unwrap(), (0, vec![]), "{file}");
    }
    let blocked = "apiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: block\n---\n";
    let opened = include_str!("../../deploy/kustomize/overlays/talos/talos/ingress-firewall.yaml");
    assert_eq!(check_with("{}", &format!("{blocked}{opened}")).unwrap(), (0, vec![]));
}

#[test]
fn a_manifest_may_come_from_standard_input() {
    let folder = Folder::new().unwrap();
    let file = folder.path().join("controller.yaml");
    fs::write(&file, CONTROLLER).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctmon"));
    command.env_clear().args(["check", "--bpffs", "/nowhere", "--manifest", "-"]);
    let output = command.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("without --kube-api-qps and --kube-api-burst"), "{said}");
}

#[test]
fn a_machine_configuration_is_read_in_each_of_its_forms() {
    let sysctl = "net.ipv4.tcp_fin_timeout";
    let told = "net.ipv4.tcp_fin_timeout is 60 here, expected 30";
    for form in [
        sysctls(&format!("{sysctl}: \"60\"")),
        format!("apiVersion: v1alpha1\nkind: SysctlConfig\nparams: {{{sysctl}: \"60\"}}\n"),
        format!("[{{\"op\": \"add\", \"path\": \"/machine/sysctls/{sysctl}\", \"value\": \"60\"}}]"),
        format!(
            "metadata: {{type: MachineConfigs.config.talos.dev}}\nspec: |\n  machine:\n    sysctls: {{{sysctl}: '60'}}\n"
        ),
        "version: v1alpha1\nmachine: {type: worker, sysctls: {net/ipv4/tcp_fin_timeout: '60'}}\n".to_owned(),
    ] {
        let (code, found) = check_with(EXPECTED, &form).unwrap();
        assert_eq!(code, 1, "{form}: {found:?}");
        assert!(found.len() == 1 && found[0].ends_with(told), "{form}: {found:?}");
    }
    let (code, found) = check_with(EXPECTED, "machine: {type: worker, token: hunter2}\n").unwrap();
    assert_eq!(code, 0);
    let unset = "machine.sysctls does not set net.ipv4.tcp_fin_timeout, of which something is expected";
    assert!(found.len() == 1 && found[0].ends_with(unset), "{found:?}");
}
