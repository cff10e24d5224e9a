//! Talos machine configurations: the v1alpha1 document, the documents beside it, and patches of both kinds.
//!
//! In: a parsed document. Out: what it sets of the kernel, the kubelet, kube-proxy and the firewall. Must not: read
//! anything else: a machine configuration is full of secrets.

use monitor_model::manifest::{
    ExtraMount, IngressRule, KernelParam, Kubelet, MachineConfig, Object, ObjectId, Proxy, Written,
};
use yaml_serde::{Mapping, Value};

use super::{DEPTH, at, keys, sequence, text};
use crate::yaml::scalar;

/// The text below `spec` of what `talosctl get machineconfig -o yaml` prints.
pub(super) fn resource(value: &Value) -> Option<String> {
    let kind = text(value, &["metadata", "type"])?;
    kind.starts_with("MachineConfigs.").then(|| text(value, &["spec"])).flatten()
}

/// The objects of Kubernetes that Talos applies when the cluster comes up, as text: Cilium may be among them.
pub(super) fn inline_manifests(value: &Value) -> impl Iterator<Item = String> {
    // Aliases make a long list of a short file.
    const MOST: usize = 256;
    let manifests = sequence(value, &["cluster", "inlineManifests"]).take(MOST);
    manifests.filter_map(|manifest| text(manifest, &["contents"]))
}

/// A configuration or a patch of it: Talos gives these documents no kind.
pub(super) fn machine(value: &Value) -> Option<Object> {
    let patched = json_patch(value);
    let root = patched.as_ref().unwrap_or(value);
    if !is_machine(root) {
        return None;
    }
    let whole = at(root, &["machine", "type"]).is_some() && patched.is_none();
    let name = match (&patched, whole) {
        (Some(_), _) => "JSON patch",
        (None, true) => "v1alpha1",
        (None, false) => "patch",
    };
    let proxy = Proxy {
        disabled: at(root, &["cluster", "proxy", "disabled"]).and_then(Value::as_bool),
        extra_args: keys(at(root, &["cluster", "proxy", "extraArgs"])),
    };
    Some(Object::Machine(Box::new(MachineConfig {
        id: ObjectId { kind: "MachineConfig".to_owned(), namespace: String::new(), name: name.to_owned() },
        whole,
        sysctls: params(at(root, &["machine", "sysctls"])),
        sysfs: params(at(root, &["machine", "sysfs"])),
        modules: sequence(root, &["machine", "kernel", "modules"]).filter_map(module).collect(),
        kubelet: at(root, &["machine", "kubelet"]).map(kubelet).unwrap_or_default(),
        proxy,
        cni: text(root, &["cluster", "network", "cni", "name"]),
        ..MachineConfig::default()
    })))
}

/// A document of its own kind beside the v1alpha1 one.
pub(super) fn document(mut id: ObjectId, value: &Value) -> Option<Object> {
    if text(value, &["apiVersion"])? != "v1alpha1" {
        return None;
    }
    id.name = text(value, &["name"]).unwrap_or_else(|| "v1alpha1".to_owned());
    let mut config = MachineConfig::default();
    match id.kind.as_str() {
        "SysctlConfig" => config.sysctls = params(at(value, &["params"])),
        "SysfsConfig" => config.sysfs = params(at(value, &["params"])),
        "KernelModuleConfig" => config.modules = module(value).into_iter().collect(),
        "NetworkDefaultActionConfig" => config.default_ingress = text(value, &["ingress"]),
        "NetworkRuleConfig" => config.rule = Some(rule(value)),
        _ => return None,
    }
    Some(Object::Machine(Box::new(MachineConfig { id, ..config })))
}

/// Cilium's values have a key `cluster` too.
fn is_machine(root: &Value) -> bool {
    const OF_CLUSTER: &[&str] = &[
        "proxy",
        "network",
        "controlPlane",
        "clusterName",
        "apiServer",
        "controllerManager",
        "etcd",
        "coreDNS",
    ];
    let below = |key: &str, known: &dyn Fn(&Value) -> bool| root.get(key).is_some_and(known);
    below("machine", &Value::is_mapping)
        || below("cluster", &|cluster| OF_CLUSTER.iter().any(|key| cluster.get(key).is_some()))
}

/// What the operations of a JSON patch (RFC 6902) add or replace, as a document; `None` for what is no such patch.
fn json_patch(value: &Value) -> Option<Value> {
    let operations = value.as_sequence().filter(|operations| !operations.is_empty())?;
    let mut root = Value::Null;
    for operation in operations {
        let (op, path) = (text(operation, &["op"])?, text(operation, &["path"])?);
        if !["add", "replace"].contains(&op.as_str()) {
            continue;
        }
        let tokens: Vec<String> = path.split('/').skip(1).take(DEPTH + 1).map(unescaped).collect();
        if tokens.len() > DEPTH {
            continue;
        }
        put(&mut root, &tokens, operation.get("value").cloned().unwrap_or_default());
    }
    Some(root)
}

