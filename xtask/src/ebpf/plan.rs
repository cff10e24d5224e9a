//! Which compiler builds the eBPF object.
//!
//! In: facts about the machine. Out: what to use, what to install, or one line that says what is missing.
//! Must not: look at the machine.

use std::fmt;
use std::path::PathBuf;

use crate::apt::Apt;

pub(super) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
pub(super) const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];

/// What the pinned linker speaks; a compiler that writes other bitcode is no use to it.
pub(super) const LLVM: u32 = 22;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) debian: Option<Compiler>,
    /// The rustup toolchain of that name, when there is one.
    pub(super) nightly: Option<(String, Compiler)>,
    pub(super) apt: Apt,
}

/// A compiler, whether or not it will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiler {
    /// Major version; unknown when the compiler does not tell.
    pub(super) llvm: Option<u32>,
    /// Prebuilt for BPF (Debian's), or as source for `build-std` (rustup's).
    pub(super) has_core: bool,
    /// Where its libLLVM lies; `None` when it has none to share with the linker.
    pub(super) libraries: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    Debian { libraries: PathBuf },
    Nightly { toolchain: String, libraries: PathBuf },
    InstallDebian,
    Missing(String),
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian { libraries: _ } => write!(out, "Debian's {DEBIAN_RUSTC}"),
            Self::Nightly { toolchain, libraries: _ } => write!(out, "rustup's {toolchain} and build-std"),
            Self::InstallDebian => write!(out, "install {}", DEBIAN_PACKAGES.join(" ")),
            Self::Missing(advice) => out.write_str(advice),
        }
    }
}

/// What works now wins over what has to be downloaded.
pub(super) fn decide(facts: &Facts) -> Plan {
    let Facts { debian, nightly, apt } = facts;
    if let Some(libraries) = debian.as_ref().and_then(usable) {
        return Plan::Debian { libraries };
    }
    if let Some((toolchain, compiler)) = nightly
        && let Some(libraries) = usable(compiler)
    {
        return Plan::Nightly { toolchain: toolchain.clone(), libraries };
    }
    // Packages that are there and do not fit will not fit better when asked for again.
    let debian_may_help = debian.as_ref().is_none_or(|found| found.llvm.is_none_or(|llvm| llvm == LLVM));
    if *apt == Apt::Ready && debian_may_help {
        return Plan::InstallDebian;
    }
    Plan::Missing(advice(facts))
}

fn usable(compiler: &Compiler) -> Option<PathBuf> {
    let Compiler { llvm, has_core, libraries } = compiler;
    if *llvm == Some(LLVM) && *has_core { libraries.clone() } else { None }
}

fn advice(facts: &Facts) -> String {
    let with_rustup = match &facts.nightly {
        Some((toolchain, Compiler { llvm: Some(LLVM), has_core: false, libraries: _ })) => {
            format!("rustup component add rust-src --toolchain {toolchain}")
        }
        Some((toolchain, Compiler { llvm: Some(llvm), has_core: _, libraries: _ })) if *llvm != LLVM => {
            format!(
                "{toolchain} speaks LLVM {llvm} and the pinned linker LLVM {LLVM}: \
                 rustup toolchain install nightly-2026-05-20 --component rust-src"
            )
        }
        _ => "rustup toolchain install nightly-2026-05-20 --component rust-src".to_owned(),
    };
    let with_apt = match facts.apt {
        Apt::Absent => String::new(),
        Apt::Ready | Apt::NotRoot => format!("; or, as root, apt-get install {}", DEBIAN_PACKAGES.join(" ")),
    };
    format!("no compiler for eBPF here: {with_rustup}{with_apt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(llvm: u32, has_core: bool) -> Compiler {
        Compiler { llvm: Some(llvm), has_core, libraries: Some("/llvm".into()) }
    }

    fn facts(debian: Option<Compiler>, nightly: Option<Compiler>, apt: Apt) -> Facts {
        Facts { debian, nightly: nightly.map(|compiler| ("nightly".to_owned(), compiler)), apt }
    }

    fn missing(plan: Plan) -> String {
        match plan {
            Plan::Missing(advice) => advice,
            other => panic!("expected advice, decided {other:?}"),
        }
    }

    #[test]
    fn debian_wins_when_both_work() {
        let plan = decide(&facts(Some(compiler(22, true)), Some(compiler(22, true)), Apt::Ready));
        assert_eq!(plan, Plan::Debian { libraries: "/llvm".into() });
    }

    #[test]
    fn a_working_nightly_wins_over_a_download() {
        for debian in [None, Some(compiler(22, false)), Some(compiler(19, true))] {
            let plan = decide(&facts(debian, Some(compiler(22, true)), Apt::Ready));
            assert_eq!(plan, Plan::Nightly { toolchain: "nightly".into(), libraries: "/llvm".into() });
        }
    }

    #[test]
    fn a_fresh_debian_installs_packages() {
        assert_eq!(decide(&facts(None, None, Apt::Ready)), Plan::InstallDebian);
        assert_eq!(decide(&facts(Some(compiler(22, false)), None, Apt::Ready)), Plan::InstallDebian);
        assert_eq!(decide(&facts(None, Some(compiler(22, false)), Apt::Ready)), Plan::InstallDebian);
    }

    #[test]
    fn a_missing_llvm_library_is_installed_too() {
        let without = Compiler { libraries: None, ..compiler(22, true) };
        assert_eq!(decide(&facts(Some(without), None, Apt::Ready)), Plan::InstallDebian);
    }

    #[test]
    fn advice_names_the_component_that_an_otherwise_fitting_nightly_lacks() {
        let advice = missing(decide(&facts(None, Some(compiler(22, false)), Apt::Absent)));
        assert!(advice.contains("rustup component add rust-src --toolchain nightly"), "{advice}");
        assert!(!advice.contains("apt-get"), "{advice}");
    }

    #[test]
    fn advice_names_the_nightly_that_fits_when_llvm_does_not() {
        let advice = missing(decide(&facts(Some(compiler(23, true)), Some(compiler(23, true)), Apt::Ready)));
        assert!(advice.contains("LLVM 23") && advice.contains("nightly-"), "{advice}");
    }

    #[test]
    fn advice_without_root_names_the_packages() {
        let advice = missing(decide(&facts(None, None, Apt::NotRoot)));
        assert!(advice.contains("apt-get install rustc-web"), "{advice}");
        assert!(!advice.contains('\n'), "{advice}");
    }
}
