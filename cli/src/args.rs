//! The command line as data: an interface that scripts rely on.

use super::assumed;
pub use super::choices::{CriterionArg, ExifArg, FormatArg, MergeArg, ModeArg, PassArg, PrecisionArg, Shard};
use super::choices::{at_least, limit, seconds, shard, size};
use clap::{Args, Parser, Subcommand};
use rmnet::OutputChoice;
use rmnet::rewrite::prune::AtLeast;
use std::path::PathBuf;

/// Runs, converts and checks image networks of the ResNet family without their residual connections, on a GPU or on the CPU.
#[derive(Parser)]
#[command(version, arg_required_else_help = false, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do [default: demo]
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 2 usage; 3 bad checkpoint or input; 4 no adapter, limits too small, or a driver that computes wrong; \
5 verification failed; 6 device lost or out of memory; 7 slower than a baseline.";

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Convert and run the bundled digits model on its bundled images
    Demo(DemoArgs),
    /// Show the family, the blocks and the graph before and after each pass
    Inspect(InspectArgs),
    /// Write the residual-free model
    Convert(ConvertArgs),
    /// Remove channels of the residual-free model
    Prune(PruneArgs),
    /// Show dispatches, slots and memory; needs no GPU
    Plan(PlanArgs),
    /// Classify images, or run a tensor
    Run(RunArgs),
    /// Check that the residual-free network computes the same function, block by block
    Verify(VerifyArgs),
    /// Time cold start and warm runs, compared with the device's peak
    Bench(BenchArgs),
    /// Time every dispatch, and show whether compute or memory bounds it
    Profile(ProfileArgs),
    /// Find the fastest kernel of every layer on this adapter, and store the choice for later runs
    Tune(TuneArgs),
    /// Print the shader of a dispatch
    Wgsl(WgslArgs),
    /// List the adapters with their features and limits
    Devices,
    /// Report what would prevent a run, and what to install
    Doctor,
}

/// Options of all verbs that read a checkpoint.
#[derive(Args)]
pub struct ModelArgs {
    /// Weights (safetensors, its index of shards, or a PyTorch `.pth`, `.pt`, `.bin`), or a folder that holds them with its config files
    pub checkpoint: PathBuf,
    /// Input height and width, as `HxW` or one number
    #[arg(long, value_parser = size, value_name = "HxW")]
    pub size: Option<[usize; 2]>,
    /// Override an assumption about what no tensor shows, listed by `inspect`; KEY is stem_stride, stem_pool, stage_strides,
    /// block_strides, stride_in, dilation, shortcut_pool, batch_norm_eps, activation, anti_alias, global_pool, head,
    /// head_activation or prefix; may be repeated
    #[arg(long, value_parser = assumed::option, value_name = "KEY=VALUE")]
    pub assume: Vec<(String, String)>,
    /// Output of the network: `logits`, its own output; `features`, the classifier's input; or LAYER, the feature map of a block
    /// (`layer1.0`), a stage (`layer1`) or any layer that `rmnet inspect` lists
    #[arg(long, default_value_t, value_name = "logits|features|LAYER")]
    pub output: OutputChoice,
}

/// Options of all verbs that run a network.
#[derive(Args)]
pub struct DeviceArgs {
    /// Device: NAME, INDEX, pci:ADDRESS, vulkan, metal, dx12, gl, best, cpu or auto; `cpu` is the plain CPU executor [default: auto, a
    /// hardware GPU, else cpu; a software GPU is used only if requested]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
    /// Storage type of weights and of values between layers; sums are always f32
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    /// Compile shaders with wgpu's run-time bounds checks, which slow down most GPUs
    #[arg(long)]
    pub safe_shaders: bool,
    #[command(flatten)]
    pub kept: KeptArgs,
}

/// Files that earlier runs left on disk.
#[derive(Args)]
pub struct KeptArgs {
    /// Tuning file written by `rmnet tune`, or `none` [default: the one that `rmnet tune` stored for this adapter]
    #[arg(long, value_name = "FILE|none")]
    pub tuning: Option<PathBuf>,
    /// Folder of the stored tuning, compiled shaders and results of self-tests, or `none` [default: RMNET_CACHE_DIR, else
    /// `rmnet` in the user's cache folder]
    #[arg(long, value_name = "DIR|none")]
    pub cache: Option<PathBuf>,
}

