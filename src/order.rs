//! Sorting by one function. A program holds a sorting algorithm for every type and key that it sorts by, and a download for browsers should
//! not.

use std::cmp::Ordering;

/// The indices of `len` items in ascending order, by a comparison of items at two indices. Equal items keep their order.
pub(crate) fn ascending(len: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_unstable_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
    order
}

/// Sorts items by a key. Equal items keep their order.
pub(crate) fn sort_by_key<T: Clone, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let order = ascending(items.len(), &|a, b| key(&items[a]).cmp(&key(&items[b])));
    *items = order.into_iter().map(|i| items[i].clone()).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_items_keep_their_order() {
        let mut words = vec!["pear", "fig", "plum", "nut", "apple"];
        sort_by_key(&mut words, |word| word.len());
        assert_eq!(words, ["fig", "nut", "pear", "plum", "apple"]);
        assert_eq!(ascending(3, &|a, b| b.cmp(&a)), [2, 1, 0]);
    }
}
