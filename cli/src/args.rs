//! The command line as data: the contract that scripts rely on.

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
    /// What to do; `demo` where nothing is said
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 2 usage; 3 bad checkpoint or input; 4 no adapter, or limits too small; \
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
    /// Time cold start and warm runs, beside what the device could do
    Bench(BenchArgs),
    /// Time every dispatch, and say what bounds it
    Profile(ProfileArgs),
    /// Find the fastest kernel of every layer on this adapter, and keep the choice for later runs
    Tune(TuneArgs),
    /// Print the shader of a dispatch
    Wgsl(WgslArgs),
    /// List the adapters with their features and limits
    Devices,
    /// Say what would stop a run, and what to install
    Doctor,
}

/// Options of everything that reads a checkpoint.
#[derive(Args)]
pub struct ModelArgs {
    /// Weights (safetensors, its index of shards, or a PyTorch `.pth`, `.pt`, `.bin`), or a folder that holds them with its config files
    pub checkpoint: PathBuf,
    /// Input height and width, as `HxW` or one number
    #[arg(long, value_parser = size, value_name = "HxW")]
    pub size: Option<[usize; 2]>,
    /// What no tensor shows, where it is not as `inspect` says that it is assumed: stem_stride, stem_pool, stage_strides,
    /// block_strides, stride_in, dilation, shortcut_pool, batch_norm_eps, activation, anti_alias, global_pool, head, head_activation or prefix; may
    /// be given many times
    #[arg(long, value_parser = assumed::option, value_name = "KEY=VALUE")]
    pub assume: Vec<(String, String)>,
    /// Which value the network ends with: its own output; what its classifier reads; or a layer's map, by the name of a block
    /// (`layer1.0`), a stage (`layer1`) or any layer that `rmnet inspect` lists
    #[arg(long, default_value_t, value_name = "logits|features|LAYER")]
    pub output: OutputChoice,
}

/// Options of everything that runs.
#[derive(Args)]
pub struct DeviceArgs {
    /// NAME, INDEX, pci:ADDRESS, vulkan, metal, dx12, gl, best, cpu or auto; `cpu` is the plain CPU executor [default: auto, a hardware
    /// GPU, else cpu; a software GPU runs only where it is asked for]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
    /// What values between layers and weights are stored in; sums are f32 in either
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    /// Compile shaders with wgpu's run-time bounds checks, which most GPUs run slower
    #[arg(long)]
    pub safe_shaders: bool,
    #[command(flatten)]
    pub kept: KeptArgs,
}

/// What earlier runs left on disk.
#[derive(Args)]
pub struct KeptArgs {
    /// A file of `rmnet tune`, or `none` [default: what `rmnet tune` kept for this adapter]
    #[arg(long, value_name = "FILE|none")]
    pub tuning: Option<PathBuf>,
    /// Folder of the kept tuning and of shaders that the driver compiled, or `none` [default: RMNET_CACHE_DIR, else `rmnet` in
    /// the user's cache folder]
    #[arg(long, value_name = "DIR|none")]
    pub cache: Option<PathBuf>,
}

/// `demo`
#[derive(Args, Default)]
pub struct DemoArgs {
    /// Run this device alone: NAME, INDEX, pci:ADDRESS, cpu, vulkan, metal, dx12 or gl [default: every device there is]
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
    /// Kind of file [default: as the name of FILE ends, else safetensors]
    #[arg(long, value_enum)]
    pub format: Option<FormatArg>,
    /// Plain weights with the Dirac kernels multiplied out, for other runtimes
    #[arg(long)]
    pub literal: bool,
    /// Multiply neighbouring linear 1x1 convolutions into one (MobileNetV2 becomes a MobileNetV1)
    #[arg(long, value_enum, default_value_t)]
    pub merge: MergeArg,
    /// Where `--merge auto` measures: NAME, INDEX, pci:ADDRESS, cpu, vulkan, metal, dx12 or gl [default: a hardware GPU, else cpu]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
}

