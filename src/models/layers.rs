//! Layers that more than one family has.

use super::ModelError;
use super::reader::Reader;
use crate::graph::{Conv2d, Graph, Op, ValueId, Weight};

/// How many layers have names, counted from 0 without a gap. At least one: that it is not there shows when it is read.
pub(super) fn count(reader: &Reader<'_>, name: impl Fn(usize) -> String) -> usize {
    let named = |i: &usize| {
        let layer = name(*i) + ".";
        reader.names().any(|tensor| tensor.starts_with(&layer))
    };
    (0..).take_while(named).count().max(1)
}

/// Groups of a convolution over `channels` inputs, from the shape of its weight `[out, channels / groups, side, side]`.
pub(super) fn groups(
    reader: &Reader<'_>,
    conv: &str,
    channels: usize,
    side: usize,
) -> Result<usize, ModelError> {
    let tensor = format!("{conv}.weight");
    match reader.shape(&tensor) {
        Some([out, per_group, ..]) if *per_group > 0 && channels.is_multiple_of(*per_group) => {
            let groups = channels / per_group;
            match out.is_multiple_of(groups) {
                true => Ok(groups),
                false => {
                    let expected = format!("[a multiple of {groups} groups, {per_group}, {side}, {side}]");
                    Err(reader.misshapen(&tensor, expected))
                }
            }
        }
        Some([_, per_group, ..]) if *per_group > 0 => {
            Err(reader.misshapen(&tensor, format!("[any, a divisor of {channels}, {side}, {side}]")))
        }
        // Missing or misshapen: reading it says so.
        _ => Ok(1),
    }
}

/// Average pool and linear classifier; returns the number of classes.
pub(super) fn classifier(
    reader: &mut Reader<'_>,
    graph: &mut Graph,
    [average, classifier]: [&str; 2],
    x: ValueId,
) -> Result<usize, ModelError> {
    let channels = graph.shape(x).channels;
    let mean = graph.push(average, Op::GlobalAverage, &[x])?;
    let weight = reader.tensor(&format!("{classifier}.weight"), &[None, Some(channels)])?;
    let classes = weight.shape()[0];
    let bias = reader.tensor(&format!("{classifier}.bias"), &[Some(classes)])?.to_f64();
    let weight = Weight::new(weight.reshaped(vec![classes, channels, 1, 1]));
    let conv = Conv2d { bias, ..Conv2d::dense(weight, 1, [1, 1], [0, 0]) };
    graph.push(classifier, Op::Conv2d(conv), &[mean])?;
    Ok(classes)
}
