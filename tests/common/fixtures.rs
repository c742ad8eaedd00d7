//! The committed fixtures: checkpoints of other libraries with the logits those libraries computed in f64.

use rmnet::checkpoint::Checkpoint;
use rmnet::models::{self, Model};
use std::path::{Path, PathBuf};

/// A fixture: the model for its stored input, that input, and what PyTorch made of it.
pub struct Fixture {
    pub name: String,
    pub model: Model,
    pub batch: usize,
    pub input: Vec<f32>,
    pub logits: Vec<f64>,
    /// Block name and value, where stored.
    pub blocks: Vec<(String, Vec<f64>)>,
}

pub fn root() -> PathBuf {
    // Tests of the program have the folder of its package there.
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("tests/fixtures").is_dir());
    root.expect("a folder with fixtures").to_path_buf()
}

/// Every model fixture, the bundled model too.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("tests/fixtures"))
        .expect("the fixtures")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.join("expected.safetensors").is_file())
        .map(|p| format!("tests/fixtures/{}", p.file_name().expect("a name").to_string_lossy()))
        .collect();
    names.push("assets/digits".into());
    names.sort();
    assert!(names.len() >= 20, "only {} fixtures found", names.len());
    names
}

pub fn load(name: &str) -> Fixture {
    let folder = root().join(name);
    let expected = Checkpoint::open(folder.join("expected.safetensors")).expect("expected values");
    let tensor = |n: &str| expected.tensor(n).unwrap_or_else(|| panic!("{name}: no {n}"));
    let input = tensor("input");
    let &[batch, _, height, width] = input.shape() else { panic!("{name}: input {:?}", input.shape()) };
    let checkpoint = Checkpoint::open(folder.join("model.safetensors")).expect(name);
    let model = models::load(&checkpoint, Some([height, width])).unwrap_or_else(|e| panic!("{name}: {e}"));
    let blocks = expected
        .tensors()
        .filter_map(|(n, t)| Some((n.strip_prefix("block.")?.to_string(), t.to_f64())))
        .collect();
    let (input, logits) = (input.to_f32(), tensor("logits").to_f64());
    Fixture { name: name.into(), model, batch, input, logits, blocks }
}
