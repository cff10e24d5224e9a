//! Manifest findings on written objects.
//!
//! In: YAML and JSON as kubectl prints them. Out: pass or fail. Must not: read the node.

use monitor_decode::cilium::agent_config::KEYS;
use monitor_decode::manifest::parse_manifest;
use monitor_model::manifest::{KernelParam, MachineConfig, Written};
use proptest::prelude::*;

use super::keys::{VALUE_OF, WRONG_CONFIG, WRONG_SYSCTLS, WRONG_VALUES, instead_of_config, instead_of_value};
use super::*;

fn findings(text: &str, reference: &Reference<'_>) -> Vec<ManifestFinding> {
    manifest_findings(&parse_manifest(text.as_bytes()).unwrap(), reference)
}

/// Object and check of each finding.
fn short(text: &str, reference: &Reference<'_>) -> Vec<String> {
    findings(text, reference).iter().map(|finding| format!("{}: {}", finding.object, finding.check)).collect()
}

#[test]
fn sidecars_of_trident_need_a_rate_and_every_container_resources() {
    let text = "kind: Deployment\nmetadata: {name: trident-controller, namespace: trident}\nspec:\n  template:\n    spec:\n      containers:\n      \
                - {name: csi-provisioner, args: [--v=2, --kube-api-qps=50], resources: {limits: {cpu: 1}}}\n      \
                - {name: csi-attacher, args: [-kube-api-qps, '50', --kube-api-burst=100], resources: {requests: {cpu: 1}}}\n      \
                - {name: resizer, image: 'registry.k8s.io/sig-storage/csi-resizer:v1.9.0', resources: {requests: {cpu: 1}}}\n      \
                - {name: trident-main}\n";
    let found = findings(text, &Reference::default());
    let shown: Vec<_> =
        found.iter().map(|finding| (finding.object.as_str(), finding.evidence.as_str())).collect();
    assert_eq!(
        shown,
        [
            (
                "Deployment trident/trident-controller container csi-provisioner",
                "without --kube-api-burst: 5 requests per second, bursts of 10"
            ),
            (
                "Deployment trident/trident-controller container resizer",
                "without --kube-api-qps and --kube-api-burst: 5 requests per second, bursts of 10"
            ),
            ("Deployment trident/trident-controller container trident-main", "neither requests nor limits"),
        ]
    );
    assert!(found.iter().all(|finding| finding.severity == Level::WARNING));
    let other = "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: csi-provisioner}]}";
    let [finding] = findings(other, &Reference::default()).try_into().unwrap();
    assert_eq!((finding.check, finding.severity), ("ContainerWithoutResources", Level::INFO));
}

#[test]
fn a_backend_needs_a_limit() {
    let check = |spec: &str, expected: &[&str]| {
        let text =
            format!("kind: TridentBackendConfig\nmetadata: {{name: qts, namespace: trident}}\nspec: {spec}");
        assert_eq!(short(&text, &Reference::default()), expected, "{spec}");
    };
    let finding = "TridentBackendConfig trident/qts: TridentBackendWithoutLimit";
    check("{storageDriverName: qnap-iscsi}", &[finding]);
    check("{limitVolumeSize: ''}", &[finding]);
    check("{limitVolumeSize: 500Gi}", &[]);
}

#[test]
fn a_volume_is_compared_with_what_is_expected_and_with_its_live_mount() {
    let options = |options: &[&str]| options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>();
    let mount = Mount {
        family: Family::CIFS,
        device: "0:50".to_owned(),
        mount_point: "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pv-media/mount".to_owned(),
        source: "//nas/media".to_owned(),
        server: "nas".to_owned(),
        address: None,
        port: 445,
        options: options(&["rw", "relatime", "cache=strict", "actimeo=60"]),
    };
    let mounts = [mount.clone(), mount];
    let reference = Reference {
        mount_options: vec![(Family::CIFS, options(&["cache=loose", "actimeo=60", "noatime"]))],
        mounts: &mounts,
        ..Reference::default()
    };
    let text = "kind: PersistentVolume\nmetadata: {name: pv-media}\nspec: {mountOptions: [cache=loose, actimeo=60], csi: {driver: smb.csi.k8s.io}}";
    let found = findings(text, &reference);
    let evidence: Vec<_> = found.iter().map(|finding| finding.evidence.as_str()).collect();
    assert_eq!(
        evidence,
        [
            "mountOptions lack noatime",
            "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pv-media/mount is mounted without cache=loose (in force: cache=strict)",
        ]
    );
    assert!(found[0].advice.contains("re-created"));
    assert_eq!(
        short(&text.replace("pv-media", "pv-other").replace("actimeo=60", "actimeo=60, noatime"), &reference),
        [""; 0]
    );
    // A volume that is neither SMB nor NFS has no such options.
    assert_eq!(
        short("kind: PersistentVolume\nmetadata: {name: v}\nspec: {hostPath: {path: /x}}", &reference),
        [""; 0]
    );
}

