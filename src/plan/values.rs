//! Types common to all executors: results, phases and memory of a run.

use super::Kept;
use std::collections::BTreeMap;
use std::time::Duration;

/// The results of one run.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Values {
    /// The output, planar `[images, channels, height, width]`; logits are `[images, classes]`.
    pub output: Vec<f32>,
    /// The kept values by name, planar `[images, channels, height, width]`.
    pub kept: BTreeMap<String, Vec<f32>>,
}

/// Host time of one run by phase, in order. Recording overlaps with the device's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phases {
    /// Copying the input and submitting.
    pub submit: Duration,
    /// Recording the commands of the next run.
    pub encode: Duration,
    /// Waiting for the device.
    pub wait: Duration,
    /// Copying the output.
    pub readback: Duration,
}

/// Bytes that an executor holds on its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Activations: the plan's slots. On the CPU one set per concurrent run, in f32 for every precision.
    pub activations: usize,
    /// Intermediate data of kernels with several shaders; on the CPU, gathered operands of matrix products.
    pub scratch: usize,
    /// Packed weights and biases.
    pub weights: usize,
    /// Inputs and outputs, and on a GPU their staging buffers. An app that passes its own buffers to
    /// [`Session::encode`](crate::Session::encode) and never calls [`Session::run`](crate::Session::run) uses none of them.
    pub transfer: usize,
}

impl Memory {
    /// Total bytes.
    pub fn total(&self) -> usize {
        self.activations + self.scratch + self.weights + self.transfer
    }
}

impl Kept {
    /// The whole value from its parts, each planar `[batch, channels of the part, height, width]`.
    pub(crate) fn joined(&self, batch: usize, parts: &[Vec<f32>]) -> Vec<f32> {
        let mut whole = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        for image in 0..batch {
            for part in parts {
                let values = part.len() / batch;
                whole.extend_from_slice(&part[image * values..][..values]);
            }
        }
        whole
    }
}
