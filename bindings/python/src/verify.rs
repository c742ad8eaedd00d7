//! The proof that removal kept the function: what `rmnet verify` prints, as values.
//!
//! The library's `verify` is below its public face (feature `internals`), as is the rewritten graph that it compares.

use crate::errors::Failure;
use pyo3::prelude::*;
use rmnet::plan::Values;
use rmnet::rewrite::{self, Rewritten};
use rmnet::verify::{self, BlockCheck, BlockOutcome, Difference};
use rmnet::{Error, Mode, Model, Options, OutputChoice, Precision, Session, memory};
use std::collections::HashMap;

/// What was compared, and by how much it differs.
#[derive(IntoPyObject)]
pub struct Proof {
    blocks: Vec<Block>,
    /// Bound on blocks and logits in f64.
    f64_bound: f64,
    logits_f64: f64,
    device: String,
    /// Bound on the device's logits.
    device_bound: f64,
    /// `None` if the precision cannot hold the network's values, so that nothing ran on the device.
    logits_device: Option<f64>,
    failures: Vec<String>,
}

/// A block's end. Differences are relative to its largest value.
#[derive(IntoPyObject)]
struct Block {
    name: String,
    outcome: &'static str,
    f64_error: f64,
    device_error: Option<f64>,
    ok: bool,
}

/// What ran on the device.
struct OnDevice {
    kept: HashMap<String, Vec<f32>>,
    logits: Vec<f32>,
}

/// Runs the original and the rewritten network in f64, and the rewritten one on the device that `open` opens sessions on.
pub fn prove(
    model: &Model,
    options: &Options,
    input: Option<(&[f32], usize)>,
    seed: u64,
    open: impl Fn(&Model, &Options) -> Result<Session, Error>,
) -> Result<Proof, Failure> {
    let rewritten = rewrite::for_mode(&model.graph, Mode::Structured)?;
    let batch = input.map_or(1, |(_, images)| images);
    memory::ask("a run in f64", verify::bytes(&model.graph, &rewritten, batch)).map_err(Error::from)?;
    let noise = input.is_none().then(|| noise(model.graph.input_shape().len(), seed));
    let input = input.map(|(values, _)| values).or(noise.as_deref()).unwrap_or_default();
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();

    let (overflow, device_bound) = precision_bound(&rewritten, &wide, batch, options.precision);
    // The model ends with the session's output already.
    let structured =
        options.clone().mode(Mode::Structured).merge(false).batch(batch).output(OutputChoice::Logits);
    let session = open(model, &structured.clone().keep(Vec::<String>::new()))?;
    let on_device = match overflow {
        None => Some(run(model, &rewritten, &structured, input, &session, &open)?),
        Some(_) => None,
    };
    let none = HashMap::new();
    let kept = on_device.as_ref().map_or(&none, |d| &d.kept);
    let expected = verify::expected(&model.graph, &rewritten.blocks, &wide, batch);
    let (blocks, logits_f64) = verify::check_blocks(&rewritten, &expected, &wide, batch, kept);
    let difference =
        |d: &OnDevice| Difference::between(d.logits.iter().map(|v| f64::from(*v)), &expected.logits).relative;
    let mut proof = Proof {
        blocks: vec![],
        f64_bound: verify::f64_bound(&rewritten),
        logits_f64: logits_f64.relative,
        device: session.device_name(),
        device_bound,
        logits_device: on_device.as_ref().map(difference),
        failures: overflow.into_iter().collect(),
    };
    proof.judge(&blocks);
    Ok(proof)
}

/// Runs the plan for the logits, and a plan that keeps the ends of blocks.
fn run(
    model: &Model,
    rewritten: &Rewritten,
    options: &Options,
    input: &[f32],
    session: &Session,
    open: impl Fn(&Model, &Options) -> Result<Session, Error>,
) -> Result<OnDevice, Failure> {
    let logits = values(session.run_keeping(input))?.output;
    let ends = rewritten.blocks.iter().map(|b| b.output.clone());
    let keeping = open(model, &options.clone().keep(ends))?;
    let kept = values(keeping.run_keeping(input))?.kept.into_iter().collect();
    Ok(OnDevice { kept, logits })
}

/// The values of a run, finite or not: what is wrong is for the comparison to find.
fn values(run: Result<Values, Error>) -> Result<Values, Error> {
    match run {
        Err(Error::NotFinite { values, .. }) => Ok(values),
        result => result,
    }
}

/// Which layer's values the precision cannot hold, if any; and the bound on the device's logits.
fn precision_bound(
    rewritten: &Rewritten,
    input: &[f64],
    batch: usize,
    precision: Precision,
) -> (Option<String>, f64) {
    if precision == Precision::F32 {
        return (None, verify::F32_LOGITS_BOUND);
    }
    let ranges = verify::ranges(&rewritten.graph, input, batch);
    match ranges.iter().find(|r| !r.fits(precision)) {
        Some(first) => {
            let why = format!(
                "{}: values up to {:.4e} on this input, {precision} ends at 65504",
                first.layer, first.largest
            );
            (Some(why), verify::logits_bound(precision))
        }
        None => (None, verify::bound_logits(&rewritten.graph, input, batch, precision).bound),
    }
}

/// Whether a difference is over its bound. NaN is.
fn over(relative: f64, bound: f64) -> bool {
    relative.is_nan() || relative > bound
}

impl Proof {
    /// Fills in the blocks, and lists what differs by more than its bound.
    fn judge(&mut self, checks: &[BlockCheck]) {
        for check in checks {
            let finite = check.executor.is_none_or(|d| d.max_abs.is_finite());
            let exact = !over(check.f64.relative, self.f64_bound);
            if !exact {
                self.failures.push(format!("{}: f64 difference {:.1e}", check.block, check.f64.relative));
            }
            if !finite {
                self.failures.push(format!("{}: not finite on the device", check.block));
            }
            self.blocks.push(Block {
                name: check.block.clone(),
                outcome: match check.outcome {
                    BlockOutcome::Removed => "removed",
                    BlockOutcome::Summed => "summed",
                    BlockOutcome::Kept { .. } => "kept",
                },
                f64_error: check.f64.relative,
                device_error: check.executor.map(|d| d.relative),
                ok: exact && finite,
            });
        }
        if over(self.logits_f64, self.f64_bound) {
            self.failures.push(format!("logits: f64 difference {:.1e}", self.logits_f64));
        }
        if let Some(relative) = self.logits_device.filter(|d| over(*d, self.device_bound)) {
            let bound = self.device_bound;
            self.failures.push(format!("logits on the device: difference {relative:.1e}, bound {bound:.1e}"));
        }
    }
}

/// Uniform values of unit variance (SplitMix64): those of `rmnet verify` with the same seed.
fn noise(len: usize, seed: u64) -> Vec<f32> {
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
