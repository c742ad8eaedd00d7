//! Inputs of `run`: images, or a tensor taken as it is.

use super::Failure;
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::Shape;
use rmnet::preprocess::Preprocess;
use std::path::{Path, PathBuf};

/// What is run: planar f32, one name per image.
pub struct Inputs {
    pub names: Vec<String>,
    pub values: Vec<f32>,
}

/// Reads what the command line names: any number of images, or one `.safetensors`.
pub fn read(paths: &[PathBuf], shape: Shape, preprocess: &Preprocess) -> Result<Inputs, Failure> {
    let is_tensor = |p: &Path| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
    if let [path] = paths
        && is_tensor(path)
    {
        return tensor(path, shape);
    }
    if let Some(path) = paths.iter().find(|p| is_tensor(p)) {
        return Err(Failure::usage(format!(
            "{}: a tensor is run alone, found {} inputs",
            path.display(),
            paths.len()
        )));
    }
    if shape.channels != 3 {
        return Err(Failure::input(format!("the network reads {} channels, an image has 3", shape.channels)));
    }
    let mut inputs = Inputs { names: vec![], values: vec![] };
    for path in paths {
        let refuse = |e: &dyn std::fmt::Display| Failure::input(format!("{}: {e}", path.display()));
        let rgb = decode(path)?;
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        let values = preprocess.apply(rgb.as_raw(), width, height).map_err(|e| refuse(&e))?;
        inputs.values.extend(values);
        inputs.names.push(path.display().to_string());
    }
    Ok(inputs)
}

/// An image file as 8-bit RGB; transparency is dropped as PIL's `convert("RGB")` drops it.
pub fn decode(path: &Path) -> Result<image::RgbImage, Failure> {
    let refuse = |e: &dyn std::fmt::Display| Failure::input(format!("{}: {e}", path.display()));
    let reader = image::ImageReader::open(path).map_err(|e| refuse(&e))?;
    let reader = reader.with_guessed_format().map_err(|e| refuse(&e))?;
    Ok(reader.decode().map_err(|e| refuse(&e))?.into_rgb8())
}

fn tensor(path: &Path, shape: Shape) -> Result<Inputs, Failure> {
    let file = Checkpoint::open(path).map_err(Failure::input)?;
    let refuse = |found: String| {
        let Shape { channels, height, width } = shape;
        let expected = format!("expected F32 [N, {channels}, {height}, {width}]");
        Failure::input(format!("{}: tensor `input`: {expected}, found {found}", path.display()))
    };
    let Some(tensor) = file.tensor("input") else {
        let names: Vec<&str> = file.names().take(5).collect();
        return Err(refuse(format!("no such tensor among {names:?}")));
    };
    let found = format!("{} {:?}", tensor.dtype(), tensor.shape());
    match *tensor.shape() {
        [n, c, h, w]
            if n > 0
                && [c, h, w] == [shape.channels, shape.height, shape.width]
                && tensor.dtype() == rmnet::tensor::Dtype::F32 =>
        {
            let names = (0..n).map(|i| format!("{}[{i}]", path.display())).collect();
            let values = tensor.to_f32();
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                return Err(refuse(format!("{} at element {i}", values[i])));
            }
            Ok(Inputs { names, values })
        }
        _ => Err(refuse(found)),
    }
}
