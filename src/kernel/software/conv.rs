//! One convolution shader for many shapes: it reads its sizes from a header in front of the weights.

use super::super::access::Access;
use super::super::choice::{FamilyId, TileId};
use super::super::family::{Family, KernelTarget, Offer, best_first, convolution};
use super::super::layout::{RangeKind, kind};
use super::super::prelude::{ShaderSource, planes};
use super::super::spec::{ConvSpec, KRange, Operand, Spec};
use super::super::{Arena, Binding, Capabilities, Function, Precision, Role, Shader, files};
use super::SoftwareAccess;
use super::layout::{KernelParts, PAIR, RANGE_SIZES, SIZES, SoftwareLayout, block, depth, read, tables};
use std::sync::Arc;

/// See the head of this file. Dense (every input channel with every output channel) or depthwise.
pub(in super::super) struct Conv(pub(in super::super) RangeKind);

impl Family for Conv {
    fn id(&self) -> FamilyId {
        if self.0 == RangeKind::Depthwise { FamilyId::SoftwareDepthwise } else { FamilyId::SoftwareConv }
    }

    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let (Some(conv), Some(arena)) = (convolution(spec), target.arena) else { return vec![] };
        let own = plain(conv) == Some(self.0);
        kernel(conv, target.caps, arena).filter(|_| own).map(KernelParts::offer).into_iter().collect()
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        if plain(spec) == Some(self.0) { bytes(spec) } else { 0 }
    }

    fn covers(&self) -> &'static str {
        match self.0 {
            RangeKind::Depthwise => {
                "depthwise convolutions of f32 buffers that are ranges of one; clamps; no gates, no fused max pool"
            }
            _ => {
                "sums of convolutions of f32 buffers that are ranges of one, not grouped, scaled or averaged; clamps; no gates, no fused max pool"
            }
        }
    }
}

/// `(pixels, quads of output channels)` of one invocation, for rows of `width` pixels.
pub(super) fn best_tile(spec: &ConvSpec, kind: RangeKind, width: usize) -> (usize, usize) {
    let quads = match kind {
        RangeKind::Depthwise => 2,
        _ if spec.out_channels <= 16 => 4,
        _ => 8,
    };
    best_first([7, 8, 6, 5].map(|pixels| (pixels, quads)), width)[0]
}

/// Cost of storing a sum, in products.
const STORE_COST: usize = 50;

/// Estimated cost in products: those computed by all lanes, idle ones included, plus the stores.
pub(super) fn products(grid: &[u32; 3], lanes: usize, (pixels, quads): (usize, usize), depth: usize) -> f64 {
    let workgroups: f64 = grid.iter().map(|n| f64::from(*n)).product();
    workgroups * (lanes * pixels * 4 * quads * (depth + STORE_COST)) as f64
}

/// The kernel for a flattened spec whose buffers are all in the arena, with its cost. `None` where it does not compute the spec.
pub(super) fn kernel(
    spec: &ConvSpec,
    caps: &Capabilities,
    arena: &Arena,
) -> Option<KernelParts<SoftwareLayout>> {
    let lanes = caps.lanes().filter(|_| caps.shares_buffers())? as usize;
    let [low, high] = bounds(spec)?;
    let kind = plain(spec)?;

    let width = spec.size[1];
    let tile = best_tile(spec, kind, width);
    let (pixels, quads) = tile;
    let out = spec.outputs[0].shape;
    let across = width.div_ceil(pixels);
    let invocations = across * spec.size[0] * out.batch;
    let workgroups = invocations.div_ceil(lanes);
    let fold = workgroups.div_ceil(caps.limits.max_workgroups as usize).max(1);
    let tiles = spec.out_channels.div_ceil(4 * quads);
    let grid = [workgroups.div_ceil(fold) as u32, tiles as u32, fold as u32];

    let ranges: Vec<_> = spec.k_ranges.iter().map(|r| range_words(r, arena)).collect::<Option<_>>()?;
    let block = block(spec, kind, quads);

    let first = SIZES + spec.outputs.len() + spec.adds.len();
    let sizes = [
        invocations,
        across,
        spec.size[0],
        width,
        spec.out_channels.div_ceil(4),
        first,
        block,
        ranges.len(),
        spec.outputs.len(),
        spec.adds.len(),
        low.to_bits() as usize,
        high.to_bits() as usize,
        grid[0] as usize,
        pixels,
    ];
    let mut header: Vec<u32> = sizes.iter().map(|v| *v as u32).collect();
    header.resize(SIZES * PAIR, 0);
    header.extend(tables(spec, arena)?);

    let bindings = vec![binding("arena", Role::Arena, true), binding("weights", Role::Weights(0), false)];
    let shader = shader(kind, tile, caps, bindings, grid);
    let cost = products(&grid, lanes, tile, spec.k_ranges.iter().map(|r| depth(r, kind)[1]).sum());
    Some(KernelParts {
        cost,
        tile: TileId::new(pixels, 4 * quads),
        shaders: vec![shader],
        scratch: 0,
        layout: SoftwareLayout { header, ranges, kind, quads, block, tiles },
    })
}

