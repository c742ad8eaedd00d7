//! Logits to probabilities, and the most probable classes.

use rmnet::models::Scores;

/// A probability for every logit; `None` for the values of a regression.
fn probabilities(logits: &[f32], scores: Scores) -> Option<Vec<f64>> {
    match scores {
        Scores::Softmax => {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f64> = logits.iter().map(|v| (f64::from(*v) - f64::from(max)).exp()).collect();
            let sum: f64 = weights.iter().sum();
            Some(weights.into_iter().map(|w| w / sum).collect())
        }
        Scores::Sigmoid => Some(logits.iter().map(|v| 1.0 / (1.0 + (-f64::from(*v)).exp())).collect()),
        _ => None,
    }
}

/// The `k` classes of the largest logits with their probabilities, largest first; of equal ones the first.
pub fn top(logits: &[f32], k: usize, scores: Scores) -> Vec<(usize, Option<f64>)> {
    let probabilities = probabilities(logits, scores);
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    classes.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    classes.into_iter().take(k).map(|c| (c, probabilities.as_ref().map(|p| p[c]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_by_kind() {
        let softmax = probabilities(&[0.0, 2f32.ln(), f32::MIN, 0.0], Scores::Softmax).unwrap();
        for (found, expected) in softmax.iter().zip([0.25, 0.5, 0.0, 0.25]) {
            // ln 2 as f32 is off by 2^-26 at most.
            assert!((found - expected).abs() < 1e-7, "{softmax:?}");
        }
        // Differences of logits beyond f32.
        assert_eq!(probabilities(&[f32::MAX, f32::MIN], Scores::Softmax), Some(vec![1.0, 0.0]));
        let sigmoid = probabilities(&[0.0, 3f32.ln(), f32::MAX, f32::MIN], Scores::Sigmoid).unwrap();
        for (found, expected) in sigmoid.iter().zip([0.5, 0.75, 1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-7, "{sigmoid:?}");
        }
    }

    #[test]
    fn classes_in_order() {
        assert_eq!(top(&[1.0, 3.0, 3.0], 2, Scores::Sigmoid).iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(top(&[2.5], 5, Scores::Raw), [(0, None)]);
        assert_eq!(top(&[1.0], 5, Scores::Softmax), [(0, Some(1.0))]);
    }
}