#[test]
fn the_tuning_of_the_incident_is_called_what_it_was_ignored() {
    let text = "kind: HelmRelease\nmetadata: {name: cilium, namespace: kube-system}\nspec:\n  values:\n    \
                conntrackGCInterval: 5m\n    extraConfig: {bpf-ct-timeout-tcp: 6h, bpf-ct-timeout-regular-any: 60s}\n    \
                bpf:\n      masquerade: true\n      mapMax: {ct: {tcp: 524288, any: 262144}, nat: 262144, other: 1}\n      \
                ctTcpTimeout: 21600\n      ctTcpTimeoutFin: 10\n      invented: 1\n";
    let found = findings(text, &Reference::default());
    let evidence: Vec<_> =
        found.iter().map(|finding| (finding.evidence.as_str(), finding.advice.as_str())).collect();
    assert_eq!(
        evidence,
        [
            (
                "bpf.ctTcpTimeout: 21600 is accepted and does nothing",
                "write extraConfig.bpf-ct-timeout-regular-tcp instead"
            ),
            (
                "bpf.ctTcpTimeoutFin: 10 is accepted and does nothing",
                "write extraConfig.bpf-ct-timeout-regular-tcp-fin instead"
            ),
            (
                "bpf.invented: charts from 1.14 to 1.18 have no such value and say nothing",
                "look it up in the reference of your version, or remove it"
            ),
            ("bpf.mapMax.ct.any: 262144 is accepted and does nothing", "write bpf.ctAnyMax instead"),
            ("bpf.mapMax.ct.tcp: 524288 is accepted and does nothing", "write bpf.ctTcpMax instead"),
            ("bpf.mapMax.nat: 262144 is accepted and does nothing", "write bpf.natMax instead"),
            (
                "bpf.mapMax.other: 1 is accepted and does nothing",
                "write bpf.ctTcpMax, bpf.ctAnyMax, bpf.natMax instead"
            ),
            (
                "extraConfig.bpf-ct-timeout-tcp: 6h is accepted and does nothing",
                "write extraConfig.bpf-ct-timeout-regular-tcp instead"
            ),
        ]
    );
}

#[test]
fn values_that_work_give_no_finding() {
    let text = "bpfClockProbe: true\nconntrackGCMaxInterval: 30m\nbpf: {ctTcpMax: 524288, ctAnyMax: 262144, natMax: 262144, \
                mapDynamicSizeRatio: 0.0025, events: {drop: {enabled: true}}, vlanBypass: [1]}\nextraConfig: \
                {bpf-ct-timeout-regular-tcp: 6h}\n";
    assert_eq!(findings(text, &Reference::default()), []);
}

