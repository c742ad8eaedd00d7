//! Finds similar images by the cosine similarity of their features, the input of the classifier.
//!
//! ```sh
//! cargo run --release --example features                             # the bundled digits
//! cargo run --release --example features -- resnet50.safetensors a.jpg b.jpg c.jpg
//! ```
//! Runs on the best hardware GPU, or on CPU threads if there is none. Needs the feature `images`.

use rmnet::images::{self, ColorMode, Orientation};
use rmnet::{ImageView, Options, OutputChoice, Session};
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits");
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let checkpoint = args.next().unwrap_or(digits.clone());
    let mut files: Vec<PathBuf> = args.collect();
    if files.is_empty() {
        for entry in std::fs::read_dir(digits.join("images"))? {
            files.push(entry?.path());
        }
        files.sort();
    }

    // The network without its classifier: the output is a vector of features for each image.
    let session = Session::open(&checkpoint, &Options::default().output(OutputChoice::Features))?;
    println!("{} features on {}", session.output_shape()[1], session.device_name());

    let mut vectors = vec![];
    for file in &files {
        let image = images::decode(&std::fs::read(file)?, ColorMode::Rgb, Orientation::Apply)
            .map_err(|e| format!("{}: {e}", file.display()))?;
        vectors.push(unit(session.run(&session.input_of(&[ImageView::from(&image)])?)?));
    }

    // Find the most similar image for each one, and the closest of these pairs.
    let name = |i: usize| files[i].file_name().unwrap_or_default().display().to_string();
    let mut closest: Option<(f32, usize, usize)> = None;
    for (i, vector) in vectors.iter().enumerate() {
        let others = (0..vectors.len()).filter(|j| *j != i).map(|j| (cosine(vector, &vectors[j]), j));
        let Some((cosine, j)) = others.max_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
        println!("{:14} is most like {:14} cosine {cosine:.4}", name(i), name(j));
        if closest.is_none_or(|(most, ..)| cosine > most) {
            closest = Some((cosine, i, j));
        }
    }
    let (cosine, i, j) = closest.ok_or("expected two images or more")?;
    println!("most alike: {} and {}, cosine {cosine:.4}", name(i), name(j));
    Ok(())
}

/// The vector scaled to length 1.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = cosine(&vector, &vector).sqrt().max(f32::MIN_POSITIVE);
    vector.iter_mut().for_each(|v| *v /= length);
    vector
}

/// The cosine of the angle between vectors of length 1.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
