//! What differs from one installation to the next: the label that tells clusters apart, where the runbooks are read, and where Grafana is.
//!
//! In: what the user typed, and the home this binary was built with. Out: all three, fit to stand in a rule.
//! Must not: let anything through that changes the expression or the file around it.

/// Where there is one: the address of the repository, set by whoever builds releases of it.
const HOME: Option<&str> = option_env!("CTMON_HOME");

/// The label most give to clusters, as an external label or by relabeling.
pub const CLUSTER: &str = "cluster";

/// Names that already mean something in our series or their alerts: matching by them would not tell clusters apart.
const TAKEN: [&str; 11] = [
    "alert",
    "alertname",
    "container",
    "endpoint",
    "instance",
    "job",
    "map_name",
    "namespace",
    "node",
    "pod",
    "severity",
];

/// What makes an option unusable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("{0:?} is no name of a label: letters, digits and _, no digit first, no __")]
    NoLabel(String),
    #[error("the label {0} has another meaning: name the one that tells clusters apart")]
    Taken(String),
    #[error("{0:?} is no address of runbooks: http:// or https://, without spaces, quotes and braces")]
    NoAddress(String),
    #[error("{0:?} is no address of Grafana: http:// or https://, without spaces, quotes, braces, ? and #")]
    NoGrafana(String),
}

/// What the rules are written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(super) cluster: String,
    pub(super) runbooks: Option<String>,
    /// Grafana, below which the dashboard has a fixed path.
    pub(super) grafana: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { cluster: CLUSTER.to_owned(), runbooks: None, grafana: None }
    }
}

impl Options {
    /// For this label, and runbooks at this address, none if it is empty: else those of the home this binary was built
    /// with, if it knows one.
    pub fn new(cluster: &str, runbooks: Option<&str>) -> Result<Self, OptionError> {
        Self::with_home(cluster, runbooks, HOME.filter(|home| !home.is_empty()))
    }

    /// With the dashboard in Grafana at this address, none if it is empty. Nobody but the user knows one.
    pub fn with_grafana(self, url: &str) -> Result<Self, OptionError> {
        let refused = || OptionError::NoGrafana(url.to_owned());
        let grafana = match url {
            "" => None,
            _ if url.contains(['?', '#']) => return Err(refused()),
            _ => Some(address(url).map_err(|_| refused())?),
        };
        Ok(Self { grafana, ..self })
    }

    fn with_home(cluster: &str, runbooks: Option<&str>, home: Option<&str>) -> Result<Self, OptionError> {
        let of_home = || home.map(|home| format!("{}/blob/HEAD/deploy/runbooks", home.trim_end_matches('/')));
        let runbooks = runbooks.map(str::to_owned).or_else(of_home).filter(|address| !address.is_empty());
        let runbooks = runbooks.as_deref().map(address).transpose()?;
        Ok(Self { cluster: label(cluster)?, runbooks, grafana: None })
    }
}

fn label(name: &str) -> Result<String, OptionError> {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() || !letters || name.starts_with(|c: char| c.is_ascii_digit()) || name.starts_with("__")
    {
        return Err(OptionError::NoLabel(name.to_owned()));
    }
    if TAKEN.contains(&name) {
        return Err(OptionError::Taken(name.to_owned()));
    }
    Ok(name.to_owned())
}

/// It stands unquoted in YAML, and in a template of Prometheus.
fn address(url: &str) -> Result<String, OptionError> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let plain = url.chars().all(|c| c.is_ascii_graphic() && !"\"'`{}<>\\".contains(c));
    if host.is_empty() || host.starts_with('/') || !plain {
        return Err(OptionError::NoAddress(url.to_owned()));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_of_prometheus_and_not_taken() {
        for name in ["cluster", "k8s_cluster", "_c", "C2"] {
            assert_eq!(label(name).as_deref(), Ok(name));
        }
        for name in ["", "2c", "k8s-cluster", "a, instance", "a)", "__name__", "клас", "a b", "a\n"] {
            assert_eq!(label(name), Err(OptionError::NoLabel(name.to_owned())));
        }
        for name in TAKEN {
            assert_eq!(label(name), Err(OptionError::Taken(name.to_owned())));
        }
    }

    #[test]
    fn an_address_is_one_word_of_the_web() {
        for url in ["https://wiki.example/ctmon", "http://10.0.0.1:8080/a?b=c#d"] {
            assert_eq!(address(url).as_deref(), Ok(url));
        }
        assert_eq!(address("https://wiki.example/ctmon//").as_deref(), Ok("https://wiki.example/ctmon"));
        for url in [
            "",
            "wiki.example",
            "ftp://a",
            "https://",
            "https:///a",
            "https://a b",
            "https://a\nb",
            "https://a/{{b}}",
            "https://a'",
        ] {
            assert_eq!(address(url), Err(OptionError::NoAddress(url.to_owned())));
        }
    }

    #[test]
    fn what_is_typed_wins_over_the_home_and_without_either_there_is_none() {
        let runbooks =
            |typed, home| Options::with_home("cluster", typed, home).map(|options| options.runbooks);
        let (typed, home) = (Some("https://a.example/r"), Some("https://b.example/o/r/"));
        assert_eq!(runbooks(typed, home), Ok(Some("https://a.example/r".to_owned())));
        assert_eq!(
            runbooks(None, home),
            Ok(Some("https://b.example/o/r/blob/HEAD/deploy/runbooks".to_owned()))
        );
        assert_eq!(runbooks(None, None), Ok(None));
        assert_eq!(runbooks(Some(""), home), Ok(None));
        assert_eq!(Options::with_home(CLUSTER, None, None), Ok(Options::default()));
        assert!(runbooks(None, Some("not a home")).is_err());
    }

    #[test]
    fn grafana_is_an_address_that_a_path_can_follow() {
        let grafana = |url| Options::default().with_grafana(url).map(|options| options.grafana);
        assert_eq!(grafana("https://a.example/grafana/"), Ok(Some("https://a.example/grafana".to_owned())));
        assert_eq!(grafana(""), Ok(None));
        for url in ["a.example", "https://a.example/?orgId=1", "https://a.example/#x", "https://a b"] {
            assert_eq!(grafana(url), Err(OptionError::NoGrafana(url.to_owned())));
        }
    }

    /// Every line of the error is one.
    #[test]
    fn an_error_is_one_line() {
        for error in [label("a\nb"), address("https://a\nb"), label("pod")] {
            let text = error.expect_err("refused").to_string();
            assert!(!text.contains('\n'), "{text}");
        }
    }
}
