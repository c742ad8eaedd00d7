//! Config files of preprocessing as structs, read once.

use crate::field::Field;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

/// The keys of an object; the defaults for other JSON values.
pub(super) fn keys<T: DeserializeOwned + Default>(file: &Value) -> T {
    if file.is_object() { T::deserialize(file).unwrap_or_default() } else { T::default() }
}

/// One number for all channels, or one per channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Numbers {
    One(f64),
    Each(Vec<f64>),
}

/// timm's `pretrained_cfg`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Timm {
    /// Channels, height and width.
    pub(super) input_size: Field<[Field<f64>; 3]>,
    pub(super) crop_pct: Field<f64>,
    pub(super) crop_mode: Field<String>,
    pub(super) interpolation: Field<String>,
    pub(super) mean: Field<Numbers>,
    pub(super) std: Field<Numbers>,
}

/// Hugging Face's `preprocessor_config.json`, or the `image_processor` of a `processor_config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct HuggingFace {
    pub(super) image_processor_type: Field<String>,
    pub(super) feature_extractor_type: Field<String>,
    pub(super) do_resize: Field<bool>,
    pub(super) size: Field<SizeKey>,
    pub(super) default_to_square: Field<bool>,
    pub(super) resample: Field<u64>,
    pub(super) do_center_crop: Field<bool>,
    pub(super) crop_size: Field<SizeKey>,
    pub(super) crop_pct: Field<f64>,
    pub(super) do_rescale: Field<bool>,
    pub(super) rescale_factor: Field<f64>,
    pub(super) do_normalize: Field<bool>,
    pub(super) image_mean: Field<Numbers>,
    pub(super) image_std: Field<Numbers>,
    // Keys of some processors.
    pub(super) rescale_offset: Field<bool>,
    pub(super) include_top: Field<bool>,
    pub(super) do_flip_channel_order: Field<bool>,
    /// All keys, since an unknown one may change pixels.
    #[serde(skip)]
    pub(super) all: Map<String, Value>,
}

impl HuggingFace {
    pub(super) fn read(file: &Value) -> HuggingFace {
        let inner = file.get("image_processor").filter(|inner| inner.is_object());
        let file = inner.unwrap_or(file);
        HuggingFace { all: file.as_object().cloned().unwrap_or_default(), ..keys(file) }
    }
}

/// The forms of `size` and `crop_size`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum SizeKey {
    /// A bare number: the class decides which sides it is.
    Side(Number),
    /// Height and width.
    Both([Field<f64>; 2]),
    /// By name.
    Named {
        #[serde(default)]
        shortest_edge: Field<f64>,
        #[serde(default)]
        height: Field<f64>,
        #[serde(default)]
        width: Field<f64>,
        #[serde(flatten)]
        others: Map<String, Value>,
    },
}