/// A token of a JSON pointer (RFC 6901).
fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn put(place: &mut Value, tokens: &[String], value: Value) {
    let Some((token, rest)) = tokens.split_first() else {
        *place = value;
        return;
    };
    // Which element of a list it will be does not matter here.
    if token == "-" || (!token.is_empty() && token.bytes().all(|digit| digit.is_ascii_digit())) {
        if !place.is_sequence() {
            *place = Value::Sequence(Vec::new());
        }
        let mut element = Value::Null;
        put(&mut element, rest, value);
        if let Value::Sequence(elements) = place {
            elements.push(element);
        }
        return;
    }
    if !place.is_mapping() {
        *place = Value::Mapping(Mapping::new());
    }
    if let Value::Mapping(mapping) = place {
        let below = mapping.entry(Value::String(token.clone())).or_insert(Value::Null);
        put(below, rest, value);
    }
}

fn params(value: Option<&Value>) -> Vec<KernelParam> {
    let mapping = value.and_then(Value::as_mapping);
    let param = |(name, value): (&Value, &Value)| {
        let name = scalar(name)?;
        // A strategic merge patch takes the whole mapping away so.
        (name != "$patch").then(|| KernelParam { name, value: written(value) })
    };
    mapping.into_iter().flatten().filter_map(param).collect()
}

