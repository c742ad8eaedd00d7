//! The text key of a spec, under which tuning files store its kernel.

use super::Precision;
use super::spec::{Add, AverageSpec, BufferShape, ConvSpec, KRange, Layout, Operand, Output, PoolSpec, Spec};
use crate::graph::MaxPool;
use std::fmt::Display;

// Patterns below name every field, without `..`, so that a new field does not compile until it is part of the key.

impl Spec {
    /// The spec as text: equal for equal specs, different for different ones, and the same in every version of this crate that
    /// writes tuning files of one schema version.
    pub fn key(&self) -> String {
        match self {
            Spec::Conv(ConvSpec {
                k_ranges,
                adds,
                in_place,
                out_channels,
                size,
                activation,
                pool: fused,
                outputs,
            }) => format!(
                "conv {out_channels}@{} k{} a{} in-place {in_place} f{} pool {} to{}",
                pair(size),
                list(k_ranges, k_range),
                list(adds, add),
                list(activation, |(range, function)| format!("{}..{} {function}", range.start, range.end)),
                fused.as_ref().map_or_else(|| "none".into(), pool),
                list(outputs, output),
            ),
            Spec::MaxPool(PoolSpec { from, pool: window, to }) => {
                format!("pool {} {} to {}", operand(from), pool(window), shape(to))
            }
            Spec::Average(AverageSpec { from, to }) => format!("average {} to {}", operand(from), shape(to)),
        }
    }
}

/// `[first; second; ...]`. Items contain semicolons only inside brackets.
fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join("; "))
}

fn pair([y, x]: &[impl Display; 2]) -> String {
    format!("{y}x{x}")
}

fn shape(BufferShape { batch, channels, height, width, layout, precision }: &BufferShape) -> String {
    let layout = match (layout, precision) {
        (Layout::Packed, Precision::F32) => "packed",
        (Layout::Packed, Precision::F16) => "packed f16",
        (Layout::Planar, Precision::F32) => "planar",
        (Layout::Planar, Precision::F16) => "planar f16",
    };
    format!("{batch}x{channels}x{height}x{width} {layout}")
}

fn operand(
    Operand { buffer, shape: whole, first_channel, channels, stride, avg_pool_2x2 }: &Operand,
) -> String {
    let mean = if *avg_pool_2x2 { " mean" } else { "" };
    format!("{buffer}:{} {first_channel}+{channels} /{stride}{mean}", shape(whole))
}

fn k_range(
    KRange { from, prologue, kernel, stride, padding, padding_end, dilation, groups }: &KRange,
) -> String {
    let prologue = prologue.map_or_else(|| "none".into(), |function| function.to_string());
    format!(
        "{} map {prologue} {} s{} p{} e{} d{} g{groups}",
        operand(from),
        pair(kernel),
        pair(stride),
        pair(padding),
        pair(padding_end),
        pair(dilation),
    )
}

fn add(Add { from, first_out, gate }: &Add) -> String {
    let gate = gate.as_ref().map_or_else(|| "none".into(), operand);
    format!("{} at {first_out} gate {gate}", operand(from))
}

fn pool(MaxPool { kernel, stride, padding }: &MaxPool) -> String {
    format!("{} s{} p{}", pair(kernel), pair(stride), pair(padding))
}

