//! Config files of preprocessing as structs, read once.

use crate::field::{Field, FromJson, keys};
use serde_json::{Map, Number, Value};

/// One number for all channels, or one per channel.
#[derive(Clone, Debug)]
pub(super) enum Numbers {
    One(f64),
    Each(Vec<f64>),
}

impl FromJson for Numbers {
    fn from_json(found: &Value) -> Option<Numbers> {
        f64::from_json(found).map(Numbers::One).or_else(|| Vec::from_json(found).map(Numbers::Each))
    }
}

keys! {
    /// timm's `pretrained_cfg`.
    pub(super) struct Timm {
        /// Channels, height and width.
        pub(super) input_size: Field<[Field<f64>; 3]>,
        pub(super) crop_pct: Field<f64>,
        pub(super) crop_mode: Field<String>,
        pub(super) interpolation: Field<String>,
        pub(super) mean: Field<Numbers>,
        pub(super) std: Field<Numbers>,
    }
}

keys! {
    /// Hugging Face's `preprocessor_config.json`, or the `image_processor` of a `processor_config.json`.
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
    }
}

/// The forms of `size` and `crop_size`.
#[derive(Clone, Debug)]
pub(super) enum SizeKey {
    /// A bare number: the class decides which sides it is.
    Side(Number),
    /// Height and width.
    Both([Field<f64>; 2]),
    /// By name.
    Named { shortest_edge: Field<f64>, height: Field<f64>, width: Field<f64>, others: Map<String, Value> },
}

impl FromJson for SizeKey {
    fn from_json(found: &Value) -> Option<SizeKey> {
        Some(match found {
            Value::Number(side) => SizeKey::Side(side.clone()),
            Value::Array(_) => SizeKey::Both(<[Field<f64>; 2]>::from_json(found)?),
            Value::Object(others) => {
                let mut others = others.clone();
                let mut take = |key| others.remove(key).map_or(Field::Absent, Field::from);
                let (shortest_edge, height, width) = (take("shortest_edge"), take("height"), take("width"));
                SizeKey::Named { shortest_edge, height, width, others }
            }
            _ => return None,
        })
    }
}
