//! Comparing `config.json` with what the tensors say, and the labels it may hold.

use super::{ModelError, Scores};
use serde_json::Value;

/// The value of a key that is present and not null.
pub(super) fn get<'c>(config: Option<&'c Value>, key: &str) -> Option<&'c Value> {
    config?.get(key).filter(|v| !v.is_null())
}

/// Refuses a config whose key is present and says something else than the tensors.
pub(super) fn agrees(config: Option<&Value>, key: &str, tensors: &Value) -> Result<(), ModelError> {
    match get(config, key) {
        Some(found) if found != tensors => Err(ModelError::Config {
            key: key.into(),
            expected: format!("{tensors} as the tensors have it"),
            found: found.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Refuses a config of another network than those `known` for the names of the tensors.
pub(super) fn model_type(config: Option<&Value>, known: &[&str]) -> Result<(), ModelError> {
    let wrappers = ["timm_wrapper", "timm_backbone"];
    match get(config, "model_type") {
        Some(found) if !known.is_empty() && !known.iter().chain(&wrappers).any(|k| found == k) => {
            let known: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
            let expected = format!("{}, as the tensor names say", known.join(" or "));
            Err(wrong("model_type", &expected, found))
        }
        _ => Ok(()),
    }
}

/// A flag that may be absent.
pub(super) fn boolean(config: Option<&Value>, key: &str) -> Result<Option<bool>, ModelError> {
    let Some(value) = get(config, key) else { return Ok(None) };
    value.as_bool().map(Some).ok_or_else(|| wrong(key, "true or false", value))
}

/// A value of a kind that the key cannot have.
pub(super) fn wrong(key: &str, expected: &str, found: &Value) -> ModelError {
    let mut found = found.to_string();
    if let Some((cut, _)) = found.char_indices().nth(80) {
        found.truncate(cut);
        found.push_str("...");
    }
    ModelError::Config { key: key.into(), expected: expected.into(), found }
}

/// How logits become scores, by `problem_type` of Hugging Face.
///
/// # Errors
/// [`ModelError::Config`] for a problem that is not known.
pub(super) fn scores(config: Option<&Value>, classes: Option<usize>) -> Result<Scores, ModelError> {
    let Some(problem) = get(config, "problem_type") else {
        return Ok(if classes == Some(1) { Scores::Sigmoid } else { Scores::Softmax });
    };
    match problem.as_str() {
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

/// The class names: `id2label` of Hugging Face, or `label_names` of timm (through `label_descriptions` if there is one).
///
/// # Errors
/// [`ModelError::Config`] when there is not exactly one name for each class.
pub(super) fn labels(config: Option<&Value>, classes: usize) -> Result<Option<Vec<String>>, ModelError> {
    if let Some(value) = get(config, "id2label") {
        let map = value.as_object().ok_or_else(|| wrong("id2label", "an object", value))?;
        let label = |i: usize| map.get(&i.to_string()).and_then(Value::as_str).map(String::from);
        let labels: Option<Vec<String>> =
            if map.len() == classes { (0..classes).map(label).collect() } else { None };
        return labels.map(Some).ok_or_else(|| ModelError::Config {
            key: "id2label".into(),
            expected: format!("names of the classes 0 to {} of the classifier", classes - 1),
            found: format!("an object of {} entries", map.len()),
        });
    }
    let Some(value) = get(config, "label_names") else { return Ok(None) };
    let names: Option<Vec<&str>> =
        value.as_array().map(Vec::as_slice).and_then(|a| a.iter().map(Value::as_str).collect());
    let names = names.ok_or_else(|| wrong("label_names", "a list of names", value))?;
    if names.len() != classes {
        return Err(ModelError::Config {
            key: "label_names".into(),
            expected: format!("{classes} names as the classifier has classes"),
            found: format!("a list of {}", names.len()),
        });
    }
    let descriptions = get(config, "label_descriptions");
    let describe = |name: &str| descriptions.and_then(|d| d.get(name)?.as_str()).unwrap_or(name).to_string();
    Ok(Some(names.into_iter().map(describe).collect()))
}
