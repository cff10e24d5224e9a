//! Kubernetes objects read from text.
//!
//! In: documents, whole and broken. Out: pass or fail. Must not: ask a cluster.

use proptest::prelude::*;

use super::*;

fn objects(text: &str) -> Vec<Object> {
    parse_manifest(text.as_bytes()).unwrap().objects
}

fn id(kind: &str, namespace: &str, name: &str) -> ObjectId {
    ObjectId { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
}

#[test]
fn lists_documents_json_and_empty_ones_are_opened() {
    let yaml = "---\napiVersion: v1\nkind: List\nitems:\n- kind: Pod\n  metadata: {name: a, namespace: n}\n  spec:\n    \
                containers: [{name: c, args: [--x=1, 2]}]\n---\n---\nkind: Secret\nmetadata: {name: s}\n---\nkind: \
                Service\n";
    let manifest = parse_manifest(yaml.as_bytes()).unwrap();
    assert_eq!(manifest.other, 2);
    let json = r#"{"apiVersion":"v1","items":[{"kind":"Pod","metadata":{"name":"a","namespace":"n"},
        "spec":{"containers":[{"name":"c","args":["--x=1","2"]}]}}],"kind":"List"}"#;
    assert_eq!(objects(json), manifest.objects);
    let arguments = vec!["--x=1".to_owned(), "2".to_owned()];
    let containers = vec![Container { name: "c".to_owned(), arguments, ..Container::default() }];
    assert_eq!(manifest.objects, [Object::Workload { id: id("Pod", "n", "a"), containers }]);
    assert_eq!(id("Pod", "n", "a").to_string(), "Pod n/a");
    assert_eq!(id("PersistentVolume", "", "v").to_string(), "PersistentVolume v");
}

#[test]
fn a_broken_document_is_named() {
    let error = parse_manifest(b"kind: Pod\n---\nkind: [\n").unwrap_err();
    assert_eq!(error.0, 2, "{error:?}");
}

#[test]
fn everything_that_makes_pods_has_its_containers_read() {
    let template = "{spec: {containers: [{name: c, resources: {requests: {cpu: 1}, limits: {}}}]}}";
    for (kind, spec) in [
        ("Deployment", format!("{{template: {template}}}")),
        ("DaemonSet", format!("{{template: {template}}}")),
        ("StatefulSet", format!("{{template: {template}}}")),
        ("CronJob", format!("{{jobTemplate: {{spec: {{template: {template}}}}}}}")),
    ] {
        let found = objects(&format!("kind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"));
        let [Object::Workload { containers, .. }] = found.as_slice() else { panic!("{kind}: {found:?}") };
        assert_eq!(containers.len(), 1, "{kind}");
        assert!(containers[0].has_requests && !containers[0].has_limits, "{kind}");
    }
}

#[test]
fn volumes_tell_their_file_system_where_they_can() {
    let check = |spec: &str, family: Option<Family>, options: &[&str]| {
        let found = objects(&format!("kind: PersistentVolume\nmetadata: {{name: v}}\nspec: {spec}\n"));
        let [Object::PersistentVolume(volume)] = found.as_slice() else { panic!("{spec}: {found:?}") };
        assert_eq!((volume.family, volume.mount_options.as_slice()), (family, &*own(options)), "{spec}");
    };
    check(
        "{mountOptions: ['cache=loose,actimeo=60', noatime], csi: {driver: smb.csi.k8s.io}}",
        Some(Family::CIFS),
        &["cache=loose", "actimeo=60", "noatime"],
    );
    check("{csi: {driver: x, volumeAttributes: {source: //192.168.100.180/media}}}", Some(Family::CIFS), &[]);
    check("{csi: {driver: csi.trident.qnap.io, volumeAttributes: {protocol: block}}}", None, &[]);
    check(
        "{mountOptions: [vers=3.1.1, noatime], csi: {driver: csi.trident.qnap.io}}",
        Some(Family::CIFS),
        &["vers=3.1.1", "noatime"],
    );
    check("{nfs: {server: 10.0.0.1, path: /e}}", Some(Family::NFS), &[]);
    check("{hostPath: {path: /x}}", None, &[]);
}

