//! The conventions of a network under construction: stated by the user, shown by the file, or assumed by default.

use super::{Assume, Assumption};
use crate::models::ModelError;
use crate::models::key::{Key, number};
use std::collections::BTreeMap;
use std::fmt;

/// The activation after most layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum Rectifier {
    Relu,
    Relu6,
    /// PReLU; its slopes are tensors of the file.
    PRelu,
}

impl Rectifier {
    fn name(self) -> &'static str {
        match self {
            Rectifier::Relu => "relu",
            Rectifier::Relu6 => "relu6",
            Rectifier::PRelu => "prelu",
        }
    }
}

/// The assumptions of a network under construction: those stated, and those requested so far.
pub(in crate::models) struct Conventions {
    stated: Assume,
    /// Requested keys, with the values taken.
    taken: BTreeMap<Key, Assumption>,
    /// Requested keys that the file itself answers, which are not assumptions.
    known: BTreeMap<Key, String>,
}

impl Conventions {
    pub(in crate::models) fn new(stated: Assume) -> Conventions {
        Conventions { stated, taken: BTreeMap::new(), known: BTreeMap::new() }
    }

    /// Records a value shown by the tensors or a config file; a stated value must agree.
    pub(in crate::models) fn known(&mut self, key: Key, value: impl fmt::Display) -> Result<(), ModelError> {
        let value = value.to_string();
        match self.stated.get(key) {
            Some(stated) if !same(key, stated, &value) => {
                Err(self.refuse(key, format!("the file says {value}")))
            }
            _ => {
                self.known.insert(key, value);
                Ok(())
            }
        }
    }

    /// Whether a value is stated rather than taken by convention.
    pub(in crate::models) fn is_stated(&self, key: Key) -> bool {
        self.stated.get(key).is_some()
    }

    /// The error for a stated value that is not possible.
    pub(in crate::models) fn refuse(&self, key: Key, why: String) -> ModelError {
        let value = self.stated.get(key).unwrap_or_default().to_string();
        ModelError::Assumption { key: key.to_string(), value, why }
    }

    /// The value of a key: shown by the file, stated by the user, or the convention.
    fn take(&mut self, key: Key, convention: String) -> String {
        if let Some(value) = self.known.get(&key) {
            return value.clone();
        }
        // The first convention requested for a key applies: a family may have its own.
        if let Some(taken) = self.taken.get(&key) {
            return taken.value.clone();
        }
        let stated = self.stated.get(key);
        let value = stated.map_or(convention, String::from);
        self.taken.insert(key, Assumption { key, value: value.clone(), stated: stated.is_some() });
        value
    }

    pub(in crate::models) fn count(&mut self, key: Key, convention: usize) -> usize {
        self.take(key, convention.to_string()).parse().unwrap_or(convention)
    }

    pub(in crate::models) fn flag(&mut self, key: Key, convention: bool) -> bool {
        self.take(key, convention.to_string()) == "true"
    }

    pub(in crate::models) fn number(&mut self, key: Key, convention: f64) -> f64 {
        number(&self.take(key, plain(convention))).unwrap_or(convention)
    }

    pub(in crate::models) fn word(&mut self, key: Key, convention: &str) -> String {
        self.take(key, convention.into())
    }

    /// A list of as many numbers as the convention has; `of` names what they are counted per, for the error message.
    pub(in crate::models) fn counts(
        &mut self,
        key: Key,
        convention: &[usize],
        of: &str,
    ) -> Result<Vec<usize>, ModelError> {
        let text = convention.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let values: Vec<usize> = self.take(key, text).split(',').filter_map(|n| n.parse().ok()).collect();
        match values.len() == convention.len() {
            true => Ok(values),
            false => Err(self.refuse(
                key,
                format!("the network has {} {of}, expected a number for each", convention.len()),
            )),
        }
    }

    pub(in crate::models) fn rectifier(&mut self, convention: Rectifier) -> Rectifier {
        match self.take(Key::Activation, convention.name().into()).as_str() {
            "relu6" => Rectifier::Relu6,
            "prelu" => Rectifier::PRelu,
            _ => Rectifier::Relu,
        }
    }

    /// All assumptions of the network, or an error if a stated one was never requested.
    pub(in crate::models) fn finish(self, family: &str) -> Result<Vec<Assumption>, ModelError> {
        let asked = |key: &Key| self.taken.contains_key(key) || self.known.contains_key(key);
        if let Some(key) = self.stated.values.keys().find(|key| !asked(key)) {
            return Err(self.refuse(*key, format!("nothing of a {family} depends on it")));
        }
        Ok(self.taken.into_values().collect())
    }
}

/// Whether two values of a key are equivalent.
fn same(key: Key, a: &str, b: &str) -> bool {
    a == b || key == Key::BatchNormEps && number(a).is_some() && number(a) == number(b)
}

/// `1e-5` for 0.00001.
pub(in crate::models) fn plain(value: f64) -> String {
    if value != 0.0 && value < 1e-2 { format!("{value:e}") } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::in_words;

    #[test]
    fn what_nothing_depends_on_is_refused() {
        let mut assume = Assume::default();
        assume.state("anti_alias", "3").unwrap();
        let mut conventions = Conventions::new(assume);
        assert_eq!(conventions.count(Key::StemStride, 2), 2);
        let error = conventions.finish("chain").unwrap_err().to_string();
        assert!(error.contains("anti_alias"), "{error}");
    }

    #[test]
    fn words_name_every_assumption() {
        let mut c = Conventions::new(Assume::default());
        c.count(Key::StemStride, 2);
        c.flag(Key::StemPool, true);
        c.counts(Key::StageStrides, &[1, 2, 2, 2], "stages").unwrap();
        c.word(Key::StrideIn, "3x3");
        c.number(Key::BatchNormEps, 1e-5);
        c.rectifier(Rectifier::Relu);
        let words = in_words(&c.finish("ResNet").unwrap());
        assert_eq!(
            words,
            "stem stride 2, max-pool; stage strides 1 2 2 2 in the 3x3; batch norm eps 1e-5; ReLU"
        );
    }
}
