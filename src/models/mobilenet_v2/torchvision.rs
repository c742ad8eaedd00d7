//! torchvision's names: `features.{n}`, a block's layers in `conv`, the classifier in `classifier.1`.

use super::super::reader::Reader;
use super::super::scheme::{self, Built, Scheme};
use super::super::{ModelError, Naming, layers};
use super::{Block, DEPTHS, Layout, Net};
use crate::graph::Activation;
use crate::preprocess::Preprocess;
use serde_json::Value;

pub(in crate::models) const SCHEME: Scheme = Scheme {
    naming: Naming::Torchvision,
    shown_by: "torchvision MobileNetV2 names (`features.1.conv.0.0.weight`)",
    matches: |checkpoint| checkpoint.names().any(|n| n.starts_with("features.1.conv.")),
    preprocess: |_| Preprocess::imagenet(),
    build,
    model_types: &["mobilenet_v2"],
    timm: scheme::not_in_timm,
};

/// The published stages: names count blocks only, so that of another network the strides are not known.
fn build(reader: &mut Reader<'_>, _: Option<&Value>, size: [usize; 2]) -> Result<Built, ModelError> {
    let blocks: usize = DEPTHS.iter().sum();
    // But for the first and the last of the numbered layers.
    let found = layers::count(reader, |i| format!("features.{i}")).saturating_sub(2);
    if found != blocks {
        return Err(ModelError::Unsupported {
            what: format!("a torchvision MobileNetV2 of {found} blocks"),
            why: format!(
                "their names do not say which stride, and only the {blocks} published ones are known"
            ),
        });
    }
    let net = super::build(reader, &layout(blocks), size)?;
    one_width_a_stage(reader, &net)?;
    Ok(net.built(&DEPTHS))
}

fn layout(blocks: usize) -> Layout {
    let unit = |name: String| ["0", "1", "2"].map(|n| format!("{name}.{n}"));
    let block = |(i, stride)| {
        let name = format!("features.{}", i + 1);
        // The first block has no expansion, and the later layers move up.
        let expand = (i > 0).then(|| unit(format!("{name}.conv.0")));
        let first = usize::from(expand.is_some());
        let depthwise = unit(format!("{name}.conv.{first}"));
        let project = [first + 1, first + 2].map(|n| format!("{name}.conv.{n}"));
        Block { name, expand, depthwise, project, stride, dilation: 1, residual: true }
    };
    Layout {
        stem: unit("features.0".into()),
        blocks: super::strides(&DEPTHS).enumerate().map(block).collect(),
        last: unit(format!("features.{}", blocks + 1)),
        head: ["avgpool", "classifier.1"],
        activation: Activation::Relu6,
        epsilon: 1e-5,
        same: false,
    }
}

/// Refuses other stages of as many blocks, where a width shows them.
fn one_width_a_stage(reader: &Reader<'_>, net: &Net) -> Result<(), ModelError> {
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