fn output(Output { channels, shape: whole, first_channel }: &Output) -> String {
    format!("{}..{} in {} from {first_channel}", channels.start, channels.end, shape(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Function;
    use std::collections::HashMap;

    fn base() -> ConvSpec {
        let whole = BufferShape {
            batch: 1,
            channels: 8,
            height: 9,
            width: 7,
            layout: Layout::Packed,
            precision: Precision::F32,
        };
        let from = Operand {
            buffer: 0,
            shape: whole,
            first_channel: 0,
            channels: 8,
            stride: 1,
            avg_pool_2x2: false,
        };
        ConvSpec {
            k_ranges: vec![KRange {
                from,
                prologue: None,
                kernel: [3, 3],
                stride: [1, 1],
                padding: [1, 1],
                padding_end: [1, 1],
                dilation: [1, 1],
                groups: 1,
            }],
            adds: vec![Add { from, first_out: 0, gate: None }],
            in_place: 0,
            out_channels: 8,
            size: [9, 7],
            activation: vec![(0..8, Function::Relu)],
            pool: None,
            outputs: vec![Output { channels: 0..8, shape: whole, first_channel: 0 }],
        }
    }

    type Change = fn(&mut ConvSpec);

    /// No change, then changes of every field.
    const CHANGES: [Change; 42] = [
        |_| {},
        |c| c.k_ranges[0].from.buffer = 1,
        |c| c.k_ranges[0].from.shape.batch = 2,
        |c| c.k_ranges[0].from.shape.channels = 12,
        |c| c.k_ranges[0].from.shape.height = 12,
        |c| c.k_ranges[0].from.shape.width = 12,
        |c| c.k_ranges[0].from.shape.layout = Layout::Planar,
        |c| c.k_ranges[0].from.first_channel = 4,
        |c| c.k_ranges[0].from.channels = 4,
        |c| c.k_ranges[0].from.stride = 2,
        |c| c.k_ranges[0].from.avg_pool_2x2 = true,
        |c| c.k_ranges[0].prologue = Some(Function::Relu),
        |c| c.k_ranges[0].prologue = Some(Function::Identity),
        |c| c.k_ranges[0].kernel = [1, 3],
        |c| c.k_ranges[0].kernel = [3, 1],
        |c| c.k_ranges[0].stride = [1, 2],
        |c| c.k_ranges[0].padding = [1, 0],
        |c| c.k_ranges[0].padding_end = [0, 1],
        |c| c.k_ranges[0].dilation = [2, 1],
        |c| c.k_ranges[0].groups = 2,
        |c| c.k_ranges.push(c.k_ranges[0]),
        |c| c.k_ranges.clear(),
        |c| c.adds[0].from.buffer = 1,
        |c| c.adds[0].from.first_channel = 4,
        |c| c.adds[0].first_out = 4,
        |c| c.adds[0].gate = Some(c.adds[0].from),
        |c| c.adds.push(c.adds[0]),
        |c| c.adds.clear(),
        |c| c.in_place = 1,
        |c| c.out_channels = 12,
        |c| c.size = [7, 9],
        |c| c.activation[0].1 = Function::Relu6,
        |c| c.activation[0].1 = Function::Sigmoid,
        |c| c.activation = vec![(0..4, Function::Relu), (4..8, Function::Relu)],
        |c| c.pool = Some(MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] }),
        |c| c.pool = Some(MaxPool { kernel: [3, 3], stride: [2, 2], padding: [0, 0] }),
        |c| c.pool = Some(MaxPool { kernel: [3, 3], stride: [1, 2], padding: [1, 1] }),
        |c| c.outputs[0].channels = 0..4,
        |c| c.outputs[0].first_channel = 4,
        |c| c.outputs[0].shape.layout = Layout::Planar,
        |c| c.outputs[0].shape.channels = 12,
        |c| c.outputs.push(c.outputs[0].clone()),
    ];

    /// Every field changed on its own, two at a time.
    fn variants() -> Vec<Spec> {
        let mut specs = vec![];
        for (i, first) in CHANGES.iter().enumerate() {
            for second in &CHANGES[i..] {
                let mut spec = base();
                first(&mut spec);
                // The second change may need what the first removed.
                if (spec.k_ranges.is_empty() || spec.adds.is_empty()) && i > 0 {
                    specs.push(Spec::Conv(spec));
                    continue;
                }
                second(&mut spec);
                specs.push(Spec::Conv(spec));
            }
        }
        let from = base().k_ranges[0].from;
        for (kernel, channels) in [([3, 3], 8), ([2, 3], 8), ([3, 3], 4)] {
            let to = BufferShape { channels, ..from.shape };
            let pool = MaxPool { kernel, stride: [2, 2], padding: [0, 0] };
            specs.push(Spec::MaxPool(PoolSpec { from, pool, to }));
            specs.push(Spec::Average(AverageSpec { from, to }));
        }
        specs
    }

    #[test]
    fn keys_differ_where_specs_do() {
        let mut known: HashMap<String, Spec> = HashMap::new();
        for spec in variants() {
            let key = spec.key();
            let before = known.entry(key.clone()).or_insert_with(|| spec.clone());
            assert_eq!(*before, spec, "{key}");
        }
        assert!(known.len() > 800, "only {} specs", known.len());
    }

    /// Existing files hold these texts: changing them needs a new schema version of tuning files.
    #[test]
    fn keys_stay_as_they_are() {
        assert_eq!(
            Spec::Conv(base()).key(),
            "conv 8@9x7 k[0:1x8x9x7 packed 0+8 /1 map none 3x3 s1x1 p1x1 e1x1 d1x1 g1] \
             a[0:1x8x9x7 packed 0+8 /1 at 0 gate none] in-place 0 f[0..8 relu] pool none \
             to[0..8 in 1x8x9x7 packed from 0]"
        );
    }
}
