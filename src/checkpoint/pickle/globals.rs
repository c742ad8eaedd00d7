//! The allow-list of classes and functions that a checkpoint may name. None is ever called. Any other name is refused: such a
//! file is not a state dict, and its tensors would depend on code that is not run.

use crate::tensor::Dtype;

/// An element type of PyTorch.
#[derive(Debug)]
pub(super) struct Element {
    /// Name as safetensors spells it, if safetensors has the type.
    pub name: &'static str,
    /// Bytes of one element.
    pub size: usize,
    /// The type to compute with; `None` if it is not supported.
    pub dtype: Option<Dtype>,
    /// `X` in `torch.XStorage`; empty for types without a storage class.
    storage: &'static str,
    /// `torch.x` and its alias.
    constants: [&'static str; 2],
}

pub(super) const U8: &str = "U8";

const fn element(
    name: &'static str,
    size: usize,
    dtype: Option<Dtype>,
    storage: &'static str,
    constants: [&'static str; 2],
) -> Element {
    Element { name, size, dtype, storage, constants }
}

static ELEMENTS: [Element; 30] = [
    element("F32", 4, Some(Dtype::F32), "Float", ["float32", "float"]),
    element("F16", 2, Some(Dtype::F16), "Half", ["float16", "half"]),
    element("BF16", 2, Some(Dtype::BF16), "BFloat16", ["bfloat16", ""]),
    element("F64", 8, Some(Dtype::F64), "Double", ["float64", "double"]),
    element("I64", 8, None, "Long", ["int64", "long"]),
    element("I32", 4, None, "Int", ["int32", "int"]),
    element("I16", 2, None, "Short", ["int16", "short"]),
    element("I8", 1, None, "Char", ["int8", ""]),
    element(U8, 1, None, "Byte", ["uint8", ""]),
    element("BOOL", 1, None, "Bool", ["bool", ""]),
    element("C32", 4, None, "ComplexHalf", ["complex32", "chalf"]),
    element("C64", 8, None, "ComplexFloat", ["complex64", "cfloat"]),
    element("C128", 16, None, "ComplexDouble", ["complex128", "cdouble"]),
    element("QI8", 1, None, "QInt8", ["qint8", ""]),
    element("QU8", 1, None, "QUInt8", ["quint8", ""]),
    element("QI32", 4, None, "QInt32", ["qint32", ""]),
    element("QU4", 1, None, "QUInt4x2", ["quint4x2", ""]),
    element("QU2", 1, None, "QUInt2x4", ["quint2x4", ""]),
    element("U16", 2, None, "", ["uint16", ""]),
    element("U32", 4, None, "", ["uint32", ""]),
    element("U64", 8, None, "", ["uint64", ""]),
    element("F8_E4M3", 1, None, "", ["float8_e4m3fn", ""]),
    element("F8_E5M2", 1, None, "", ["float8_e5m2", ""]),
    element("F8_E4M3FNUZ", 1, None, "", ["float8_e4m3fnuz", ""]),
    element("F8_E5M2FNUZ", 1, None, "", ["float8_e5m2fnuz", ""]),
    element("F8_E8M0", 1, None, "", ["float8_e8m0fnu", ""]),
    element("F4", 1, None, "", ["float4_e2m1fn_x2", ""]),
    element("BITS8", 1, None, "", ["bits8", ""]),
    element("BITS16", 2, None, "", ["bits16", ""]),
    // An untyped storage holds bytes.
    element(U8, 1, None, "Untyped", ["", ""]),
];

/// Element type of a tensor without a plain storage.
pub(super) static UNKNOWN: Element = element("unknown", 1, None, "", ["", ""]);

/// The types of `torch` with fewer than 8 bits: `torch.uint4`, `torch.bits2x4`.
static BELOW_8_BITS: Element = element("below 8 bits", 1, None, "", ["", ""]);

/// How a function makes a tensor from its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebuild {
    /// From a typed storage.
    Typed,
    /// From a storage of bytes and a dtype.
    Untyped,
    /// The first argument, a tensor.
    Wrapper,
    /// By another of these functions, given with the class of the result.
    FromType,
    /// The first argument, a tensor, regardless of its device.
    OnDevice,
}

/// A tensor form whose values are not read, and the position of its shape among the arguments.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub name: &'static str,
    pub shape_at: usize,
    /// Whether the shape is inside a tuple given as the second argument.
    pub nested: bool,
}

