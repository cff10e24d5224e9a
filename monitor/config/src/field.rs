//! How one field is read: checks run inside the YAML reader, so that an error knows its key and line.
//!
//! In: serde events. Out: checked values, or an error that the reader completes with path, line and column.
//! Must not: buffer values (`untagged`, `flatten`): their errors lose the position.

use std::fmt::{self, Formatter};
use std::marker::PhantomData;
use std::time::Duration;

use monitor_model::duration;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::range::Range;

/// A value that is checked right where it is read.
pub(super) trait Field: Sized {
    /// What the reader fills first.
    type Raw: for<'de> Deserialize<'de>;
    /// For messages: what belongs here.
    const EXPECTED: &'static str;
    fn check(raw: Self::Raw) -> Result<Self, String>;
}

/// Reads a scalar through its text: `15`, `"15"` and `'15'` are the same to us.
pub(super) fn text<'de, T: Field<Raw = String>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Checked(PhantomData))
}

/// Reads a mapping.
pub(super) fn map<'de, T: Field, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(CheckedMap(PhantomData))
}

/// Reads a sequence.
pub(super) fn seq<'de, T: Field, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_seq(CheckedSeq(PhantomData))
}

/// Implements `Deserialize` for a [`Field`] by `text`, `map` or `seq`.
macro_rules! read_as {
    ($how:ident: $($name:ty),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::field::$how(deserializer)
            }
        }
    )+};
}
pub(super) use read_as;

struct Checked<T>(PhantomData<T>);
struct CheckedMap<T>(PhantomData<T>);
struct CheckedSeq<T>(PhantomData<T>);

impl<T: Field<Raw = String>> Visitor<'_> for Checked<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::check(text.to_owned()).map_err(E::custom)
    }
}

impl<'de, T: Field> Visitor<'de> for CheckedMap<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<T, A::Error> {
        T::check(T::Raw::deserialize(MapAccessDeserializer::new(access))?).map_err(Error::custom)
    }
}

impl<'de, T: Field> Visitor<'de> for CheckedSeq<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<T, A::Error> {
        T::check(T::Raw::deserialize(SeqAccessDeserializer::new(access))?).map_err(Error::custom)
    }
}

/// A list of fields.
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Field + Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Field + Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list `[..]`, in which each is {}", T::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<List<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(access)).map(List)
    }
}

/// True or false, in YAML's spelling.
#[derive(Clone, Copy)]
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bool(FlagVisitor)
    }
}

struct FlagVisitor;

impl Visitor<'_> for FlagVisitor {
    type Value = Flag;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
        Ok(Flag(value))
    }
}

/// A mapping with free keys, in file order; a key given twice is an error instead of a silent loss.
pub(super) struct Pairs<K, V>(pub(super) Vec<(K, V)>);

impl<K, V> Default for Pairs<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, K: Deserialize<'de> + PartialEq, V: Field + Deserialize<'de>> Deserialize<'de> for Pairs<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + PartialEq, V: Field + Deserialize<'de>> Visitor<'de> for PairsVisitor<K, V> {
    type Value = Pairs<K, V>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "a mapping `{{name: ..}}`, in which each is {}", V::EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Pairs<K, V>, A::Error> {
        let mut pairs: Vec<(K, V)> = Vec::new();
        while let Some((key, value)) = access.next_entry()? {
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(Error::custom("a key is given twice: keep one of them"));
            }
            pairs.push((key, value));
        }
        Ok(Pairs(pairs))
    }
}

/// What a name may be: it becomes a label value, so its alphabet is small and its length bounded.
pub(super) fn check_name(name: &str, reserved: &str) -> Result<(), String> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if name == reserved {
        return Err(format!("the name `{name}` is reserved: choose another"));
    }
    if name.is_empty() || name.len() > 63 || !name.bytes().all(allowed) {
        return Err(format!("`{name}` cannot be a name: use 1 to 63 of a-z, 0-9, _ and -"));
    }
    Ok(())
}

/// A duration of any length.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) Duration);

/// A duration between two bounds, in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Bounded<const MIN: u64, const MAX: u64>(pub(super) Duration);

/// A word out of a few.
pub(super) trait Choice: Copy + 'static {
    const ALL: &'static [Self];
    fn word(self) -> &'static str;

    /// What else it is called elsewhere, for whoever took the wrong name.
    fn alias(self) -> Option<String> {
        None
    }
}

impl Field for Time {
    type Raw = String;
    const EXPECTED: &'static str = "a duration like 15s";

    fn check(raw: String) -> Result<Self, String> {
        duration::parse(&raw).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// For whoever describes the key.
    pub(super) const RANGE: Range = Range::Durations(MIN, MAX);
}

impl<const MIN: u64, const MAX: u64> Field for Bounded<MIN, MAX> {
    type Raw = String;
    const EXPECTED: &'static str = "a duration like 15s";

    fn check(raw: String) -> Result<Self, String> {
        let value = duration::parse(&raw)?;
        let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
        if (min..=max).contains(&value) {
            Ok(Self(value))
        } else {
            Err(format!("{raw} is not between {} and {}", duration::format(min), duration::format(max)))
        }
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

read_as!(text: Time);

/// Finds the word or says which ones exist.
pub(super) fn choose<T: Choice>(raw: &str) -> Result<T, String> {
    T::ALL.iter().copied().find(|choice| choice.word() == raw).ok_or_else(|| {
        let known = T::ALL.iter().map(|choice| match choice.alias() {
            Some(alias) => format!("{} ({alias})", choice.word()),
            None => choice.word().to_owned(),
        });
        format!("`{raw}` is unknown: use one of {}", known.collect::<Vec<_>>().join(", "))
    })
}

/// Implements [`Choice`] for enums of the model, whose words are their names.
macro_rules! choice {
    ($($name:ty),+ $(,)?) => {$(
        impl $crate::field::Choice for $name {
            const ALL: &'static [Self] = <$name>::ALL;

            fn word(self) -> &'static str {
                self.name()
            }
        }
    )+};
}
pub(super) use choice;

/// A [`Choice`] as it is read: by its word.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Word<T>(pub(super) T);

impl<'de, T: Choice> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor(PhantomData))
    }
}

struct WordVisitor<T>(PhantomData<T>);

impl<T: Choice> Visitor<'_> for WordVisitor<T> {
    type Value = Word<T>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "one of {}", words::<T>(" "))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Word<T>, E> {
        choose(text).map(Word).map_err(E::custom)
    }
}

/// The words there are.
pub(super) fn words<T: Choice>(separator: &str) -> String {
    let words: Vec<_> = T::ALL.iter().map(|choice| choice.word()).collect();
    words.join(separator)
}
