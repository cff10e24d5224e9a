//! Names with `*` in them.
//!
//! In: a selector of the configuration and a name. Out: whether it selects. Must not: backtrack without a bound.

/// The literal parts between the stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(Vec<String>);

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|only| only == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        // The leftmost place of each part leaves the most for those behind it.
        for part in middle {
            let Some((_, behind)) = rest.split_once(part.as_str()) else { return false };
            rest = behind;
        }
        rest.ends_with(last.as_str())
    }
}

/// No selector selects everything.
pub(super) fn selects(globs: &[Glob], name: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob.matches(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        let check = |glob: &str, name: &str, expected: bool| {
            assert_eq!(Glob::new(glob).matches(name), expected, "{glob} {name}");
        };
        check("trident", "trident", true);
        check("trident", "trident-system", false);
        check("trident*", "trident", true);
        check("trident-*", "trident-controller-6d9", true);
        check("*controller*", "trident-controller-6d9", true);
        check("*-node", "trident-node", true);
        check("a*a", "a", false);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-c-b", false);
        check("*", "", true);
        check("", "", true);
        check("", "x", false);
        assert!(
            selects(&[], "x")
                && selects(&[Glob::new("y"), Glob::new("x")], "x")
                && !selects(&[Glob::new("y")], "x")
        );
    }

    proptest! {
        #[test]
        fn a_name_with_parts_replaced_by_stars_selects_itself(parts in prop::collection::vec("[ab-]{0,4}", 1..6)) {
            let name = parts.concat();
            prop_assert!(Glob::new(&parts.join("*")).matches(&name));
        }
    }
}
