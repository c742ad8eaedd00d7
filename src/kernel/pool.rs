//! Max pooling and global average pooling as separate dispatches.

use super::access::Access;
use super::choice::{Choice, FamilyId, TileId};
use super::family::{Family, KernelTarget, Offer, Rank};
use super::prelude::ShaderSource;
use super::spec::{AverageSpec, BufferShape, ConvSpec, Operand, Output, PoolSpec, Spec};
use super::{Capabilities, Class, Function, Kernel, Shader, files};
use std::sync::Arc;

/// Max pooling: an invocation computes a quad of channels at a pixel.
pub(super) struct MaxPool;

impl Family for MaxPool {
    fn id(&self) -> FamilyId {
        FamilyId::MaxPool
    }

    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let Spec::MaxPool(pool) = spec else { return vec![] };
        vec![Offer::new(Rank::Usual, TileId::WHOLE, move |choice| max_pool(choice, pool, target))]
    }

    fn weight_bytes(&self, _: &ConvSpec) -> u64 {
        0
    }

    fn covers(&self) -> &'static str {
        "every max pool that stands alone"
    }
}

/// Global average pooling: one or several invocations compute a quad of channels.
pub(super) struct Average;

impl Family for Average {
    fn id(&self) -> FamilyId {
        FamilyId::Average
    }

    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let Spec::Average(mean) = spec else { return vec![] };
        let split_k = average_split(mean.from.shape.height * mean.from.shape.width, target.caps);
        let tile = TileId::WHOLE.with_split_k(split_k);
        vec![Offer::new(Rank::Usual, tile, move |choice| average(choice, mean, split_k, target))]
    }

    fn weight_bytes(&self, _: &ConvSpec) -> u64 {
        0
    }

    fn covers(&self) -> &'static str {
        "every global average"
    }
}

/// A spec that stores the channels of a buffer unchanged.
fn stored(shape: &BufferShape) -> ConvSpec {
    ConvSpec {
        k_ranges: vec![],
        adds: vec![],
        in_place: 0,
        out_channels: shape.channels,
        size: [shape.height, shape.width],
        activation: vec![(0..shape.channels, Function::Identity)],
        pool: None,
        outputs: vec![Output { channels: 0..shape.channels, shape: *shape, first_channel: 0 }],
    }
}

/// Folds a one-dimensional grid over x and y.
fn fold(invocations: usize, workgroup: u32, caps: &Capabilities) -> [u32; 3] {
    let workgroups = invocations.div_ceil(workgroup as usize);
    let rows = workgroups.div_ceil(caps.limits.max_workgroups as usize).max(1);
    [workgroups.div_ceil(rows) as u32, rows as u32, 1]
}

/// Workgroup size of a kernel without shared memory.
fn workgroup(caps: &Capabilities) -> u32 {
    if caps.class == Class::Software { 8 } else { 64.min(caps.limits.max_workgroup_invocations) }
}

/// A shader that reads one buffer and writes another.
fn mapping(from: &Operand, to: &BufferShape, access: &Arc<dyn Access>) -> ShaderSource {
    let mut s = ShaderSource::of_one(access);
    s.constant("OUT_QUADS", to.channels.div_ceil(4));
    s.reads([from].into_iter());
    s.writes([to].into_iter());
    s.quads(('V', 0), format!("in{}", from.buffer), from);
    s.outputs(&stored(to));
    s
}

fn max_pool(choice: Choice, spec: &PoolSpec, KernelTarget { caps, access, .. }: &KernelTarget<'_>) -> Kernel {
    let (from, to, pool) = (&spec.from, &spec.to, &spec.pool);
    let invocations = to.batch * to.channels.div_ceil(4) * to.height * to.width;
    let workgroup = workgroup(caps);
    let grid = fold(invocations, workgroup, caps);
    let mut s = mapping(from, to, access);
    s.constants(&[
        ("WORKGROUP", workgroup as usize),
        ("GRID_X", grid[0] as usize),
        ("INVOCATIONS", invocations),
        ("IN_HEIGHT", from.shape.height),
        ("IN_WIDTH", from.shape.width),
        ("OUT_HEIGHT", to.height),
        ("OUT_WIDTH", to.width),
        ("WINDOW_Y", pool.kernel[0]),
        ("WINDOW_X", pool.kernel[1]),
        ("STEP_Y", pool.stride[0]),
        ("STEP_X", pool.stride[1]),
        ("PAD_Y", pool.padding[0]),
        ("PAD_X", pool.padding[1]),
    ]);
    s.file(files::MAX_POOL);
    Kernel::unweighted(choice, Shader::new(s, "max_pool", grid))
}

/// Number of invocations that share the mean of one map: a power of two, with at least four pixels each where it is more than one. 1 on
/// software adapters.
fn average_split(pixels: usize, caps: &Capabilities) -> usize {
    if caps.class == Class::Software {
        return 1;
    }
    let most = (pixels / 4).clamp(1, caps.limits.max_workgroup_invocations.min(256) as usize);
    1 << most.ilog2()
}

fn average(
    choice: Choice,
    spec: &AverageSpec,
    split_k: usize,
    KernelTarget { caps, access, .. }: &KernelTarget<'_>,
) -> Kernel {
    let (from, to) = (&spec.from, &spec.to);
    let means = to.batch * to.channels.div_ceil(4);
    let pixels = from.shape.height * from.shape.width;
    let workgroup = workgroup(caps).max(split_k as u32);
    let grid = fold(means * split_k, workgroup, caps);
    let mut s = mapping(from, to, access);
    s.constants(&[
        ("WORKGROUP", workgroup as usize),
        ("GRID_X", grid[0] as usize),
        (if split_k == 1 { "INVOCATIONS" } else { "MEANS" }, means),
        ("PIXELS", pixels),
    ]);
    if split_k == 1 {
        s.file(files::AVERAGE);
    } else {
        s.constants(&[("GROUP_QUADS", workgroup as usize / split_k), ("SPLIT_K", split_k)]);
        s.file(files::REDUCE_SPLIT_K);
        s.file(files::AVERAGE_SPLIT);
    }
    Kernel::unweighted(choice, Shader::new(s, "average", grid))
}