/// `demo`
#[derive(Args, Default)]
pub struct DemoArgs {
    /// Run only this device: NAME, INDEX, pci:ADDRESS, cpu, vulkan, metal, dx12 or gl [default: every device]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
}

/// `inspect`
#[derive(Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print the graph after this pass only
    #[arg(long, value_enum)]
    pub pass: Option<PassArg>,
    /// Print the graph in Graphviz's dot language
    #[arg(long)]
    pub dot: bool,
    /// Print the graph as an SVG picture, residual connections as arcs
    #[arg(long, conflicts_with = "dot")]
    pub svg: bool,
}

/// `convert`
#[derive(Args)]
pub struct ConvertArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// File format [default: by the extension of FILE, else safetensors]
    #[arg(long, value_enum)]
    pub format: Option<FormatArg>,
    /// Write plain weights with the Dirac kernels multiplied out, for other runtimes
    #[arg(long)]
    pub literal: bool,
    /// Multiply neighbouring linear 1x1 convolutions into one (MobileNetV2 becomes a MobileNetV1)
    #[arg(long, value_enum, default_value_t)]
    pub merge: MergeArg,
    /// Device on which `--merge auto` measures: NAME, INDEX, pci:ADDRESS, cpu, vulkan, metal, dx12 or gl [default: a hardware GPU, else
    /// cpu]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
}

/// How many channels are removed.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct TargetArgs {
    /// Remove at most this share of the channels, 0 <= R < 1; exactly removable channels are always removed, and with 0 only those
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub ratio: Option<f64>,
    /// Remove channels until at most this share of the multiplies is left, 0 < R <= 1
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub macs: Option<f64>,
}

/// `prune`
#[derive(Args)]
pub struct PruneArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// File to write: the block form
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub target: TargetArgs,
    /// How the importance of a channel is measured
    #[arg(long, value_enum, default_value_t)]
    pub criterion: CriterionArg,
    /// For `--criterion mean`: images, folders of images, or one `.safetensors` with a tensor `input` [N, C, H, W]
    #[arg(long, num_args = 1.., value_name = "INPUT")]
    pub calibration: Vec<PathBuf>,
    /// Whether to apply the EXIF orientation of images
    #[arg(long, value_enum, default_value_t)]
    pub exif: ExifArg,
    /// Minimum that every layer keeps: a number of channels, or, with a decimal point, a share of them [default: 1]
    #[arg(long, value_parser = at_least, value_name = "N|FRACTION", allow_negative_numbers = true)]
    pub keep_at_least: Option<AtLeast>,
    /// The largest share of a layer's channels that may be removed; may be repeated
    #[arg(long, value_parser = limit, value_name = "LAYER=R")]
    pub limit: Vec<(String, f64)>,
    /// Round the number of kept channels up to a multiple of this
    #[arg(long, default_value_t = 4)]
    pub multiple: usize,
    /// Tie channels as the residual network does: a baseline for comparison
    #[arg(long)]
    pub coupled: bool,
    /// Also remove connections past a block whose two ends stay; saves multiplies in the literal form only
    #[arg(long)]
    pub reserved: bool,
}

