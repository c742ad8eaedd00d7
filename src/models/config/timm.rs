//! What timm writes: the architecture, and the arguments that it was made with.

use crate::field::Field;
use crate::models::ModelError;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The keys of timm.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::models) struct TimmConfig {
    pub(in crate::models) architecture: Field<String>,
    pub(in crate::models) global_pool: Field<String>,
    pub(in crate::models) num_classes: Field<usize>,
    pub(in crate::models) model_args: Field<ModelArgs>,
    /// How the weights were published: classes and preprocessing.
    pub(in crate::models) pretrained_cfg: Field<PretrainedCfg>,
    /// Older files have the preprocessing beside the other keys.
    pub(in crate::models) input_size: Field<Value>,
}

/// The arguments of an architecture.
#[derive(Default, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub(in crate::models) struct ModelArgs {
    /// All of them: one that is not known may change the network.
    pub(in crate::models) all: Map<String, Value>,
    /// Those that are compared with the tensors, or that say what no tensor shows.
    pub(in crate::models) known: KnownArgs,
}

/// Arguments that are looked at one by one.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::models) struct KnownArgs {
    pub(in crate::models) act_layer: Field<String>,
    pub(in crate::models) avg_down: Field<bool>,
    pub(in crate::models) basic: Field<bool>,
    pub(in crate::models) cardinality: Field<usize>,
    pub(in crate::models) in_chans: Field<usize>,
    pub(in crate::models) layers: Field<Vec<usize>>,
    pub(in crate::models) num_classes: Field<usize>,
    pub(in crate::models) output_stride: Field<u64>,
}

impl From<Map<String, Value>> for ModelArgs {
    fn from(all: Map<String, Value>) -> ModelArgs {
        let known = KnownArgs::deserialize(Value::Object(all.clone())).unwrap_or_default();
        ModelArgs { all, known }
    }
}

/// The part of `pretrained_cfg` that is not of images.
#[derive(Default, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub(in crate::models) struct PretrainedCfg {
    pub(in crate::models) num_classes: Field<usize>,
}

impl From<Map<String, Value>> for PretrainedCfg {
    fn from(mut all: Map<String, Value>) -> PretrainedCfg {
        PretrainedCfg { num_classes: all.remove("num_classes").map(Field::from).unwrap_or_default() }
    }
}

impl TimmConfig {
    /// The arguments, none where the file has none.
    pub(in crate::models) fn args(&self) -> &KnownArgs {
        static NONE: LazyLock<KnownArgs> = LazyLock::new(KnownArgs::default);
        self.model_args.get().map_or(&NONE, |args| &args.known)
    }

    /// An argument as it stands.
    pub(in crate::models) fn argument(&self, key: &str) -> Option<&Value> {
        self.model_args.get()?.all.get(key).filter(|value| !value.is_null())
    }

    /// Refuses another number of input channels than the tensors have.
    pub(in crate::models) fn inputs_agree(&self, channels: usize) -> Result<(), ModelError> {
        self.args().in_chans.agrees("in_chans", &channels)
    }

    /// Refuses another number of classes than the tensors have; without a head they are 0.
    pub(in crate::models) fn classes_agree(&self, classes: usize) -> Result<(), ModelError> {
        self.args().num_classes.agrees("num_classes", &classes)?;
        match (self.num_classes.found(), self.pretrained_cfg.get()) {
            (Some(_), _) => self.num_classes.agrees("num_classes", &classes),
            // The weights as published had a head.
            (None, Some(published)) if classes > 0 => published.num_classes.agrees("num_classes", &classes),
            (None, _) => Ok(()),
        }
    }

    /// Whether the config says that there is a classifier.
    pub(in crate::models) fn classifies(&self) -> bool {
        let classes = match self.num_classes.found() {
            Some(_) => &self.num_classes,
            None => &self.args().num_classes,
        };
        self.architecture.found().is_some() && classes.found().is_some() && classes.get() != Some(&0)
    }
}
