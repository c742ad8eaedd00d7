//! What follows the global average: no layer at all, a classifier under any of its usual names, or several layers.

use super::assume::Key;
use super::layers::Layers;
use super::{ModelError, config};
use crate::graph::{Activation, Conv2d, Op, ValueId, Weight};
use serde_json::{Value, json};

/// Names that last layers commonly have, whatever the network's own library calls them.
const NAMES: [&str; 7] = ["fc", "head", "classifier", "linear", "last_linear", "cls_head", "logits"];

/// A layer of a head.
enum Layer {
    /// `[out, in]`, or `[out, in, 1, 1]`.
    Linear(String),
    /// A batch norm.
    Norm(String),
}

/// The layers of a head in order, each with its place among its sisters where their names are numbers.
type Found = Vec<(Layer, Option<usize>)>;

impl Layers<'_, '_> {
    /// Averages over the map and appends the head: the one that is stated, else `own`, the network's own name for it, else
    /// the only other one that the file has. Without any the average is the output: the pooled features. The number of classes,
    /// where it has a head.
    pub(super) fn head(&mut self, average: &str, own: &str, x: ValueId) -> Result<Option<usize>, ModelError> {
        let x = self.push(average, Op::GlobalAverage, &[x])?;
        let layers = match self.head_name(own)? {
            Some(name) => {
                self.reader.adopt(&name);
                self.head_layers(&name)?
            }
            None => self.sisters()?,
        };
        if layers.is_empty() {
            return Ok(None);
        }
        let mut value = x;
        for (i, (layer, place)) in layers.iter().enumerate() {
            let before = i.checked_sub(1).map(|i| &layers[i]);
            // A place that no tensor has holds a function, or a dropout.
            let gap = match (before, place) {
                (Some((_, Some(before))), Some(place)) => place - before > 1,
                // Named layers: functions between them leave no gap.
                (Some((_, None)), _) => matches!(layer, Layer::Linear(_)),
                _ => false,
            };
            if gap && self.reader.conventions.word(Key::HeadActivation, "relu") == "relu" {
                let (Layer::Linear(next) | Layer::Norm(next)) = layer;
                value = self.push(format!("{next}.relu"), Op::Activation(Activation::Relu), &[value])?;
            }
            value = match layer {
                Layer::Linear(name) => self.matrix(name, value)?,
                Layer::Norm(name) => self.norm(name, value)?,
            };
        }
        Ok(Some(self.channels(value)))
    }

    /// Whether the network, or what lies beside it, has a tensor under a name.
    fn has(&self, name: &str) -> bool {
        let layer = |n: &str| n.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        self.reader.names().any(layer) || self.reader.dict().names_beside().any(layer)
    }

    /// The name of the head; `None` where there is none.
    fn head_name(&mut self, own: &str) -> Result<Option<String>, ModelError> {
        if self.reader.conventions.is_stated(Key::Head) {
            let stated = self.reader.conventions.word(Key::Head, "");
            if stated == "none" {
                return Ok(None);
            }
            if !self.has(&stated) {
                let why = "the file has no tensor of that name".into();
                return Err(self.reader.conventions.refuse(Key::Head, why));
            }
            return Ok(Some(stated));
        }
        // `classifier.1` is the module 1 of `classifier`.
        let base = own.split('.').next().unwrap_or(own);
        let mut found: Vec<&str> = vec![];
        for name in std::iter::once(base).chain(NAMES) {
            if self.has(name) && !found.contains(&name) {
                found.push(name);
            }
        }
        match found.as_slice() {
            [] if expected(self.reader.dict().config()) => {
                // Reading it says so.
                Ok(Some(own.into()))
            }
            [] => Ok(None),
            [only] => Ok(Some((*only).into())),
            [first, second, ..] => Err(ModelError::Ambiguous {
                what: "heads",
                found: vec![(*first).into(), (*second).into()],
                key: Key::Head,
            }),
        }
    }

    /// The modules that follow the network in a `nn.Sequential` of both: their names are numbers, as its own is, or as those of its
    /// layers are. Empty where the output is the pooled features.
    fn sisters(&mut self) -> Result<Found, ModelError> {
        let dict = self.reader.dict();
        let own: Option<usize> =
            dict.prefix().trim_end_matches('.').rsplit('.').next().and_then(|segment| segment.parse().ok());
        let number = |name: &str| name.split('.').next()?.parse::<usize>().ok();
        let beside = dict.names_beside().filter_map(number).filter(|n| own.is_some_and(|o| *n > o));
        let mut places: Vec<usize> = beside.chain(self.reader.unread().filter_map(number)).collect();
        places.sort_unstable();
        places.dedup();
        if self.reader.conventions.is_stated(Key::Head) || places.is_empty() {
            self.reader.conventions.word(Key::Head, "none");
            return Ok(vec![]);
        }
        let mut layers = vec![];
        for place in places {
            let name = place.to_string();
            self.reader.adopt(&name);
            let inner = self.head_layers(&name)?;
            layers.extend(inner.into_iter().map(|(layer, _)| (layer, Some(place))));
        }
        Ok(layers)
    }

