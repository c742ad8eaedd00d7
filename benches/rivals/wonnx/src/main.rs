//! wonnx on the adapter that its wgpu prefers.

#[path = "../../protocol.rs"]
mod protocol;

use std::collections::HashMap;
use wonnx::Session;
use wonnx::utils::{InputTensor, OutputTensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    protocol::serve("0.5.1", |_, folder| {
        let session = pollster::block_on(Session::from_path(folder.join("model.onnx")))?;
        let run = move |input: &[f32]| {
            let inputs: HashMap<String, InputTensor> = HashMap::from([("input".to_string(), input.into())]);
            let mut out = pollster::block_on(session.run(&inputs))?;
            match out.remove("logits") {
                Some(OutputTensor::F32(logits)) => Ok(logits),
                _ => Err("no f32 tensor `logits` came out".into()),
            }
        };
        Ok(("the adapter wgpu prefers".into(), Box::new(run)))
    })
}
