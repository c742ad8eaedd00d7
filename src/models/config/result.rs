//! The meaning of a network's outputs: how they become scores, and the names of classes.

use super::check::wrong;
use crate::field::{Field, keys};
use crate::models::ModelError;
use crate::models::output::Scores;
use serde_json::{Map, Value};

keys! {
    /// `problem_type` and `id2label` are keys of Hugging Face, `label_names` and `label_descriptions` keys of timm.
    pub(in crate::models) struct Results {
        problem_type: Field<String>,
        /// Keyed by class number.
        id2label: Field<Map<String, Value>>,
        label_names: Field<Vec<String>>,
        /// Keyed by class name.
        label_descriptions: Field<Map<String, Value>>,
    }
}

impl Results {
    /// How logits become scores.
    ///
    /// # Errors
    /// [`ModelError::Config`] for an unknown `problem_type`.
    pub(in crate::models) fn scores(&self, classes: Option<usize>) -> Result<Scores, ModelError> {
        let Some(problem) = self.problem_type.found() else {
            return Ok(if classes == Some(1) { Scores::Sigmoid } else { Scores::Softmax });
        };
        match self.problem_type.get().map(String::as_str) {
            Some("multi_label_classification") => Ok(Scores::Sigmoid),
            Some("regression") => Ok(Scores::Raw),
            Some("single_label_classification") if classes == Some(1) => Ok(Scores::Sigmoid),
            Some("single_label_classification") => Ok(Scores::Softmax),
            _ => Err(wrong(
                "problem_type",
                "single_label_classification, multi_label_classification or regression",
                problem,
            )),
        }
    }

    /// The class names: `id2label`, or else `label_names`, replaced by their `label_descriptions` if there are any.
    ///
    /// # Errors
    /// [`ModelError::Config`] when there is not exactly one name for each class.
    pub(in crate::models) fn labels(&self, classes: usize) -> Result<Option<Vec<String>>, ModelError> {
        if let Some(map) = self.id2label.checked("id2label", "an object")? {
            let label = |i: usize| map.get(&i.to_string())?.as_str().map(String::from);
            let labels: Option<Vec<String>> =
                if map.len() == classes { (0..classes).map(label).collect() } else { None };
            return labels.map(Some).ok_or_else(|| ModelError::Config {
                key: "id2label".into(),
                expected: format!("names of the classes 0 to {} of the classifier", classes - 1),
                found: format!("an object of {} entries", map.len()),
            });
        }
        let Some(names) = self.label_names.checked("label_names", "a list of names")? else {
            return Ok(None);
        };
        if names.len() != classes {
            return Err(ModelError::Config {
                key: "label_names".into(),
                expected: format!("{classes} names as the classifier has classes"),
                found: format!("a list of {}", names.len()),
            });
        }
        let descriptions = self.label_descriptions.get();
        let describe =
            |name: &String| descriptions.and_then(|d| d.get(name)?.as_str()).unwrap_or(name).to_string();
        Ok(Some(names.iter().map(describe).collect()))
    }
}
