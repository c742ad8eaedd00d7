//! Files that `convert` wrote: written and read back, then changed.

use crate::checkpoint::of_model;
use crate::common::random::Rng;
use crate::file::File;
use crate::judge::{Exact, is_small};
use crate::network::network;
use crate::source::Source;
use rmnet::Precision;
use rmnet::checkpoint::Checkpoint;
use rmnet::models::saved::{self, About};
use rmnet::models::{self, OutputKind};
use rmnet::preprocess::Preprocess;
use rmnet::reference;
use rmnet::rewrite::{self, Mode};

pub fn saved(data: &[u8]) {
    let s = &mut Source::new(data);
    let original = network(s);
    if !is_small(&original) {
        return;
    }
    let mode = *s.pick(&[Mode::Structured, Mode::Literal, Mode::Residual]);
    let rewritten = rewrite::for_mode(&original, mode).expect("a network is rewritten");
    let graph = &rewritten.graph;
    let shape = graph.input_shape();
    let preprocess = Preprocess::imagenet().with_size(shape.size()).for_channels(shape.channels);
    let about = About { output: OutputKind::Features, ..About::new("fuzz", preprocess) };
    let Some(bytes) = written(graph, &about) else { return };

    // Mapped, as a file is: weights leave memory once they are read.
    let folder = folder();
    let path = folder.path().join("saved.safetensors");
    std::fs::write(&path, &bytes).expect("a file");
    let checkpoint = Checkpoint::open(&path).expect("a file of ours");
    let model = models::load(&checkpoint, None).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    // What is read is what was written, to the rounding of weights to f32; and writing it again changes nothing.
    let input: Vec<f64> =
        Rng(s.seed()).values(shape.len()).into_iter().map(|v| f64::from(v as f32)).collect();
    let exact = Exact::of(&original, &input, 1, Precision::F32);
    if exact.largest < 1e30 && rewritten.deviation == 0.0 {
        let found = reference::run(&model.graph, &input, 1);
        if let Some(what) = exact.off(found.into_iter(), 2f64.powi(-24)) {
            panic!("what was saved is another function: {what}\n{graph}\n{}", model.graph);
        }
    }
    let again = written(&model.graph, &About::model(&model)).expect("a graph that was written");
    assert!(again == bytes, "written again, another file\n{graph}");

    let changes = s.within(0, 4);
    let mut file = File::of_bytes(&bytes).expect("a file of ours");
    for _ in 0..changes {
        if s.one_in(3) { file.change(s) } else { file.change_metadata(s) }
    }
    if s.one_in(4) {
        let size = Some([s.within(1, 30), s.within(1, 30)]);
        load(&file, size, s);
    } else {
        load(&file, None, s);
    }
}

fn load(file: &File, size: Option<[usize; 2]>, s: &mut Source) {
    let Some(checkpoint) = file.open(file.to_bytes()) else { return };
    match models::load(&checkpoint, size) {
        Ok(model) => of_model(&model, s),
        Err(e) => drop(e.to_string()),
    }
}

/// The bytes of the file of a graph; `None` where a weight is beyond f32.
fn written(graph: &rmnet::graph::Graph, about: &About) -> Option<Vec<u8>> {
    let folder = folder();
    let path = folder.path().join("saved.safetensors");
    match saved::save(&path, graph, about) {
        Ok(()) => Some(std::fs::read(&path).expect("the file")),
        Err(saved::SavedError::Overflow { .. }) => None,
        Err(e) => panic!("{e}\n{graph}"),
    }
}

/// A folder in memory, where there is one.
pub fn folder() -> tempfile::TempDir {
    let shared = std::path::Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.expect("a folder")
}
