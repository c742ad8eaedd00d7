//! Rounding bounds of kernels.

/// A kernel's rounding bound of a sum.
///
/// With u = 2^-24, an element of `sum w x + bias + adds` of so many terms differs from the exact sum by at most
/// [`of`](Rounding::of)`(terms) * u * (sum |w| |x| + |bias| + sum |adds|)`, where for every weight of a convolved window
/// `|x|` is the largest magnitude of its channel within `reach` rows and columns of the window's centre; with a reach of
/// [`None`] it is the element that the weight is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// Maximum ratio of the magnitudes the kernel sums to those of the terms of the sum.
    pub gain: f64,
    /// Roundings of a product besides those of adding up the terms.
    pub extra_roundings: usize,
    /// Maximum number of terms added up, where the kernel adds fewer than the sum has.
    pub max_terms: usize,
    /// Distance from the window's centre within which inputs affect the result, where that exceeds the window.
    pub reach: Option<usize>,
}

impl Rounding {
    /// Products summed in any order.
    pub const DIRECT: Rounding =
        Rounding { gain: 1.0, extra_roundings: 2, max_terms: usize::MAX, reach: None };

    /// A bound that holds for either of two kernels.
    pub fn or(self, other: Rounding) -> Rounding {
        Rounding {
            gain: self.gain.max(other.gain),
            extra_roundings: self.extra_roundings.max(other.extra_roundings),
            max_terms: self.max_terms.max(other.max_terms),
            reach: self.reach.max(other.reach),
        }
    }

    /// The bound for a sum of `terms` terms, in units of u.
    pub fn of(self, terms: usize) -> f64 {
        self.gain * (terms.min(self.max_terms) + self.extra_roundings) as f64
    }
}
