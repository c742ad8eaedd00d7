//! Checkpoints with something changed: the files of the fixtures, their configs, and networks of any widths.

use crate::common::random::Rng;
use crate::source::Source;
use rmnet::checkpoint::Checkpoint;
use rmnet::models::saved::METADATA_KEY;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A checkpoint taken apart.
#[derive(Clone, Default)]
pub struct File {
    pub tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    pub metadata: HashMap<String, String>,
    pub config: Option<Value>,
    pub preprocessor: Option<Value>,
    /// Sides that its network takes.
    pub size: usize,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The fixtures, in the order of their names.
///
/// # Panics
/// When there are few: a fuzzer without them would say nothing.
pub fn fixtures() -> &'static [File] {
    static FIXTURES: OnceLock<Vec<File>> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        let folders = std::fs::read_dir(root().join("tests/fixtures")).expect("the fixtures");
        let mut folders: Vec<PathBuf> = folders.map(|e| e.expect("an entry").path()).collect();
        folders.push(root().join("assets/digits"));
        folders.sort();
        let files: Vec<File> = folders.iter().filter_map(|f| File::read(f)).collect();
        assert!(files.len() > 40, "{} fixtures", files.len());
        files
    })
}

impl File {
    fn read(folder: &Path) -> Option<File> {
        let bytes = std::fs::read(folder.join("model.safetensors")).ok()?;
        let json = |name: &str| {
            let text = std::fs::read(folder.join(name)).ok()?;
            serde_json::from_slice(&text).ok()
        };
        let file = File::of_bytes(&bytes).expect("a whole file");
        Some(File {
            config: json("config.json"),
            preprocessor: json("preprocessor_config.json"),
            size: if folder.ends_with("iresnet") { 48 } else { 33 },
            ..file
        })
    }

    /// The parts of a `.safetensors` file.
    pub fn of_bytes(bytes: &[u8]) -> Option<File> {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        let file = SafeTensors::deserialize(bytes).ok()?;
        let part = |t: TensorView<'_>| (t.dtype(), t.shape().to_vec(), t.data().to_vec());
        Some(File {
            tensors: file.tensors().into_iter().map(|(name, t)| (name, part(t))).collect(),
            metadata: header.metadata().clone().unwrap_or_default(),
            ..File::default()
        })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, data))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), data).expect("bytes fill the shape"))
        });
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.clone());
        safetensors::serialize(views, metadata).expect("a file")
    }

    /// Opens the file of these bytes with this file's configs.
    pub fn open(&self, bytes: Vec<u8>) -> Option<Checkpoint> {
        let config = self.config.as_ref().map(Value::to_string);
        let checkpoint = Checkpoint::from_bytes(bytes, config.as_deref()).map_err(|e| e.to_string()).ok()?;
        match &self.preprocessor {
            Some(value) => checkpoint.with_preprocessor_config(&value.to_string()).ok(),
            None => Some(checkpoint),
        }
    }

    pub fn set(&mut self, name: &str, shape: &[usize], rng: &mut Rng, scale: f64, centre: f64) {
        let n = shape.iter().product();
        let values = rng.values(n).into_iter().map(|v| (centre + scale * v) as f32);
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        self.tensors.insert(name.into(), (Dtype::F32, shape.to_vec(), bytes));
    }

    fn unit(&mut self, conv: &str, norm: &str, shape: [usize; 4], rng: &mut Rng) {
        let scale = (2.0 / (shape[1] * shape[2] * shape[3]) as f64).sqrt();
        self.set(&format!("{conv}.weight"), &shape, rng, scale, 0.0);
        for (what, scale, centre) in
            [("weight", 0.2, 1.0), ("bias", 0.1, 0.0), ("running_mean", 0.1, 0.0), ("running_var", 0.2, 1.0)]
        {
            self.set(&format!("{norm}.{what}"), &shape[..1], rng, scale, centre);
        }
    }

    /// A ResNet under torchvision's names: any number of stages and blocks, any widths and groups.
    pub fn resnet(s: &mut Source) -> File {
        let mut f = File { size: s.within(8, 40), ..File::default() };
        let rng = &mut Rng(s.seed());
        let mut channels = s.within(1, 16);
        let stem = *s.pick(&[3, 7]);
        f.unit("conv1", "bn1", [channels, s.within(1, 4), stem, stem], rng);
        let bottleneck = s.one_in(2);
        for stage in 1..=s.within(1, 5) {
            let planes = s.within(1, 12);
            let groups = if bottleneck && s.one_in(3) { s.within(1, 4) } else { 1 };
            let (width, out) = if bottleneck { (planes * groups, planes * 4) } else { (planes, planes) };
            for block in 0..s.within(1, 3) {
                let name = |what: &str| format!("layer{stage}.{block}.{what}");
                let shapes = match bottleneck {
                    true => vec![[width, channels, 1, 1], [width, planes, 3, 3], [out, width, 1, 1]],
                    false => vec![[out, channels, 3, 3], [out, out, 3, 3]],
                };
                for (i, shape) in (1..).zip(shapes) {
                    f.unit(&name(&format!("conv{i}")), &name(&format!("bn{i}")), shape, rng);
                }
                if channels != out || (block == 0 && s.one_in(2)) {
                    f.unit(&name("downsample.0"), &name("downsample.1"), [out, channels, 1, 1], rng);
                }
                channels = out;
            }
        }
        let classes = s.within(1, 12);
        f.set("fc.weight", &[classes, channels], rng, 0.3, 0.0);
        f.set("fc.bias", &[classes], rng, 0.3, 0.0);
        f
    }

    /// One thing changed.
    pub fn change(&mut self, s: &mut Source) {
        if self.tensors.is_empty() {
            return;
        }
        let names: Vec<String> = self.tensors.keys().cloned().collect();
        let name = s.pick(&names).clone();
        match s.below(15) {
            0 => drop(self.tensors.remove(&name)),
            1 => {
                let tensor = self.tensors.remove(&name).expect("a tensor");
                self.tensors.insert(renamed(&name, &names, s), tensor);
            }
            2 => {
                let copy = self.tensors[&name].clone();
                self.tensors.insert(renamed(&name, &names, s), copy);
            }
            3 => {
                let prefix = *s.pick(&["module.", "model.", "backbone.", "state_dict.", "resnet.", "0."]);
                let all = std::mem::take(&mut self.tensors);
                self.tensors = all.into_iter().map(|(n, t)| (format!("{prefix}{n}"), t)).collect();
            }
            4 | 5 => {
                let tensor = self.tensors.get_mut(&name).expect("a tensor");
                reshape(tensor, s);
            }
            6 => {
                let tensor = self.tensors.get_mut(&name).expect("a tensor");
                convert(tensor, s);
            }
            7..10 => {
                let tensor = self.tensors.get_mut(&name).expect("a tensor");
                set_values(tensor, s);
            }
            10 | 11 => change_json(self.config.get_or_insert_with(|| json!({})), s),
            12 => change_json(self.preprocessor.get_or_insert_with(|| json!({})), s),
            _ => self.change_metadata(s),
        }
    }

    pub fn change_metadata(&mut self, s: &mut Source) {
        match self.metadata.get_mut(METADATA_KEY) {
            Some(text) => {
                let Ok(mut value) = serde_json::from_str(text) else { return };
                change_json(&mut value, s);
                *text = value.to_string();
            }
            None => {
                let key = if s.one_in(2) { METADATA_KEY.into() } else { s.text(12) };
                let value = if s.one_in(2) { r#"{"version":1,"nodes":[]}"#.into() } else { s.text(40) };
                self.metadata.insert(key, value);
            }
        }
    }
}

