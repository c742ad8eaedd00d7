//! Classifies image files: prints the three most probable classes of each. Runs several images at a time; the last batch may be partly
//! filled.
//!
//! ```sh
//! cargo run --release --example classify                             # the bundled digits
//! cargo run --release --example classify -- resnet50.safetensors cat.jpg dog.png
//! ```
//! Runs on the best hardware GPU, or on CPU threads if there is none. Needs the feature `images`.

use rmnet::images::{self, ColorMode, Orientation, Pixels};
use rmnet::{ImageView, Options, Prediction, Session};
use std::error::Error;
use std::path::{Path, PathBuf};

/// Maximum images per run.
const BATCH: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits");
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let checkpoint = args.next().unwrap_or(digits.clone());
    let mut files: Vec<PathBuf> = args.collect();
    if files.is_empty() {
        files = files_of(&digits.join("images"))?;
    }

    let session = Session::open(&checkpoint, &Options::default().batch(BATCH))?;
    println!("{} on {}", session.family(), session.device_name());
    for adapter in session.passed_over() {
        println!("no hardware GPU: passed over {adapter}");
    }
    let [_, channels, _, _] = session.input_shape();
    let mode =
        ColorMode::of_channels(channels).ok_or("no image has as many channels as the network takes")?;

    for files in files.chunks(BATCH) {
        let images: Vec<Pixels> = files.iter().map(|file| decode(file, mode)).collect::<Result<_, _>>()?;
        let views: Vec<ImageView> = images.iter().map(ImageView::from).collect();
        // The output has a row for each given image. A partly filled batch takes as long as a full one.
        let logits = session.run(&session.input_of(&views)?)?;
        let [_, classes, _, _] = session.output_shape();
        for (file, logits) in files.iter().zip(logits.chunks_exact(classes)) {
            let best: Vec<String> = session.top_k(logits, 3)?.iter().map(text).collect();
            println!("{:14} {}", file.file_name().unwrap_or_default().display(), best.join("  "));
        }
    }
    Ok(())
}

/// A class and its probability, or the value itself for a regression.
fn text(prediction: &Prediction) -> String {
    let label = prediction.label.clone().unwrap_or(format!("class {}", prediction.class));
    match prediction.probability {
        Some(probability) => format!("{label} {:6.2} %", 100.0 * probability),
        None => format!("{label} {}", prediction.logit),
    }
}

fn decode(file: &Path, mode: ColorMode) -> Result<Pixels, Box<dyn Error>> {
    let named = |e: &dyn Error| format!("{}: {e}", file.display());
    let bytes = std::fs::read(file).map_err(|e| named(&e))?;
    Ok(images::decode(&bytes, mode, Orientation::Apply).map_err(|e| named(&e))?)
}

/// The files of a folder, sorted.
fn files_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.sort();
    Ok(files)
}
