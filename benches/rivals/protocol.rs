//! A contender's side of the protocol, in Rust; `protocol.py` says what it is.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

/// One run: the input to the logits.
pub type Run = Box<dyn FnMut(&[f32]) -> Result<Vec<f32>, Box<dyn Error>>>;

/// Speaks the protocol. `load` takes the variant and the folder, and returns the device's name and one run.
pub fn serve(
    version: &str,
    load: impl FnOnce(&str, &Path) -> Result<(String, Run), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [variant, folder, logits, runs, seconds] = &args[..] else {
        return Err("expected VARIANT FOLDER LOGITS RUNS SECONDS".into());
    };
    let (folder, runs, limit) =
        (Path::new(folder), runs.parse::<usize>()?, Duration::from_secs_f64(seconds.parse()?));
    println!(r#"{{"event": "ready", "version": {version:?}}}"#);
    let input: Vec<f32> = std::fs::read(folder.join("input.f32"))?
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let (device, mut run) = load(variant, folder)?;
    let first = run(&input)?;
    println!(r#"{{"event": "first", "device": {device:?}}}"#);
    std::fs::write(logits, first.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
    if runs > 0 {
        run(&input)?;
    }
    let (mut times, start) = (vec![], Instant::now());
    while times.len() < runs && (times.is_empty() || start.elapsed() < limit) {
        let before = Instant::now();
        run(&input)?;
        times.push(before.elapsed().as_nanos() as u64);
    }
    println!(r#"{{"event": "done", "ns": {times:?}}}"#);
    Ok(())
}
