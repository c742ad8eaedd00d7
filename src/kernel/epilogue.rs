//! What happens to a finished sum: values added, activation, stores.

use super::source::{Source, planes, times};
use super::spec::{Add, BufferShape, ConvSpec, Layout, Operand};

/// `vec4` of a quad's channels in a buffer, missing lanes zero.
pub(super) fn load_quad(
    buffer: &str,
    shape: &BufferShape,
    first_channel: usize,
    channels: usize,
    quad: &str,
    pixel: &str,
) -> String {
    let plane = shape.height * shape.width;
    let image = planes(shape);
    match shape.layout {
        Layout::Packed => {
            let index = format!("(image * {image}u + {}u + {quad}) * {plane}u + {pixel}", first_channel / 4);
            let load = format!("load_{buffer}({index})");
            if channels.is_multiple_of(4) {
                load
            } else {
                format!(
                    "select(vec4<f32>(), {load}, vec4<u32>(4u * {quad}) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>({channels}u))"
                )
            }
        }
        Layout::Planar => {
            let lanes: Vec<_> = (0..4)
                .map(|c| {
                    let channel = format!("min(4u * {quad} + {c}u, {}u)", channels - 1);
                    let load = format!(
                        "{buffer}[(image * {image}u + {first_channel}u + {channel}) * {plane}u + {pixel}]"
                    );
                    if channels.is_multiple_of(4) {
                        load
                    } else {
                        format!("select(0.0, {load}, 4u * {quad} + {c}u < {channels}u)")
                    }
                })
                .collect();
            format!("vec4<f32>({})", lanes.join(", "))
        }
    }
}

/// Every operand a dispatch reads from a buffer that it does not write: K ranges, adds, gates.
pub(super) fn reads(spec: &ConvSpec) -> impl Iterator<Item = &Operand> {
    let adds = spec.adds.iter().skip(spec.in_place).map(|a| &a.from);
    let gates = spec.adds.iter().filter_map(|a| a.gate.as_ref());
    spec.k_ranges.iter().map(|r| &r.from).chain(adds).chain(gates)
}

/// What every convolution's shader begins with: its spec, `constants`, bindings, `activate`, `finish`, `store`.
pub(super) fn prelude(s: &mut Source, spec: &ConvSpec, constants: &[(&str, usize)], slopes: usize) {
    s.line(format!("// {spec:?}").replace('\n', " "));
    let sizes = [
        ("OUT_QUADS", spec.out_channels.div_ceil(4)),
        ("CONV_HEIGHT", spec.size[0]),
        ("CONV_WIDTH", spec.size[1]),
    ];
    for (name, value) in sizes.iter().chain(constants) {
        s.constant(name, *value);
    }
    s.bind_reads(reads(spec));
    s.bind_weights(spec.precision());
    for (o, output) in spec.outputs.iter().enumerate() {
        s.bind_write(o, &output.shape);
    }
    s.activation(&spec.activation, slopes);
    finish(s, spec);
    store(s, spec);
}

/// The function `finish`: adds and activation of a quad at a conv pixel.
fn finish(s: &mut Source, spec: &ConvSpec) {
    s.line("fn finish(sum: vec4<f32>, image: u32, quad: u32, y: u32, x: u32) -> vec4<f32> {");
    s.line("var value = sum;");
    let clamped = spec.pool.is_some();
    if !spec.adds.is_empty() {
        let clamp = |v: &str, size: &str| if clamped { format!("min({v}, {size} - 1u)") } else { v.into() };
        s.line(format!("let add_y = {};", clamp("y", "CONV_HEIGHT")));
        s.line(format!("let add_x = {};", clamp("x", "CONV_WIDTH")));
    }
    let all = spec.out_channels.div_ceil(4);
    for (i, add) in spec.adds.iter().enumerate() {
        let from = &add.from;
        let name = if i < spec.in_place { "out0".into() } else { format!("in{}", from.buffer) };
        let (first, quads) = (add.first_out / 4, from.channels.div_ceil(4));
        let row = times("add_y", from.stride * from.shape.width);
        let pixel = format!("{row} + {}", times("add_x", from.stride));
        s.line(format!("let pixel{i} = {pixel};"));
        let pixel = format!("pixel{i}");
        if !add.is_aligned() {
            let quad = moved(s, i, add, &name, &pixel);
            s.line(format!("value += {quad};"));
            continue;
        }
        if first == 0 && quads == all {
            s.line(format!("value += {};", added(add, &name, "quad", &pixel)));
        } else {
            s.line(format!("if quad >= {first}u && quad < {}u {{", first + quads));
            let quad = format!("(quad - {first}u)");
            s.line(format!("value += {};", added(add, &name, &quad, &pixel)));
            s.line("}");
        }
    }
    s.line("return activate(value, quad);");
    s.line("}");
}