fn renamed(name: &str, names: &[String], s: &mut Source) -> String {
    match s.below(5) {
        0 => s.pick(names).clone(),
        1 => name.replacen(['0', '1'], "2", 1),
        2 => {
            let other = s.pick(names);
            let (head, tail) = (name.rsplit_once('.'), other.rsplit_once('.'));
            format!("{}.{}", head.map_or(name, |h| h.0), tail.map_or("weight", |t| t.1))
        }
        3 => format!("{name}.{}", s.text(6)),
        _ => s.text(24),
    }
}

type Part = (Dtype, Vec<usize>, Vec<u8>);

fn bytes_of(dtype: Dtype) -> usize {
    dtype.bitsize().div_ceil(8)
}

fn reshape((dtype, shape, data): &mut Part, s: &mut Source) {
    if shape.is_empty() || s.one_in(4) {
        *shape = (0..s.within(0, 5)).map(|_| s.within(0, 9)).collect();
    } else {
        let i = s.below(shape.len());
        match s.below(5) {
            0 => shape[i] += 1,
            1 => shape[i] = shape[i].saturating_sub(1),
            2 => shape[i] = s.within(0, 40),
            3 => shape.reverse(),
            _ => shape.push(1),
        }
    }
    let n: usize = shape.iter().product::<usize>() * bytes_of(*dtype);
    if n > 1 << 20 {
        shape.truncate(1);
        shape[0] = shape[0].min(64);
    }
    let n: usize = shape.iter().product::<usize>() * bytes_of(*dtype);
    let cycle: Vec<u8> = if data.is_empty() { vec![0; 4] } else { data.clone() };
    *data = cycle.into_iter().cycle().take(n).collect();
}

