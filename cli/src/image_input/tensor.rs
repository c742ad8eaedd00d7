//! A tensor `input` [N, C, H, W] that is run as it is, at its own size.

use super::Failure;
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::Shape;
use rmnet::tensor::Tensor;
use std::ops::Range;
use std::path::Path;

pub struct TensorInput {
    name: String,
    tensor: Tensor,
    /// `[N, C, H, W]`, all nonzero.
    shape: [usize; 4],
}

impl TensorInput {
    pub fn open(path: &Path) -> Result<TensorInput, Failure> {
        let file = super::super::open(path)?;
        TensorInput::of(path.display().to_string(), &file)
    }

    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<TensorInput, Failure> {
        let file = Checkpoint::from_bytes(bytes, None).map_err(|e| Failure::input(format!("{name}: {e}")))?;
        TensorInput::of(name.into(), &file)
    }

    fn of(name: String, file: &Checkpoint) -> Result<TensorInput, Failure> {
        let refuse = |found: String| {
            let expected = "expected [N, channels, height, width] of F32, F16, BF16 or F64";
            Failure::input(format!("{name}: tensor `input`: {expected}, found {found}"))
        };
        let Some(tensor) = file.tensor("input") else {
            let names: Vec<String> = file.names().take(5).map(|n| format!("`{n}`")).collect();
            let more = if file.names().len() > names.len() { ", ..." } else { "" };
            return Err(refuse(match names.len() {
                0 => "a file of no tensors".into(),
                _ => format!("no such tensor among {}{more}", names.join(", ")),
            }));
        };
        match *tensor.shape() {
            [n, c, h, w] if n.min(c).min(h).min(w) > 0 => {
                Ok(TensorInput { name, tensor: tensor.clone(), shape: [n, c, h, w] })
            }
            _ => Err(refuse(format!("{} {:?}", tensor.dtype(), tensor.shape()))),
        }
    }

    /// Number of images in it.
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    pub fn name(&self, image: usize) -> String {
        format!("{}[{image}]", self.name)
    }

    /// Its height and width; a different requested size is an error.
    pub fn size(&self, asked: Option<[usize; 2]>) -> Result<[usize; 2], Failure> {
        let [_, _, h, w] = self.shape;
        match asked {
            Some([height, width]) if [height, width] != [h, w] => Err(Failure::input(format!(
                "{}: a tensor is run at its own size, found `input` of {h}x{w} and --size {height}x{width}",
                self.name
            ))),
            _ => Ok([h, w]),
        }
    }

    /// Refuses a shape other than the network's, and values that are not finite.
    pub fn check(&self, shape: Shape) -> Result<(), Failure> {
        let Shape { channels, height, width } = shape;
        let refuse = |found: String| {
            let expected = format!("expected [N, {channels}, {height}, {width}]");
            Failure::input(format!("{}: tensor `input`: {expected}, found {found}", self.name))
        };
        if self.shape[1..] != [channels, height, width] {
            return Err(refuse(format!("{} {:?}", self.tensor.dtype(), self.tensor.shape())));
        }
        let each = shape.len();
        for image in 0..self.len() {
            let values = self.tensor.range_f64(image * each..(image + 1) * each);
            if let Some((i, v)) = values.enumerate().find(|(_, v)| !(*v as f32).is_finite()) {
                return Err(refuse(format!("{v} at element {}", image * each + i)));
            }
        }
        Ok(())
    }

    /// The values of some images.
    pub fn values(&self, images: Range<usize>) -> Vec<f32> {
        let each = self.tensor.len() / self.len();
        self.tensor.range_f64(images.start * each..images.end * each).map(|v| v as f32).collect()
    }
}
