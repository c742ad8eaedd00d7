//! `verify`: certifies that removal kept the function, in f64 and on the device, and that the precision can hold it.

mod on_device;
mod report;

use super::args::VerifyArgs;
use super::assumed::Assumed;
use super::image_input::Inputs;
use super::report::to_json;
use super::{Failure, Report, check_target, dimensions, load_at, write};
use on_device::OnDevice;
use report::{Certificate, overflowing};
use rmnet::memory;
use rmnet::models::Model;
use rmnet::rewrite::{self, Rewritten};
use rmnet::verify::{self, Difference, LayerRange, LogitsBound};
use rmnet::{Error, Mode, Precision};

pub fn verify(args: &VerifyArgs) -> Result<Report, Failure> {
    if let Some(path) = &args.certificate {
        let read = args.inputs.iter().chain([&args.model.checkpoint]);
        check_target(path, &read.map(|p| p.as_path()).collect::<Vec<_>>())?;
    }
    let subject = Subject::read(args)?;
    let certificate = certify(args, &subject)?;
    if let Some(path) = &args.certificate {
        let pretty = serde_json::to_string_pretty(&to_json(&certificate)?).map_err(Failure::input)?;
        write(path, pretty + "\n")?;
    }
    let report = Report::of(&certificate)?;
    match certificate.verified {
        true => Ok(report),
        false => Err(Failure { code: 5, message: certificate.failures.join("; "), report: Some(report) }),
    }
}

/// The network to verify, and its input.
struct Subject {
    model: Model,
    /// The model without residual connections.
    rewritten: Rewritten,
    input: Vec<f32>,
    batch: usize,
}

impl Subject {
    /// Reads the checkpoint and the inputs; refuses a run that would need more memory than there is.
    fn read(args: &VerifyArgs) -> Result<Subject, Failure> {
        let inputs = Inputs::open(&args.inputs, None)?;
        let size = if args.inputs.is_empty() { args.model.size } else { inputs.size(args.model.size)? };
        let model = load_at(&args.model, size)?;
        let rewritten = rewrite::for_mode(&model.graph, Mode::Structured).map_err(Failure::input)?;
        let shape = model.graph.input_shape();
        let ask = |batch: usize| {
            memory::ask("a run in f64", verify::bytes(&model.graph, &rewritten, batch)).map_err(Error::from)
        };
        let (input, batch) = match args.inputs.is_empty() {
            true => {
                ask(1)?;
                (noise(shape.len(), args.seed), 1)
            }
            false => {
                let images = inputs.batches(shape, &model.preprocess, args.exif.into())?;
                let (batch, values) = images.read_all()?;
                ask(batch)?;
                (values, batch)
            }
        };
        Ok(Subject { model, rewritten, input, batch })
    }
}

/// Runs both networks in f64, and the rewritten one on the device.
fn certify<'a>(args: &VerifyArgs, subject: &'a Subject) -> Result<Certificate<'a>, Failure> {
    let Subject { model, rewritten, input, batch } = subject;
    let batch = *batch;
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
    let precision = Precision::from(args.device.precision);
    let (ranges, logits_bound_parts) = held(rewritten, &wide, batch, precision);

    // Values whose f64 range exceeds the precision overflow on the device, which then gives no logits.
    let mut on_device = match args.no_device || overflowing(&ranges, precision).next().is_some() {
        true => None,
        false => Some(on_device::run(args, subject)?),
    };
    let kept = on_device.as_mut().map(|d| std::mem::take(&mut d.values)).unwrap_or_default();
    let expected = verify::expected(&model.graph, &rewritten.blocks, &wide, batch);
    let (blocks, logits_f64) = verify::check_blocks(rewritten, &expected, &wide, batch, &kept);
    let difference =
        |d: &OnDevice| Difference::between(d.logits.iter().map(|v| f64::from(*v)), &expected.logits);
    let logits_device = on_device.as_ref().map(difference);
    let (mut device, mut layers, mut tuning, mut passed_over) = (None, None, None, None);
    if let Some(d) = on_device {
        (device, layers, tuning, passed_over) = (Some(d.name), d.layers, d.tuning, Some(d.passed_over));
    }
    let certificate = Certificate {
        family: &model.family,
        assumed: Assumed::of(model),
        verified: true,
        failures: vec![],
        seed: args.seed,
        f64_bound: verify::f64_bound(rewritten),
        deviation: rewritten.deviation,
        f32_logits_bound: verify::F32_LOGITS_BOUND,
        batch,
        precision,
        logits_bound: logits_bound_parts.map_or(verify::F32_LOGITS_BOUND, |l| l.bound),
        logits_bound_parts,
        ranges,
        device,
        blocks,
        logits_f64,
        logits_device,
        layers,
        tuning,
        passed_over,
        input: dimensions(model.graph.input_shape()),
        is_noise: args.inputs.is_empty(),
    };
    Ok(certificate.judged())
}

/// The range of every layer in a precision, and the bound on the logits if all layers fit. Empty for f32.
fn held(
    rewritten: &Rewritten,
    input: &[f64],
    batch: usize,
    precision: Precision,
) -> (Vec<LayerRange>, Option<LogitsBound>) {
    if precision == Precision::F32 {
        return (vec![], None);
    }
    let graph = &rewritten.graph;
    let ranges = verify::ranges(graph, input, batch);
    let fits = ranges.iter().all(|r| r.fits(precision));
    let logits = fits.then(|| verify::bound_logits(graph, input, batch, precision));
    (ranges, logits)
}

/// Uniform values of unit variance (SplitMix64).
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next() * 3f32.sqrt()).collect()
}
