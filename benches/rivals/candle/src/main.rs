//! candle on the CPU. It has no graph to import: the operations are called one by one, batch norms folded beforehand.

#[path = "../../graph.rs"]
mod graph;
#[path = "../../protocol.rs"]
mod protocol;

use candle_core::{D, Device, Result, Tensor};
use graph::Op;
use std::collections::HashMap;

fn apply(op: &Op, inputs: &[&Tensor], weights: &HashMap<String, Tensor>) -> Result<Tensor> {
    let x = inputs[0];
    match op.op.as_str() {
        "conv" => {
            let bias = &weights[&op.bias];
            x.conv2d(&weights[&op.weight], op.pad[0], op.stride[0], 1, op.groups)?
                .broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?)
        }
        "linear" => x.matmul(&weights[&op.weight].t()?)?.broadcast_add(&weights[&op.bias]),
        "relu" => x.relu(),
        "relu6" => x.clamp(0f32, 6f32),
        "add" => x + inputs[1],
        "mean" => x.mean_keepdim(D::Minus1)?.mean_keepdim(D::Minus2),
        "flatten" => x.flatten_from(1),
        // Values are not negative here, so that zeros pad as well as minus infinity.
        "maxpool" => {
            let [h, w] = op.pad;
            x.pad_with_zeros(D::Minus2, h, h)?
                .pad_with_zeros(D::Minus1, w, w)?
                .max_pool2d_with_stride((op.kernel[0], op.kernel[1]), (op.stride[0], op.stride[1]))
        }
        other => candle_core::bail!("no operation {other}"),
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    protocol::serve("0.11.1", |_, folder| {
        let ops = graph::read(folder)?;
        let weights = candle_core::safetensors::load(folder.join("folded.safetensors"), &Device::Cpu)?;
        let run = move |input: &[f32]| {
            let image = Tensor::from_slice(input, (1, 3, 224, 224), &Device::Cpu)?;
            let logits = graph::run(&ops, image, |op, inputs| apply(op, inputs, &weights))?;
            Ok(logits.flatten_all()?.to_vec1()?)
        };
        Ok(("cpu".into(), Box::new(run)))
    })
}
