//! Inputs of `run`: images, or a tensor taken as it is.

use super::Failure;
use image::{ImageError, ImageFormat};
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::Shape;
use rmnet::preprocess::Preprocess;
use std::fmt::Display;
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
    let refuse = |e: &dyn Display| Failure::input(format!("{}: {e}", path.display()));
    if path.is_dir() {
        return Err(refuse(&"expected an image or a .safetensors file, found a folder"));
    }
    let open = || image::ImageReader::open(path)?.with_guessed_format();
    let reader = open().map_err(|e| refuse(&e))?;
    let name = match reader.format() {
        Some(ImageFormat::Png) => "PNG",
        Some(ImageFormat::Jpeg) => "JPEG",
        Some(other) => return Err(refuse(&format!("expected a PNG or JPEG image, found {other:?}"))),
        None => return Err(refuse(&"expected a PNG or JPEG image, found a file that is no image")),
    };
    match reader.decode() {
        Ok(image) => Ok(image.into_rgb8()),
        Err(ImageError::Limits(e)) => {
            let size = open().ok().and_then(|r| r.into_dimensions().ok());
            let size =
                size.map_or(String::new(), |(width, height)| format!(", found {width}x{height} pixels"));
            Err(refuse(&format!("expected an image that decodes in 512 MiB{size} ({e})")))
        }
        Err(e) => Err(refuse(&format!("a {name} image that is damaged or cut short ({e})"))),
    }
}

fn tensor(path: &Path, shape: Shape) -> Result<Inputs, Failure> {
    let file = Checkpoint::open(path).map_err(Failure::input)?;
    let refuse = |found: String| {
        let Shape { channels, height, width } = shape;
        let expected = format!("expected F32 [N, {channels}, {height}, {width}]");
        Failure::input(format!("{}: tensor `input`: {expected}, found {found}", path.display()))
    };
    let Some(tensor) = file.tensor("input") else {
        let names: Vec<String> = file.names().take(5).map(|n| format!("`{n}`")).collect();
        let more = if file.names().len() > names.len() { ", ..." } else { "" };
        return Err(refuse(match names.len() {
            0 => "a file of no tensors".into(),
            _ => format!("no such tensor among {}{more}", names.join(", ")),
        }));
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
        [_, channels, height, width] if channels == shape.channels && height.min(width) > 0 => {
            Err(refuse(format!("{found} (--size {height}x{width} runs the network at that size)")))
        }
        _ => Err(refuse(found)),
    }
}
