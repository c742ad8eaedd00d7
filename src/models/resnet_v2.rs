//! timm's pre-activation ResNetV2 with batch norm: `stem.conv`, `stages.{s}.blocks.{i}.norm{n}/conv{n}`, `downsample.conv`,
//! `norm`, `head.fc`. A batch norm and a ReLU stand before each convolution, and nothing after a block's sum.

use super::key::Key;
use super::layers::{self, Layers, Window};
use super::reader::Reader;
use super::resnet::Kind;
use super::scheme::{Built, Scheme};
use super::steps::{self, Step};
use super::{ModelError, Naming, config, timm};
use crate::graph::{Op, ValueId};
use crate::preprocess::Preprocess;
use serde_json::{Value, json};

pub(super) const SCHEME: Scheme = Scheme {
    naming: Naming::Timm,
    own_prefix: "",
    shown_by: "timm ResNetV2 names (`stages.0.blocks.0.norm1.weight`)",
    matches: |dict| dict.names().any(block_norm),
    preprocess: |_| Preprocess { mean: vec![0.5; 3], std: vec![0.5; 3], ..Preprocess::imagenet() },
    build,
    model_types: &["resnetv2"],
    timm: |name| match variant(name) {
        Some(_) => Ok(()),
        None => Err("not among the ResNetV2 architectures known here"),
    },
};

/// Whether a tensor is of a block's first norm.
pub(super) fn block_norm(tensor: &str) -> bool {
    block_of(tensor).is_some() && tensor.contains(".norm1.")
}

fn block_of(tensor: &str) -> Option<(usize, usize)> {
    let (stage, rest) = tensor.strip_prefix("stages.")?.split_once(".blocks.")?;
    let (index, _) = rest.split_once('.')?;
    Some((stage.parse().ok()?, index.parse().ok()?))
}

/// Whether an architecture has the deep stem, and average-pool shortcuts with it: `resnetv2_50`, `resnetv2_50d`,
/// `resnetv2_50t`. `None` for any other.
fn variant(name: &str) -> Option<bool> {
    let letter = name.strip_prefix("resnetv2_")?.strip_prefix(|c: char| c.is_ascii_digit())?;
    match letter.trim_start_matches(|c: char| c.is_ascii_digit()) {
        "" => Some(false),
        "d" | "t" => Some(true),
        _ => None,
    }
}

/// Basic blocks or bottlenecks, with a plain or a deep stem.
fn build(reader: &mut Reader<'_>, config: Option<&Value>, size: [usize; 2]) -> Result<Built, ModelError> {
    timm::arguments(config, neutral)?;
    let deep = reader.shape("stem.conv1.weight").is_some();
    let basic = !reader.names().any(|n| block_of(n).is_some() && n.ends_with(".conv3.weight"));
    let pooled = pooled(reader, config, deep)?;

    let depths = layers::stage_depths(reader.names(), block_of);
    let (first, side) = if deep { ("stem.conv1", 3) } else { ("stem.conv", 7) };
    let steps = steps::steps(reader, &depths, 1)?;
    if pooled && steps.iter().flatten().any(|step| step.dilation > 1 || step.stride > 2) {
        return Err(ModelError::Unsupported {
            what: "a ResNetV2 with average-pool shortcuts of other strides than 1 and 2, or dilated".into(),
            why: "its shortcuts would average otherwise".into(),
        });
    }
    let in_first = !basic && reader.conventions.word(Key::StrideIn, "3x3") == "1x1";
    let stem_stride = reader.conventions.count(Key::StemStride, 2);
    let stem_pool = reader.conventions.flag(Key::StemPool, true);
    let layers = Layers::new(reader, first, side, size)?;
    let mut b = Builder { layers, basic, pooled, in_first };
    let in_channels = b.layers.channels(ValueId::INPUT);
    let mut x = b.stem(deep, stem_stride, stem_pool)?;
    let mut blocks = vec![];
    for (stage, steps) in steps.iter().enumerate() {
        for (index, &step) in steps.iter().enumerate() {
            let name = format!("stages.{stage}.blocks.{index}");
            x = b.block(&name, step, index == 0, x)?;
            blocks.push(name);
        }
    }
    x = b.activated("norm", x)?;
    let classes = b.layers.head("head.global_pool", "head.fc", x)?;

    let args = config::get(config, "model_args");
    config::agrees(args, "layers", &json!(depths))?;
    config::agrees(args, "in_chans", &json!(in_channels))?;
    config::agrees(args, "basic", &json!(basic))?;
    let kind = if basic { Kind::Basic } else { Kind::Bottleneck };
    timm::depths_agree(config, Some(kind), &depths)?;
    let mut family = format!("ResNetV2, {kind} {depths:?}");
    family.extend(deep.then_some(", deep stem"));
    family.extend(pooled.then_some(", average-pool shortcuts"));
    Ok(Built { graph: b.layers.graph, family, blocks, classes })
}

