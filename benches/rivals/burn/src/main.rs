//! burn on its CPU backends, and with the feature `gpu` on Vulkan. The operations are called one by one, batch norms folded
//! beforehand: its importer would make each network a program of its own.

#[path = "../../graph.rs"]
mod graph;
#[path = "../../protocol.rs"]
mod protocol;

use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{DType, Device, Tensor, TensorData, activation, module};
use graph::Op;
use safetensors::SafeTensors;
use std::collections::HashMap;
use std::error::Error;

/// Every weight by name, as the ranks that burn's types tell apart; a matrix is transposed to [in, out].
struct Weights {
    kernels: HashMap<String, Tensor<4>>,
    matrices: HashMap<String, Tensor<2>>,
    vectors: HashMap<String, Tensor<1>>,
}

impl Weights {
    fn read(bytes: &[u8], device: &Device) -> Result<Weights, Box<dyn Error>> {
        let mut weights =
            Weights { kernels: HashMap::new(), matrices: HashMap::new(), vectors: HashMap::new() };
        for (name, view) in SafeTensors::deserialize(bytes)?.tensors() {
            let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), DType::F32);
            match view.shape().len() {
                4 => drop(weights.kernels.insert(name, Tensor::from_data(data, device))),
                2 => drop(weights.matrices.insert(name, Tensor::<2>::from_data(data, device).transpose())),
                _ => drop(weights.vectors.insert(name, Tensor::from_data(data, device))),
            }
        }
        Ok(weights)
    }
}

/// Values keep rank 4 to the end: [1, C, H, W], flattened [1, 1, 1, C].
fn apply(op: &Op, inputs: &[&Tensor<4>], weights: &Weights) -> Result<Tensor<4>, Box<dyn Error>> {
    let x = inputs[0].clone();
    let bias = || Some(weights.vectors[&op.bias].clone());
    Ok(match op.op.as_str() {
        "conv" => {
            let options = ConvOptions::new(op.stride, op.pad, [1, 1], op.groups);
            module::conv2d(x, weights.kernels[&op.weight].clone(), bias(), options)
        }
        "linear" => module::linear(x, weights.matrices[&op.weight].clone(), bias()),
        "relu" => activation::relu(x),
        "relu6" => x.clamp(0.0, 6.0),
        "add" => x + inputs[1].clone(),
        "mean" => module::adaptive_avg_pool2d(x, [1, 1]),
        "flatten" => {
            let channels = x.dims()[1];
            x.reshape([1, 1, 1, channels])
        }
        "maxpool" => {
            let mut options = MaxPoolOptions::new(op.kernel);
            (options.stride, options.padding) = (op.stride, op.pad.map(|p| (p, p)));
            module::max_pool2d(x, options)
        }
        other => return Err(format!("no operation {other}").into()),
    })
}

fn device(variant: &str) -> Result<Device, Box<dyn Error>> {
    match variant {
        #[cfg(feature = "gpu")]
        "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(not(feature = "gpu"))]
        "flex" => Ok(Device::flex()),
        #[cfg(not(feature = "gpu"))]
        "ndarray" => Ok(Device::ndarray()),
        other => Err(format!("no backend {other} in this program").into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    protocol::serve("0.22.1", |variant, folder| {
        let device = device(variant)?;
        let ops = graph::read(folder)?;
        let weights = Weights::read(&std::fs::read(folder.join("folded.safetensors"))?, &device)?;
        let run_on = device.clone();
        let run = move |input: &[f32]| {
            let image = TensorData::new(input.to_vec(), [1, 3, 224, 224]);
            let logits = graph::run(&ops, Tensor::from_data(image, &run_on), |op, x| apply(op, x, &weights))?;
            Ok(logits.into_data().to_vec::<f32>().map_err(|e| format!("{e:?}"))?)
        };
        Ok((variant.into(), Box::new(run)))
    })
}