/// The quad of an added value that meets output quad `quad`, where channels move across quads.
///
/// Output channel `o` gets channel `first_channel + o - first_out` of the buffer, where that is one of the added ones.
fn moved(s: &mut Source, i: usize, add: &Add, buffer: &str, pixel: &str) -> String {
    let (from, shape) = (&add.from, &add.from.shape);
    let (plane, image) = (shape.height * shape.width, planes(shape));
    let (start, end) = (add.first_out, add.first_out + from.channels);
    s.line(format!("let channel{i} = vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);"));
    s.line(format!(
        "let covered{i} = (channel{i} >= vec4<u32>({start}u)) & (channel{i} < vec4<u32>({end}u));"
    ));
    // Outside the range any element will do: it is not taken.
    s.line(format!(
        "let source{i} = clamp(channel{i}, vec4<u32>({start}u), vec4<u32>({}u)) - vec4<u32>({start}u) + vec4<u32>({}u);",
        end - 1,
        from.first_channel
    ));
    let lanes: Vec<String> = match shape.layout {
        Layout::Planar => (0..4)
            .map(|c| format!("{buffer}[(image * {image}u + source{i}[{c}]) * {plane}u + {pixel}]"))
            .collect(),
        Layout::Packed => {
            // Four neighbours lie in two quads.
            for (n, lane) in [("low", 0), ("high", 3)] {
                s.line(format!(
                    "let {n}{i} = load_{buffer}((image * {image}u + source{i}[{lane}] / 4u) * {plane}u + {pixel});"
                ));
            }
            let lane = |c: usize| {
                format!(
                    "select(high{i}, low{i}, source{i}[{c}] / 4u == source{i}[0] / 4u)[source{i}[{c}] % 4u]"
                )
            };
            (0..4).map(lane).collect()
        }
    };
    format!("select(vec4<f32>(), vec4<f32>({}), covered{i})", lanes.join(", "))
}

/// A quad of an added value, times its gate.
fn added(add: &Add, buffer: &str, quad: &str, pixel: &str) -> String {
    let from = &add.from;
    let load = load_quad(buffer, &from.shape, from.first_channel, from.channels, quad, pixel);
    let Some(gate) = &add.gate else { return load };
    let name = format!("in{}", gate.buffer);
    let gate = load_quad(&name, &gate.shape, gate.first_channel, gate.channels, quad, "0u");
    format!("{load} * {gate}")
}

/// The function `store`: a quad of output channels to the buffer it belongs to.
pub(super) fn store(s: &mut Source, spec: &ConvSpec) {
    s.line("fn store(all: vec4<f32>, image: u32, quad: u32, y: u32, x: u32) {");
    if spec.out_channels.is_multiple_of(4) {
        s.line("let value = all;");
    } else {
        s.line(format!(
            "let value = select(vec4<f32>(), all, vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>({}u));",
            spec.out_channels
        ));
    }
    let single = spec.outputs.len() == 1;
    for (o, output) in spec.outputs.iter().enumerate() {
        let range = &output.channels;
        if !single {
            s.line(format!("if quad >= {}u && quad < {}u {{", range.start / 4, range.end.div_ceil(4)));
        }
        let shape = &output.shape;
        let (plane, image) = (shape.height * shape.width, planes(shape));
        let pixel = format!("y * {}u + x", shape.width);
        let quad = if range.start == 0 { "quad".into() } else { format!("(quad - {}u)", range.start / 4) };
        match shape.layout {
            Layout::Packed => {
                s.line(format!(
                    "store_out{o}((image * {image}u + {}u + {quad}) * {plane}u + {pixel}, value);",
                    output.first_channel / 4
                ));
            }
            Layout::Planar => {
                for c in 0..4 {
                    let write = format!(
                        "out{o}[(image * {image}u + {}u + 4u * {quad}) * {plane}u + {pixel}] = value[{c}];",
                        output.first_channel + c
                    );
                    if range.len().is_multiple_of(4) {
                        s.line(write);
                    } else {
                        s.line(format!("if 4u * {quad} + {c}u < {}u {{", range.len()));
                        s.line(write);
                        s.line("}");
                    }
                }
            }
        }
        if !single {
            s.line("}");
        }
    }
    s.line("}");
}
