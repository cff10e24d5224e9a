//! Names below the kubelet's folder of pod logs.
//!
//! In: names of folders and files. Out: whose logs they are. Must not: take a rotated file for the one that is written.

/// `N.log`: what is being written. Rotated files have a time behind it (`0.log.20261101-120000`, later `.gz`).
#[must_use]
pub fn is_current_log(name: &str) -> bool {
    name.strip_suffix(".log")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// `NAMESPACE_POD_UID`; none of the three may hold an underscore.
#[derive(Debug, PartialEq, Eq)]
pub struct PodFolder<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
}

impl<'a> PodFolder<'a> {
    /// By the name of the folder.
    #[must_use]
    pub fn parse(folder: &'a str) -> Option<Self> {
        let mut parts = folder.split('_');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(_), None) => Some(Self { namespace, name }),
            _ => None,
        }
    }
}
