//! The head after the global average: nothing, a classifier under any of its usual names, or several layers.

use crate::graph::{Activation, Conv2d, Op, ValueId, Weight};
use crate::models::ModelError;
use crate::models::build::layers::Layers;
use crate::models::build::state_dict::leading_number;
use crate::models::config::Config;
use crate::models::key::Key;
use crate::order::sort_by_key;

/// Common names of last layers, in any library.
const NAMES: [&str; 7] = ["fc", "head", "classifier", "linear", "last_linear", "cls_head", "logits"];

/// How deep the modules of a head may be nested.
const MAX_HEAD_DEPTH: usize = 16;

/// The kind of a head's layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeadLayerKind {
    /// `[out, in]`, or `[out, in, 1, 1]`.
    Linear,
    /// A batch norm.
    Norm,
}

/// A layer of a head.
struct Layer {
    name: String,
    kind: HeadLayerKind,
    /// Path of the layer: enclosing modules, outermost first, then its own index; numbers where modules are numbered.
    path: Vec<String>,
}

/// Whether there may be a function between two successive layers: they are not adjacent in one sequence.
fn apart(a: &Layer, b: &Layer) -> bool {
    let shared = a.path.iter().zip(&b.path).take_while(|(a, b)| a == b).count();
    match (&a.path[shared..], &b.path[shared..]) {
        ([a], [b]) => match (a.parse::<usize>(), b.parse::<usize>()) {
            (Ok(a), Ok(b)) => b > a + 1,
            _ => true,
        },
        _ => true,
    }
}

impl Layers<'_, '_> {
    /// Appends the global average and the head: the stated one, else `own`, the network's own name for it, else the only other one in the
    /// file. Without a head the output is the pooled features. Returns the number of classes, if there is a head.
    pub(in crate::models) fn head(
        &mut self,
        average: &str,
        own: &str,
        x: ValueId,
    ) -> Result<Option<usize>, ModelError> {
        self.reader.conventions.word(Key::GlobalPool, "avg");
        let mut value = self.push(average, Op::GlobalAverage, &[x])?;
        let names = self.head_names(own)?;
        let mut layers = vec![];
        for (place, name) in names.iter().enumerate() {
            self.reader.adopt(name);
            let outer = if names.len() > 1 { vec![place.to_string()] } else { vec![] };
            self.collect(name, outer, &mut layers)?;
        }
        if layers.is_empty() {
            layers = self.sisters()?;
        }
        let Some(first) = layers.first() else {
            self.reader.conventions.word(Key::Head, "none");
            return Ok(None);
        };
        self.reader.head = Some(names.first().unwrap_or(&first.name).clone());
        let relus = self.relus(&layers)?;
        for (layer, relu) in layers.iter().zip(relus) {
            let name = &layer.name;
            if relu {
                value = self.push(format!("{name}.relu"), Op::Activation(Activation::Relu), &[value])?;
            }
            value = match layer.kind {
                HeadLayerKind::Linear => self.matrix(name, value)?,
                HeadLayerKind::Norm => self.norm(name, value)?,
            };
        }
        Ok(Some(self.channels(value)))
    }

    /// Whether a ReLU precedes each layer. Between two linear layers there is one activation, in the first gap; other gaps are dropouts.
    fn relus(&mut self, layers: &[Layer]) -> Result<Vec<bool>, ModelError> {
        let mut relus = vec![false; layers.len()];
        let linear: Vec<usize> =
            (0..layers.len()).filter(|i| layers[*i].kind == HeadLayerKind::Linear).collect();
        for pair in linear.windows(2) {
            let place = (pair[0] + 1..=pair[1]).find(|i| apart(&layers[i - 1], &layers[*i]));
            if place.is_none() && !self.reader.conventions.is_stated(Key::HeadActivation) {
                let [a, b] = [pair[0], pair[1]].map(|i| &layers[i].name);
                return Err(ModelError::Unclear {
                    what: "a head whose activation its names do not show".into(),
                    why: format!(
                        "`{a}` and `{b}` follow one another: state the assumption `head_activation`, relu or none"
                    ),
                });
            }
            let relu = self.reader.conventions.word(Key::HeadActivation, "relu") == "relu";
            relus[place.unwrap_or(pair[0] + 1)] = relu;
        }
        Ok(relus)
    }

    /// Whether there is a tensor under a name, inside the network's prefix or beside it.
    fn has(&self, name: &str) -> bool {
        self.reader.dict().has_under(name) || self.reader.dict().has_beside(name)
    }

    /// The names of the head's modules in order; empty if there is no head.
    fn head_names(&mut self, own: &str) -> Result<Vec<String>, ModelError> {
        if self.reader.conventions.is_stated(Key::Head) {
            let stated = self.reader.conventions.word(Key::Head, "");
            if stated == "none" {
                return Ok(vec![]);
            }
            let mut names = vec![];
            for name in stated.split(',') {
                let relative = self.reader.dict().relative(name);
                let Some(name) = [name, relative].into_iter().find(|name| self.has(name)) else {
                    let why = format!("the file has no tensor of the name `{name}`");
                    return Err(self.reader.conventions.refuse(Key::Head, why));
                };
                names.push(name.to_string());
            }
            return Ok(names);
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
            // Reading it reports the error.
            [] if expected(self.reader.dict().config()) => Ok(vec![own.into()]),
            [] => Ok(vec![]),
            [only] => Ok(vec![(*only).into()]),
            several => Err(ModelError::Ambiguous {
                what: "heads",
                found: several.iter().map(|name| name.to_string()).collect(),
                key: Key::Head,
            }),
        }
    }