fn own(options: &[&str]) -> Vec<String> {
    options.iter().map(|option| (*option).to_owned()).collect()
}

#[test]
fn values_are_found_in_every_kind_of_release() {
    let releases = [
        "kind: HelmRelease\nmetadata: {name: cilium}\nspec: {values: {bpf: {ctTcpMax: 524288}}}",
        "kind: HelmRelease\nmetadata: {name: net}\nspec: {chart: {spec: {chart: cilium}}, values: {bpf: {ctTcpMax: 524288}}}",
        "kind: Application\nmetadata: {name: net}\nspec: {source: {chart: cilium, helm: {valuesObject: {bpf: {ctTcpMax: 524288}}}}}",
        "kind: Application\nmetadata: {name: cilium}\nspec: {source: {helm: {values: 'bpf: {ctTcpMax: 524288}'}}}",
        "kind: HelmChart\nmetadata: {name: n}\nspec: {chart: oci://quay.io/cilium, valuesContent: 'bpf: {ctTcpMax: 524288}'}",
        "bpf: {ctTcpMax: 524288}",
        "cilium: {bpf: {ctTcpMax: 524288}}",
    ];
    for release in releases {
        let found = objects(release);
        let [Object::CiliumValues { values, .. }] = found.as_slice() else { panic!("{release}: {found:?}") };
        assert_eq!(values.get("bpf.ctTcpMax").map(String::as_str), Some("524288"), "{release}");
    }
    for other in [
        "kind: HelmRelease\nmetadata: {name: plex}\nspec: {values: {bpf: {a: 1}}}",
        "kind: HelmRelease\nmetadata: {name: cilium}\nspec: {}",
        "replicas: 2",
    ] {
        assert_eq!(objects(other), [], "{other}");
    }
}

#[test]
fn ciliums_config_map_is_read_and_another_is_not() {
    let found = objects(
        "kind: ConfigMap\nmetadata: {name: cilium-config, namespace: kube-system}\ndata: {a-b: '1'}\n---\nkind: \
         ConfigMap\nmetadata: {name: coredns}\ndata: {Corefile: x}\n",
    );
    let data = BTreeMap::from([("a-b".to_owned(), "1".to_owned())]);
    assert_eq!(found, [Object::CiliumConfig { id: id("ConfigMap", "kube-system", "cilium-config"), data }]);
}

#[test]
fn values_deeper_than_any_object_are_left_alone() {
    let deep = format!("bpf: {}1{}", "{a: ".repeat(100), "}".repeat(100));
    let found = objects(&deep);
    assert!(
        matches!(found.as_slice(), [Object::CiliumValues { values, .. }] if values.is_empty()),
        "{found:?}"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_objects_or_refused(bytes: Vec<u8>) {
        let _ = parse_manifest(&bytes);
    }

    #[test]
    fn machines_of_any_shape_are_survived(
        key in "machine|cluster|params|portSelector|op",
        below in "[\\[\\]{}:, a-z/~0-9\\-!&*'\n]{0,40}",
    ) {
        let _ = parse_manifest(format!("apiVersion: v1alpha1\nkind: NetworkRuleConfig\n{key}: {below}\n").as_bytes());
        let _ = parse_manifest(format!("{key}: {below}\n").as_bytes());
        let _ = parse_manifest(format!("- {{op: add, path: '/{below}', value: {below}}}\n").as_bytes());
    }

    #[test]
    fn objects_of_any_shape_are_survived(
        kind in "Pod|Deployment|CronJob|PersistentVolume|ConfigMap|HelmRelease|List|TridentBackendConfig",
        spec in "[\\[\\]{}:, a-z\\-!&*'\n]{0,40}",
    ) {
        let _ = parse_manifest(format!("kind: {kind}\nmetadata: {{name: cilium}}\nspec: {spec}\n").as_bytes());
    }
}
