//! Element types of stored values.

use std::fmt;

/// The type of the values stored between dispatches and of packed weights. Sums, the network's input and output, biases, slopes, scales
/// and shifts are f32 in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// IEEE 754 binary32.
    #[default]
    F32,
    /// IEEE 754 binary16: half the memory, 11 bits of mantissa, at most 65504.
    F16,
}

impl Precision {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }

    /// The value read back after storing `value`: rounded to nearest even, or NaN if `value` is out of range. An overflow must not look
    /// like a number later, and an infinity would behind a rectifier.
    pub fn stored(self, value: f32) -> f32 {
        match self {
            Precision::F32 => value,
            Precision::F16 => {
                let half = half::f16::from_f32(value);
                if half.is_finite() { half.to_f32() } else { f32::NAN }
            }
        }
    }

    /// [`Precision::stored`] of every value.
    pub fn store(self, values: &mut [f32]) {
        if self != Precision::F32 {
            values.iter_mut().for_each(|v| *v = self.stored(*v));
        }
    }

    /// Maximum rounding error of storing a value of this magnitude.
    pub fn rounding(self, magnitude: f64) -> f64 {
        match self {
            Precision::F32 => 0.0,
            // Half a unit in the last of 11 bits; a whole unit below 2^-14, where drivers may round either way.
            Precision::F16 => (magnitude / 2048.0).max(1.0 / f64::from(1 << 24)),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        })
    }
}

/// Number of elements of a weight binding (quads of weights) that a quad of f32 parameters takes.
pub(super) fn parameter_elements(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 1,
        Precision::F16 => 2,
    }
}

/// A weight binding while it is filled.
pub(super) struct Words {
    words: Vec<u32>,
    precision: Precision,
}

impl Words {
    /// `elements` quads of weights, all zero.
    pub(super) fn new(elements: usize, precision: Precision) -> Words {
        Words { words: vec![0; elements * precision.bytes()], precision }
    }

    /// Sets a lane of the quad of weights at element `at`.
    pub(super) fn weight(&mut self, at: usize, lane: usize, value: f32) {
        match self.precision {
            Precision::F32 => self.words[at * 4 + lane] = value.to_bits(),
            Precision::F16 => {
                let bits = u32::from(half::f16::from_f32(value).to_bits());
                self.words[at * 2 + lane / 2] |= bits << (16 * (lane % 2));
            }
        }
    }

    /// Sets f32 parameters, starting at the first lane of element `at`.
    pub(super) fn parameters(&mut self, at: usize, values: &[f32]) {
        let at = at * self.precision.bytes();
        for (word, value) in self.words[at..].iter_mut().zip(values) {
            *word = value.to_bits();
        }
    }

    /// The words of the binding.
    pub(super) fn into_words(self) -> Vec<u32> {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_f16_stores() {
        let stored = |v| Precision::F16.stored(v);
        for exact in [0.0, -1.5, 65504.0, 2f32.powi(-24), 2f32.powi(-14)] {
            assert_eq!(stored(exact), exact);
        }
        // Halfway cases go to the even neighbour.
        assert_eq!(stored(1.0 + 2f32.powi(-11)), 1.0);
        assert_eq!(stored(1.0 + 3.0 * 2f32.powi(-11)), 1.0 + 2f32.powi(-9));
        assert_eq!(stored(65519.0), 65504.0);
        for over in [65520.0, -1e6, f32::INFINITY, f32::NAN] {
            assert!(stored(over).is_nan(), "{over}");
        }
        assert_eq!(stored(2f32.powi(-26)), 0.0);
    }
}
