//! Text made safe for a terminal: nothing in it can steer one.
//!
//! In: text and bytes that others chose: names of pins, sources of mounts, answers of a daemon, lines of a log. Out: the
//! same, to any writer, with every character spelled out that moves the cursor, hides text or turns its direction.
//! Must not: open a stream, change what an ordinary name looks like, nor what a line of JSON means.

use std::fmt;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Most characters of one value from outside: more than any name there is.
pub const NAME: usize = 256;
/// Most characters of one sentence or line: longer ones are no longer read by anybody.
pub const LINE: usize = 4096;
/// How much is looked at in one piece.
const PIECE: usize = 16 << 10;

/// One value in one line: nothing in it steers a terminal or begins a new line, and it ends after so many characters.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    text: &'a str,
    most: usize,
}

impl<'a> Shown<'a> {
    /// A name.
    #[must_use]
    pub const fn name(text: &'a str) -> Self {
        Self { text, most: NAME }
    }

    /// A sentence or a whole line.
    #[must_use]
    pub const fn line(text: &'a str) -> Self {
        Self { text, most: LINE }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, most } = *self;
        let fits = text.char_indices().nth(most).is_none();
        if fits && !text.contains(steers) {
            return f.pad(text);
        }
        let mut shown = String::with_capacity(text.len().min(4 * most) + 32);
        if fits {
            spell_line(&mut shown, text)?;
        } else {
            // Of a long error the beginning tells where, the end why and what to do.
            let behind = most / 4;
            let head = text.char_indices().nth(most - behind).map_or(text.len(), |(end, _)| end);
            let tail = text.char_indices().rev().take(behind).last().map_or(text.len(), |(start, _)| start);
            spell_line(&mut shown, text.get(..head).unwrap_or_default())?;
            write!(shown, "...({} bytes in all)...", text.len())?;
            spell_line(&mut shown, text.get(tail..).unwrap_or_default())?;
        }
        f.pad(&shown)
    }
}

/// How what steers a terminal is spelled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// `\u{9b}`
    Text,
    /// `\u009b`, which means the same to whoever reads JSON.
    Json,
}

/// A writer that may lead to a terminal: everything but line ends that would steer one is spelled out.
///
/// Values that may hold a line end of their own go through [`Shown`] first: here their lines look like any other.
#[derive(Debug)]
pub struct Terminal<W: Write> {
    out: W,
    notation: Notation,
    /// The first bytes of a character whose others have not come yet.
    begun: Vec<u8>,
}

impl<W: Write> Terminal<W> {
    pub const fn new(out: W, notation: Notation) -> Self {
        Self { out, notation, begun: Vec::new() }
    }

    fn spell(&self, to: &mut String, symbol: char) -> fmt::Result {
        match self.notation {
            Notation::Text => spell(to, symbol),
            Notation::Json => {
                let mut units = [0; 2];
                symbol.encode_utf16(&mut units).iter().try_for_each(|unit| write!(to, "\\u{unit:04x}"))
            }
        }
    }

    fn spell_text(&self, to: &mut String, text: &str) -> fmt::Result {
        for symbol in text.chars() {
            if symbol != '\n' && steers(symbol) { self.spell(to, symbol)? } else { to.push(symbol) }
        }
        Ok(())
    }

    /// What can be said of these bytes, and those of a character that is not whole yet.
    fn spelled(&self, bytes: &[u8]) -> Result<(String, Vec<u8>), fmt::Error> {
        let mut to = String::with_capacity(bytes.len() + 16);
        let mut rest = bytes;
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.spell_text(&mut to, text)?;
                    return Ok((to, Vec::new()));
                }
                Err(error) => error,
            };
            let (valid, wrong) = rest.split_at(error.valid_up_to());
            self.spell_text(&mut to, std::str::from_utf8(valid).unwrap_or_default())?;
            let Some(length) = error.error_len() else { return Ok((to, wrong.to_vec())) };
            let (wrong, next) = wrong.split_at(length);
            self.spell_bytes(&mut to, wrong)?;
            rest = next;
        }
    }

    /// Bytes that are no text: in JSON the character that stands for such.
    fn spell_bytes(&self, to: &mut String, bytes: &[u8]) -> fmt::Result {
        match self.notation {
            Notation::Text => bytes.iter().try_for_each(|byte| write!(to, "\\x{byte:02x}")),
            Notation::Json => to.write_char(char::REPLACEMENT_CHARACTER),
        }
    }
}

impl<W: Write> Write for Terminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.begun.is_empty() && bytes.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
            return self.out.write(bytes);
        }
        let taken = bytes.get(..PIECE).unwrap_or(bytes);
        self.begun.extend_from_slice(taken);
        let (spelled, begun) = self.spelled(&self.begun).map_err(io::Error::other)?;
        self.begun = begun;
        self.out.write_all(spelled.as_bytes())?;
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Drop for Terminal<W> {
    fn drop(&mut self) {
        let mut spelled = String::new();
        if !self.begun.is_empty() && self.spell_bytes(&mut spelled, &self.begun).is_ok() {
            // Nobody is left to be told of a failure.
            let _ = self.out.write_all(spelled.as_bytes());
        }
    }
}

