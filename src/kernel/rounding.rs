//! How far the arithmetic of a kernel may be from the exact sum.

/// A kernel's own factor on the rounding bound of a sum.
///
/// With u = 2^-24, an element of `sum w x + bias + adds` of so many terms differs from the exact sum by at most
/// `factor * (terms + 2) * u * (sum |w| |x| + |bias| + sum |adds|)`, where for every weight of a convolved window
/// `|x|` is the largest magnitude of its channel within `reach` rows and columns of the window's centre; with a reach of
/// [`None`] it is the element that the weight is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// What the bound of a plain sum is multiplied by.
    pub factor: f64,
    /// How far around the centre of a window inputs matter, where others than the window's do.
    pub reach: Option<usize>,
}

impl Rounding {
    /// Products summed in any order.
    pub const DIRECT: Rounding = Rounding { factor: 1.0, reach: None };

    /// A bound for what either of two kernels made.
    pub fn or(self, other: Rounding) -> Rounding {
        Rounding { factor: self.factor.max(other.factor), reach: self.reach.max(other.reach) }
    }
}