#[test]
fn the_config_map_is_compared_with_what_the_kernel_shows() {
    let check = |data: &str, expected: &[(&str, &str)]| {
        let text = format!("kind: ConfigMap\nmetadata: {{name: cilium-config}}\ndata: {data}");
        let reference = Reference {
            ct_tcp_capacity: Some(147_295),
            nat_capacity: Some(524_290),
            timeouts: BTreeMap::from([("bpf-ct-timeout-regular-tcp", Duration::from_secs(8000))]),
            timeout_tolerance: Duration::from_secs(7),
            ..Reference::default()
        };
        let found = findings(&text, &reference);
        let found: Vec<_> = found.iter().map(|finding| (finding.check, finding.evidence.as_str())).collect();
        assert_eq!(found, expected, "{data}");
    };
    let fixed = "conntrack-gc-interval: 5m";
    check(&format!("{{{fixed}}}"), &[]);
    check("{}", &[("CiliumCollectorAdaptive", "no collection interval is set")]);
    check(
        &format!("{{{fixed}, bpf-ct-global-tcp-max: '524288', bpf-ct-global-any-max: '262144'}}"),
        &[("CiliumNotInForce", "bpf-ct-global-tcp-max is 524288 here, the kernel shows 147295")],
    );
    check(&format!("{{{fixed}, bpf-distributed-lru: 'true', bpf-nat-global-max: '524288'}}"), &[]);
    check(
        &format!("{{{fixed}, bpf-ct-timeout-regular-tcp: 6h}}"),
        &[("CiliumNotInForce", "bpf-ct-timeout-regular-tcp is 6h here, the kernel shows 2h13m20s")],
    );
    check(&format!("{{{fixed}, bpf-ct-timeout-regular-tcp: 2h13m20s}}"), &[]);
    check(&format!("{{{fixed}, bpf-ct-timeout-regular-tcp: 2h13m13s}}"), &[]);
    check(
        &format!("{{{fixed}, bpf-ct-timeout-regular-any: '60'}}"),
        &[("CiliumValueInvalid", "bpf-ct-timeout-regular-any is 60ns, less than a second")],
    );
    check(
        &format!("{{{fixed}, bpf-nat-global-max: many}}"),
        &[("CiliumValueInvalid", "bpf-nat-global-max: \"many\" is not a whole number")],
    );
    check(
        &format!("{{{fixed}, bpf.ctTcpMax: '1', bpf-ct-typo: '2'}}"),
        &[
            ("CiliumKeyUnknown", "bpf-ct-typo: no version of the agent from 1.14 to 1.18 reads it"),
            ("CiliumKeyIgnored", "bpf.ctTcpMax: 1 is accepted and does nothing"),
        ],
    );
}

#[test]
fn intervals_need_a_unit_and_a_cap_needs_something_to_cap() {
    let check = |text: &str, expected: &[(&str, Level, &str)]| {
        let found = findings(text, &Reference::default());
        let found: Vec<_> = found.iter().map(|f| (f.check, f.severity, f.evidence.as_str())).collect();
        assert_eq!(found, expected, "{text}");
    };
    let config = |data: &str| format!("kind: ConfigMap\nmetadata: {{name: cilium-config}}\ndata: {data}\n");
    let five = "conntrack-gc-interval (the chart's conntrackGCInterval): 5 is 5ns to the agent";
    check("conntrackGCInterval: 5", &[("CiliumValueInvalid", Level::WARNING, five)]);
    check(&config("{conntrack-gc-interval: '5'}"), &[("CiliumValueInvalid", Level::WARNING, five)]);
    check("conntrackGCInterval: 1s", &[]);
    let cap = "conntrack-gc-max-interval (the chart's conntrackGCMaxInterval): 15 is 15ns to the agent";
    check("conntrackGCMaxInterval: 15", &[("CiliumValueInvalid", Level::WARNING, cap)]);
    check("conntrackGCMaxInterval: 15m\nconntrackGCInterval: 0s", &[]);
    let beside = "conntrack-gc-max-interval (the chart's conntrackGCMaxInterval): 15m does nothing beside \
                  conntrack-gc-interval (the chart's conntrackGCInterval): 30m";
    check(
        "conntrackGCMaxInterval: 15m\nconntrackGCInterval: 30m",
        &[("CiliumKeyIgnored", Level::WARNING, beside)],
    );
    check(
        &config("{conntrack-gc-max-interval: 15m, conntrack-gc-interval: 30m}"),
        &[("CiliumKeyIgnored", Level::WARNING, beside)],
    );
}

