//! The operations of a saved chain: their JSON, and the tensors they name.

use super::SavedError;
use crate::checkpoint::Checkpoint;
use crate::graph::{Activation, Block, BlockWeight, Conv2d, MaxPool, Node, Op, Weight};
use crate::models::build::reader::not_finite;
use safetensors::View;
use serde::Serialize;
use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::Range;

#[derive(Serialize)]
pub(super) struct SavedNode {
    pub(super) name: String,
    pub(super) inputs: Vec<usize>,
    #[serde(flatten)]
    pub(super) op: SavedOp,
}

impl SavedNode {
    /// Names of the tensors that the node reads.
    pub(super) fn tensors(&self) -> Vec<&str> {
        match &self.op {
            SavedOp::Conv2d { blocks, bias, activation, .. } => {
                let weights = blocks.iter().filter_map(|b| b.weight.tensor());
                let slopes = activation.iter().filter_map(|(_, a)| a.tensor());
                weights.chain(slopes).chain([bias.as_str()]).collect()
            }
            SavedOp::Add { activation } | SavedOp::Activation { activation } => {
                activation.tensor().into_iter().collect()
            }
            SavedOp::MaxPool { .. }
            | SavedOp::MeanPool2
            | SavedOp::Slice { .. }
            | SavedOp::Gate { .. }
            | SavedOp::GlobalAverage => vec![],
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum SavedOp {
    Conv2d {
        in_channels: usize,
        out_channels: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        /// Omitted if it equals `padding`.
        #[serde(skip_serializing_if = "Option::is_none")]
        padding_end: Option<[usize; 2]>,
        /// Omitted unless padding depends on the input size.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        same: bool,
        /// Omitted unless taps stand for a mean.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        even: bool,
        dilation: [usize; 2],
        blocks: Vec<SavedBlock>,
        bias: String,
        activation: Vec<(Range<usize>, SavedActivation)>,
    },
    Add {
        activation: SavedActivation,
    },
    Activation {
        activation: SavedActivation,
    },
    MaxPool {
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    },
    MeanPool2,
    Slice {
        channels: Range<usize>,
    },
    Gate {
        first: usize,
    },
    GlobalAverage,
}

#[derive(Serialize)]
pub(super) struct SavedBlock {
    pub(super) out: Range<usize>,
    pub(super) input: Range<usize>,
    #[serde(flatten)]
    pub(super) weight: SavedWeight,
}

impl SavedBlock {
    /// The block of a convolution with a window of `kernel`.
    fn read(self, checkpoint: &Checkpoint, layer: &str, kernel: [usize; 2]) -> Result<Block, SavedError> {
        let SavedBlock { out, input, weight } = self;
        let (o, i, [kh, kw]) = (out.len(), input.len(), kernel);
        let read = |name: &str, shape: [usize; 4]| tensor(checkpoint, layer, name, &shape).map(Weight::new);
        let weight = match weight {
            SavedWeight::Dense { tensor, groups } => {
                let shape = [o, i / groups.max(1), kh, kw];
                BlockWeight::Dense { weight: read(&tensor, shape)?, groups }
            }
            SavedWeight::Pointwise { tensor } => BlockWeight::Pointwise(read(&tensor, [o, i, 1, 1])?),
            SavedWeight::Dirac => BlockWeight::Dirac,
            SavedWeight::MeanPool2 => BlockWeight::AvgPool2x2,
            SavedWeight::Diagonal { tensor: name } => {
                BlockWeight::Diagonal(tensor(checkpoint, layer, &name, &[o])?.to_f64().into())
            }
        };
        Ok(Block { out, input, weight })
    }
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum SavedWeight {
    Dense { tensor: String, groups: usize },
    Pointwise { tensor: String },
    Dirac,
    Diagonal { tensor: String },
    MeanPool2,
}

impl SavedWeight {
    fn tensor(&self) -> Option<&str> {
        match self {
            SavedWeight::Dense { tensor, .. }
            | SavedWeight::Pointwise { tensor }
            | SavedWeight::Diagonal { tensor } => Some(tensor),
            SavedWeight::Dirac | SavedWeight::MeanPool2 => None,
        }
    }
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SavedActivation {
    Identity,
    Relu,
    Relu6,
    Prelu {
        /// Slopes, one per channel of the range.
        tensor: String,
    },
    Sigmoid,
}

impl SavedActivation {
    fn tensor(&self) -> Option<&str> {
        match self {
            SavedActivation::Prelu { tensor } => Some(tensor),
            _ => None,
        }
    }

    /// Converts an activation; adds the slopes of a PReLU to the tensors as `{layer}.slope{number}`.
    fn save(
        a: &Activation,
        layer: &str,
        number: usize,
        tensors: &mut Vec<(String, Lazy)>,
    ) -> SavedActivation {
        match a {
            Activation::Identity => SavedActivation::Identity,
            Activation::Relu => SavedActivation::Relu,
            Activation::Relu6 => SavedActivation::Relu6,
            Activation::Sigmoid => SavedActivation::Sigmoid,
            Activation::PRelu(slopes) => {
                let number = if number == 0 { String::new() } else { number.to_string() };
                let tensor = format!("{layer}.slope{number}");
                tensors.push((tensor.clone(), Lazy::vector(slopes)));
                SavedActivation::Prelu { tensor }
            }
        }
    }

    fn read(self, checkpoint: &Checkpoint, layer: &str, channels: usize) -> Result<Activation, SavedError> {
        Ok(match self {
            SavedActivation::Identity => Activation::Identity,
            SavedActivation::Relu => Activation::Relu,
            SavedActivation::Relu6 => Activation::Relu6,
            SavedActivation::Sigmoid => Activation::Sigmoid,
            SavedActivation::Prelu { tensor: name } => {
                Activation::PRelu(tensor(checkpoint, layer, &name, &[channels])?.to_f64().into())
            }
        })
    }
}

/// A tensor of the file, folded to F32 only while it is written.
pub(super) enum Lazy {
    Weight { weight: Weight, shape: [usize; 4] },
    Vector { values: Vec<f64>, shape: [usize; 1] },
}

impl Lazy {
    fn vector(values: &[f64]) -> Lazy {
        Lazy::Vector { values: values.into(), shape: [values.len()] }
    }
}

impl View for Lazy {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        match self {
            Lazy::Weight { shape, .. } => shape,
            Lazy::Vector { shape, .. } => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        match self {
            Lazy::Weight { weight, .. } => {
                let Ok(()) = weight.each_row_f32(|row| {
                    bytes.extend(row.into_iter().flat_map(f32::to_le_bytes));
                    Ok::<(), Infallible>(())
                });
            }
            Lazy::Vector { values, .. } => {
                bytes.extend(values.iter().flat_map(|v| (*v as f32).to_le_bytes()))
            }
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.shape().iter().product::<usize>() * 4
    }
}

pub(super) fn saved_op(node: &Node, tensors: &mut Vec<(String, Lazy)>) -> Result<SavedOp, SavedError> {
    Ok(match &node.op {
        Op::Conv2d(conv) => saved_conv(conv, &node.name, tensors),
        Op::Add(a) => SavedOp::Add { activation: SavedActivation::save(a, &node.name, 0, tensors) },
        Op::Activation(a) => {
            SavedOp::Activation { activation: SavedActivation::save(a, &node.name, 0, tensors) }
        }
        Op::AvgPool2x2 => SavedOp::MeanPool2,
        Op::Slice(channels) => SavedOp::Slice { channels: channels.clone() },
        Op::Gate { first } => SavedOp::Gate { first: *first },
        Op::MaxPool(p) => SavedOp::MaxPool { kernel: p.kernel, stride: p.stride, padding: p.padding },
        Op::GlobalAverage => SavedOp::GlobalAverage,
        op @ (Op::BatchNorm(_) | Op::Input(_)) => {
            return Err(SavedError::Unsaveable { layer: node.name.clone(), what: op.to_string() });
        }
    })
}

/// A convolution, with tensors named after its layer: `{layer}.weight`, `.weight1`, and so on.
fn saved_conv(conv: &Conv2d, layer: &str, tensors: &mut Vec<(String, Lazy)>) -> SavedOp {
    let bias = format!("{layer}.bias");
    tensors.push((bias.clone(), Lazy::vector(&conv.bias)));
    let mut blocks = vec![];
    let (mut dense, mut pointwise, mut diagonal) = (0, 0, 0);
    let numbered = |what: &str, count: &mut usize| {
        *count += 1;
        let number = if *count == 1 { String::new() } else { (*count - 1).to_string() };
        format!("{layer}.{what}{number}")
    };
    for b in &conv.blocks {
        let mut add = |name: String, weight: &Weight| {
            let lazy = Lazy::Weight { weight: weight.clone(), shape: weight.shape() };
            tensors.push((name.clone(), lazy));
            name
        };
        let weight = match &b.weight {
            BlockWeight::Dense { weight, groups } => {
                let tensor = add(numbered("weight", &mut dense), weight);
                SavedWeight::Dense { tensor, groups: *groups }
            }
            BlockWeight::Pointwise(weight) => {
                let tensor = add(numbered("shortcut", &mut pointwise), weight);
                SavedWeight::Pointwise { tensor }
            }
            BlockWeight::Dirac => SavedWeight::Dirac,
            BlockWeight::AvgPool2x2 => SavedWeight::MeanPool2,
            BlockWeight::Diagonal(factors) => {
                let tensor = numbered("scale", &mut diagonal);
                tensors.push((tensor.clone(), Lazy::vector(factors)));
                SavedWeight::Diagonal { tensor }
            }
        };
        blocks.push(SavedBlock { out: b.out.clone(), input: b.input.clone(), weight });
    }
    let ranges = conv.activation.iter().enumerate();
    let activation =
        ranges.map(|(i, (r, a))| (r.clone(), SavedActivation::save(a, layer, i, tensors))).collect();
    SavedOp::Conv2d {
        in_channels: conv.in_channels,
        out_channels: conv.out_channels,
        kernel: conv.kernel,
        stride: conv.stride,
        padding: conv.padding,
        padding_end: (conv.padding_end != conv.padding).then_some(conv.padding_end),
        same: conv.same,
        even: conv.even,
        dilation: conv.dilation,
        blocks,
        bias,
        activation,
    }
}

/// Reads an operation; `channels` is the number of channels of its first operand.
pub(super) fn read_op(
    checkpoint: &Checkpoint,
    layer: &str,
    op: SavedOp,
    channels: usize,
) -> Result<Op, SavedError> {
    Ok(match op {
        SavedOp::Add { activation } => Op::Add(activation.read(checkpoint, layer, channels)?),
        SavedOp::Activation { activation } => Op::Activation(activation.read(checkpoint, layer, channels)?),
        SavedOp::MeanPool2 => Op::AvgPool2x2,
        SavedOp::Slice { channels } => Op::Slice(channels),
        SavedOp::Gate { first } => Op::Gate { first },
        SavedOp::MaxPool { kernel, stride, padding } => Op::MaxPool(MaxPool { kernel, stride, padding }),
        SavedOp::GlobalAverage => Op::GlobalAverage,
        SavedOp::Conv2d {
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            padding_end,
            same,
            even,
            dilation,
            blocks,
            bias,
            activation,
        } => Op::Conv2d(Conv2d {
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            padding_end: padding_end.unwrap_or(padding),
            same,
            even,
            dilation,
            blocks: blocks
                .into_iter()
                .map(|block| block.read(checkpoint, layer, kernel))
                .collect::<Result<_, _>>()?,
            bias: tensor(checkpoint, layer, &bias, &[out_channels])?.to_f64(),
            has_bias: true,
            activation: activation
                .into_iter()
                .map(|(r, a)| a.read(checkpoint, layer, r.len()).map(|a| (r, a)))
                .collect::<Result<_, _>>()?,
        }),
    })
}

fn tensor(
    checkpoint: &Checkpoint,
    layer: &str,
    name: &str,
    shape: &[usize],
) -> Result<crate::tensor::Tensor, SavedError> {
    let refuse = |found: String| SavedError::Tensor {
        layer: layer.into(),
        tensor: name.into(),
        expected: format!("F32 {shape:?}"),
        found,
    };
    let found = checkpoint.tensor(name).ok_or_else(|| refuse("no such tensor".into()))?;
    if found.shape() != shape || found.dtype() != crate::tensor::Dtype::F32 {
        return Err(refuse(format!("{} {:?}", found.dtype(), found.shape())));
    }
    if let Some((index, value)) = not_finite(found) {
        let (layer, tensor) = (layer.into(), name.into());
        let (expected, found) = ("finite values".into(), format!("{value} at element {index}"));
        return Err(SavedError::Tensor { layer, tensor, expected, found });
    }
    Ok(found.clone())
}