    /// The layers under a name: itself, or modules that are numbered, or the one module that it wraps.
    fn head_layers(&self, name: &str) -> Result<Found, ModelError> {
        let reader = &self.reader;
        let under = |name: &str| -> Vec<String> {
            let prefix = format!("{name}.");
            let mut children: Vec<String> = reader
                .names()
                .filter_map(|n| n.strip_prefix(&prefix)?.split('.').next().map(String::from))
                .collect();
            children.sort();
            children.dedup();
            children
        };
        let children = under(name);
        let leaf = |child: &String| reader.dict().tensor(&format!("{name}.{child}")).is_some();
        if children.is_empty() || children.iter().any(leaf) {
            let norm = children.iter().any(|c| c == "running_mean");
            return Ok(vec![(
                if norm { Layer::Norm(name.into()) } else { Layer::Linear(name.into()) },
                None,
            )]);
        }
        let numbers: Option<Vec<usize>> = children.iter().map(|c| c.parse().ok()).collect();
        let mut places: Vec<(String, Option<usize>)> = match numbers {
            Some(mut numbers) => {
                numbers.sort_unstable();
                numbers.into_iter().map(|n| (format!("{name}.{n}"), Some(n))).collect()
            }
            None => children.iter().map(|c| (format!("{name}.{c}"), None)).collect(),
        };
        if places.len() == 1 {
            let (child, place) = places.remove(0);
            let mut layers = self.head_layers(&child)?;
            if let [(_, at)] = layers.as_mut_slice() {
                *at = place;
            }
            return Ok(layers);
        }
        let mut layers = vec![];
        for (child, place) in places {
            let inner = self.head_layers(&child)?;
            if let (None, Some((Layer::Norm(norm), _))) =
                (place, inner.iter().find(|(l, _)| matches!(l, Layer::Norm(_))))
            {
                return Err(ModelError::Unsupported {
                    what: "a head whose order its names do not show".into(),
                    why: format!(
                        "`{}` is one of several layers that are not numbered",
                        reader.dict().file_name(norm)
                    ),
                });
            }
            layers.extend(inner.into_iter().map(|(layer, own)| (layer, place.or(own))));
        }
        Ok(layers)
    }

    /// A linear layer on a map of one pixel, its weight `[out, in]` or `[out, in, 1, 1]`, with a bias where the file has one.
    fn matrix(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let channels = self.channels(x);
        let tensor = format!("{name}.weight");
        let weight = match self.reader.shape(&tensor) {
            Some([_, _, _, _]) => self.reader.tensor(&tensor, &[None, Some(channels), Some(1), Some(1)])?,
            Some([_]) if self.reader.shape(&tensor) == Some(&[channels]) => {
                return Err(ModelError::Unsupported {
                    what: "a head with another layer than linear ones and batch norms".into(),
                    why: format!("`{}` is a vector", self.reader.dict().file_name(&tensor)),
                });
            }
            _ => self.reader.tensor(&tensor, &[None, Some(channels)])?,
        };
        let out = weight.shape()[0];
        let mut conv =
            Conv2d::dense(Weight::new(weight.reshaped(vec![out, channels, 1, 1])), 1, [1, 1], [0, 0]);
        let bias = format!("{name}.bias");
        if self.reader.shape(&bias).is_some() {
            conv = conv.with_bias(self.reader.tensor(&bias, &[Some(out)])?.to_f64());
        }
        self.push(name, Op::Conv2d(conv), &[x])
    }
}

/// Whether a config file says that there is a classifier.
fn expected(config: Option<&Value>) -> bool {
    let architectures = config::get(config, "architectures").and_then(Value::as_array);
    let classifies = |a: &Value| a.as_str().is_some_and(|a| a.ends_with("ForImageClassification"));
    let counted = |level: Option<&Value>| config::get(level, "num_classes").is_some_and(|n| *n != json!(0));
    architectures.is_some_and(|a| a.iter().any(classifies))
        || config::get(config, "architecture").is_some()
            && match config::get(config, "num_classes") {
                Some(_) => counted(config),
                None => counted(config::get(config, "model_args")),
            }
}