    /// The modules that follow the network in a common `nn.Sequential`. Their names are numbers, like the name of the network or of its
    /// layers. Empty if the output is the pooled features.
    fn sisters(&mut self) -> Result<Vec<Layer>, ModelError> {
        if self.reader.conventions.is_stated(Key::Head) {
            return Ok(vec![]);
        }
        let dict = self.reader.dict();
        let own: Option<usize> =
            dict.prefix().trim_end_matches('.').rsplit('.').next().and_then(|p| p.parse().ok());
        // Numbered names inside the network are modules of the sequence only if the network's layers are.
        let children = dict.pool_child().is_some();
        let beside =
            dict.names_beside().filter_map(leading_number).filter(|n| own.is_some_and(|own| *n > own));
        let mut places: Vec<usize> =
            beside.chain(self.reader.unread().filter(|_| children).filter_map(leading_number)).collect();
        places.sort_unstable();
        places.dedup();
        if let Some(place) = places.iter().find(|place| Some(**place) == dict.pool_child()) {
            return Err(ModelError::Unsupported {
                what: "a sequence with a layer between the last stage and the pool".into(),
                why: format!("`{}` follows the last stage at once", dict.file_name(&place.to_string())),
            });
        }
        let mut layers = vec![];
        for place in places {
            let name = place.to_string();
            self.reader.adopt(&name);
            self.collect(&name, vec![name.clone()], &mut layers)?;
        }
        Ok(layers)
    }

    /// Appends the layers under a name at `path`: the layer itself, or its modules in numeric order.
    fn collect(&self, name: &str, path: Vec<String>, layers: &mut Vec<Layer>) -> Result<(), ModelError> {
        let dict = self.reader.dict();
        if path.len() > MAX_HEAD_DEPTH {
            let name: String = name.chars().take(100).collect();
            return Err(ModelError::Unsupported {
                what: format!("a head of modules nested more than {MAX_HEAD_DEPTH} deep"),
                why: format!("the file has `{name}..`"),
            });
        }
        let child = |n: &str| n[name.len() + 1..].split('.').next().map(String::from);
        let mut children: Vec<String> = dict.names_under(name).filter_map(child).collect();
        children.dedup();
        let leaf = |child: &String| dict.tensor(&format!("{name}.{child}")).is_some();
        if children.is_empty() || children.iter().any(leaf) {
            let norm = children.iter().any(|c| c == "running_mean");
            let kind = if norm { HeadLayerKind::Norm } else { HeadLayerKind::Linear };
            layers.push(Layer { name: name.into(), kind, path });
            return Ok(());
        }
        // `fc2` comes before `fc10`.
        let number = |child: &str| {
            let stem = child.trim_end_matches(|c: char| c.is_ascii_digit());
            (stem.to_string(), child[stem.len()..].parse::<usize>().ok())
        };
        sort_by_key(&mut children, |child| number(child));
        children.dedup();
        let stem = |child: &String| number(child).0;
        let ordered = children.iter().all(|c| number(c).1.is_some() && stem(c) == stem(&children[0]));
        if children.len() > 1 && !ordered {
            let names: Vec<String> =
                children.iter().map(|c| format!("`{}`", dict.file_name(&format!("{name}.{c}")))).collect();
            return Err(ModelError::Unclear {
                what: "a head whose order its names do not show".into(),
                why: format!(
                    "it has {}: state the assumption `head`, their names in order with commas between",
                    names.join(", ")
                ),
            });
        }
        for child in children {
            let inner = path.iter().cloned().chain([child.clone()]).collect();
            self.collect(&format!("{name}.{child}"), inner, layers)?;
        }
        Ok(())
    }

    /// A linear layer on a map of one pixel, with a weight `[out, in]` or `[out, in, 1, 1]`, and a bias if the file has one.
    fn matrix(&mut self, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let channels = self.channels(x);
        let tensor = format!("{name}.weight");
        let weight = match self.reader.shape(&tensor) {
            Some([_, _, _, _]) => self.reader.tensor(&tensor, &[None, Some(channels), Some(1), Some(1)])?,
            Some([_]) => {
                return Err(ModelError::Unsupported {
                    what: "a head with another layer than linear ones and batch norms".into(),
                    why: format!("`{}` is a vector", self.reader.dict().file_name(&tensor)),
                });
            }
            _ => self.reader.tensor(&tensor, &[None, Some(channels)])?,
        };
        let out = weight.shape()[0];
        let weight = Weight::new(weight.reshaped(vec![out, channels, 1, 1]));
        let mut conv = Conv2d::dense(weight, 1, [1, 1], [0, 0]);
        let bias = format!("{name}.bias");
        if self.reader.shape(&bias).is_some() {
            conv = conv.with_bias(self.reader.tensor(&bias, &[Some(out)])?.to_f64());
        }
        self.push(name, Op::Conv2d(conv), &[x])
    }
}

/// Whether a config file states that there is a classifier.
fn expected(config: &Config) -> bool {
    config.hugging_face.classifies() || config.timm.classifies()
}