/// Whether the strided shortcuts average, which no tensor shows: as `config.json` says, or as timm's own networks do, where
/// the stem is deep. Refuses a config that says another stem than the tensors.
fn pooled(reader: &mut Reader<'_>, config: Option<&Value>, deep: bool) -> Result<bool, ModelError> {
    let architecture = config::get(config, "architecture").and_then(Value::as_str);
    let named = match architecture {
        Some(name) => {
            let named = variant(&timm::plain(name)).unwrap_or_default();
            timm::part_agrees(config, "stem_type", named, deep, "a deep stem")?;
            named
        }
        None => deep,
    };
    let args = config::get(config, "model_args");
    match config::boolean(args, "avg_down")? {
        Some(said) => reader.conventions.known(Key::ShortcutPool, said)?,
        None if architecture.is_some() => reader.conventions.known(Key::ShortcutPool, named)?,
        None => {}
    }
    Ok(reader.conventions.flag(Key::ShortcutPool, named))
}

/// An argument of the family that leaves the function of the network as its tensors and its architecture say.
fn neutral(key: &str, value: &Value) -> bool {
    match key {
        // Shown by shapes, or only of use in training.
        "channels" | "layers" | "stem_chs" | "width_factor" | "bottle_ratio" | "basic" | "zero_init_last"
        | "scriptable" | "exportable" => true,
        // Looked at when the network is built.
        "stem_type" => value == "" || value == "deep" || value == "tiered",
        "avg_down" => value.is_boolean(),
        "preact" => value == true,
        "act_layer" => value == "relu",
        _ => false,
    }
}

struct Builder<'r, 'c> {
    layers: Layers<'r, 'c>,
    /// Two 3x3 convolutions in a block, instead of 1x1, 3x3, 1x1.
    basic: bool,
    /// A shortcut of stride 2 is an average pool and a convolution of stride 1.
    pooled: bool,
    /// A bottleneck strides on its first 1x1.
    in_first: bool,
}

impl Builder<'_, '_> {
    fn stem(&mut self, deep: bool, stride: usize, pool: bool) -> Result<ValueId, ModelError> {
        let l = &mut self.layers;
        let x = match deep {
            true => {
                let unit = |i: usize| {
                    [format!("stem.conv{i}"), format!("stem.norm{i}"), format!("stem.norm{i}.act")]
                };
                l.deep_stem([unit(1), unit(2)], "stem.conv3", stride, ValueId::INPUT)?
            }
            false => l.conv("stem.conv", Window::new(7, stride), None, ValueId::INPUT)?,
        };
        if pool { l.max_pool("stem.pool", x) } else { Ok(x) }
    }

    /// Batch norm and ReLU.
    fn activated(&mut self, norm: &str, x: ValueId) -> Result<ValueId, ModelError> {
        let x = self.layers.norm(norm, x)?;
        self.layers.relu(format!("{norm}.act"), x)
    }

    /// One residual block; only the `first` of a stage may have a projection, which reads what the first norm gives.
    fn block(&mut self, name: &str, step: Step, first: bool, x: ValueId) -> Result<ValueId, ModelError> {
        let part = |what: &str| format!("{name}.{what}");
        let stride = step.stride;
        let projection = part("downsample.conv");
        let shown = self.layers.reader.shape(&format!("{projection}.weight")).is_some();
        let projected = stride != 1 || first && shown;
        let input = self.layers.channels(x);

        let (sides, strided): (&[usize], usize) = match (self.basic, self.in_first) {
            (true, _) => (&[3, 3], 0),
            (false, first) => (&[1, 3, 1], if first { 0 } else { 1 }),
        };
        let activated = self.activated(&part("norm1"), x)?;
        let mut y = activated;
        for (i, &side) in sides.iter().enumerate() {
            if i > 0 {
                y = self.activated(&part(&format!("norm{}", i + 1)), y)?;
            }
            let out = (i + 1 == sides.len() && !projected).then_some(input);
            let stride = if i == strided { stride } else { 1 };
            let dilation = match (side, i == 0 || !self.basic) {
                (1, _) => 1,
                (_, true) => step.first_dilation,
                (_, false) => step.dilation,
            };
            let window = Window { dilation, ..Window::new(side, stride) };
            y = self.layers.conv(&part(&format!("conv{}", i + 1)), window, out, y)?;
        }

        let mut shortcut = x;
        if projected {
            let out = self.layers.channels(y);
            let pooled = self.pooled && stride == 2;
            shortcut = activated;
            if pooled {
                shortcut = self.layers.push(part("downsample.pool"), Op::MeanPool2, &[shortcut])?;
            }
            let window = Window::new(1, if pooled { 1 } else { stride });
            shortcut = self.layers.conv(&projection, window, Some(out), shortcut)?;
        }
        self.layers.add(name, y, shortcut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_known_by_name() {
        for (name, deep) in [("resnetv2_18", false), ("resnetv2_50", false), ("resnetv2_34d", true)] {
            assert_eq!(variant(name), Some(deep), "{name}");
        }
        assert_eq!(variant("resnetv2_50t"), Some(true));
        for name in
            ["resnetv2_50x1_bit", "resnetv2_50d_gn", "resnetv2_50s", "resnetv2_", "resnetv2", "resnet50"]
        {
            assert_eq!(variant(name), None, "{name}");
        }
    }
}
