//! The files of `shaders/`.

use twox_hash::XxHash3_64;

macro_rules! files {
    ($($(#[$doc:meta])* $name:ident = $path:literal;)*) => {
        $(pub(super) const $name: &str = include_str!(concat!("../../shaders/", $path));)*
        /// Every file that a kernel is made of, by its path.
        pub(super) const ALL: &[(&str, &str)] = &[$(($path, $name)),*];
    };
}

files! {
    OPERAND = "shared/operand.wgsl";
    PROLOGUE = "shared/prologue.wgsl";
    QUAD = "shared/quad.wgsl";
    QUAD_PLANAR = "shared/quad_planar.wgsl";
    MOVED = "shared/moved.wgsl";
    MOVED_PLANAR = "shared/moved_planar.wgsl";
    ADDED = "shared/added.wgsl";
    EPILOGUE = "shared/epilogue.wgsl";
    STORE = "shared/store.wgsl";
    STORE_QUAD = "shared/store_quad.wgsl";
    STORE_QUAD_PLANAR = "shared/store_quad_planar.wgsl";
    ACTIVATE = "shared/activate.wgsl";
    ACTIVATE_RANGE = "shared/activate_range.wgsl";
    ACTIVATE_RANGES = "shared/activate_ranges.wgsl";
    ACTIVATE_SLOPES = "shared/activate_slopes.wgsl";
    REDUCE_NONE = "shared/reduce_none.wgsl";
    REDUCE_SPLIT_K = "shared/reduce_split_k.wgsl";
    CHANNEL = "shared/channel.wgsl";
    DIRECT = "conv/direct.wgsl";
    GEMM = "conv/gemm.wgsl";
    GEMM_MATRIX = "conv/gemm_matrix.wgsl";
    GEMM_MATRIX_OPERAND = "conv/gemm_matrix_operand.wgsl";
    STEM = "conv/stem.wgsl";
    WINOGRAD_FUSED = "conv/winograd_fused.wgsl";
    MAX_POOL = "pool/max.wgsl";
    AVERAGE = "pool/average.wgsl";
    AVERAGE_SPLIT = "pool/average_split.wgsl";
    GEMV = "dense/gemv.wgsl";
    PEAK_MULTIPLY = "peak/multiply.wgsl";
    PEAK_COPY = "peak/copy.wgsl";
    SOFTWARE_ARENA = "software/arena.wgsl";
    SOFTWARE_EPILOGUE = "software/epilogue.wgsl";
    SOFTWARE_CONV = "software/conv.wgsl";
    SOFTWARE_DENSE = "software/dense.wgsl";
    SOFTWARE_DEPTHWISE = "software/depthwise.wgsl";
    SOFTWARE_WINOGRAD = "software/winograd.wgsl";
    SOFTWARE_WINOGRAD_F2 = "software/winograd_f2.wgsl";
    SOFTWARE_WINOGRAD_F4 = "software/winograd_f4.wgsl";
    SOFTWARE_WINOGRAD_INPUT = "software/winograd_input.wgsl";
    SOFTWARE_WINOGRAD_OUTPUT = "software/winograd_output.wgsl";
}

macro_rules! functions {
    ($($name:literal: $single:literal, $half:literal;)*) => {
        /// Library functions, added to a shader that calls them: name, text for f32 buffers, text for f16 buffers.
        pub(super) const FUNCTIONS: &[(&str, &str, &str)] = &[$((
            $name,
            include_str!(concat!("../../shaders/", $single)),
            include_str!(concat!("../../shaders/", $half)),
        )),*];
    };
}

functions! {
    "channels_of": "shared/functions/channels_of.wgsl", "shared/functions/channels_of.wgsl";
    "identity": "shared/functions/identity.wgsl", "shared/functions/identity.wgsl";
    "relu": "shared/functions/relu.wgsl", "shared/functions/relu_f16.wgsl";
    "relu6": "shared/functions/relu6.wgsl", "shared/functions/relu6_f16.wgsl";
    "sigmoid": "shared/functions/sigmoid.wgsl", "shared/functions/sigmoid.wgsl";
    "larger": "shared/functions/larger.wgsl", "shared/functions/larger_f16.wgsl";
    "lowest": "shared/functions/lowest.wgsl", "shared/functions/lowest.wgsl";
    "from_half": "shared/functions/from_half.wgsl", "shared/functions/from_half.wgsl";
    "to_half": "shared/functions/to_half.wgsl", "shared/functions/to_half.wgsl";
    "lane_of": "software/functions/lane_of.wgsl", "software/functions/lane_of.wgsl";
    "pair_of": "software/functions/pair_of.wgsl", "software/functions/pair_of.wgsl";
    "quad_of": "software/functions/quad_of.wgsl", "software/functions/quad_of.wgsl";
    "raw_of": "software/functions/raw_of.wgsl", "software/functions/raw_of.wgsl";
    "words_of": "software/functions/words_of.wgsl", "software/functions/words_of.wgsl";
}

/// A hash of all files, which tells the shaders of two builds apart.
pub(crate) fn files_hash() -> u64 {
    let texts = ALL.iter().flat_map(|(path, text)| [*path, *text]);
    let functions = FUNCTIONS.iter().flat_map(|(name, single, half)| [*name, *single, *half]);
    let all = texts.chain(functions).collect::<Vec<_>>().join("\0");
    XxHash3_64::oneshot(all.as_bytes())
}
