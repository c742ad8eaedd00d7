//! Small valid checkpoints to spoil: one thing wrong with each, and an error that names that thing.

use rmnet::checkpoint::Checkpoint;
use rmnet::models::{self, Model, ModelError};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The tensors of a checkpoint by name, and its config files.
#[derive(Clone, Default)]
pub struct File {
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    pub config: Option<Value>,
    pub preprocessor: Option<Value>,
}

impl File {
    pub fn set(&mut self, name: &str, shape: &[usize]) {
        let values = vec![0.5; shape.iter().product()];
        self.tensors.insert(name.into(), (shape.to_vec(), values));
    }

    pub fn norm(&mut self, layer: &str, channels: usize) {
        for what in ["weight", "bias", "running_mean", "running_var"] {
            self.set(&format!("{layer}.{what}"), &[channels]);
        }
    }

    pub fn unit(&mut self, [conv, norm]: [String; 2], shape: [usize; 4]) {
        self.set(&format!("{conv}.weight"), &shape);
        self.norm(&norm, shape[0]);
    }

    pub fn statistics(&mut self, layer: &str, channels: usize) {
        self.set(&format!("{layer}.running_mean"), &[channels]);
        self.set(&format!("{layer}.running_var"), &[channels]);
    }

    pub fn remove(&mut self, name: &str) {
        assert!(self.tensors.remove(name).is_some(), "{name}");
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        self.tensors = std::mem::take(&mut self.tensors)
            .into_iter()
            .map(|(name, t)| (name.strip_prefix(from).map_or(name.clone(), |rest| format!("{to}{rest}")), t))
            .collect();
    }

    pub fn value(&mut self, name: &str, at: usize, value: f32) {
        self.tensors.get_mut(name).expect("the tensor").1[at] = value;
    }

    pub fn load(&self) -> Result<Model, ModelError> {
        self.load_sized(None)
    }

    /// The `.safetensors` file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, (shape, v))| (name, shape, v.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = bytes.iter().map(|(name, shape, data)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), data).expect("a whole tensor"))
        });
        safetensors::serialize(views, None).expect("a file")
    }

    pub fn load_sized(&self, size: Option<[usize; 2]>) -> Result<Model, ModelError> {
        let file = self.to_bytes();
        let config = self.config.as_ref().map(Value::to_string);
        let mut checkpoint = Checkpoint::from_bytes(file, config.as_deref()).expect("a checkpoint");
        if let Some(text) = self.preprocessor.as_ref().map(Value::to_string) {
            checkpoint = checkpoint.with_preprocessor_config(&text).expect("an object");
        }
        models::load(&checkpoint, size)
    }
}

/// The file of a fixture with one f32 tensor multiplied.
pub fn scaled(fixture: &str, tensor: &str, factor: f32) -> Vec<u8> {
    let path = super::fixtures::root().join("tests/fixtures").join(fixture).join("model.safetensors");
    let mut bytes = std::fs::read(path).expect("the fixture");
    let (header, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
    let (start, end) = metadata.info(tensor).expect("the tensor").data_offsets;
    for value in bytes[8 + header..][start..end].as_chunks_mut::<4>().0 {
        *value = (f32::from_le_bytes(*value) * factor).to_le_bytes();
    }
    bytes
}

/// Two stages of one block each: widths 4 and 8, five classes.
pub fn torchvision() -> File {
    let mut f = File::default();
    f.unit(["conv1", "bn1"].map(String::from), [4, 3, 7, 7]);
    for (stage, [input, out]) in [(1, [4, 4]), (2, [4, 8])] {
        let name = |what: &str| format!("layer{stage}.0.{what}");
        f.unit([name("conv1"), name("bn1")], [out, input, 3, 3]);
        f.unit([name("conv2"), name("bn2")], [out, out, 3, 3]);
        if input != out {
            f.unit([name("downsample.0"), name("downsample.1")], [out, input, 1, 1]);
        }
    }
    f.set("fc.weight", &[5, 8]);
    f.set("fc.bias", &[5]);
    f
}

pub fn timm(architecture: &str) -> File {
    let args = json!({ "layers": [1, 1] });
    let config = json!({ "architecture": architecture, "num_classes": 5, "model_args": args });
    File { config: Some(config), ..torchvision() }
}

pub fn put(f: &mut File, key: &str, value: Value) {
    f.config.get_or_insert_with(|| json!({}))[key] = value;
}

/// Each case: what is done to the file, and words of the error.
pub type Case = (fn(&mut File), &'static [&'static str]);

#[track_caller]
pub fn refused(start: fn() -> File, cases: &[Case]) {
    let _ = start().load().expect("the file before anything is wrong with it");
    for (spoil, words) in cases {
        let mut file = start();
        spoil(&mut file);
        let error = file.load().map(|m| m.family).expect_err(&format!("{words:?}")).to_string();
        for word in *words {
            assert!(error.contains(word), "expected {word:?} in {error:?}");
        }
    }
}

/// The shape of what a network gives.
pub trait OutputShape {
    fn shape_of_output(&self) -> [usize; 3];
}

impl OutputShape for rmnet::graph::Graph {
    fn shape_of_output(&self) -> [usize; 3] {
        let shape = self.shape(self.output());
        [shape.channels, shape.height, shape.width]
    }
}

/// A torchvision fixture with batch norms scaled.
pub fn norms_scaled(scales: &[(&str, f32)]) -> File {
    let path = super::fixtures::root().join("tests/fixtures/tv_basic_odd_widths/model.safetensors");
    let checkpoint = rmnet::checkpoint::Checkpoint::open(path).unwrap();
    let mut file = File::default();
    for (name, tensor) in checkpoint.tensors() {
        let scale = scales.iter().find(|(norm, _)| {
            name.strip_prefix(norm).is_some_and(|rest| rest == ".weight" || rest == ".bias")
        });
        let values = tensor.to_f32().into_iter().map(|v| v * scale.map_or(1.0, |s| s.1)).collect();
        file.tensors.insert(name.into(), (tensor.shape().to_vec(), values));
    }
    file
}

/// Weights fit, values do not: the second convolution gives them.
pub fn overflowing() -> File {
    norms_scaled(&[("bn1", 2000.0), ("layer1.0.bn1", 500.0)])
}
