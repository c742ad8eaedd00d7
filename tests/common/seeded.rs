//! Full-size checkpoints with seeded weights, under torchvision's names.

use super::random::Rng;
use safetensors::tensor::{Dtype, TensorView, serialize};

/// A torchvision ResNet by its layers.
#[derive(Clone, Copy)]
pub struct Arch {
    pub bottleneck: bool,
    pub layers: [usize; 4],
    pub groups: usize,
    pub width_per_group: usize,
}

pub const RESNET18: Arch = Arch { bottleneck: false, layers: [2, 2, 2, 2], groups: 1, width_per_group: 64 };
pub const RESNET50: Arch = Arch { bottleneck: true, layers: [3, 4, 6, 3], groups: 1, width_per_group: 64 };
pub const RESNEXT50: Arch = Arch { bottleneck: true, layers: [3, 4, 6, 3], groups: 32, width_per_group: 4 };
pub const RESNET152: Arch = Arch { bottleneck: true, layers: [3, 8, 36, 3], groups: 1, width_per_group: 64 };

/// The bytes of a `.safetensors` file: Kaiming-scaled weights, lively batch-norm statistics, residual branches scaled down
/// so that a deep network keeps its range.
pub fn checkpoint(arch: Arch, seed: u64) -> Vec<u8> {
    let mut made = Made { rng: Rng(seed), tensors: vec![] };
    made.conv("conv1", 64, 3, 7);
    made.norm("bn1", 64, 1.0);
    let expansion = if arch.bottleneck { 4 } else { 1 };
    let mut channels = 64;
    for (s, &count) in arch.layers.iter().enumerate() {
        let planes = 64 << s;
        let out = planes * expansion;
        for i in 0..count {
            let p = format!("layer{}.{i}", s + 1);
            let width = planes * arch.width_per_group / 64 * arch.groups;
            let convs: Vec<(usize, usize, usize)> = if arch.bottleneck {
                vec![(width, channels, 1), (width, width / arch.groups, 3), (out, width, 1)]
            } else {
                vec![(planes, channels, 3), (out, planes, 3)]
            };
            for (j, &(o, c, k)) in convs.iter().enumerate() {
                made.conv(&format!("{p}.conv{}", j + 1), o, c, k);
                made.norm(&format!("{p}.bn{}", j + 1), o, if j + 1 == convs.len() { 0.4 } else { 1.0 });
            }
            if i == 0 && (s > 0 || arch.bottleneck) {
                made.conv(&format!("{p}.downsample.0"), out, channels, 1);
                made.norm(&format!("{p}.downsample.1"), out, 1.0);
            }
            channels = out;
        }
    }
    made.push("fc.weight", vec![1000, channels], (1.0 / channels as f64).sqrt(), 0.0);
    made.push("fc.bias", vec![1000], 0.1, 0.0);
    let views = made.tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes fill the shape"))
    });
    serialize(views, None).expect("names are unique")
}

struct Made {
    rng: Rng,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl Made {
    /// Values `centre + scale * uniform of unit variance`.
    fn push(&mut self, name: &str, shape: Vec<usize>, scale: f64, centre: f64) {
        let n = shape.iter().product();
        let bytes = (0..n)
            .flat_map(|_| ((centre + scale * self.rng.uniform(-1.732, 1.732)) as f32).to_le_bytes())
            .collect();
        self.tensors.push((name.into(), shape, bytes));
    }

    fn conv(&mut self, name: &str, out: usize, per_group: usize, k: usize) {
        let scale = (2.0 / (per_group * k * k) as f64).sqrt();
        self.push(&format!("{name}.weight"), vec![out, per_group, k, k], scale, 0.0);
    }

    fn norm(&mut self, name: &str, channels: usize, gain: f64) {
        self.push(&format!("{name}.weight"), vec![channels], 0.2 * gain, gain);
        self.push(&format!("{name}.bias"), vec![channels], 0.1, 0.0);
        self.push(&format!("{name}.running_mean"), vec![channels], 0.1, 0.0);
        self.push(&format!("{name}.running_var"), vec![channels], 0.25, 1.0);
    }
}