static SPARSE: Unreadable = Unreadable { name: "sparse", shape_at: 2, nested: true };
static QUANTIZED: Unreadable = Unreadable { name: "quantized", shape_at: 2, nested: false };
static META: Unreadable = Unreadable { name: "meta (without values)", shape_at: 1, nested: false };
static NESTED: Unreadable = Unreadable { name: "nested", shape_at: usize::MAX, nested: false };

/// The meaning of a name on the allow-list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    /// A function that makes a tensor.
    Rebuild(Rebuild),
    /// A function that makes a tensor whose values are not read.
    Unreadable(&'static Unreadable),
    /// The class of a storage.
    Storage(&'static Element),
    /// A `torch.dtype`.
    Element(&'static Element),
    /// The class of a tensor, as an argument.
    TensorClass,
    /// A class of dictionaries.
    Dict,
    /// `torch.Size`, a tuple.
    Size,
    /// A class or function of values that do not affect tensors.
    Value,
}

/// What a name means; `None` for one that is not on the list.
pub(super) fn find(module: &str, name: &str) -> Option<Global> {
    // Names that Python 2 and NumPy 2 spell differently.
    let renamed;
    let module = match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        "pathlib._local" => "pathlib",
        _ => match module.strip_prefix("numpy._core") {
            Some(rest) => {
                renamed = format!("numpy.core{rest}");
                &renamed
            }
            None => module,
        },
    };
    let rebuild = |how| Some(Global::Rebuild(how));
    match (module, name) {
        ("torch._utils", name) => match name {
            "_rebuild_tensor" | "_rebuild_tensor_v2" => rebuild(Rebuild::Typed),
            "_rebuild_tensor_v3" => rebuild(Rebuild::Untyped),
            "_rebuild_parameter" | "_rebuild_parameter_with_state" => rebuild(Rebuild::Wrapper),
            "_rebuild_device_tensor_from_cpu_tensor" => rebuild(Rebuild::OnDevice),
            "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => Some(Global::Unreadable(&SPARSE)),
            "_rebuild_qtensor" => Some(Global::Unreadable(&QUANTIZED)),
            "_rebuild_meta_tensor_no_storage" => Some(Global::Unreadable(&META)),
            "_rebuild_nested_tensor" => Some(Global::Unreadable(&NESTED)),
            _ => None,
        },
        ("torch._tensor", "_rebuild_from_type_v2") => rebuild(Rebuild::FromType),
        ("torch", "Tensor") | ("torch.nn.parameter", "Parameter" | "Buffer") => Some(Global::TensorClass),
        ("torch", "Size") => Some(Global::Size),
        ("torch" | "torch.cuda" | "torch.storage", name) => torch(module, name),
        _ if listed(DICTIONARIES, module, name) => Some(Global::Dict),
        _ if listed(VALUES, module, name) => Some(Global::Value),
        // NumPy's scalar types and the classes of its dtypes: `numpy.float64`, `numpy.dtypes.Float64DType`.
        ("numpy", name) if numpy_scalar(name) => Some(Global::Value),
        ("numpy.dtypes", name) if name.ends_with("DType") => Some(Global::Value),
        _ => None,
    }
}

/// Storages, element types and the other constants of `torch`.
fn torch(module: &str, name: &str) -> Option<Global> {
    if let Some(kind) = name.strip_suffix("Storage") {
        return match (module, kind) {
            // The element type of a typed storage is not in the pickle.
            (_, "" | "Typed") => None,
            _ => ELEMENTS.iter().find(|e| e.storage == kind).map(Global::Storage),
        };
    }
    if module != "torch" {
        return None;
    }
    let constant = ELEMENTS.iter().find(|e| e.constants.contains(&name) && !name.is_empty());
    let value = listed(VALUES, module, name).then_some(Global::Value);
    let bits = ["uint", "int"].iter().find_map(|kind| name.strip_prefix(kind));
    let is_small = matches!(bits, Some("1" | "2" | "3" | "4" | "5" | "6" | "7"));
    let is_small = is_small || matches!(name, "bits1x8" | "bits2x4" | "bits4x2");
    let constant = constant.or(is_small.then_some(&BELOW_8_BITS));
    constant.map(Global::Element).or(value)
}

fn numpy_scalar(name: &str) -> bool {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    matches!(
        kind,
        "bool" | "int" | "uint" | "float" | "complex" | "longdouble" | "str" | "bytes" | "datetime"
    ) || matches!(kind, "intc" | "uintc" | "intp" | "uintp" | "longlong" | "ulonglong" | "timedelta" | "void")
}

type Names = &'static [(&'static str, &'static [&'static str])];

