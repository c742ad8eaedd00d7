//! tract on the CPU.

#[path = "../../protocol.rs"]
mod protocol;

use tract_onnx::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    protocol::serve("0.23.9", |_, folder| {
        let model = tract_onnx::onnx()
            .model_for_path(folder.join("model.onnx"))?
            .with_input_fact(0, f32::fact([1, 3, 224, 224]).into())?
            .into_optimized()?
            .into_runnable()?;
        let run = move |input: &[f32]| {
            let image = Tensor::from_shape(&[1, 3, 224, 224], input)?;
            let out = model.run(tvec!(image.into()))?;
            Ok(out[0].to_plain_array_view::<f32>()?.iter().copied().collect())
        };
        Ok(("cpu".into(), Box::new(run)))
    })
}
