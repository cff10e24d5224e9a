//! Whether YAML from outside is cheap enough to be read.
//!
//! In: text. Out: a refusal in words. Must not: read it.

/// Most `%` directives, each of which the YAML reader compares with all others.
const MAX_DIRECTIVES: usize = 16;

/// With every token the YAML reader visits every `[` and `{` that is open, and nothing bounds how many are: so many visits
/// take it well below a second. Which of the brackets are text, and which are closed again, only a second reader could
/// tell; that all of them stay open is the worst that can be.
const MAX_VISITS: usize = 1 << 29;

/// Whether the YAML reader is through with this text in no time.
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
