//! Choices read from the fuzzer's bytes. Where they have ended, every choice is the first.

use arbitrary::Unstructured;

pub struct Source<'a>(Unstructured<'a>);

impl<'a> Source<'a> {
    pub fn new(data: &'a [u8]) -> Source<'a> {
        Source(Unstructured::new(data))
    }

    /// A number of `low..=high`.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        self.0.int_in_range(low..=high).unwrap_or(low)
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.within(0, n - 1)
    }

    /// True once in `n` times; never at the end of the bytes.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) + 1 == n
    }

    pub fn pick<'b, T>(&mut self, of: &'b [T]) -> &'b T {
        &of[self.below(of.len())]
    }

    pub fn seed(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or(0)
    }

    pub fn float(&mut self) -> f64 {
        match self.below(12) {
            0 => 0.0,
            1 => 1.0,
            2 => -1.0,
            3 => 0.5,
            4 => 1.0 / 255.0,
            5 => 1e38,
            6 => -1e38,
            7 => 1e-45,
            8 => 1e300,
            9 => 1e-310,
            10 => f64::from(self.0.arbitrary::<f32>().unwrap_or(0.0)),
            _ => self.0.arbitrary().unwrap_or(0.0),
        }
    }

    /// Up to `most` bytes.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let n = self.within(0, most).min(self.0.len());
        self.0.bytes(n).unwrap_or(&[])
    }

    pub fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(self.bytes(most)).into_owned()
    }

    pub fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }
}
