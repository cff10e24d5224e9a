//! The kernel's own type information, searched for the offsets no library knows.
//!
//! In: the bytes of /sys/kernel/btf/vmlinux. Out: whether a function exists, where a member of a structure lies.
//! Must not: copy types: the file has a hundred thousand, and two are asked for.
//!
//! Format: <https://docs.kernel.org/bpf/btf.html>.

/// What counts a map's elements, Linux 6.6 and later.
const COUNT_FUNCTION: &str = "bpf_map_sum_elem_count";

const MAGIC: u16 = 0xeb9f;

const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_FUNC: u32 = 12;

/// Where the programs that follow evictions and ask for counts find what they need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Whether the kernel has the function that is attached to.
    pub function: bool,
    /// Bytes from an element's LRU node to its key.
    pub key_offset: Option<u32>,
    /// The number of the type of the kernel's function that counts a map's elements.
    pub count_function: Option<u32>,
    /// Bytes from the start of a map to its id.
    pub map_id: Option<u32>,
}

/// Searches type information for what the programs need; `None` if it is none of this machine's byte order.
#[must_use]
pub fn parse_places(bytes: &[u8], function: &str) -> Option<Places> {
    Types::new(bytes).map(|types| types.places(function))
}

/// Types as they lie in the file.
#[derive(Clone, Copy, Debug)]
struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

/// One type: its name, its kind, and what follows its head.
#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    name: u32,
    kind: u32,
    /// Whether member offsets carry the width of a bit field too.
    kind_flag: bool,
    rest: &'a [u8],
}

impl<'a> Types<'a> {
    /// Finds the sections; `None` if this is no type information of this machine's byte order.
    fn new(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let header = |index: usize| Some(word(bytes.get(index..)?)? as usize);
        let body = bytes.get(header(4)?..)?;
        let section = |at: usize| body.get(header(at)?..)?.get(..header(at + 4)?);
        Some(Self { types: section(8)?, strings: section(16)? })
    }

    fn places(&self, function: &str) -> Places {
        let [node, key] = ["lru_node", "key"].map(|member| self.offset_of("htab_elem", member));
        Places {
            function: self.has_function(function),
            // The program takes this from the node's address: one byte has to do.
            key_offset: key
                .zip(node)
                .and_then(|(key, node)| key.checked_sub(node))
                .filter(|offset| *offset < 256),
            count_function: self.function_number(COUNT_FUNCTION),
            map_id: self.offset_of("bpf_map", "id"),
        }
    }

    /// Whether the kernel has a function of this name that programs may attach to.
    fn has_function(&self, name: &str) -> bool {
        self.all().any(|found| found.kind == KIND_FUNC && self.is_called(found, name))
    }

    /// The number of a function's type.
    fn function_number(&self, name: &str) -> Option<u32> {
        let at = self.all().position(|found| found.kind == KIND_FUNC && self.is_called(found, name))?;
        // Types count from 1.
        u32::try_from(at + 1).ok()
    }

    /// Bytes from the start of a structure to a member of it, which may lie in an anonymous part.
    fn offset_of(&self, structure: &str, member: &str) -> Option<u32> {
        self.all()
            .filter(|found| found.kind == KIND_STRUCT && self.is_called(*found, structure))
            .find_map(|found| self.offset_within(found, member, 0))
    }