/// `plan`
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Images per run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Which form of the network to plan
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeArg,
    /// Multiply neighbouring linear 1x1 convolutions into one; `auto` needs a device, see `run` and `convert`
    #[arg(long, value_enum, default_value_t)]
    pub merge: MergeArg,
    /// Device to plan for: cpu (without limits), NAME, INDEX, pci:ADDRESS, vulkan, metal, dx12 or gl [default: a non-discrete GPU with
    /// WebGPU's default limits]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
    /// Storage type of weights and of values between layers
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    /// Draw the lifetimes of values to this SVG file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// `run`
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// PNG and JPEG images, folders of them (without subfolders), `-` for standard input, or one `.safetensors` with a tensor
    /// `input` [N, C, H, W], which is run at its own size
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// Whether to apply the EXIF orientation of images
    #[arg(long, value_enum, default_value_t)]
    pub exif: ExifArg,
    /// Run every N-th image from the I-th on, `1/N` to `N/N`, so that N runs cover all images
    #[arg(long, value_parser = shard, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Print one JSON object per line for each image as it is processed, instead of a report
    #[arg(long)]
    pub jsonl: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Images per run, never more than there are inputs [default: 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// Which form of the network runs
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeArg,
    /// Multiply neighbouring linear 1x1 convolutions into one
    #[arg(long, value_enum, default_value_t)]
    pub merge: MergeArg,
    /// Classes to print per image
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// Write the output as an f32 tensor named as in --output: `logits` [N, classes], `features` [N, C] or LAYER [N, C, H, W], with one
    /// row per readable input; `inputs` in the metadata lists their names
    #[arg(long, value_name = "OUT.safetensors")]
    pub logits: Option<PathBuf>,
    /// Class names, one per line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
}

/// `verify`
#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Inputs, as for `run`: images, folders of images, `-`, or one `.safetensors` with a tensor `input` [N, C, H, W]
    /// [default: noise]
    pub inputs: Vec<PathBuf>,
    /// Whether to apply the EXIF orientation of images
    #[arg(long, value_enum, default_value_t)]
    pub exif: ExifArg,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Check every layer on the device against its rounding bound, and name the first that exceeds it
    #[arg(long)]
    pub bisect: bool,
    /// Write the certificate to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Seed of the noise
    #[arg(long, default_value_t = 1, conflicts_with = "inputs")]
    pub seed: u64,
    /// Check only in f64 on the CPU
    #[arg(long, conflicts_with_all = ["bisect", "adapter"])]
    pub no_device: bool,
}

/// Options of all verbs that measure time.
#[derive(Args)]
pub struct TimedArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Images per run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Which form of the network runs
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeArg,
    /// Multiply neighbouring linear 1x1 convolutions into one
    #[arg(long, value_enum, default_value_t)]
    pub merge: MergeArg,
    /// Minimum number of measured runs
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Minimum seconds measured
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,
}

/// `bench`
#[derive(Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub timed: TimedArgs,
    /// Also time so many runs at once, each from a thread of its own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub in_flight: Option<u16>,
    /// An earlier report (--json) to compare with; exit code 7 if this run is slower
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Percentage by which this run must be slower to fail
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=1000), requires = "baseline")]
    pub threshold: u32,
}

/// `profile`
#[derive(Args)]
pub struct ProfileArgs {
    #[command(flatten)]
    pub timed: TimedArgs,
    /// Write the median run as a trace that Chrome and Perfetto open
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// `tune`
#[derive(Args)]
pub struct TuneArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// GPU: NAME, INDEX, pci:ADDRESS, vulkan, metal, dx12 or gl [default: a hardware GPU]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
    /// Images per run; kernels are chosen for one batch size
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Which form of the network
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeArg,
    /// Storage type of weights and of values between layers
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    /// File to write, such as one to ship; its entries for other adapters and layers are kept [default: the file that other verbs
    /// read]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Folder of the file that other verbs read [default: RMNET_CACHE_DIR, else `rmnet` in the user's cache folder]
    #[arg(long, value_name = "DIR|none")]
    pub cache: Option<PathBuf>,
}

/// `wgsl`
#[derive(Args)]
pub struct WgslArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Index from 0 or name of a dispatch, as listed by `rmnet plan` [default: all]
    #[arg(long)]
    pub dispatch: Option<String>,
    /// Kernel of the dispatch, such as "gemm 64px x 64oc x 16"; with `--dispatch` [default: the one that runs]
    #[arg(long, requires = "dispatch")]
    pub kernel: Option<rmnet::kernel::Choice>,
    /// Device whose shaders are printed: NAME, INDEX, pci:ADDRESS, vulkan, metal, dx12 or gl [default: any adapter with WebGPU's
    /// default limits]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
    /// Images per run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Which form of the network
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeArg,
    /// Storage type of weights and of values between layers
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    #[command(flatten)]
    pub kept: KeptArgs,
}