#[test]
fn of_a_value_and_extra_config_the_latter_counts() {
    let check = |text: &str, expected: &[(&str, Level)]| {
        let found = findings(text, &Reference { ct_tcp_capacity: Some(1000), ..Reference::default() });
        let found: Vec<_> = found.iter().map(|finding| (finding.check, finding.severity)).collect();
        assert_eq!(found, expected, "{text}");
    };
    let twice = ("CiliumKeyTwice", Level::WARNING);
    check("conntrackGCInterval: 5m\nextraConfig: {conntrack-gc-interval: 10m}", &[twice]);
    check(
        "conntrackGCInterval: 5m\nextraConfig: {conntrack-gc-interval: 5m}",
        &[("CiliumKeyTwice", Level::INFO)],
    );
    check("conntrackGCInterval: ''\nextraConfig: {conntrack-gc-interval: 5m}", &[]);
    // What counts is what the kernel is compared with.
    check(
        "conntrackGCInterval: 5m\nbpf: {ctTcpMax: 2000}\nextraConfig: {bpf-ct-global-tcp-max: '1000'}",
        &[twice],
    );
}

#[test]
fn preallocation_is_told_where_somebody_chose_it() {
    let check = |text: &str, expected: &[&str]| {
        let found = findings(text, &Reference::default());
        assert_eq!(found.iter().map(|finding| finding.check).collect::<Vec<_>>(), expected, "{text}");
    };
    let config = |value: &str| {
        format!(
            "kind: ConfigMap\nmetadata: {{name: cilium-config}}\ndata: {{conntrack-gc-interval: 5m, preallocate-bpf-maps: '{value}'}}\n"
        )
    };
    check("conntrackGCInterval: 5m\nbpf: {preallocateMaps: true}", &["CiliumKeyWithoutEffect"]);
    check("conntrackGCInterval: 5m\nbpf: {preallocateMaps: false}", &[]);
    check(&config("true"), &["CiliumKeyWithoutEffect"]);
    check(&config("false"), &[]);
}

#[test]
fn only_qnaps_orchestrator_ignores_netapps_fields() {
    let check = |group: &str, spec: &str, expected: usize| {
        let text = format!(
            "apiVersion: trident.{group}.io/v1\nkind: TridentOrchestrator\nmetadata: {{name: t}}\nspec: {spec}"
        );
        assert_eq!(findings(&text, &Reference::default()).len(), expected, "{text}");
    };
    check("qnap", "{debug: true, k8sAPIQPS: 200}", 1);
    check("qnap", "{debug: true}", 0);
    check("netapp", "{debug: true, k8sAPIQPS: 200, resources: {}}", 0);
}

#[test]
fn the_tables_do_not_contradict_themselves() {
    for entry in WRONG_SYSCTLS {
        assert!(
            crate::testing::nas_tuning().expect.sysctls.keys().all(|right| right != entry.wrong),
            "{entry:?}"
        );
    }
    for entry in WRONG_VALUES {
        assert!(!VALUE_OF.iter().any(|(_, value)| *value == entry.wrong), "{} is right", entry.wrong);
    }
    for entry in WRONG_CONFIG {
        assert!(KEYS.contains(&entry.right) && !KEYS.contains(&entry.wrong), "{entry:?}");
    }
    for (key, value) in VALUE_OF {
        assert!(KEYS.contains(key), "{key}");
        assert_eq!((instead_of_value(value), instead_of_config(key)), (None, None));
        assert_eq!(instead_of_config(value), Some(*key));
    }
}

proptest! {
    #[test]
    fn any_values_give_findings_of_one_line(values in prop::collection::btree_map("(bpf|extraConfig|net)?\\.?[a-zA-Z.\\-]{0,20}", "\\PC{0,100}", 0..10)) {
        let id = ObjectId { kind: "values".to_owned(), ..ObjectId::default() };
        let manifest = Manifest {
            objects: vec![
                Object::CiliumConfig { id: id.clone(), data: values.clone() },
                Object::Machine(Box::new(MachineConfig {
                    sysctls: values
                        .iter()
                        .map(|(name, value)| KernelParam { name: name.clone(), value: Written::Text(value.clone()) })
                        .collect(),
                    ..MachineConfig::default()
                })),
                Object::CiliumValues { id, values },
            ],
            other: 0,
        };
        for finding in manifest_findings(&manifest, &Reference::default()) {
            prop_assert!(!finding.evidence.contains('\n') && !finding.advice.is_empty());
        }
    }
}
