//! Strides and dilations of blocks, which no tensor shows: they are stated, from a config, or by convention.

use crate::models::ModelError;
use crate::models::build::reader::TensorReader;
use crate::models::key::Key;

/// Stride and dilations of a block.
#[derive(Clone, Copy)]
pub(in crate::models) struct Step {
    pub(in crate::models) stride: usize,
    /// Dilation of its first convolution wider than 1x1. In the first block of a stage it is the dilation of the previous stage.
    pub(in crate::models) first_dilation: usize,
    /// Dilation of later convolutions.
    pub(in crate::models) dilation: usize,
}

/// The steps of every block, by stage. By convention the first block of the first stage has stride `first`, and the first blocks of later
/// stages have stride 2. A stage divides its stride by the factor by which its dilation exceeds the previous stage's.
pub(in crate::models) fn steps(
    reader: &mut TensorReader<'_>,
    depths: &[usize],
    first: usize,
) -> Result<Vec<Vec<Step>>, ModelError> {
    not_anti_aliased(reader)?;
    let c = &mut reader.conventions;
    let dilations = c.counts(Key::Dilation, &vec![1; depths.len()], "stages")?;
    let before = |stage: usize| if stage == 0 { 1 } else { dilations[stage - 1] };
    let strides: Vec<usize> = (0..depths.len())
        .map(|stage| {
            let stride = if stage == 0 { first } else { 2 };
            (stride * before(stage) / dilations[stage]).max(1)
        })
        .collect();
    let by_block = c.is_stated(Key::BlockStrides);
    let of_stages = if by_block { strides } else { c.counts(Key::StageStrides, &strides, "stages")? };
    let stage = |(stage, depth): (usize, &usize)| -> Vec<Step> {
        let step = |index: usize| Step {
            stride: if index == 0 { of_stages[stage] } else { 1 },
            first_dilation: if index == 0 { before(stage) } else { dilations[stage] },
            dilation: dilations[stage],
        };
        (0..*depth).map(step).collect()
    };
    let mut steps: Vec<Vec<Step>> = depths.iter().enumerate().map(stage).collect();
    if by_block {
        let strides: Vec<usize> = steps.iter().flatten().map(|s| s.stride).collect();
        let strides = c.counts(Key::BlockStrides, &strides, "blocks")?;
        steps.iter_mut().flatten().zip(strides).for_each(|(step, stride)| step.stride = stride);
    }
    Ok(steps)
}

/// The strides of every block, by stage, in a family for which dilation is not supported.
pub(in crate::models) fn strides(
    reader: &mut TensorReader<'_>,
    depths: &[usize],
    first: usize,
) -> Result<Vec<Vec<usize>>, ModelError> {
    let steps = steps(reader, depths, first)?;
    if steps.iter().flatten().any(|step| step.dilation > 1) {
        let why = "this version cannot dilate networks of this family".into();
        return Err(reader.conventions.refuse(Key::Dilation, why));
    }
    Ok(steps.iter().map(|stage| stage.iter().map(|step| step.stride).collect()).collect())
}

/// Refuses a network for which a blur before strides is stated.
pub(in crate::models) fn not_anti_aliased(reader: &mut TensorReader<'_>) -> Result<(), ModelError> {
    match reader.conventions.count(Key::AntiAlias, 0) {
        0 => Ok(()),
        blur => Err(ModelError::Unsupported {
            what: "an anti-aliased network".into(),
            why: format!("its strides blur by {blur}, which this version cannot run"),
        }),
    }
}
