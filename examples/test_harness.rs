//! A regression test without a screen: golden logits against every device there is, the CPU and each adapter that wgpu finds.
//!
//! ```sh
//! cargo run --release --example test_harness                         # the bundled model with its golden logits
//! cargo run --release --example test_harness -- model.safetensors golden.safetensors
//! REQUIRE_GPU=hardware cargo run --release --example test_harness    # on a machine whose GPU must not go unnoticed
//! ```
//! The golden file has `input`, F32 `[images, channels, height, width]`, and `logits`, F64 `[images, classes]`. Prints a line for each
//! device and fails where one differs or cannot be opened. An adapter that cannot run shaders is skipped with the reason. A machine without
//! GPU tests the CPU alone, unless `REQUIRE_GPU` is set: `any` asks for an adapter, software ones too, `hardware` for a GPU in hardware.

use rmnet::{AdapterChoice, Device, Model, Options, Session, adapters};
use safetensors::SafeTensors;
use std::error::Error;
use std::path::PathBuf;

/// How far a logit may be from the golden one, as a share of the largest.
///
/// The golden logits are of f64; ours are of f32, whose operations round by u = 2^-24 at most. A layer of the bundled ResNet-20 sums
/// 9 * 64 = 576 products at most. The roundings of a sum go either way, so that they add up as a random walk: sqrt(576) u = 24 u. 20
/// layers one after the other, none of which enlarges what came before as batch norm keeps values at one scale: 20 * 24 u = 2.9e-5.
/// The order of sums, which is another on each device, changes nothing about this. A network that is deeper or wider needs more.
/// Found are 2e-7 to 4e-7: roundings of earlier layers are averaged by later ones.
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

/// Whether values are those expected; how far they are from them in words.
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
