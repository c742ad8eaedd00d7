//! A headless regression test: compares golden logits with the results of every device, the CPU and each adapter that wgpu finds.
//!
//! ```sh
//! cargo run --release --example test_harness                         # the bundled model with its golden logits
//! cargo run --release --example test_harness -- model.safetensors golden.safetensors
//! REQUIRE_GPU=hardware cargo run --release --example test_harness    # on a machine whose GPU must not go unnoticed
//! ```
//! The golden file has `input`, F32 `[images, channels, height, width]`, and `logits`, F64 `[images, classes]`. Prints a line for each
//! device, and fails if one differs or cannot be opened. An adapter that lacks a required feature is skipped, with the reason. On a machine
//! without a GPU only the CPU is tested, unless `REQUIRE_GPU` is set: `any` requires an adapter, which may be a software one, and
//! `hardware` requires a hardware GPU.

use rmnet::{AdapterChoice, Device, Model, Options, Session, adapters};
use safetensors::SafeTensors;
use std::error::Error;
use std::path::PathBuf;

/// Maximum difference of a logit from the golden one, relative to the largest.
///
/// The golden logits were computed in f64; devices compute in f32, whose operations round by at most u = 2^-24. A layer of the bundled
/// ResNet-20 sums at most 9 * 64 = 576 products. Rounding errors have either sign, so they add up like a random walk: sqrt(576) u = 24 u.
/// Over 20 layers this gives 20 * 24 u = 2.9e-5, since batch norm keeps values at one scale and no layer amplifies earlier errors. The
/// order of summation differs between devices, but does not change this estimate. A deeper or wider network needs a larger tolerance.
/// Measured errors are 2e-7 to 4e-7, since later layers average the errors of earlier ones.
const TOLERANCE: f64 = 20.0 * 24.0 / (1u32 << 24) as f64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let digits = || concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits").into();
    let checkpoint = args.next().unwrap_or_else(digits);
    let golden = args.next().unwrap_or_else(|| checkpoint.join("expected.safetensors"));
    let required = std::env::var("REQUIRE_GPU").unwrap_or_default();
    if !["", "any", "hardware"].contains(&required.as_str()) {
        return Err(format!("REQUIRE_GPU: expected `any` or `hardware`, found `{required}`").into());
    }

    let model = Model::open(&checkpoint)?;
    let bytes = std::fs::read(&golden).map_err(|e| format!("{}: {e}", golden.display()))?;
    let file = SafeTensors::deserialize(&bytes)?;
    let (input, logits) = (file.tensor("input")?, file.tensor("logits")?);
    let images = *logits.shape().first().ok_or("logits: expected [images, classes]")?;
    let input: Vec<f32> = numbers(input.data(), f32::from_le_bytes);
    let logits: Vec<f64> = numbers(logits.data(), f64::from_le_bytes);

    let (mut ran, mut failed, mut gpus) = (0, 0, 0);
    let mut test = |name: &str, device: Device| {
        let options = Options::default().batch(images).device(device);
        let found = Session::new(&model, &options).and_then(|session| session.run(&input));
        let verdict = found.map_err(|e| e.to_string()).and_then(|found| judge(&found, &logits));
        println!("{name}: {}", verdict.as_ref().map_or_else(|e| format!("FAILED: {e}"), |ok| ok.clone()));
        ran += 1;
        failed += usize::from(verdict.is_err());
    };
    test("cpu", Device::Cpu);
    for (index, adapter) in adapters().into_iter().enumerate() {
        match &adapter.problem {
            Some(problem) => println!("{adapter}: skipped: {problem}"),
            None => {
                test(&adapter.to_string(), Device::Gpu(AdapterChoice::Index(index)));
                gpus += usize::from(required != "hardware" || !adapter.is_software());
            }
        }
    }
    if gpus == 0 && required.is_empty() {
        println!("no GPU was tested: none was found");
    } else if gpus == 0 {
        return Err(format!("REQUIRE_GPU={required}, and no such GPU was found").into());
    }
    if failed > 0 {
        return Err(format!("{failed} of {ran} devices failed").into());
    }
    println!("{ran} devices agree with {}", golden.display());
    Ok(())
}

/// Compares values with the expected ones. Returns the deviation as text.
fn judge(found: &[f32], expected: &[f64]) -> Result<String, String> {
    if found.len() != expected.len() {
        return Err(format!("expected {} values, found {}", expected.len(), found.len()));
    }
    let largest = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let worst = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
    let text = format!("off by {:.1e} of the largest logit, {TOLERANCE:.1e} allowed", worst / largest);
    if worst <= TOLERANCE * largest { Ok(text) } else { Err(text) }
}

/// Little-endian numbers of N bytes.
fn numbers<T, const N: usize>(bytes: &[u8], of: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| of(*bytes)).collect()
}
