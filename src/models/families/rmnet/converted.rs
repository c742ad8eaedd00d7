//! torchvision ResNets that the repository's `easy_*` scripts converted in place. Stem and classifier are unchanged; each block is a plain
//! `nn.Sequential` of convolutions with bias and ReLU.

use crate::graph::ValueId;
use crate::models::architecture::Built;
use crate::models::build::layers::{Layers, Window, depths};
use crate::models::build::reader::TensorReader;
use crate::models::build::steps;
use crate::models::families::chain;
use crate::models::{Key, ModelError};

pub(in crate::models) fn build(reader: &mut TensorReader<'_>, size: [usize; 2]) -> Result<Built, ModelError> {
    let depths = depths(reader.names());
    // Convolutions are the modules 0, 2 and in bottlenecks 4, with ReLU between them.
    let count = if reader.shape("layer1.0.4.weight").is_some() { 3 } else { 2 };
    // Batch norms are folded: either all convolutions of blocks have a bias, or none has.
    let bias = reader.names().any(|n| n.starts_with("layer") && n.ends_with(".bias"));
    let of_stages = steps::strides(reader, &depths, 1)?;
    let stem_stride = reader.conventions.count(Key::StemStride, 2);
    let pool = reader.conventions.flag(Key::StemPool, true);
    let mut net = Layers::reading(reader, "conv1", size);
    let stem = Window::new(7, stem_stride);
    let mut x = net.conv_norm_act(["conv1", "bn1", "relu"], stem, None, ValueId::INPUT)?;
    if pool {
        x = net.max_pool("maxpool", x)?;
    }
    for (stage, of_blocks) in of_stages.iter().enumerate() {
        for (index, &of_block) in of_blocks.iter().enumerate() {
            for number in 0..count {
                let name = format!("layer{}.{index}.{}", stage + 1, 2 * number);
                // The 3x3 that strides: the first of a basic block, the second of a bottleneck.
                let strides = number + 2 == count;
                let side = if count == 2 || number == 1 { 3 } else { 1 };
                let stride = if strides { of_block } else { 1 };
                let window = chain::ListedWindow { kernel: [side; 2], stride, padding: side / 2, bias };
                x = chain::conv(&mut net, &name, window, x)?;
                x = net.relu(format!("{name}.relu"), x)?;
            }
        }
    }
    let classes = net.head("avgpool", "fc", x)?;
    let kind = if count == 2 { "BasicBlock" } else { "Bottleneck" };
    Ok(Built {
        graph: net.graph,
        family: format!("converted ResNet, {kind} {depths:?}"),
        blocks: vec![],
        classes,
    })
}
