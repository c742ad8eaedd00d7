//! torchvision's names: `features.{n}`, a block's layers in `conv`, the classifier in `classifier.1`.

use crate::models::architecture::{self, Architecture, Built};
use crate::models::assume::Rectifier;
use crate::models::build::layers;
use crate::models::build::reader::TensorReader;
use crate::models::families::mobilenet_v2::{self, Block, DEPTHS, MobileNetV2Layout, Net};
use crate::models::{Key, ModelError, Naming};
use crate::preprocess::Preprocess;

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::Torchvision,
    own_prefix: "",
    shown_by: "torchvision MobileNetV2 names (`features.1.conv.0.0.weight`)",
    matches: |dict| dict.names().any(|n| n.starts_with("features.1.conv.")),
    preprocess: |_| Preprocess::imagenet(),
    build: |reader, _, size| build(reader, size),
    model_types: &["mobilenet_v2"],
    timm: architecture::not_in_timm,
};

/// Builds the published stages. Names only number the blocks, so for any other number of blocks the strides must be stated.
fn build(reader: &mut TensorReader<'_>, size: [usize; 2]) -> Result<Built, ModelError> {
    let published: usize = DEPTHS.iter().sum();
    // The first and the last numbered layers are not blocks.
    let blocks = layers::count(reader, |i| format!("features.{i}")).saturating_sub(2);
    let stated = reader.conventions.is_stated(Key::BlockStrides);
    if blocks == published && !stated {
        let strides = mobilenet_v2::strides(reader, &DEPTHS)?;
        let net = mobilenet_v2::build(reader, &layout(&strides), size)?;
        one_width_a_stage(reader, &net)?;
        return Ok(net.built(&DEPTHS));
    }
    if !stated || blocks == 0 {
        return Err(ModelError::Unsupported {
            what: format!("a torchvision MobileNetV2 of {blocks} blocks"),
            why: format!(
                "its names do not say which stride, and only the {published} published ones are known: state the assumption \
                 `block_strides`, a stride for each"
            ),
        });
    }
    let strides = reader.conventions.counts(Key::BlockStrides, &vec![1; blocks], "blocks")?;
    let net = mobilenet_v2::build(reader, &layout(&strides), size)?;
    Ok(net.built(&[blocks]))
}

fn layout(strides: &[usize]) -> MobileNetV2Layout {
    let unit = |name: String| ["0", "1", "2"].map(|n| format!("{name}.{n}"));
    let block = |(i, stride): (usize, &usize)| {
        let name = format!("features.{}", i + 1);
        // The first block has no expansion, so its later layers have lower numbers.
        let expand = (i > 0).then(|| unit(format!("{name}.conv.0")));
        let first = usize::from(expand.is_some());
        let depthwise = unit(format!("{name}.conv.{first}"));
        let project = [first + 1, first + 2].map(|n| format!("{name}.conv.{n}"));
        Block { name, expand, depthwise, project, stride: *stride, dilation: 1, residual: true }
    };
    MobileNetV2Layout {
        stem: unit("features.0".into()),
        blocks: strides.iter().enumerate().map(block).collect(),
        last: unit(format!("features.{}", strides.len() + 1)),
        head: ["avgpool", "classifier.1"].map(String::from),
        activation: Rectifier::Relu6,
        same: false,
    }
}

/// Refuses a network with as many blocks but other stages, if its widths show it.
fn one_width_a_stage(reader: &TensorReader<'_>, net: &Net) -> Result<(), ModelError> {
    let mut first = 0;
    for depth in DEPTHS {
        let width = net.widths[first][1];
        for i in first..first + depth {
            let [expanded, out] = net.widths[i];
            if out != width {
                let tensor = format!("features.{}.conv.{}.weight", i + 1, if i > 0 { 2 } else { 1 });
                let expected = format!("[{width} as the first block of its stage, {expanded}, 1, 1]");
                return Err(reader.misshapen(&tensor, expected));
            }
        }
        first += depth;
    }
    Ok(())
}
