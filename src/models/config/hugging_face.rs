//! The config of Hugging Face transformers.

use super::check::wrong;
use crate::field::{Field, keys};
use crate::models::ModelError;

keys! {
    /// The keys of a ResNet and of a MobileNetV2.
    pub(in crate::models) struct HuggingFaceConfig {
        pub(in crate::models) model_type: Field<String>,
        architectures: Field<Vec<Field<String>>>,
        pub(in crate::models) hidden_act: Field<String>,
        pub(in crate::models) num_channels: Field<usize>,
        // Keys of a ResNet.
        pub(in crate::models) depths: Field<Vec<usize>>,
        pub(in crate::models) hidden_sizes: Field<Vec<usize>>,
        pub(in crate::models) embedding_size: Field<usize>,
        pub(in crate::models) layer_type: Field<String>,
        pub(in crate::models) downsample_in_bottleneck: Field<bool>,
        pub(in crate::models) downsample_in_first_stage: Field<bool>,
        // Keys of a MobileNetV2.
        pub(in crate::models) image_size: Field<usize>,
        pub(in crate::models) output_stride: Field<usize>,
        pub(in crate::models) layer_norm_eps: Field<f64>,
        pub(in crate::models) tf_padding: Field<bool>,
        pub(in crate::models) first_layer_is_expansion: Field<bool>,
        pub(in crate::models) finegrained_output: Field<bool>,
        pub(in crate::models) depth_multiplier: Field<f64>,
        pub(in crate::models) depth_divisible_by: Field<usize>,
        pub(in crate::models) min_depth: Field<usize>,
        pub(in crate::models) expand_ratio: Field<f64>,
    }
}

impl HuggingFaceConfig {
    /// Refuses a `model_type` that is not among those `known` for the tensor names. Any is allowed if `known` is empty.
    pub(in crate::models) fn type_agrees(&self, known: &[&str]) -> Result<(), ModelError> {
        let wrappers = ["timm_wrapper", "timm_backbone"];
        let is_known = |found: &String| known.iter().chain(&wrappers).any(|known| found == known);
        match self.model_type.found() {
            Some(found) if !known.is_empty() && !self.model_type.get().is_some_and(is_known) => {
                let known: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
                let expected = format!("{}, as the tensor names say", known.join(" or "));
                Err(wrong("model_type", &expected, found))
            }
            _ => Ok(()),
        }
    }

    /// Whether the config states that there is a classifier.
    pub(in crate::models) fn classifies(&self) -> bool {
        let classifies = |class: &String| class.ends_with("ForImageClassification");
        self.architectures
            .get()
            .is_some_and(|all| all.iter().any(|class| class.get().is_some_and(classifies)))
    }

    /// Refuses an activation that this crate cannot run, since tensors do not show it. `network` names the network for the error.
    pub(in crate::models) fn activation(
        &self,
        network: &str,
        known: [&str; 2],
    ) -> Result<Option<&str>, ModelError> {
        match (self.hidden_act.found(), self.hidden_act.get()) {
            (None, _) => Ok(None),
            (Some(_), Some(act)) if known.contains(&act.as_str()) => Ok(Some(act)),
            (Some(found), _) => Err(ModelError::Unsupported {
                what: format!("a Hugging Face {network} with another activation"),
                why: format!(
                    "config.json has `hidden_act` {found}, only \"{}\" and \"{}\" are known",
                    known[0], known[1]
                ),
            }),
        }
    }
}
