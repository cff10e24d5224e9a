//! What the install pages tell people to do is what the manifests need, in an order that works.
//!
//! In: README.md, the pages below `deploy/`, the chart. Out: pass or fail. Must not: run what the pages say.

use anyhow::{Context, Result};
use serde_json::Value;
use support::objects::documents;

use crate::objects::{configuration, container, one, summary};
use crate::{render, tools};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn readme() -> Result<String> {
    Ok(std::fs::read_to_string(tools::root()?.join("README.md"))?)
}

/// The objects of the section on Talos.
fn of_the_readme() -> Result<Vec<Value>> {
    let text = readme()?;
    let (_, section) = text.split_once("\n## Install on Talos in five minutes\n").context("no section")?;
    let (_, block) = section.split_once("```yaml\n").context("no YAML in it")?;
    let (block, _) = block.split_once("```\n").context("the YAML does not end")?;
    documents(block)
}

#[test]
fn the_readmes_objects_are_those_of_the_flux_example() -> Result<()> {
    let (told, example) = (of_the_readme()?, render::kustomize(&tools::deploy("flux/chart")?)?);
    assert_eq!(summary(&told), summary(&example));
    let label = "pod-security.kubernetes.io/enforce";
    assert_eq!(one(&told, "Namespace")?["metadata"]["labels"][label], "privileged");
    let source = |objects: &[Value]| -> Result<Value> {
        let mut spec = one(objects, "OCIRepository")?["spec"].clone();
        spec.as_object_mut().context("no spec")?.remove("url");
        Ok(spec)
    };
    assert_eq!(source(&told)?, source(&example)?);
    let reference =
        |objects: &[Value]| Ok::<_, anyhow::Error>(one(objects, "HelmRelease")?["spec"]["chartRef"].clone());
    assert_eq!(reference(&told)?, reference(&example)?);
    Ok(())
}

#[test]
fn the_readmes_values_make_an_installation_and_its_commands_push_what_they_pull() -> Result<()> {
    let told = of_the_readme()?;
    let values = serde_json::to_string(&one(&told, "HelmRelease")?["spec"]["values"])?;
    let objects = render::chart_without_image(&values)?;
    monitor_config::parse::<monitor_check::Catalog>(configuration(&objects)?)?;
    for kind in ["PodMonitor", "PrometheusRule"] {
        one(&objects, kind)?;
    }
    let image = container(&objects)?["image"].as_str().context("no image")?;
    let chart = one(&told, "OCIRepository")?["spec"]["url"].as_str().context("no URL")?;
    let charts = chart.strip_suffix("/ctmon").with_context(|| format!("{chart} is not the chart's"))?;
    let text = readme()?;
    for command in [
        format!("skopeo copy oci-archive:target/image/ctmon-amd64.oci.tar docker://{image}\n"),
        format!("helm push target/ctmon-{VERSION}.tgz {charts}\n"),
    ] {
        assert!(text.contains(&command), "README.md lacks {command}");
    }
    assert!(image.ends_with(&format!(":{VERSION}")), "{image}");
    Ok(())
}

#[test]
fn links_between_the_pages_lead_to_files() -> Result<()> {
    let mut links = 0;
    for folder in ["..", ".", "chart", "docs", "flux", "tuning"] {
        for file in tools::files(folder, "md")? {
            let text = std::fs::read_to_string(&file)?;
            let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            for (link, _) in targets.filter(|(link, _)| !link.contains("://") && !link.starts_with('#')) {
                let path = link.split('#').next().unwrap_or(link);
                let to = file.parent().context("no folder")?.join(path);
                assert!(to.exists(), "{}: {link}", file.display());
                links += 1;
            }
        }
    }
    assert!(links > 20, "{links} links found");
    Ok(())
}

#[test]
fn every_page_labels_the_namespace_before_helm_installs_into_it() -> Result<()> {
    let mut installs = 0;
    for folder in ["..", ".", "chart", "docs", "flux"] {
        for file in tools::files(folder, "md")? {
            let text = std::fs::read_to_string(&file)?;
            let mut labelled = false;
            for line in text.lines().filter(|line| line.starts_with("    ")) {
                assert!(
                    !line.contains("--create-namespace"),
                    "{}: makes one without the label",
                    file.display()
                );
                labelled |= line
                    .contains("kubectl label namespace ctmon pod-security.kubernetes.io/enforce=privileged");
                if line.contains("helm install ") {
                    assert!(labelled, "{}: {line}", file.display());
                    installs += 1;
                }
            }
        }
    }
    assert!(installs >= 3, "{installs} installs found");
    Ok(())
}
