//! How far the arithmetic of a kernel may be from the exact sum.

/// A kernel's own rounding bound of a sum.
///
/// With u = 2^-24, an element of `sum w x + bias + adds` of so many terms differs from the exact sum by at most
/// [`of`](Rounding::of)`(terms) * u * (sum |w| |x| + |bias| + sum |adds|)`, where for every weight of a convolved window
/// `|x|` is the largest magnitude of its channel within `reach` rows and columns of the window's centre; with a reach of
/// [`None`] it is the element that the weight is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// How many times as large as the terms of the sum the magnitudes may be that the kernel sums.
    pub gain: f64,
    /// Roundings that one of them passes besides those of adding up the terms.
    pub extra_roundings: usize,
    /// The most terms that are added up, where a kernel adds up fewer than the sum has.
    pub max_terms: usize,
    /// How far around the centre of a window inputs matter, where others than the window's do.
    pub reach: Option<usize>,
}

impl Rounding {
    /// Products summed in any order.
    pub const DIRECT: Rounding =
        Rounding { gain: 1.0, extra_roundings: 2, max_terms: usize::MAX, reach: None };

    /// A bound for what either of two kernels made.
    pub fn or(self, other: Rounding) -> Rounding {
        Rounding {
            gain: self.gain.max(other.gain),
            extra_roundings: self.extra_roundings.max(other.extra_roundings),
            max_terms: self.max_terms.max(other.max_terms),
            reach: self.reach.max(other.reach),
        }
    }

    /// Units of rounding of a sum of so many terms.
    pub fn of(self, terms: usize) -> f64 {
        self.gain * (terms.min(self.max_terms) + self.extra_roundings) as f64
    }
}
