//! Where the project is at home: the one place that owner, registry and links come from.
//!
//! In: `CTMON_HOME` and `CTMON_REGISTRY`, which the release workflow sets from its forge's own variables. Out: names.
//! Must not: name an owner or a registry itself: whoever registered it would be trusted with every node.

use anyhow::{Result, bail};

/// The project's page, like `https://forge.example/OWNER/ctmon`.
pub(crate) const HOME: &str = "CTMON_HOME";

/// Where images are kept, like `registry.example/OWNER`.
pub(crate) const REGISTRY: &str = "CTMON_REGISTRY";

/// What stands in `deploy/` until a release writes the real ones into its copy.
pub(crate) const NO_REGISTRY: &str = "registry.example/set-the-image";
pub(crate) const NO_HOME: &str = "https://git.example/set-the-home/ctmon";

/// The two, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Home {
    page: Option<String>,
    registry: Option<String>,
}

impl Home {
    pub(crate) fn of_environment() -> Result<Self> {
        let told = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::new(told(HOME), told(REGISTRY))
    }

    pub(crate) fn new(page: Option<String>, registry: Option<String>) -> Result<Self> {
        let page = page.map(|page| page.trim_end_matches('/').to_owned());
        if let Some(page) = page.as_deref().filter(|page| !is_page(page)) {
            bail!("{HOME} is {page:?}: expected a URL like https://forge.example/OWNER/ctmon");
        }
        let registry = registry.map(|registry| registry.trim_end_matches('/').to_owned());
        if let Some(registry) = registry.as_deref().filter(|registry| !is_registry(registry)) {
            bail!(
                "{REGISTRY} is {registry:?}: expected a registry and an owner in lower case, like registry.example/owner"
            );
        }
        Ok(Self { page, registry })
    }

    /// The project's page.
    pub(crate) fn page(&self) -> Option<&str> {
        self.page.as_deref()
    }

    pub(crate) fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// What a node pulls, less the tag.
    pub(crate) fn image(&self) -> String {
        format!("{}/{IMAGE}", self.registry.as_deref().unwrap_or(NO_REGISTRY))
    }
}

/// Names below the registry.
pub(crate) const IMAGE: &str = "ctmon";
pub(crate) const CHART: &str = "charts/ctmon";
pub(crate) const MANIFESTS: &str = "manifests/ctmon";

/// Names that YAML, JSON and a shell take without quotation marks.
fn is_plain(text: &str, others: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_alphanumeric() || others.contains(letter))
}

fn is_page(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && is_plain(rest, "-._~/:"))
}

/// Registries refuse capitals, and an engine takes a name without a dot or a port for one of its own.
fn is_registry(text: &str) -> bool {
    let mut parts = text.split('/');
    let host = parts.next().unwrap_or_default();
    let lower = !text.chars().any(|letter| letter.is_ascii_uppercase());
    let known = host.contains('.') || host.contains(':') || host == "localhost";
    known && lower && is_plain(text, "-._/:") && parts.all(|part| !part.is_empty() && !part.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(page: &str, registry: &str) -> Result<Home> {
        Home::new(Some(page.to_owned()), Some(registry.to_owned()))
    }

    #[test]
    fn what_is_not_known_is_nobodys() {
        let unknown = Home::new(None, None).unwrap();
        assert_eq!((unknown.page(), unknown.registry()), (None, None));
        assert_eq!(unknown.image(), "registry.example/set-the-image/ctmon");
    }

    #[test]
    fn what_a_forge_says_of_itself_is_taken() {
        let known = home("https://forge.example/Owner/ctmon/", "registry.example/owner").unwrap();
        assert_eq!(known.page(), Some("https://forge.example/Owner/ctmon"));
        assert_eq!(known.image(), "registry.example/owner/ctmon");
        for registry in ["127.0.0.1:5000/owner", "localhost/a/b", "registry.example"] {
            assert!(home("http://forge.example/o", registry).is_ok(), "{registry}");
        }
    }

    #[test]
    fn what_would_not_work_is_refused_by_name() {
        for page in ["forge.example/owner", "https://", "https://a b", "https:///a", "https://a\"b"] {
            let error = home(page, "registry.example/owner").unwrap_err().to_string();
            assert!(error.starts_with("CTMON_HOME is"), "{error}");
        }
        for registry in
            ["registry.example/Owner", "owner/ctmon", "registry.example//a", "registry.example/a:b"]
        {
            let error = home("https://forge.example/owner", registry).unwrap_err().to_string();
            assert!(error.starts_with("CTMON_REGISTRY is"), "{error}");
        }
    }
}
