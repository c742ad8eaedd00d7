//! The parts common to all convolution shaders: constants and functions of K ranges, added values and outputs.

use super::super::files;
use super::super::spec::{BufferShape, ConvSpec, Function, KRange, Layout, Operand};
use super::ShaderSource;

/// Which bounds handling the rows and columns that a kernel reads from a K range's view need.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Reach {
    /// `[rows, columns]`: some lie outside and must read as zero.
    pub(in super::super) mask: [bool; 2],
    /// `[rows, columns]`: some lie outside and are clamped to the last one inside.
    pub(in super::super) clamp: [bool; 2],
}

impl Reach {
    /// For kernels that read the windows of output pixels only.
    pub(in super::super) fn of_windows(spec: &ConvSpec, range: &KRange) -> Reach {
        let view = range.from.size();
        let outside = [0, 1].map(|i| {
            let last = (spec.size[i] - 1) * range.stride[i] + (range.kernel[i] - 1) * range.dilation[i];
            range.padding[i] > 0 || last >= view[i] + range.padding[i]
        });
        Reach { mask: outside, clamp: outside }
    }

    /// For kernels that may read any row or column.
    pub(in super::super) const ANY: Reach = Reach { mask: [true; 2], clamp: [true; 2] };
}

impl ShaderSource {
    /// The function of a K range's prologue, or of an activation.
    fn function(function: Function) -> &'static str {
        match function {
            Function::Identity | Function::PRelu => "identity",
            Function::Relu => "relu",
            Function::Relu6 => "relu6",
            Function::Sigmoid => "sigmoid",
        }
    }

    /// K range `r`: its constants and `shared/operand.wgsl`. `prologue` is the element of the weights where its scales and shifts begin.
    pub(in super::super) fn k_range(&mut self, r: usize, range: &KRange, reach: Reach, prologue: usize) {
        let from = &range.from;
        self.view('R', r, from);
        let [height, width] = from.size();
        let pairs = [
            ("STRIDE", range.stride),
            ("PAD", range.padding),
            ("DILATION", range.dilation),
            ("KERNEL", range.kernel),
        ];
        for (name, [y, x]) in pairs {
            self.constant(format!("R{r}_{name}_Y"), y);
            self.constant(format!("R{r}_{name}_X"), x);
        }
        for (name, value) in [("HEIGHT", height), ("WIDTH", width), ("PROLOGUE", prologue)] {
            self.constant(format!("R{r}_{name}"), value);
        }
        let flags = [
            ("HAS_PROLOGUE", range.prologue.is_some()),
            ("AVG_POOL", from.avg_pool_2x2),
            ("MASK_Y", reach.mask[0]),
            ("MASK_X", reach.mask[1]),
            ("CLAMP_Y", reach.clamp[0]),
            ("CLAMP_X", reach.clamp[1]),
        ];
        for (name, flag) in flags {
            self.constant(format!("R{r}_{name}"), flag);
        }
        if r == 0 {
            self.file(files::PROLOGUE);
        }
        let function = ShaderSource::function(range.prologue.unwrap_or(Function::Identity)).to_string();
        let words = vec![("in0", format!("in{}", from.buffer)), ("relu", function)];
        self.numbered(files::OPERAND, 'r', ('r', r), words);
    }

    /// Constants of a view of a buffer, item `n` of the list `letter`: the buffer's sizes, and the part that is viewed.
    fn view(&mut self, letter: char, n: usize, from: &Operand) {
        let first = if from.is_packed() { from.first_channel / 4 } else { from.first_channel };
        let shape = &from.shape;
        for (name, value) in [
            ("PLANE", shape.height * shape.width),
            ("IMAGE", planes(shape)),
            ("FIRST", first),
            ("CHANNELS", from.channels),
            ("STEP", if from.avg_pool_2x2 { 2 } else { from.stride }),
            ("BUFFER_WIDTH", shape.width),
        ] {
            self.constant(format!("{letter}{n}_{name}"), value);
        }
    }

    /// The function `quad_v0` of a view, item `n` of the list `letter`, in the buffer `name`.
    pub(in super::super) fn quads(&mut self, (letter, n): (char, usize), name: String, from: &Operand) {
        self.view(letter, n, from);
        let file = if from.is_packed() { files::QUAD } else { files::QUAD_PLANAR };
        self.numbered(file, 'v', (letter.to_ascii_lowercase(), n), vec![("in0", name)]);
    }

    /// The parts common to every convolution: sizes, buffers, `epilogue` and `store`. `slopes` is the element of the weights where the
    /// slopes of PReLU begin.
    pub(in super::super) fn convolution(&mut self, spec: &ConvSpec, slopes: usize) {
        self.constants(&[
            ("OUT_QUADS", spec.out_channels.div_ceil(4)),
            ("CONV_HEIGHT", spec.size[0]),
            ("CONV_WIDTH", spec.size[1]),
            ("K_RANGES", spec.k_ranges.len()),
        ]);
        self.reads(reads(spec));
        self.weights(spec.precision());
        self.writes(spec.outputs.iter().map(|o| &o.shape));
        self.epilogue(spec, slopes);
    }

    /// The functions `epilogue` and `store` of a convolution, with the lists of added values and outputs. `slopes` is the element of the
    /// weights where the slopes of PReLU begin.
    fn epilogue(&mut self, spec: &ConvSpec, slopes: usize) {
        self.activation(spec, slopes);
        self.constant("POOLED", spec.pool.is_some());
        self.constant("ADDS", spec.adds.len());
        for (n, add) in spec.adds.iter().enumerate() {
            let from = &add.from;
            let name = if n < spec.in_place { "out0".into() } else { format!("in{}", from.buffer) };
            let moved = !add.is_aligned();
            let (first, quads) = (add.first_out / 4, from.channels.div_ceil(4));
            let all = moved || first == 0 && quads == spec.out_channels.div_ceil(4);
            self.constant(format!("A{n}_MOVED"), moved);
            self.constant(format!("A{n}_GATED"), add.gate.is_some());
            self.constant(format!("A{n}_ALL_QUADS"), all);
            self.constant(format!("A{n}_FIRST_QUAD"), first);
            self.constant(format!("A{n}_END_QUAD"), first + quads);
            if moved {
                self.view('A', n, from);
                self.constant(format!("A{n}_FIRST_OUT"), add.first_out);
                self.constant(format!("A{n}_FIRST_CHANNEL"), from.first_channel);
                let file = if from.is_packed() { files::MOVED } else { files::MOVED_PLANAR };
                self.numbered(file, 'v', ('a', n), vec![("in0", name)]);
            } else {
                self.quads(('A', n), name, from);
            }
            if let Some(gate) = &add.gate {
                self.quads(('G', n), format!("in{}", gate.buffer), gate);
            }
            // The gate has the number of its add.
            self.numbered(files::ADDED, 'a', ('a', n), vec![("quad_g0", format!("quad_g{n}"))]);
        }
        self.file(files::EPILOGUE);
        self.outputs(spec);
    }

    /// The function `store`.
    pub(in super::super) fn outputs(&mut self, spec: &ConvSpec) {
        self.constant("OUT_CHANNELS", spec.out_channels);
        self.constant("OUTPUTS", spec.outputs.len());
        for (n, output) in spec.outputs.iter().enumerate() {
            let shape = &output.shape;
            let packed = shape.layout == Layout::Packed;
            let first = if packed { output.first_channel / 4 } else { output.first_channel };
            for (name, value) in [
                ("FIRST_QUAD", output.channels.start / 4),
                ("END_QUAD", output.channels.end.div_ceil(4)),
                ("CHANNELS", output.channels.len()),
                ("FIRST", first),
                ("IMAGE", planes(shape)),
                ("PLANE", shape.height * shape.width),
                ("WIDTH", shape.width),
            ] {
                self.constant(format!("O{n}_{name}"), value);
            }
            let file = if packed { files::STORE_QUAD } else { files::STORE_QUAD_PLANAR };
            self.numbered(file, 'o', ('o', n), vec![("out0", format!("out{n}"))]);
        }
        self.file(files::STORE);
    }

    /// The function `activate`. If one range has slopes, all ranges are expressed by slopes.
    fn activation(&mut self, spec: &ConvSpec, slopes: usize) {
        let ranges: Vec<_> = spec.activation.iter().filter(|(range, _)| !range.is_empty()).collect();
        let first = ranges.first().map_or(Function::Identity, |(_, function)| *function);
        if spec.has_slopes() {
            self.constant("SLOPES", slopes);
            return self.file(files::ACTIVATE_SLOPES);
        }
        if ranges.iter().all(|(_, function)| *function == first) {
            let words = vec![("relu", ShaderSource::function(first).to_string())];
            return self.worded(files::ACTIVATE, words);
        }
        let others: Vec<_> =
            ranges.into_iter().filter(|(_, function)| *function != Function::Identity).collect();
        self.constant("FUNCTIONS", others.len());
        for (n, (range, function)) in others.into_iter().enumerate() {
            self.constant(format!("F{n}_FIRST"), range.start);
            self.constant(format!("F{n}_END"), range.end);
            let words = vec![("relu", ShaderSource::function(*function).to_string())];
            self.numbered(files::ACTIVATE_RANGE, 'f', ('f', n), words);
        }
        self.file(files::ACTIVATE_RANGES);
    }
}

/// Planes of one image in a buffer: quads of channels, or channels.
pub(in super::super) fn planes(shape: &BufferShape) -> usize {
    match shape.layout {
        Layout::Packed => shape.channels.div_ceil(4),
        Layout::Planar => shape.channels,
    }
}

/// Every operand that a dispatch reads from a buffer it does not write: K ranges, adds, gates.
fn reads(spec: &ConvSpec) -> impl Iterator<Item = &Operand> {
    let adds = spec.adds.iter().skip(spec.in_place).map(|a| &a.from);
    let gates = spec.adds.iter().filter_map(|a| a.gate.as_ref());
    spec.k_ranges.iter().map(|r| &r.from).chain(adds).chain(gates)
}