fn convert((dtype, shape, data): &mut Part, s: &mut Source) {
    let to = *s.pick(&[Dtype::F16, Dtype::BF16, Dtype::F64, Dtype::I64, Dtype::U8, Dtype::BOOL]);
    let n: usize = shape.iter().product();
    let values: Vec<f32> = match *dtype {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        _ => vec![0.5; n],
    };
    *data = match to {
        Dtype::BF16 => values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect(),
        Dtype::F64 => values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect(),
        other => vec![0x31; n * bytes_of(other)],
    };
    *dtype = to;
}

fn set_values((dtype, _, data): &mut Part, s: &mut Source) {
    if *dtype != Dtype::F32 || data.is_empty() {
        return;
    }
    let values = data.as_chunks_mut::<4>().0;
    let special = [0.0, -0.0, f32::NAN, f32::INFINITY, 1e-40, 1e38, -1e38, 1e20, -1.0, 1e-20];
    let value = *s.pick(&special);
    match s.below(3) {
        0 => values.iter_mut().for_each(|v| *v = value.to_le_bytes()),
        1 => {
            let factor = *s.pick(&[0.0, -1.0, 1e-3, 1e3, 1e10, 1e-10]);
            values.iter_mut().for_each(|v| *v = (f32::from_le_bytes(*v) * factor).to_le_bytes());
        }
        _ => {
            let at = s.below(values.len());
            values[at] = value.to_le_bytes();
        }
    }
}

/// Keys that configs are read for.
const KEYS: [&str; 58] = [
    "architectures",
    "architecture",
    "model_type",
    "num_classes",
    "num_labels",
    "id2label",
    "label2id",
    "depths",
    "hidden_sizes",
    "embedding_size",
    "layer_type",
    "hidden_act",
    "downsample_in_first_stage",
    "downsample_in_bottleneck",
    "num_channels",
    "problem_type",
    "model_args",
    "pretrained_cfg",
    "input_size",
    "mean",
    "std",
    "interpolation",
    "crop_pct",
    "crop_mode",
    "fixed_input_size",
    "pool_size",
    "classifier",
    "first_conv",
    "label_names",
    "rmnet",
    "rmnet_chain",
    "layers",
    "stem_width",
    "stem_type",
    "avg_down",
    "groups",
    "base_width",
    "output_stride",
    "act_layer",
    "depth_multiplier",
    "image_mean",
    "image_std",
    "do_resize",
    "do_rescale",
    "do_normalize",
    "do_center_crop",
    "size",
    "crop_size",
    "resample",
    "rescale_factor",
    "shortest_edge",
    "height",
    "width",
    "image_processor_type",
    "in_chans",
    "global_pool",
    "finegrained_output",
    "layer_norm_eps",
];

/// A value that a config should not have, or might.
pub fn any_json(s: &mut Source) -> Value {
    match s.below(12) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(false),
        3 => json!(s.within(0, 9)),
        4 => json!(s.seed()),
        5 => json!(-1),
        6 => json!(s.float()),
        7 => json!([s.float(), s.float(), s.float()]),
        8 => json!((0..s.within(0, 4)).map(|_| s.within(0, 300)).collect::<Vec<_>>()),
        9 => {
            let words =
                ["relu", "relu6", "prelu", "bicubic", "bilinear", "nearest", "center", "basic", "resnet18"];
            json!(*s.pick(&words))
        }
        10 => json!(s.text(16)),
        _ => json!({ *s.pick(&KEYS): s.within(0, 300) }),
    }
}

/// Changes a value somewhere inside.
pub fn change_json(value: &mut Value, s: &mut Source) {
    let deeper = !s.one_in(5);
    match value {
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            if s.one_in(5) || keys.is_empty() {
                let key = if s.one_in(8) { s.text(12) } else { (*s.pick(&KEYS)).into() };
                map.insert(key, any_json(s));
                return;
            }
            let key = s.pick(&keys).clone();
            if s.one_in(8) {
                map.remove(&key);
            } else {
                change_json(map.get_mut(&key).expect("a key"), s);
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let i = s.below(list.len());
            match s.below(8) {
                0 => drop(list.remove(i)),
                1 => list.insert(i, list[i].clone()),
                2 => list.swap(i, 0),
                _ => change_json(&mut list[i], s),
            }
        }
        Value::Number(n) if deeper => {
            let old = n.as_u64().unwrap_or(0);
            let huge = [1 << 20, 1 << 32, u64::MAX, u64::MAX / 2, 1 << 62];
            *value = match s.below(7) {
                0 => json!(old.wrapping_add(1)),
                1 => json!(old.saturating_sub(1)),
                2 => json!(old.wrapping_mul(2)),
                3 => json!(0),
                4 => json!(s.within(0, 64)),
                5 => json!(*s.pick(&huge)),
                _ => json!(s.float()),
            };
        }
        Value::Bool(b) if deeper => *b = !*b,
        _ => *value = any_json(s),
    }
}
