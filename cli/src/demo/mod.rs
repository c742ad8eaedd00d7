//! `demo`: the bundled digits model on bundled images, before and after removal.

mod report;

use super::args::DemoArgs;
use super::passed_over::{self, Skipped};
use super::{Failure, Report, device, removed, timed};
use report::{DemoReport, DeviceEntry, Figures, Modes, Outcome, Prediction};
use rmnet::checkpoint::Checkpoint;
use rmnet::gpu::{self, AdapterChoice, AdapterReport};
use rmnet::images;
use rmnet::models::{self, Model};
use rmnet::verify::Difference;
use rmnet::{Device, Mode, Options, Session, reference};

const MODEL: &[u8] = include_bytes!("../../../assets/digits/model.safetensors");
const CONFIG: &str = include_str!("../../../assets/digits/config.json");

/// File name and content: `<index in the data set>_<label>.png`.
const IMAGES: &[(&str, &[u8])] = &[
    ("0304_0.png", include_bytes!("../../../assets/digits/images/0304_0.png")),
    ("0326_1.png", include_bytes!("../../../assets/digits/images/0326_1.png")),
    ("0374_7.png", include_bytes!("../../../assets/digits/images/0374_7.png")),
    ("0567_2.png", include_bytes!("../../../assets/digits/images/0567_2.png")),
    ("0852_8.png", include_bytes!("../../../assets/digits/images/0852_8.png")),
    ("1242_1.png", include_bytes!("../../../assets/digits/images/1242_1.png")),
    ("1496_7.png", include_bytes!("../../../assets/digits/images/1496_7.png")),
    ("1497_6.png", include_bytes!("../../../assets/digits/images/1497_6.png")),
    ("1529_8.png", include_bytes!("../../../assets/digits/images/1529_8.png")),
    ("1606_3.png", include_bytes!("../../../assets/digits/images/1606_3.png")),
    ("1614_5.png", include_bytes!("../../../assets/digits/images/1614_5.png")),
    ("1704_9.png", include_bytes!("../../../assets/digits/images/1704_9.png")),
    ("1767_4.png", include_bytes!("../../../assets/digits/images/1767_4.png")),
    ("1776_5.png", include_bytes!("../../../assets/digits/images/1776_5.png")),
];

pub fn demo(args: &DemoArgs) -> Result<Report, Failure> {
    let subject = Subject::new()?;
    // The device that is shown in detail: the requested one, or the default.
    let shown = device(args.adapter.as_deref())?;
    let residual = subject.run(Mode::Residual, &shown)?;
    let main = subject.run(Mode::Structured, &shown)?;
    let session = &main.session;
    let places = match &args.adapter {
        Some(text) => {
            let (argument, name) = (text.clone(), session.device_name());
            vec![Place { argument, device: shown.clone(), name, problem: None, shown: true }]
        }
        None => every_device(),
    };
    let mut failures = vec![];
    let devices = places.into_iter().map(|place| place.run(&subject, &main, &mut failures)).collect();
    let images = subject.predictions(&main.logits);
    let by_default = shown == Device::Auto && !session.is_on_gpu();
    let report = DemoReport {
        family: &subject.model.family,
        device: session.device_name(),
        blocks: session.blocks().len(),
        removed: removed(session.blocks()),
        right: images.iter().filter(|image| image.is_right()).count(),
        images,
        modes: Modes { residual: residual.figures, structured: main.figures },
        devices,
        passed_over: Skipped::each(session.passed_over()),
        why_cpu: by_default.then(|| passed_over::on_cpu(session.passed_over())),
    };
    let printed = Report::of(&report)?;
    let disagree = report.disagree();
    if !disagree.is_empty() {
        return Err(Failure { code: 5, message: disagree.join("; "), report: Some(printed) });
    }
    match failures.into_iter().next() {
        Some(failure) => Err(Failure { report: Some(printed), ..failure }),
        None => Ok(printed),
    }
}

/// The bundled model with its images.
struct Subject {
    model: Model,
    /// All images, one batch.
    input: Vec<f32>,
    /// The logits of the original network in f64.
    expected: Vec<f64>,
}

/// A network on a device, run on all images.
struct Ran {
    session: Session,
    logits: Vec<f32>,
    figures: Figures,
}

