//! The config of timm: the architecture, and its constructor arguments.

use crate::field::{Field, FromJson, keys};
use crate::models::ModelError;
use serde_json::{Map, Value};
use std::sync::LazyLock;

keys! {
    /// The keys of timm.
    pub(in crate::models) struct TimmConfig {
        pub(in crate::models) architecture: Field<String>,
        pub(in crate::models) global_pool: Field<String>,
        pub(in crate::models) num_classes: Field<usize>,
        pub(in crate::models) model_args: Field<ModelArgs>,
        /// Classes and preprocessing of the published weights.
        pub(in crate::models) pretrained_cfg: Field<PretrainedCfg>,
        /// Older files state the preprocessing at the top level.
        pub(in crate::models) input_size: Field<Value>,
    }
}

/// The arguments of an architecture.
#[derive(Default)]
pub(in crate::models) struct ModelArgs {
    /// All arguments, since an unknown one may change the network.
    pub(in crate::models) all: Map<String, Value>,
    /// Arguments that are compared with the tensors, or state what no tensor shows.
    pub(in crate::models) known: KnownArgs,
}

keys! {
    /// The arguments that are read individually.
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
}

impl FromJson for ModelArgs {
    fn from_json(found: &Value) -> Option<ModelArgs> {
        Some(ModelArgs { all: Map::from_json(found)?, known: KnownArgs::read(found) })
    }
}

/// The part of `pretrained_cfg` that does not concern images.
#[derive(Default)]
pub(in crate::models) struct PretrainedCfg {
    pub(in crate::models) num_classes: Field<usize>,
}

impl FromJson for PretrainedCfg {
    fn from_json(found: &Value) -> Option<PretrainedCfg> {
        found.is_object().then(|| PretrainedCfg { num_classes: Field::of(found, "num_classes") })
    }
}

impl TimmConfig {
    /// The arguments; all absent if the file has none.
    pub(in crate::models) fn args(&self) -> &KnownArgs {
        static NONE: LazyLock<KnownArgs> = LazyLock::new(KnownArgs::default);
        self.model_args.get().map_or(&NONE, |args| &args.known)
    }

    /// An argument as JSON.
    pub(in crate::models) fn argument(&self, key: &str) -> Option<&Value> {
        self.model_args.get()?.all.get(key).filter(|value| !value.is_null())
    }

    /// Refuses a config whose number of input channels differs from the tensors'.
    pub(in crate::models) fn inputs_agree(&self, channels: usize) -> Result<(), ModelError> {
        self.args().in_chans.agrees("in_chans", &channels)
    }

    /// Refuses a config whose number of classes differs from the tensors'. Without a head the tensors have 0 classes.
    pub(in crate::models) fn classes_agree(&self, classes: usize) -> Result<(), ModelError> {
        self.args().num_classes.agrees("num_classes", &classes)?;
        match (self.num_classes.found(), self.pretrained_cfg.get()) {
            (Some(_), _) => self.num_classes.agrees("num_classes", &classes),
            // `pretrained_cfg` describes the published weights, which had a head.
            (None, Some(published)) if classes > 0 => published.num_classes.agrees("num_classes", &classes),
            (None, _) => Ok(()),
        }
    }

    /// Whether the config states that there is a classifier.
    pub(in crate::models) fn classifies(&self) -> bool {
        let classes = match self.num_classes.found() {
            Some(_) => &self.num_classes,
            None => &self.args().num_classes,
        };
        self.architecture.found().is_some() && classes.found().is_some() && classes.get() != Some(&0)
    }
}
