//! Whether YAML from outside is cheap enough to be read.
//!
//! In: text. Out: why it is refused. Must not: parse it.

/// Most `%` directives: the YAML reader compares each with all others.
const MAX_DIRECTIVES: usize = 16;

/// With every token the YAML reader visits every `[` and `{` that is open, and it has no bound for how many are open: this
/// many visits take well below a second. Brackets inside of text and closed ones are counted too, because only another
/// parser could exclude them.
const MAX_VISITS: usize = 1 << 29;

/// Whether the YAML reader can read this text quickly.
pub fn check_cost(text: &[u8]) -> Result<(), String> {
    let opened = text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opened.saturating_mul(text.len()) > MAX_VISITS {
        return Err(format!(
            "{opened} times `[` or `{{` in {} bytes might be nested too deeply to be read: write lists line by line",
            text.len()
        ));
    }
    let directives =
        text.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| line.starts_with(b"%")).count();
    if directives > MAX_DIRECTIVES {
        return Err(format!("{directives} lines begin with `%`: no configuration needs YAML directives"));
    }
    Ok(())
}
