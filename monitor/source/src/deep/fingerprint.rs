//! Tuples as 64-bit fingerprints: what makes a join of a million entries fit in a few megabytes.
//!
//! In: a tuple, a tag. Out: a keyed hash of it, and sorted sets. Must not: be stored beyond the process: the key is
//! random, so that nobody can choose tuples that collide.
//!
//! The tag takes the low byte, 56 bits remain: of a million entries one in 70,000 runs confuses two.

use std::hash::{BuildHasher, Hash, RandomState};

/// Bits of the tag.
const TAG: u64 = 0xff;

/// The key of this process.
#[derive(Clone, Debug, Default)]
pub struct Fingerprints(RandomState);

impl Fingerprints {
    #[must_use]
    pub fn of(&self, tuple: &impl Hash) -> u64 {
        self.0.hash_one(tuple) & !TAG
    }

    /// With a tag that can be read back.
    #[must_use]
    pub fn tagged(&self, tuple: &impl Hash, tag: u8) -> u64 {
        self.of(tuple) | u64::from(tag)
    }
}

/// The tag of a fingerprint.
#[must_use]
pub const fn tag_of(fingerprint: u64) -> u8 {
    fingerprint.to_le_bytes()[0]
}

/// A sorted set; sorted when it is first complete.
#[derive(Clone, Debug, Default)]
pub struct Sorted(Vec<u64>);

impl Sorted {
    #[must_use]
    pub fn new(mut fingerprints: Vec<u64>) -> Self {
        fingerprints.sort_unstable();
        Self(fingerprints)
    }

    #[must_use]
    pub fn contains(&self, fingerprint: u64) -> bool {
        self.0.binary_search(&fingerprint).is_ok()
    }

    /// Keeps those without an equal one.
    pub fn retain_singles(&mut self) {
        let mut kept = 0;
        let mut at = 0;
        while let Some(&fingerprint) = self.0.get(at) {
            let run = self.0.iter().skip(at).take_while(|other| **other == fingerprint).count();
            if run == 1
                && let Some(place) = self.0.get_mut(kept)
            {
                *place = fingerprint;
                kept += 1;
            }
            at += run;
        }
        self.0.truncate(kept);
        self.0.shrink_to_fit();
    }

    /// Those in both sets.
    pub fn common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u64> + 'a {
        self.0.iter().copied().filter(|fingerprint| other.contains(*fingerprint))
    }

    /// Keeps the smallest ones only: which is a random choice, and the same one in the next scan.
    pub fn truncate(&mut self, most: usize) {
        self.0.truncate(most);
        self.0.shrink_to_fit();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_back_and_do_not_change_the_rest() {
        let prints = Fingerprints::default();
        let (plain, tagged) = (prints.of(&(1, 2)), prints.tagged(&(1, 2), 64));
        assert_eq!((tag_of(plain), tag_of(tagged)), (0, 64));
        assert_eq!(plain, tagged & !TAG);
        assert_ne!(prints.of(&(1, 2)), prints.of(&(2, 1)));
        assert_ne!(prints.of(&1), Fingerprints::default().of(&1), "every process has its key");
    }

    #[test]
    fn only_singles_stay() {
        let mut set = Sorted::new(vec![5, 3, 5, 9, 1, 1, 1, 7]);
        set.retain_singles();
        assert_eq!(set.0, [3, 7, 9]);
        assert_eq!(set.common(&Sorted::new(vec![9, 4, 3])).collect::<Vec<_>>(), [3, 9]);
        set.truncate(1);
        assert_eq!((set.len(), set.is_empty()), (1, false));
    }

    #[test]
    fn a_million_tuples_keep_apart() {
        let prints = Fingerprints::default();
        let set = Sorted::new((0..1_000_000_u32).map(|number| prints.of(&number)).collect());
        let same = set.0.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(same, 0);
    }
}