fn listed(names: Names, module: &str, name: &str) -> bool {
    names.iter().any(|(m, list)| *m == module && list.contains(&name))
}

/// Dictionaries and classes derived from them.
const DICTIONARIES: Names = &[
    ("collections", &["OrderedDict", "defaultdict", "Counter"]),
    ("builtins", &["dict"]),
    ("easydict", &["EasyDict"]),
    ("addict.addict", &["Dict"]),
    ("mmcv.utils.config", &["ConfigDict"]),
    ("mmengine.config.config", &["ConfigDict"]),
    ("yacs.config", &["CfgNode"]),
    ("pytorch_lightning.utilities.parsing", &["AttributeDict"]),
    ("lightning_fabric.utilities.data", &["AttributeDict"]),
    ("lightning.fabric.utilities.data", &["AttributeDict"]),
];

/// Classes of settings, counts, times and random states, which training code saves beside the weights.
const VALUES: Names = &[
    (
        "builtins",
        &[
            "set",
            "frozenset",
            "list",
            "tuple",
            "int",
            "float",
            "complex",
            "bool",
            "str",
            "unicode",
            "long",
            "bytes",
            "bytearray",
            "range",
            "slice",
            "object",
        ],
    ),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("collections", &["deque"]),
    ("copyreg", &["_reconstructor"]),
    ("_codecs", &["encode"]),
    ("datetime", &["datetime", "date", "time", "timedelta", "timezone"]),
    ("decimal", &["Decimal"]),
    ("fractions", &["Fraction"]),
    ("uuid", &["UUID"]),
    ("pathlib", &["Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"]),
    ("packaging.version", &["Version"]),
    ("packaging._structures", &["InfinityType", "NegativeInfinityType"]),
    ("typing", &["Any", "Dict", "List", "Optional", "Tuple", "Union"]),
    ("numpy", &["dtype", "ndarray"]),
    ("numpy.core.multiarray", &["scalar", "_reconstruct"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy.random._pickle", &["__randomstate_ctor", "__bit_generator_ctor", "__generator_ctor"]),
    ("numpy.random.bit_generator", &["SeedSequence", "__pyx_unpickle_SeedSequence"]),
    ("numpy.random._mt19937", &["MT19937"]),
    ("numpy.random._pcg64", &["PCG64"]),
    (
        "torch",
        &[
            "device",
            "strided",
            "contiguous_format",
            "channels_last",
            "preserve_format",
            "per_tensor_affine",
            "per_channel_affine",
            "per_channel_affine_float_qparams",
            "per_tensor_symmetric",
            "per_channel_symmetric",
        ],
    ),
    ("torch.serialization", &["_get_layout"]),
    ("torch.torch_version", &["TorchVersion"]),
    ("omegaconf.dictconfig", &["DictConfig"]),
    ("omegaconf.listconfig", &["ListConfig"]),
    ("omegaconf.base", &["ContainerMetadata", "Metadata", "SCMode"]),
    (
        "omegaconf.nodes",
        &["AnyNode", "BooleanNode", "BytesNode", "FloatNode", "IntegerNode", "PathNode", "StringNode"],
    ),
    ("mmengine.logging.history_buffer", &["HistoryBuffer"]),
    ("pytorch_lightning.callbacks.model_checkpoint", &["ModelCheckpoint"]),
    ("pytorch_lightning.callbacks.early_stopping", &["EarlyStopping"]),
    ("ml_collections.config_dict.config_dict", &["ConfigDict", "FieldReference"]),
];
