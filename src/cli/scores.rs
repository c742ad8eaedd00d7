//! Logits to probabilities, and the most probable classes.

use rmnet::models::Model;

/// How a network's logits become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The classes exclude one another: probabilities that sum to 1.
    Softmax,
    /// Every class is judged by itself.
    Sigmoid,
}

impl Kind {
    /// That of a network of so many classes: one class alone is there or not.
    pub fn of(_model: &Model, classes: usize) -> Kind {
        if classes == 1 { Kind::Sigmoid } else { Kind::Softmax }
    }

    /// As JSON names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Softmax => "softmax",
            Kind::Sigmoid => "sigmoid",
        }
    }
}

/// A probability for every logit.
pub fn probabilities(logits: &[f32], kind: Kind) -> Vec<f64> {
    match kind {
        Kind::Softmax => {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f64> = logits.iter().map(|v| (f64::from(*v) - f64::from(max)).exp()).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|w| w / sum).collect()
        }
        Kind::Sigmoid => logits.iter().map(|v| 1.0 / (1.0 + (-f64::from(*v)).exp())).collect(),
    }
}

/// The `k` classes of the largest logits with their probabilities, largest first; of equal ones the first.
pub fn top(logits: &[f32], k: usize, kind: Kind) -> Vec<(usize, f64)> {
    let probabilities = probabilities(logits, kind);
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    classes.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    classes.into_iter().take(k).map(|c| (c, probabilities[c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_by_kind() {
        let softmax = probabilities(&[0.0, 2f32.ln(), f32::MIN, 0.0], Kind::Softmax);
        for (found, expected) in softmax.iter().zip([0.25, 0.5, 0.0, 0.25]) {
            // ln 2 as f32 is off by 2^-26 at most.
            assert!((found - expected).abs() < 1e-7, "{softmax:?}");
        }
        // Differences of logits beyond f32.
        assert_eq!(probabilities(&[f32::MAX, f32::MIN], Kind::Softmax), [1.0, 0.0]);
        let sigmoid = probabilities(&[0.0, 3f32.ln(), f32::MAX, f32::MIN], Kind::Sigmoid);
        for (found, expected) in sigmoid.iter().zip([0.5, 0.75, 1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-7, "{sigmoid:?}");
        }
    }

    #[test]
    fn classes_in_order() {
        assert_eq!(top(&[1.0, 3.0, 3.0], 2, Kind::Sigmoid).iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(top(&[1.0], 5, Kind::Softmax), [(0, 1.0)]);
    }
}