/// Whether a character does anything but show itself: control characters (escape, the C1 ones, delete), marks that turn
/// the direction of text, ends of lines and paragraphs, and what is not seen at all.
const fn steers(symbol: char) -> bool {
    matches!(
        symbol,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn spell_line(to: &mut String, text: &str) -> fmt::Result {
    text.chars().try_for_each(|symbol| if steers(symbol) { spell(to, symbol) } else { to.write_char(symbol) })
}

fn spell(to: &mut String, symbol: char) -> fmt::Result {
    match symbol {
        '\n' => to.write_str("\\n"),
        '\r' => to.write_str("\\r"),
        '\t' => to.write_str("\\t"),
        _ => write!(to, "\\u{{{:x}}}", u32::from(symbol)),
    }
}

#[cfg(any(test, feature = "testing"))]
#[expect(clippy::panic, clippy::missing_panics_doc, reason = "for tests")]
pub mod hostile {
    //! Text as somebody would choose it who wants to steer the terminal of whoever reads it.

    /// Escape sequences that colour, retitle, erase and answer; C1; direction; line ends; a forged line; what is not seen.
    pub const TEXT: &str = "a\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{85}\r\nctmon: all is well\n\t\u{8}\u{7f}\0\
        \u{202e}gnp\u{202c}\u{2066}x\u{2069}\u{200f}\u{61c}\u{2028}\u{feff}\u{e0041}z";

    /// Fails when anything but ordinary characters and line ends is in these bytes.
    pub fn assert_tame(what: &str, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = text.chars().find(|symbol| *symbol != '\n' && super::steers(*symbol));
        assert_eq!(found, None, "{what}: {text:?}");
        // By another rule than the one that is tested.
        assert!(!bytes.iter().any(|byte| *byte != b'\n' && byte.is_ascii_control()), "{what}: {text:?}");
        for wild in ["\u{9b}", "\u{85}", "\u{202e}", "\u{2066}", "\u{200f}", "\u{2028}", "\u{e0041}"] {
            assert!(!text.contains(wild), "{what}: {text:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::hostile::{TEXT, assert_tame};
    use super::*;

    fn written(notation: Notation, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut terminal = Terminal::new(&mut out, notation);
        for piece in pieces {
            terminal.write_all(piece).unwrap();
        }
        drop(terminal);
        out
    }

    #[test]
    fn what_steers_is_spelled_out_and_all_else_is_as_it_was() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Shown::line(text).to_string(), expected);
        };
        check("", "");
        check(r"\\nas\media, größer als 5 µs: 日本語 ✓", r"\\nas\media, größer als 5 µs: 日本語 ✓");
        check("\u{1b}[2J", "\\u{1b}[2J");
        check("a\nb\r\tc", "a\\nb\\r\\tc");
        check("\u{9b}1m\u{202e}abc", "\\u{9b}1m\\u{202e}abc");
        assert_tame("a value", Shown::line(TEXT).to_string().as_bytes());
        assert_eq!(Shown::line(TEXT).to_string().lines().count(), 1);
    }

    #[test]
    fn a_value_is_padded_as_it_is_shown_and_ends_somewhere() {
        assert_eq!(format!("{:<8}|", Shown::name("abc")), "abc     |");
        assert_eq!(format!("{:<8}|", Shown::name("a\tc")), "a\\tc    |");
        let endless = Shown::name(&format!("{}: do this", "ä".repeat(70_000))).to_string();
        let head = format!("{}...(140009 bytes in all)...ä", "ä".repeat(NAME * 3 / 4));
        assert!(endless.starts_with(&head) && endless.ends_with("ä: do this"), "{endless}");
        assert_eq!(endless.chars().count(), NAME + "...(140009 bytes in all)...".len());
        assert_eq!(Shown::name(&"x".repeat(NAME)).to_string().len(), NAME);
    }

    #[test]
    fn lines_pass_and_characters_may_come_in_pieces() {
        let plain = b"MAP   PROTO\nct4_global \xe2\x9c\x93\n";
        for cut in 0..plain.len() {
            let (head, tail) = plain.split_at(cut);
            assert_eq!(written(Notation::Text, &[head, tail]), plain, "cut at {cut}");
        }
        let hostile = TEXT.as_bytes();
        let whole = written(Notation::Text, &[hostile]);
        assert_tame("text", &whole);
        for cut in 0..hostile.len() {
            let (head, tail) = hostile.split_at(cut);
            assert_eq!(written(Notation::Text, &[head, tail]), whole, "cut at {cut}");
        }
        assert_eq!(written(Notation::Text, &[b"a\xffb\xe2\x9c"]), br"a\xffb\xe2\x9c");
    }

    #[test]
    fn json_means_what_it_meant() {
        let object = serde_json::json!({ "name": TEXT, "plain": "größer" });
        let written = written(Notation::Json, &[object.to_string().as_bytes(), b"\n"]);
        assert_tame("JSON", &written);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&written).unwrap(), object);
        assert!(String::from_utf8(written).unwrap().contains("größer"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_tamed_whatever_the_pieces(pieces: Vec<Vec<u8>>, json: bool) {
            let notation = if json { Notation::Json } else { Notation::Text };
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            assert_tame("bytes", &written(notation, &pieces));
        }
    }
}
