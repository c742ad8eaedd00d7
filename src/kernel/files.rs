//! The files of `shaders/`.

/// The text of a file.
#[cfg(not(target_arch = "wasm32"))]
macro_rules! shader {
    ($path:literal) => {
        include_str!(concat!("../../shaders/", $path))
    };
}

/// The text of a file as it is downloaded: without its comments.
#[cfg(target_arch = "wasm32")]
macro_rules! shader {
    ($path:literal) => {{
        const FILE: &str = include_str!(concat!("../../shaders/", $path));
        const BYTES: [u8; without_comments::<{ FILE.len() }>(FILE).1] = without_comments(FILE).0;
        match str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("whole lines of a text are text"),
        }
    }};
}

macro_rules! files {
    ($($(#[$doc:meta])* $name:ident = $path:literal;)*) => {
        $(pub(super) const $name: &str = shader!($path);)*
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
            shader!($single),
            shader!($half),
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

/// A hash of all files, which tells the shaders of two builds apart (FNV-1a). Its value is computed when the crate is compiled, so that a
/// program holds only the files that it uses.
pub(crate) const FILES_HASH: u64 = {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut file = 0;
    while file < ALL.len() {
        hash = hashed(hashed(hash, ALL[file].0), ALL[file].1);
        file += 1;
    }
    let mut function = 0;
    while function < FUNCTIONS.len() {
        let (name, single, half) = FUNCTIONS[function];
        hash = hashed(hashed(hashed(hash, name), single), half);
        function += 1;
    }
    hash
};

/// The hash after one more text.
const fn hashed(mut hash: u64, text: &str) -> u64 {
    let mut at = 0;
    while at < text.len() {
        hash = (hash ^ text.as_bytes()[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    // A byte that is in no text ends it.
    (hash ^ 0xff).wrapping_mul(0x0100_0000_01b3)
}

/// A text without its lines that are comments and no markers, and how long that is: at most `N`.
#[cfg(any(target_arch = "wasm32", test))]
pub(super) const fn without_comments<const N: usize>(text: &str) -> ([u8; N], usize) {
    let text = text.as_bytes();
    let (mut out, mut length, mut at) = ([0; N], 0, 0);
    while at < text.len() {
        let kept = !is_comment(text, at);
        let mut end_of_line = false;
        while at < text.len() && !end_of_line {
            if kept {
                out[length] = text[at];
                length += 1;
            }
            end_of_line = text[at] == b'\n';
            at += 1;
        }
    }
    (out, length)
}

/// Whether the line that begins at `at` is a comment, and no marker.
#[cfg(any(target_arch = "wasm32", test))]
const fn is_comment(text: &[u8], mut at: usize) -> bool {
    while at < text.len() && text[at] == b' ' {
        at += 1;
    }
    at + 2 < text.len() && text[at] == b'/' && text[at + 1] == b'/' && text[at + 2] != b'#'
}