    fn offset_within(&self, outer: Type<'a>, member: &str, depth: u32) -> Option<u32> {
        // No structure of the kernel nests so deep; a malformed one must not recurse for ever.
        if depth > 8 || !matches!(outer.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        outer.rest.chunks_exact(12).find_map(|record| {
            let [name, inner, place] = [0, 4, 8].map(|at| record.get(at..).and_then(word).unwrap_or(0));
            let bits = if outer.kind_flag { place & 0x00ff_ffff } else { place };
            if self.string_is(name, member) {
                return Some(bits / 8);
            }
            // Anonymous: its members are the outer one's. Types count from 1.
            let inner = usize::try_from(inner).ok()?.checked_sub(1)?;
            let inner = self.all().nth(inner).filter(|_| self.string_is(name, ""))?;
            Some(bits / 8 + self.offset_within(inner, member, depth + 1)?)
        })
    }

    fn is_called(&self, found: Type<'_>, name: &str) -> bool {
        self.string_is(found.name, name)
    }

    fn string_is(&self, offset: u32, text: &str) -> bool {
        let found = usize::try_from(offset).ok().and_then(|offset| self.strings.get(offset..));
        found
            .and_then(|found| found.strip_prefix(text.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    fn all(&self) -> impl Iterator<Item = Type<'a>> + use<'a> {
        let mut left = self.types;
        std::iter::from_fn(move || {
            let (head, body) = left.split_first_chunk::<12>()?;
            let [name, info] = [0, 4].map(|at| head.get(at..).and_then(word).unwrap_or(0));
            let kind = info >> 24 & 0x1f;
            let (rest, after) = body.split_at_checked(size_after_head(kind, info & 0xffff)?)?;
            left = after;
            Some(Type { name, kind, kind_flag: info >> 31 != 0, rest })
        })
    }
}

/// Bytes after a type's head, by kind and number of records; `None` for kinds of the future.
fn size_after_head(kind: u32, records: u32) -> Option<usize> {
    let records = usize::try_from(records).ok()?;
    Some(match kind {
        // Pointers, forwards, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=KIND_FUNC | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * records,
        // Enumerations, prototypes.
        6 | 13 => 8 * records,
        _ => return None,
    })
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Type information out of words and names; names are given as offsets into `strings`.
    fn build(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap();
        for word in [24, 0, length(&types), length(&types), length(strings)] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    const STRINGS: &[u8] = b"\0htab_elem\0key\0lru_node\0hash\0evict\0";
    const HTAB_ELEM: u32 = 1;
    const KEY: u32 = 11;
    const LRU_NODE: u32 = 15;
    const HASH: u32 = 24;
    const EVICT: u32 = 29;

    /// `struct htab_elem` as the kernel has it: a union of lists, a union with the LRU node, a hash, the key.
    #[rustfmt::skip]
    const TYPES: &[u32] = &[
        0, 1 << 24, 4, 32,                                   // 1: int
        0, KIND_UNION << 24 | 1, 24, LRU_NODE, 1, 0,         // 2: union { lru_node }
        HTAB_ELEM, KIND_STRUCT << 24 | 4, 48,                // 3: struct htab_elem
            0, 4, 0,                                         //    an anonymous union of lists
            0, 2, 16 * 8,                                    //    the anonymous union above
            HASH, 1, 40 * 8,
            KEY, 1, 48 * 8,
        0, KIND_UNION << 24, 16,                             // 4: union {}
        EVICT, KIND_FUNC << 24, 1,                           // 5: a function
    ];

    #[test]
    fn members_are_found_in_anonymous_parts_too() {
        let bytes = build(TYPES, STRINGS);
        let types = Types::new(&bytes).unwrap();
        let check = |member, expected| assert_eq!(types.offset_of("htab_elem", member), expected, "{member}");
        check("key", Some(48));
        check("hash", Some(40));
        check("lru_node", Some(16));
        check("lru", None);
        assert_eq!(types.offset_of("htab", "key"), None);
    }

    #[test]
    fn only_functions_count_as_functions() {
        let bytes = build(TYPES, STRINGS);
        let types = Types::new(&bytes).unwrap();
        assert!(types.has_function("evict"));
        assert!(!types.has_function("htab_elem") && !types.has_function("evic"));
        assert_eq!([types.function_number("evict"), types.function_number("htab_elem")], [Some(5), None]);
    }

    proptest! {
        #[test]
        fn any_bytes_behind_a_heading_are_searched_or_refused(types: Vec<u32>, strings: Vec<u8>, bytes: Vec<u8>) {
            let _ = parse_places(&build(&types, &strings), "evict");
            let _ = parse_places(&bytes, "evict");
        }
    }

    #[test]
    fn what_is_no_type_information_is_told() {
        assert!(Types::new(b"").is_none());
        assert!(Types::new(&[0; 64]).is_none());
        let mut cut = build(TYPES, STRINGS);
        cut.truncate(60);
        assert!(Types::new(&cut).is_none());
    }
}
