//! Values of environment variables that the command line refuses.
//!
//! In: an error of the command line, the commands. Out: one line with the variable's name, which the error lacks.
//! Must not: print a value that help hides.

use std::env;

use clap::error::{ContextKind, ContextValue, Error};
use clap::{Arg, Command};

/// The error in one line, if a variable caused it: whoever set it for one verb reads the error of another.
pub(super) fn named(error: &Error, mut command: Command) -> Option<String> {
    // What an argument is called is known only then.
    command.build();
    let (argument, value) = (text(error, ContextKind::InvalidArg)?, text(error, ContextKind::InvalidValue)?);
    let given: Vec<String> = env::args().skip(1).collect();
    let verb = command.get_subcommands().find(|verb| given.iter().any(|word| word == verb.get_name()))?;
    let refused =
        verb.get_arguments().chain(command.get_arguments()).find(|arg| arg.to_string() == argument)?;
    let variable = refused.get_env()?.to_str()?;
    let is_cause = !is_given(refused, &given) && !refused.is_hide_env_values_set();
    (is_cause && env::var(variable).is_ok_and(|set| set.contains(&value)))
        .then(|| sentence(error, refused, verb.get_name(), variable, &value))
}

fn sentence(error: &Error, refused: &Arg, verb: &str, variable: &str, value: &str) -> String {
    let words = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(words)) if !words.is_empty() => format!("use one of {}", words.join(", ")),
        _ => std::error::Error::source(error).map(ToString::to_string).unwrap_or_default(),
    };
    let flag = refused.get_long().unwrap_or_default();
    format!("ctmon: {variable} is `{value}`, which `ctmon {verb}` does not take: {words}, or give --{flag}\n")
}

/// Whether the flag is on the command line, which goes before its variable.
fn is_given(flag: &Arg, given: &[String]) -> bool {
    let long = flag.get_long().map(|long| format!("--{long}"));
    let short = flag.get_short().map(|short| format!("-{short}"));
    given.iter().any(|word| {
        let named = word.split('=').next();
        long.as_deref().is_some_and(|long| named == Some(long))
            || short.as_deref().is_some_and(|short| word.starts_with(short))
    })
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}
