//! Converts logits to probabilities, and finds the most probable classes.

use super::{Error, Session};
use crate::models::{OutputKind, Scores};
use crate::order::ascending;

/// A class of an image, with its score.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// Index of its logit, from 0.
    pub class: usize,
    /// Its name, if the checkpoint's config files have names.
    pub label: Option<String>,
    /// Its probability, from 0 to 1: by softmax over all classes, or by a sigmoid per class if an image may have several labels or the
    /// network has one class. `None` if the config declares a regression.
    pub probability: Option<f64>,
    /// Its logit.
    pub logit: f32,
}

impl Session {
    /// The probability of every class for the logits of one image, in the same order; `None` for a regression. See
    /// [`Prediction::probability`].
    ///
    /// # Errors
    /// [`Error::NotLogits`] if the output is features, an embedding or a map; [`Error::LogitsLength`]; [`Error::LogitsNotFinite`] for NaN or
    /// infinity, which [`Session::encode`] gives where a value overflows f16.
    pub fn probabilities(&self, logits: &[f32]) -> Result<Option<Vec<f64>>, Error> {
        self.check_logits(logits)?;
        Ok(probabilities(logits, self.about.scores))
    }

    /// The `k` classes with the largest logits of one image, largest first; among equal logits the lower class first. Fewer if the network
    /// has fewer classes.
    ///
    /// ```
    /// use rmnet::{Device, ImageView, Options, PixelFormat, Session, Size};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
    /// let session = Session::open(folder, &Options::default().device(Device::Cpu))?;
    /// let pixels = vec![200; 48 * 48 * 4];
    /// let frame = ImageView::new(&pixels, Size::new(48, 48), PixelFormat::Bgra8);
    /// let logits = session.run(&session.input_of(&[frame])?)?;
    /// for prediction in session.top_k(&logits, 3)? {
    ///     println!("{:?}: {:?}", prediction.label, prediction.probability);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::probabilities`].
    pub fn top_k(&self, logits: &[f32], k: usize) -> Result<Vec<Prediction>, Error> {
        self.check_logits(logits)?;
        let label = |class: usize| self.labels().and_then(|labels| labels.get(class)).cloned();
        let top = top(logits, k, self.about.scores).into_iter();
        Ok(top
            .map(|(class, probability)| Prediction {
                class,
                label: label(class),
                probability,
                logit: logits[class],
            })
            .collect())
    }

    fn check_logits(&self, logits: &[f32]) -> Result<(), Error> {
        let shape = self.output_shape();
        if self.about.output != OutputKind::Logits || shape[2..] != [1, 1] {
            return Err(Error::NotLogits { output: self.about.output, shape });
        }
        if logits.len() != shape[1] {
            return Err(Error::LogitsLength { expected: shape[1], found: logits.len() });
        }
        match logits.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(class) => Err(Error::LogitsNotFinite { class, value: logits[class] }),
        }
    }
}

/// A probability for every logit; `None` for a regression.
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

#[doc(hidden)] // The program has logits of several sessions.
/// The `k` classes with the largest logits, and their probabilities, largest first; among equal logits the lower class first.
pub fn top(logits: &[f32], k: usize, scores: Scores) -> Vec<(usize, Option<f64>)> {
    let probabilities = probabilities(logits, scores);
    let classes = ascending(logits.len(), &|a, b| logits[b].total_cmp(&logits[a]));
    classes.into_iter().take(k).map(|c| (c, probabilities.as_ref().map(|p| p[c]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_by_kind() {
        let softmax = probabilities(&[0.0, 2f32.ln(), f32::MIN, 0.0], Scores::Softmax).unwrap();
        for (found, expected) in softmax.iter().zip([0.25, 0.5, 0.0, 0.25]) {
            // The error of ln 2 in f32 is at most 2^-26.
            assert!((found - expected).abs() < 1e-7, "{softmax:?}");
        }
        // The difference of these logits overflows f32.
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