impl Subject {
    fn new() -> Result<Subject, Failure> {
        let checkpoint = Checkpoint::from_bytes(MODEL.to_vec(), Some(CONFIG)).map_err(Failure::input)?;
        let model = models::load(&checkpoint, None).map_err(Failure::input)?;
        let input = images(&model)?;
        let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
        let expected = reference::run(&model.graph, &wide, IMAGES.len());
        Ok(Subject { model, input, expected })
    }

    /// Runs all images, timed.
    fn run(&self, mode: Mode, device: &Device) -> Result<Ran, Failure> {
        let options = Options::default().batch(IMAGES.len()).mode(mode).device(device.clone());
        let session = Session::new(&self.model, &options)?;
        let (logits, time) = timed(&session, &self.input)?;
        let memory = session.memory();
        let difference = Difference::between(logits.iter().map(|v| f64::from(*v)), &self.expected);
        let figures = Figures {
            dispatches: session.plan().dispatches.len(),
            time,
            activation_bytes: memory.activations,
            weight_bytes: memory.weights,
            max_abs_difference: difference.max_abs,
            relative_difference: difference.relative,
        };
        Ok(Ran { session, logits, figures })
    }

    /// The predicted class of every image.
    fn predictions(&self, logits: &[f32]) -> Vec<Prediction> {
        let prediction = |(&(image, _), scores): (&(&'static str, _), &[f32])| {
            let (best, probability) = rmnet::top(scores, 1, self.model.scores)[0];
            Prediction {
                image,
                label: image.trim_end_matches(".png").rsplit('_').next().unwrap_or_default(),
                predicted: self.model.labels.as_ref().map_or_else(|| best.to_string(), |l| l[best].clone()),
                probability: probability.unwrap_or_default(),
            }
        };
        IMAGES.iter().zip(logits.chunks(logits.len() / IMAGES.len())).map(prediction).collect()
    }
}

/// One of the devices of the demo.
struct Place {
    /// Value of `--adapter` that selects this device alone.
    argument: String,
    device: Device,
    /// Name to show if it does not run.
    name: String,
    /// Why it cannot be used, if known.
    problem: Option<String>,
    /// Whether it is the device shown in detail, which has already run.
    shown: bool,
}

impl Place {
    /// Runs on the device, unless it has already run or cannot be used. If it fails, the error is added to `failures`.
    fn run(self, subject: &Subject, main: &Ran, failures: &mut Vec<Failure>) -> DeviceEntry {
        let ran = |ran: &Ran| (ran.session.device_name(), Outcome::Ran(ran.figures));
        let (device, outcome) = match self.problem {
            Some(problem) => (self.name, Outcome::Refused { problem }),
            None if self.shown => ran(main),
            None => match subject.run(Mode::Structured, &self.device) {
                Ok(found) => ran(&found),
                Err(failure) => {
                    let problem = failure.message.clone();
                    failures.push(failure);
                    (self.name, Outcome::Refused { problem })
                }
            },
        };
        DeviceEntry { device, adapter: self.argument, outcome }
    }
}

/// Every adapter and the CPU executor. The default device is the one shown in detail.
fn every_device() -> Vec<Place> {
    let adapters = gpu::adapters();
    let default = adapters.iter().position(AdapterReport::is_usable_hardware);
    let cpu = Place {
        argument: "cpu".into(),
        device: Device::Cpu,
        name: "cpu".into(),
        problem: None,
        shown: default.is_none(),
    };
    let place = |(i, a): (usize, AdapterReport)| Place {
        argument: i.to_string(),
        device: Device::Gpu(AdapterChoice::Index(i)),
        name: a.to_string(),
        problem: a.problem,
        shown: default == Some(i),
    };
    adapters.into_iter().enumerate().map(place).chain([cpu]).collect()
}

fn images(model: &Model) -> Result<Vec<f32>, Failure> {
    let mut input = vec![];
    for (name, png) in IMAGES {
        let refuse = |e: &dyn std::fmt::Display| Failure::input(format!("{name}: {e}"));
        let pixels = images::decode(png, images::ColorMode::Rgb, images::Orientation::Apply)
            .map_err(|e| refuse(&e))?;
        input.extend(model.preprocess.apply((&pixels).into(), pixels.channels).map_err(|e| refuse(&e))?);
    }
    Ok(input)
}