fn written(value: &Value) -> Written {
    match value {
        Value::Null => Written::Nothing,
        Value::String(text) if text.trim().is_empty() => Written::Nothing,
        Value::String(text) => Written::Text(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Written::Whole(number.to_string()),
        Value::Number(number) => Written::Other(number.to_string()),
        Value::Bool(word) => Written::Other(word.to_string()),
        _ => Written::Compound,
    }
}

fn module(value: &Value) -> Option<(String, Vec<String>)> {
    let parameters = sequence(value, &["parameters"]).filter_map(scalar).collect();
    Some((text(value, &["name"])?, parameters))
}

fn kubelet(value: &Value) -> Kubelet {
    let mount = |value: &Value| {
        let options = sequence(value, &["options"]).filter_map(scalar).collect();
        Some(ExtraMount { destination: text(value, &["destination"])?, options })
    };
    Kubelet {
        extra_args: keys(at(value, &["extraArgs"])),
        extra_config: keys(at(value, &["extraConfig"])),
        extra_mounts: sequence(value, &["extraMounts"]).filter_map(mount).collect(),
    }
}

fn rule(value: &Value) -> IngressRule {
    let range = |port: &Value| {
        let port = scalar(port)?;
        let (first, last) = port.split_once('-').unwrap_or((&port, &port));
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
    };
    IngressRule {
        ports: sequence(value, &["portSelector", "ports"]).filter_map(range).collect(),
        protocol: text(value, &["portSelector", "protocol"]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_manifest;
    use super::*;

    fn configs(text: &[u8]) -> Vec<MachineConfig> {
        let machine = |object| match object {
            Object::Machine(config) => Some(*config),
            _ => None,
        };
        parse_manifest(text).unwrap().objects.into_iter().filter_map(machine).collect()
    }

    fn param(name: &str, value: Written) -> KernelParam {
        KernelParam { name: name.to_owned(), value }
    }

    /// A file of this repository, as it is shipped.
    macro_rules! shipped {
        ($name:literal) => {
            &include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/", $name))[..]
        };
    }

    #[test]
    fn the_shipped_patch_sets_sysctls_in_text() {
        let [config] = configs(shipped!("tuning/talos-sysctls.yaml")).try_into().unwrap();
        assert_eq!((config.id.to_string().as_str(), config.whole), ("MachineConfig patch", false));
        assert!(config.sysctls.len() >= 6, "{config:?}");
        assert!(
            config.sysctls.contains(&param("net.ipv4.tcp_keepalive_time", Written::Text("600".to_owned())))
        );
        assert!(config.sysctls.iter().all(|param| matches!(param.value, Written::Text(_))), "{config:?}");
    }

    #[test]
    fn the_shipped_firewall_rule_opens_a_port() {
        let [config] =
            configs(shipped!("kustomize/overlays/talos/talos/ingress-firewall.yaml")).try_into().unwrap();
        assert_eq!(config.id.to_string(), "NetworkRuleConfig ctmon-ingress");
        let rule = IngressRule { ports: vec![(10_469, 10_469)], protocol: "tcp".to_owned() };
        assert_eq!(config.rule, Some(rule));
    }

    #[test]
    fn a_whole_configuration_with_documents_beside_it_is_read() {
        let text = b"version: v1alpha1\nmachine:\n  type: controlplane\n  token: secret\n  sysctls: {net.core.somaxconn: 65535, vm.a: true, \
                     vm.b: null, vm.c: [1], vm.d: 1.5}\n  sysfs: {devices.system.cpu.x: performance}\n  kernel: {modules: [{name: \
                     nf_conntrack, parameters: [hashsize=1]}]}\n  kubelet:\n    extraArgs: {rotate-server-certificates: true}\n    \
                     extraConfig: {maxPods: 200}\n    extraMounts: [{destination: /var/mnt, type: bind, source: /var/mnt, options: \
                     [bind, rw]}]\ncluster:\n  network: {cni: {name: none}}\n  proxy: {disabled: true, extraArgs: {v: 2}}\n---\napiVersion: \
                     v1alpha1\nkind: SysctlConfig\nparams: {net.ipv4.ip_forward: '1'}\n---\napiVersion: v1alpha1\nkind: \
                     KernelModuleConfig\nname: nbd\nparameters: [a=1]\n---\napiVersion: v1alpha1\nkind: SysfsConfig\nparams: {a.b: \
                     '1'}\n---\napiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: block\n---\napiVersion: \
                     v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\n";
        let [machine, sysctl, module, sysfs, firewall] = configs(text).try_into().unwrap();
        assert!(machine.whole && !sysctl.whole);
        let values: Vec<_> = machine.sysctls.into_iter().map(|param| param.value).collect();
        let other = |text: &str| Written::Other(text.to_owned());
        let expected = [
            Written::Whole("65535".to_owned()),
            other("true"),
            Written::Nothing,
            Written::Compound,
            other("1.5"),
        ];
        assert_eq!(values, expected);
        assert_eq!(machine.modules, [("nf_conntrack".to_owned(), vec!["hashsize=1".to_owned()])]);
        assert_eq!(machine.kubelet.extra_args, ["rotate-server-certificates"]);
        assert_eq!(machine.kubelet.extra_config, ["maxPods"]);
        assert_eq!(machine.kubelet.extra_mounts[0].options, ["bind", "rw"]);
        assert_eq!((machine.cni.as_deref(), machine.proxy.disabled), (Some("none"), Some(true)));
        assert_eq!(sysctl.sysctls, [param("net.ipv4.ip_forward", Written::Text("1".to_owned()))]);
        assert_eq!(module.modules, [("nbd".to_owned(), vec!["a=1".to_owned()])]);
        assert_eq!(sysfs.sysfs.len() + machine.sysfs.len(), 2);
        assert_eq!(firewall.default_ingress.as_deref(), Some("block"));
    }

    #[test]
    fn a_json_patch_and_what_talosctl_prints_are_opened() {
        let patch = r#"[{"op": "add", "path": "/machine/sysctls", "value": {"vm.a": "1"}},
            {"op": "replace", "path": "/machine/sysctls/net~1ipv4~1x", "value": 2},
            {"op": "remove", "path": "/machine/sysctls/gone"},
            {"op": "add", "path": "DEEP", "value": 1},
            {"op": "add", "path": "/machine/kernel/modules/-", "value": {"name": "nbd"}}]"#;
        let patch = patch.replace("DEEP", &"/machine".repeat(100_000));
        let [config] = configs(patch.as_bytes()).try_into().unwrap();
        assert_eq!(config.id.to_string(), "MachineConfig JSON patch");
        let expected = [
            param("vm.a", Written::Text("1".to_owned())),
            param("net/ipv4/x", Written::Whole("2".to_owned())),
        ];
        assert_eq!(config.sysctls, expected);
        assert_eq!(config.modules, [("nbd".to_owned(), vec![])]);

        let printed = b"node: 10.0.0.1\nmetadata: {namespace: config, type: MachineConfigs.config.talos.dev, id: v1alpha1}\nspec: |\n  \
                        machine:\n    type: worker\n    sysctls:\n      vm.a: '1'\n  ---\n  apiVersion: v1alpha1\n  kind: SysctlConfig\n  \
                        params: {vm.b: '2'}\n";
        assert_eq!(configs(printed).len(), 2);
    }

    #[test]
    fn manifests_inside_are_opened() {
        let text = "machine: {type: worker}\ncluster:\n  inlineManifests:\n  - name: cilium\n    contents: |\n      kind: \
                    ConfigMap\n      metadata: {name: cilium-config}\n      data: {a: b}\n      ---\n      kind: Service\n  - {name: \
                    broken, contents: '['}\n";
        let manifest = parse_manifest(text.as_bytes()).unwrap();
        assert!(
            matches!(manifest.objects.as_slice(), [Object::CiliumConfig { .. }, Object::Machine(_)]),
            "{manifest:?}"
        );
        assert_eq!(manifest.other, 2);
    }

    #[test]
    fn values_of_ciliums_chart_are_no_machine() {
        for text in
            ["cluster: {name: home, id: 1}\nbpf: {ctTcpMax: 1}", "- op: add", "- 1", "machine: x", "[]"]
        {
            assert_eq!(configs(text.as_bytes()), [], "{text}");
        }
    }
}