/// Sizes of a K range as the shader reads them; `None` where its operand is not in the arena.
fn range_words(r: &KRange, arena: &Arena) -> Option<[u32; RANGE_SIZES * PAIR]> {
    let [height, width] = r.from.size();
    let s = &r.from.shape;
    let plane = s.height * s.width;
    let base = read(&r.from, arena)? as usize + r.from.first_channel / 4 * plane;
    let planes_read = r.from.channels.div_ceil(4);
    let [row, element] = [r.from.stride * s.width, r.from.stride];
    let sizes = [
        base,
        plane,
        planes(s) * plane,
        planes_read,
        r.kernel[0],
        r.kernel[1],
        row,
        element,
        height,
        width,
        r.padding[0],
        r.padding[1],
        r.stride[0],
        r.stride[1],
        r.dilation[0],
        r.dilation[1],
    ];
    Some(sizes.map(|v| v as u32))
}

/// A binding of a shader.
pub(super) fn binding(name: &str, role: Role, writable: bool) -> Binding {
    Binding { name: name.into(), role, writable }
}

/// A shader that reads its sizes from the weights, with `lanes` invocations per workgroup. Its text does not depend on a spec.
pub(super) fn source(
    about: String,
    caps: &Capabilities,
    bindings: Vec<Binding>,
    lanes: usize,
) -> ShaderSource {
    let access: Arc<dyn Access> = Arc::new(SoftwareAccess::new(caps, None));
    let mut s = ShaderSource::new(about, &access).with_subgroup();
    s.declared(bindings);
    s.constants(&[("LANES", lanes), ("RANGE_SIZES", RANGE_SIZES)]);
    s.file(files::SOFTWARE_ARENA);
    s
}

/// The shader for a tile of `(pixels, quads of output channels)`; `bindings` are the arena and the weights.
pub(super) fn shader(
    kind: RangeKind,
    (pixels, quads): (usize, usize),
    caps: &Capabilities,
    bindings: Vec<Binding>,
    grid: [u32; 3],
) -> Shader {
    let lanes = caps.lanes().expect("lanes load for one another") as usize;
    let about = format!("{kind:?} convolutions, {pixels} pixels x {} channels", 4 * quads);
    let mut s = source(about, caps, bindings, lanes);
    s.constants(&[("TILE_PIXELS", pixels), ("TILE_QUADS", quads), ("TABLES", SIZES)]);
    s.file(files::SOFTWARE_EPILOGUE);
    s.file(if kind == RangeKind::Depthwise { files::SOFTWARE_DEPTHWISE } else { files::SOFTWARE_DENSE });
    s.file(files::SOFTWARE_CONV);
    Shader::new(s, "conv2d", grid)
}

/// `Dense` or `Depthwise` if this shader can compute the spec: all ranges of that kind, f32 quads only, no prologues, gates, average
/// pooling or fused pooling. Else `None`.
pub(super) fn plain(spec: &ConvSpec) -> Option<RangeKind> {
    let plain = |o: &Operand| !o.avg_pool_2x2 && o.shape.precision == Precision::F32;
    let is = |r: &KRange, wanted: RangeKind| {
        let ungrouped = wanted == RangeKind::Depthwise || r.groups == 1;
        plain(&r.from) && r.prologue.is_none() && ungrouped && kind(spec, r) == wanted
    };
    let all = spec.pool.is_none()
        && spec.adds.iter().all(|a| plain(&a.from) && a.gate.is_none() && a.is_aligned())
        && spec.outputs.iter().all(|o| o.shape.precision == Precision::F32);
    let kinds = [RangeKind::Dense, RangeKind::Depthwise].into_iter().filter(|_| all);
    kinds.into_iter().find(|wanted| spec.k_ranges.iter().all(|r| is(r, *wanted)))
}

/// Bytes of packed weights; 0 where it does not compute the spec.
pub(super) fn bytes(spec: &ConvSpec) -> u64 {
    let Some(kind) = plain(spec) else { return 0 };
    let (_, quads) = best_tile(spec, kind, spec.size[1]);
    let tables = SIZES + spec.outputs.len() + spec.adds.len();
    ((tables + spec.out_channels.div_ceil(4 * quads) * block(spec, kind, quads)) * PAIR * 4) as u64
}

/// The bounds of the activation, if it is the same clamp for every channel.
pub(super) fn bounds(spec: &ConvSpec) -> Option<[f32; 2]> {
    let mut functions = spec.activation.iter().filter(|(range, _)| !range.is_empty()).map(|(_, f)| *f);
    let function = functions.next()?;
    let bounds = match function {
        Function::Identity => [f32::NEG_INFINITY, f32::INFINITY],
        Function::Relu => [0.0, f32::INFINITY],
        Function::Relu6 => [0.0, 6.0],
        _ => return None,
    };
    functions.all(|f| f == function).then_some(bounds)
}