/// How much goes.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct TargetArgs {
    /// Remove at most this share of the channels, 0 <= R < 1, but always all that is exactly removable; with 0 nothing else
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
    /// What channels are judged by
    #[arg(long, value_enum, default_value_t)]
    pub criterion: CriterionArg,
    /// For `--criterion mean`: images, folders of images, or one `.safetensors` with a tensor `input` [N, C, H, W]
    #[arg(long, num_args = 1.., value_name = "INPUT")]
    pub calibration: Vec<PathBuf>,
    /// What becomes of the images' EXIF orientation
    #[arg(long, value_enum, default_value_t)]
    pub exif: ExifArg,
    /// What every layer keeps: a number of channels, or with a decimal point a share of them [default: 1]
    #[arg(long, value_parser = at_least, value_name = "N|FRACTION", allow_negative_numbers = true)]
    pub keep_at_least: Option<AtLeast>,
    /// The largest share of a layer's channels that may go; may be given many times
    #[arg(long, value_parser = limit, value_name = "LAYER=R")]
    pub limit: Vec<(String, f64)>,
    /// Keep channels in multiples of this, by keeping more
    #[arg(long, default_value_t = 4)]
    pub multiple: usize,
    /// Tie channels as the residual network ties them: the baseline to compare with
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
    /// Whom to plan for: cpu (without limits), NAME, INDEX, pci:ADDRESS, vulkan, metal, dx12 or gl [default: a GPU, no discrete card,
    /// of WebGPU's default limits]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
    /// What values between layers and weights are stored in
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    /// Draw the lifetimes to this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// `run`
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// PNG and JPEG images, folders of them (not those inside), `-` for standard input, or one `.safetensors` with a tensor
    /// `input` [N, C, H, W], which is run at its own size
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// What becomes of the images' EXIF orientation
    #[arg(long, value_enum, default_value_t)]
    pub exif: ExifArg,
    /// Run every N-th image from the I-th, `1/N` to `N/N`: N runs share all images out
    #[arg(long, value_parser = shard, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Print one JSON object a line for each image as it goes, instead of a report
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
    /// Write the output, a tensor of the name given with --output: `logits` [N, classes], `features` [N, C] or LAYER [N, C, H, W], f32;
    /// a row for each input that could be read, whose names the metadata's `inputs` lists
    #[arg(long, value_name = "OUT.safetensors")]
    pub logits: Option<PathBuf>,
    /// Class names, one a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
}

/// `verify`
#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What is run: images, folders of images, `-`, or one `.safetensors` with a tensor `input` [N, C, H, W], as `run` takes
    /// them [default: noise]
    pub inputs: Vec<PathBuf>,
    /// What becomes of the images' EXIF orientation
    #[arg(long, value_enum, default_value_t)]
    pub exif: ExifArg,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Check every layer on the device by its rounding bound, and name the first that is over
    #[arg(long)]
    pub bisect: bool,
    /// Write the certificate to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Seed of the noise that is run
    #[arg(long, default_value_t = 1, conflicts_with = "inputs")]
    pub seed: u64,
    /// Check in f64 on the CPU alone
    #[arg(long, conflicts_with_all = ["bisect", "adapter"])]
    pub no_device: bool,
}

/// Options of everything that is timed.
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
    /// Fewest runs measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Least seconds measured
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,
}

/// `bench`
#[derive(Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub timed: TimedArgs,
    /// An earlier report (--json) to compare with; exit code 7 where this one is slower
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// How much slower, in percent, counts
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
    /// NAME, INDEX, pci:ADDRESS, vulkan, metal, dx12 or gl [default: a hardware GPU]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
    /// Images per run; kernels are chosen for one batch size
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Which form of the network
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeArg,
    /// What values between layers and weights are stored in
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    /// File to write, such as one to ship; what it holds of other adapters and layers stays [default: the one that other verbs
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
    /// Position from 0, or name, of the dispatch (`rmnet plan` lists them) [default: all]
    #[arg(long)]
    pub dispatch: Option<String>,
    /// Which of its kernels, such as "gemm 64px x 64oc x 16"; with `--dispatch` [default: the one that runs]
    #[arg(long, requires = "dispatch")]
    pub kernel: Option<rmnet::kernel::Choice>,
    /// Whose shaders: NAME, INDEX, pci:ADDRESS, vulkan, metal, dx12 or gl [default: any adapter with WebGPU's default limits]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub adapter: Option<String>,
    /// Images per run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Which form of the network
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeArg,
    /// What values between layers and weights are stored in
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
    #[command(flatten)]
    pub kept: KeptArgs,
}
