//! Sets of channels, stored as ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of channels as sorted ranges that do not touch: maps start to end.
#[derive(Clone, Default)]
pub(super) struct Channels(BTreeMap<usize, usize>);

impl Channels {
    /// Whether the set contains the whole range.
    pub(super) fn hold(&self, range: &Range<usize>) -> bool {
        range.is_empty() || self.0.range(..=range.start).next_back().is_some_and(|(_, end)| range.end <= *end)
    }

    /// Adds a range. Returns `false`, without adding anything, if the set already contains some of it.
    pub(super) fn add(&mut self, range: &Range<usize>) -> bool {
        if range.is_empty() {
            return true;
        }
        let (mut start, mut end) = (range.start, range.end);
        if let Some((before, at)) = self.0.range(..=start).next_back().map(|(s, e)| (*s, *e)) {
            if at > start {
                return false;
            }
            if at == start {
                start = before;
            }
        }
        if let Some((next, after)) = self.0.range(range.start..).next().map(|(s, e)| (*s, *e)) {
            if next < end {
                return false;
            }
            if next == end {
                self.0.remove(&next);
                end = after;
            }
        }
        self.0.insert(start, end);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_sets(ranges in prop::collection::vec((0usize..24, 0usize..8), 0..24), asked in (0usize..24, 0usize..8)) {
            let mut set = Channels::default();
            let mut each = [false; 32];
            for (start, len) in ranges {
                let range = start..start + len;
                let apart = !each[range.clone()].contains(&true);
                prop_assert_eq!(set.add(&range), apart);
                if apart {
                    each[range].fill(true);
                }
            }
            let asked = asked.0..asked.0 + asked.1;
            prop_assert_eq!(set.hold(&asked), each[asked].iter().all(|c| *c));
            let parts: Vec<_> = set.0.iter().collect();
            prop_assert!(parts.windows(2).all(|w| w[0].1 < w[1].0), "{:?}", parts);
        }
    }
}
