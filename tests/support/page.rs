//! A small, independent reader of Prometheus' text format 0.0.4.
//!
//! In: a page. Out: its samples and the types it declares. Must not: accept a line that is neither a comment nor a
//! sample, or a series that stands there twice.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// One line of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A whole page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub samples: Vec<Sample>,
    /// `# TYPE` lines: family and type.
    pub types: BTreeMap<String, String>,
    /// `# HELP` lines: family and text.
    pub help: BTreeMap<String, String>,
}

impl Page {
    /// Reads a page.
    pub fn parse(text: &str) -> Result<Self> {
        let mut page = Self::default();
        let mut seen = BTreeSet::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').with_context(|| format!("bad line: {line}"))?;
                ensure!(page.types.insert(name.into(), kind.into()).is_none(), "type twice: {line}");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, text) = rest.split_once(' ').with_context(|| format!("bad line: {line}"))?;
                ensure!(page.help.insert(name.into(), text.into()).is_none(), "help twice: {line}");
            } else if !line.starts_with('#') {
                let sample = sample(line).with_context(|| format!("bad line: {line}"))?;
                let series = (sample.name.clone(), sample.labels.clone());
                ensure!(seen.insert(series), "the same series twice: {line}");
                page.samples.push(sample);
            }
        }
        Ok(page)
    }

    /// Samples of a metric that carry all of these labels.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
        })
    }

    /// The value of the one sample that matches; `None` if there is none, or more than one.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut matching = self.matching(name, labels);
        let first = matching.next()?;
        matching.next().is_none().then_some(first.value)
    }

    /// The sum over all samples that match; `None` if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.matching(name, labels).map(|sample| sample.value).reduce(|a, b| a + b)
    }
}

fn sample(line: &str) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, rest) = line.split_at_checked(end).context("no name")?;
    ensure!(is_name(name), "bad name {name}");
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = words.next().context("no value")?;
    let value = value.parse().with_context(|| format!("bad value {value}"))?;
    ensure!(words.next().is_none(), "something after the value");
    Ok(Sample { name: name.into(), labels, value })
}

/// The names of a sample's labels, in the order of its line.
pub fn label_names(line: &str) -> Result<Vec<&str>> {
    let end = line.find(['{', ' ']).context("no value")?;
    let Some(mut rest) = line.get(end..).and_then(|rest| rest.strip_prefix('{')) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    while let Some((name, after)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(','));
        (_, rest) = quoted(after)?;
    }
    Ok(names)
}

/// `a="1",b="2"} rest`, with `\\`, `\"` and `\n` in values.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, after) = rest.split_once("=\"").context("label without value")?;
        ensure!(is_name(name), "bad label {name}");
        let (value, after) = quoted(after)?;
        ensure!(labels.insert(name.into(), value).is_none(), "label {name} twice");
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => bail!("neither a comma nor the end after label {name}"),
        };
    }
}

fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                other => bail!("unknown escape {other:?}"),
            },
            other => value.push(other),
        }
    }
    bail!("label value without an end")
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP a_total Things, \\n and so on.
# TYPE a_total counter
a_total{x=\"1\",y=\"a \\\"b\\\" \\\\ \\n} c\"} 3
a_total{x=\"2\",y=\"\"} 4.5e3
# TYPE b gauge
b NaN
c{} -Inf
";

    #[test]
    fn a_page_is_read_into_samples() {
        let page = Page::parse(PAGE).unwrap();
        assert_eq!(page.samples.len(), 4);
        assert_eq!(page.value("a_total", &[("x", "1")]), Some(3.0));
        assert_eq!(page.value("a_total", &[("y", "a \"b\" \\ \n} c")]), Some(3.0));
        assert_eq!(page.value("a_total", &[]), None, "two samples match");
        assert_eq!(page.sum("a_total", &[]), Some(4503.0));
        assert_eq!(page.sum("a_total", &[("x", "3")]), None);
        assert!(page.value("b", &[]).unwrap().is_nan());
        assert_eq!(page.value("c", &[]), Some(f64::NEG_INFINITY));
        assert_eq!(page.types["a_total"], "counter");
    }

    #[test]
    fn labels_keep_the_order_of_their_line() {
        assert_eq!(label_names("a{y=\"1,x=\\\"\",b=\"\"} 1").unwrap(), ["y", "b"]);
        assert!(label_names("a 1").unwrap().is_empty());
    }

    #[test]
    fn a_page_of_another_shape_is_refused() {
        for broken in [
            "a",
            "a x",
            "a 1 2",
            "1a 1",
            "a{x=1} 1",
            "a{x=\"1\" 1",
            "a{x=\"1\"y=\"2\"} 1",
            "a{x=\"1\",x=\"2\"} 1",
            "a{x=\"\\t\"} 1",
            "a{x=\"1\"} 1\na{x=\"1\"} 2",
            "# TYPE a gauge\n# TYPE a gauge",
        ] {
            assert!(Page::parse(broken).is_err(), "{broken}");
        }
    }
}
