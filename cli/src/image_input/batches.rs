//! Reads inputs batch by batch, so that memory does not grow with their number.

use super::budget::{Budget, Share};
use super::tensor::TensorInput;
use super::{Failure, Inputs, Kind, MAX_IMAGE_FILE, Source};
use rmnet::graph::Shape;
use rmnet::images::{self, ColorMode, Needs, Orientation};
use rmnet::preprocess::{ImageView, Preprocess, Size};
use rmnet::threads::{self, Threads};

/// Bytes of image files that all threads together may hold.
static FILES: Budget = Budget::new(MAX_IMAGE_FILE);

/// Bytes of pixels, copies of them and decoder memory that all threads together may hold. A thread that waits for a share of this
/// already holds its file; a thread that holds a share waits for nothing, so there is no deadlock.
static PIXELS: Budget = Budget::new(768 << 20);

/// One image of a batch.
pub struct Input {
    pub name: String,
    /// Planar values, or why the image could not be read.
    pub values: Result<Vec<f32>, String>,
}

/// Inputs in order, for a network and its preprocessing.
pub struct Batches<'a> {
    inputs: &'a Inputs,
    preprocess: &'a Preprocess,
    orientation: Orientation,
    mode: ColorMode,
    next: usize,
}

impl Inputs {
    /// Checks what all inputs have in common: a tensor's shape and values, or that the network reads images and its preprocessing
    /// is supported.
    pub fn batches<'a>(
        &'a self,
        shape: Shape,
        preprocess: &'a Preprocess,
        orientation: Orientation,
    ) -> Result<Batches<'a>, Failure> {
        let mode = match &self.kind {
            Kind::Tensor(tensor) => {
                tensor.check(shape)?;
                ColorMode::Rgb
            }
            Kind::Images(_) => {
                let mode = ColorMode::of_channels(shape.channels).ok_or_else(|| {
                    Failure::input(format!(
                        "the network reads {} channels, an image has 1, 3 or 4: expected a tensor `input` in a .safetensors",
                        shape.channels
                    ))
                })?;
                preprocess.check(shape.channels).map_err(Failure::input)?;
                mode
            }
        };
        Ok(Batches { inputs: self, preprocess, orientation, mode, next: 0 })
    }
}

impl Batches<'_> {
    /// The next inputs, up to `batch`; empty at the end.
    pub fn next(&mut self, batch: usize) -> Vec<Input> {
        let start = self.next;
        let end = start.saturating_add(batch).min(self.inputs.len());
        self.next = end;
        match &self.inputs.kind {
            Kind::Images(sources) => threads::map(end - start, |i| self.image(&sources[start + i])),
            Kind::Tensor(tensor) => (start..end).map(|i| row(tensor, i)).collect(),
        }
    }

    fn image(&self, source: &Source) -> Input {
        let read = || {
            let file = source.read(&FILES)?;
            let needs = images::needs(&file.bytes, self.mode).map_err(|e| e.to_string())?;
            let _share = self.share(&needs)?;
            let pixels =
                images::decode(&file.bytes, self.mode, self.orientation).map_err(|e| e.to_string())?;
            drop(file);
            self.preprocess.apply(ImageView::from(&pixels), pixels.channels).map_err(|e| e.to_string())
        };
        Input { name: source.name.clone(), values: read() }
    }

    /// Waits for the memory in which the image is decoded and resized.
    fn share(&self, needs: &Needs) -> Result<Share<'static>, String> {
        let Needs { width, height, bytes } = *needs;
        let channels = self.mode.channels();
        // Whether EXIF swaps width and height is not known yet, so the larger of the two needs is taken. If only one is possible,
        // the other is refused later.
        let prepared =
            [(width, height), (height, width)].map(|(w, h)| self.preprocess.bytes(Size::new(h, w), channels));
        let prepared = match prepared {
            [Err(e), Err(_)] => return Err(e.to_string()),
            ways => ways.into_iter().flatten().max().unwrap_or_default(),
        };
        let needed = bytes.max((width * height * channels).saturating_add(prepared));
        PIXELS.take(needed).ok_or_else(|| {
            let [needed, most] = [needed, PIXELS.total()].map(|n| n.div_ceil(1 << 20));
            format!("expected an image that is decoded and resized in {most} MiB, found {width}x{height} pixels, which take {needed} MiB")
        })
    }

    /// The values of all remaining inputs, and their number; the first input that cannot be read is an error.
    pub fn read_all(mut self) -> Result<(usize, Vec<f32>), Failure> {
        let (mut count, mut all) = (0, vec![]);
        let at_once = Threads::shared().map_or(1, |threads| threads.count());
        loop {
            let inputs = self.next(at_once);
            if inputs.is_empty() {
                return Ok((count, all));
            }
            for input in inputs {
                let refuse = |e| Failure::input(format!("{}: {e}", input.name));
                all.extend(input.values.map_err(refuse)?);
                count += 1;
            }
        }
    }
}

fn row(tensor: &TensorInput, image: usize) -> Input {
    Input { name: tensor.name(image), values: Ok(tensor.values(image..image + 1)) }
}
