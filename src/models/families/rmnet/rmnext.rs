//! RMNeXt: a stem of RepVGG blocks (without identity), then bottlenecks with a grouped 3x3 that expand inside.

use super::{rep, statistics};
use crate::graph::ValueId;
use crate::models::architecture::Built;
use crate::models::build::layers::{self, Layers, Window, depths};
use crate::models::build::reader::TensorReader;
use crate::models::build::steps::{self, Step};
use crate::models::{Key, ModelError};

/// ImageNet networks begin with two numbered blocks of stride 2, others with one of stride 1.
pub(in crate::models) fn build(reader: &mut TensorReader<'_>, size: [usize; 2]) -> Result<Built, ModelError> {
    let depths = depths(reader.names());
    let (stem, stride): (&[&str], usize) = match reader.shape("layer0.conv33.weight") {
        Some(_) => (&["layer0"], 1),
        None => (&["layer0.0", "layer0.1"], 2),
    };
    let steps = steps::steps(reader, &depths, 1)?;
    let stem_stride = reader.conventions.count(Key::StemStride, stride);
    let mut net = Layers::reading(reader, &format!("{}.conv33", stem[0]), size);
    let mut x = ValueId::INPUT;
    let mut blocks = vec![];
    for &name in stem {
        x = rep::block(&mut net, name, stem_stride, false, x)?;
        blocks.push(name.into());
    }
    let mut groups = vec![];
    for (stage, steps) in steps.iter().enumerate() {
        for (index, &step) in steps.iter().enumerate() {
            let name = format!("layer{}.{index}", stage + 1);
            let (y, of_block) = bottleneck(&mut net, &name, step, index == 0, x)?;
            x = y;
            groups.push(of_block);
            blocks.push(name);
        }
    }
    let classes = net.head("gap", "fc", x)?;
    groups.dedup();
    let groups: Vec<String> = groups.iter().map(usize::to_string).collect();
    let family = format!("RMNeXt {depths:?}, {} groups", groups.join(", "));
    Ok(Built { graph: net.graph, family, blocks, classes })
}

/// Appends a bottleneck; returns its value and the groups of its 3x3. Only the `first` of a stage may change the width.
fn bottleneck(
    net: &mut Layers<'_, '_>,
    name: &str,
    Step { stride, first_dilation, .. }: Step,
    first: bool,
    x: ValueId,
) -> Result<(ValueId, usize), ModelError> {
    let layer = |what: &str| format!("{name}.{what}");
    let input = net.channels(x);
    let mut y = net.conv_norm_act(["conv1", "bn1", "relu1"].map(layer), Window::new(1, 1), None, x)?;
    let inner = net.channels(y);
    let groups = layers::groups(net.reader, &layer("conv2"), inner, "3, 3", None)?;
    let window = Window { groups, dilation: first_dilation, ..Window::new(3, stride) };
    y = net.conv_norm_act(["conv2", "bn2", "relu2"].map(layer), window, Some(inner), y)?;
    y = net.conv_norm(["conv3", "bn3"].map(layer), Window::new(1, 1), (!first).then_some(input), y)?;
    let out = net.channels(y);
    let mut shortcut = x;
    if stride != 1 || out != input {
        let names = ["downsample.0", "downsample.1"].map(layer);
        shortcut = net.conv_norm(names, Window::new(1, stride), Some(out), x)?;
    }
    statistics(net, &layer("running1"), input)?;
    statistics(net, &layer("running2"), out)?;
    let sum = net.add(layer("add"), y, shortcut)?;
    Ok((net.relu(name, sum)?, groups))
}
