//! The pod asks for what it needs and for nothing else, however it is installed.

use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::objects::{by_name, container, named, one, pod};
use crate::{render, tools};

/// A way to install it: a name for messages, and the objects.
type Installation = (String, Vec<Value>);

/// Every way to install it, rendered once.
fn installations() -> Result<&'static [Installation]> {
    static RENDERED: OnceLock<Result<Vec<Installation>, String>> = OnceLock::new();
    let rendered = RENDERED.get_or_init(|| render_all().map_err(|error| format!("{error:#}")));
    rendered.as_deref().map_err(|error| anyhow!("{error}"))
}

fn render_all() -> Result<Vec<Installation>> {
    let mut all = vec![
        ("base".to_owned(), render::kustomize(&tools::deploy("kustomize/base")?)?),
        ("overlay talos".to_owned(), render::kustomize(&tools::deploy("kustomize/overlays/talos")?)?),
    ];
    for file in tools::files("chart/ci", "yaml")? {
        let values = std::fs::read_to_string(&file)?;
        let objects = render::chart(&values).with_context(|| format!("with {}", file.display()))?;
        all.push((file.display().to_string(), objects));
    }
    Ok(all)
}

#[test]
fn the_container_has_two_capabilities_and_no_way_to_more() -> Result<()> {
    for (name, objects) in installations()? {
        let expected = json!({
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsUser": 0,
            "runAsGroup": 0,
            "capabilities": {"drop": ["ALL"], "add": ["BPF", "PERFMON"]},
        });
        assert_eq!(container(objects)?["securityContext"], expected, "{name}");
        let pod = pod(objects)?;
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert_eq!(pod["hostPID"], false, "{name}");
        assert_eq!(pod["hostIPC"], false, "{name}");
        assert_eq!(pod["initContainers"], Value::Null, "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        if let Ok(account) = one(objects, "ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{name}");
        }
    }
    Ok(())
}

#[test]
fn everything_of_the_host_is_read_only() -> Result<()> {
    for (name, objects) in installations()? {
        let mounts = container(objects)?["volumeMounts"].as_array().context("no mounts")?;
        assert!(mounts.len() >= 4, "{name}");
        for mount in mounts {
            assert_eq!(mount["readOnly"], true, "{name}: {mount}");
            assert_eq!(mount["subPath"], Value::Null, "{name}: a subPath does not follow changes: {mount}");
        }
        for volume in pod(objects)?["volumes"].as_array().context("no volumes")? {
            if volume["hostPath"].is_object() {
                // `Directory`: nothing is made on the host.
                assert_eq!(volume["hostPath"]["type"], "Directory", "{name}: {volume}");
            }
        }
        let bpffs = by_name(&container(objects)?["volumeMounts"], "bpffs")?;
        assert_eq!(bpffs["mountPath"], "/sys/fs/bpf", "{name}");
        assert_eq!(bpffs["mountPropagation"], "HostToContainer", "{name}");
        assert_eq!(by_name(&container(objects)?["volumeMounts"], "config")?["mountPath"], "/etc/ctmon");
    }
    Ok(())
}

#[test]
fn it_listens_on_the_node_and_on_loopback_only() -> Result<()> {
    for (name, objects) in installations()? {
        let container = container(objects)?;
        assert_eq!(pod(objects)?["hostNetwork"], true, "{name}");
        assert_eq!(pod(objects)?["dnsPolicy"], "ClusterFirstWithHostNet", "{name}");
        let port = by_name(&container["ports"], "metrics")?["containerPort"].clone();
        let listen = &by_name(&container["env"], "CTMON_LISTEN")?["value"];
        assert_eq!(listen, &json!(format!("[$(NODE_IP)]:{port},127.0.0.1:{port}")), "{name}");
        let environment = container["env"].as_array().context("no environment")?;
        let names: Vec<_> = environment.iter().filter_map(|variable| variable["name"].as_str()).collect();
        // A variable is expanded only if it was defined before.
        assert_eq!(names.first(), Some(&"NODE_IP"), "{name}");
        let source = &by_name(&container["env"], "NODE_IP")?["valueFrom"]["fieldRef"]["fieldPath"];
        assert_eq!(source, "status.hostIP", "{name}");
        if let Ok(service) = one(objects, "Service") {
            assert_eq!(service["spec"]["clusterIP"], "None", "{name}");
            assert_eq!(service["spec"]["ports"][0]["port"], port, "{name}");
        }
    }
    Ok(())
}

#[test]
fn what_the_downward_api_gives_is_an_address_the_agent_takes() {
    for node in ["192.168.42.254", "fd00:42::254"] {
        let listen = "[$(NODE_IP)]:10469,127.0.0.1:10469".replace("$(NODE_IP)", node);
        for address in listen.split(',') {
            let parsed = monitor_config::parse_listen(address).expect("an address");
            assert_eq!(parsed.port(), 10469);
            assert!([node, "127.0.0.1"].contains(&parsed.ip().to_string().as_str()), "{parsed}");
        }
    }
}

#[test]
fn it_is_the_last_to_be_evicted_and_runs_everywhere() -> Result<()> {
    for file in ["default-values.yaml", "talos-values.yaml"] {
        let chart = render::chart(&tools::text(&format!("chart/ci/{file}"))?)?;
        for objects in [render::kustomize(&tools::deploy("kustomize/base")?)?, chart] {
            let pod = pod(&objects)?;
            assert_eq!(pod["priorityClassName"], "system-node-critical");
            assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
            let rolling =
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}});
            assert_eq!(one(&objects, "DaemonSet")?["spec"]["updateStrategy"], rolling);
            assert_eq!(
                container(&objects)?["resources"],
                json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "96Mi"}})
            );
        }
    }
    Ok(())
}

#[test]
fn probes_ask_paths_that_need_no_credentials() -> Result<()> {
    for (name, objects) in installations()? {
        let container = container(objects)?;
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"]["path"], path, "{name}");
            assert_eq!(container[probe]["httpGet"]["port"], "metrics", "{name}");
            let tls = name.contains("tls-values");
            assert_eq!(container[probe]["httpGet"]["scheme"] == "HTTPS", tls, "{name}");
        }
    }
    Ok(())
}

#[test]
fn the_image_is_this_version_everywhere() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let base = render::kustomize(&tools::deploy("kustomize/base")?)?;
    let chart = render::chart("{}")?;
    for (objects, repository) in [(base, render::PLACEHOLDER), (chart, render::IMAGE)] {
        assert_eq!(container(&objects)?["image"], format!("{repository}:{version}"));
    }
    let flux = render::kustomize(&tools::deploy("flux/chart")?)?;
    assert_eq!(named(&flux, "OCIRepository", "ctmon")?["spec"]["ref"]["tag"], version);
    let flux = render::kustomize(&tools::deploy("flux/kustomization")?)?;
    assert_eq!(named(&flux, "GitRepository", "ctmon")?["spec"]["ref"]["tag"], format!("v{version}"));
    assert_eq!(named(&flux, "Kustomization", "ctmon")?["spec"]["images"][0]["newTag"], version);
    Ok(())
}
