//! A session, and the adapters it may run on.

use crate::errors::{Failure, counted, is_own_process, outside, raise};
use crate::images::{Images, decoded};
use crate::open::{Files, LoadArgs, Loaded, SessionArgs, Source, output};
use crate::self_tests;
use crate::verify::{self, Proof};
use numpy::{IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use rmnet::{AdapterReport, Device, LoadOptions, Model, Options, Outcome, OutputChoice, Prepared, Session};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

/// An array of f32 that Python owns.
type Array<'py> = Bound<'py, PyArrayDyn<f32>>;

/// A class of an image: its index, label, probability and logit.
type Class = (usize, Option<String>, Option<f64>, f32);

/// An open network, and what it was opened from.
#[pyclass(frozen, module = "rmnet._rmnet")]
pub struct Core {
    session: Owned<Session>,
    source: Source,
    files: Arc<Files>,
    load: LoadOptions,
    /// They hold the threads.
    options: Owned<Options>,
    /// `[channels, height, width]` of each kept value.
    kept: BTreeMap<String, [usize; 3]>,
}

/// A value that only the process that made it drops. To drop a session is to wait for its GPU and threads, which a forked child has not.
struct Owned<T>(Option<T>);

impl<T> Owned<T> {
    fn new(value: T) -> Owned<T> {
        Owned(Some(value))
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("a value until it is dropped")
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !is_own_process() {
            std::mem::forget(self.0.take());
        }
    }
}

impl Core {
    fn make(source: Source, load: LoadOptions, args: SessionArgs) -> Result<Core, Failure> {
        let (record, options) = (args.record(), args.options()?);
        let Loaded { model, files } = source.load(&load)?;
        let session = self_tests::kept_in(record.as_deref(), || Session::new(&model, &options))?;
        let session = Owned::new(session);
        let kept = kept_shapes(&model, &options)?;
        Ok(Core { session, source, files: Arc::new(files), load, options: Owned::new(options), kept })
    }

    /// The device that this session runs on, for another session to share.
    fn on_same_device(&self, model: &Model, options: &Options) -> Result<Session, rmnet::Error> {
        match self.session.gpu() {
            Some(gpu) => Session::with_gpu(gpu, model, options),
            None => Session::new(model, &options.clone().device(Device::Cpu)),
        }
    }

    /// Runs any number of images, a batch at a time. Ctrl-C is looked for between two batches.
    fn in_batches(&self, py: Python<'_>, input: &[f32]) -> PyResult<Vec<f32>> {
        let [batch, channels, height, width] = self.session.input_shape();
        let at_once = batch * channels * height * width;
        if input.len() <= at_once && !input.is_empty() {
            return outside(py, || self.session.run(input));
        }
        let images = input.len() / (channels * height * width);
        let mut output = raise(py, room(images, self.output_image()))?;
        for (part, first) in input.chunks(at_once).zip((0..).step_by(batch)) {
            py.check_signals()?;
            output.extend(outside(py, || self.session.run(part).map_err(counted(first)))?);
        }
        Ok(output)
    }

    fn output_image(&self) -> [usize; 3] {
        let [_, channels, height, width] = self.session.output_shape();
        [channels, height, width]
    }

    /// The shape of an output of `images`: `[images, channels]` for logits and pooled features, else with height and width.
    fn shape(&self, images: usize) -> Vec<usize> {
        let [channels, height, width] = self.output_image();
        match (&self.options.output, height * width) {
            (OutputChoice::Logits | OutputChoice::Features, 1) => vec![images, channels],
            _ => vec![images, channels, height, width],
        }
    }

    fn array<'py>(&self, py: Python<'py>, output: Vec<f32>) -> PyResult<Array<'py>> {
        let images = output.len() / self.output_image().iter().product::<usize>();
        output.into_pyarray(py).reshape(self.shape(images))
    }
}

/// `[channels, height, width]` of the values that a session keeps.
fn kept_shapes(model: &Model, options: &Options) -> Result<BTreeMap<String, [usize; 3]>, Failure> {
    if options.keep.is_empty() {
        return Ok(BTreeMap::new());
    }
    // Names and shapes are those of the rewritten graph, whatever the device.
    let prepared = Prepared::for_cpu(model, options)?;
    let shape = |node: &String| {
        let graph = prepared.graph();
        graph.find(node).map(|v| graph.shape(v)).map(|s| [s.channels, s.height, s.width])
    };
    Ok(prepared.kept.iter().filter_map(|(name, node)| Some((name.clone(), shape(node)?))).collect())
}

/// Memory for a value of `images`. The standard library would end the process where there is not enough.
fn room(images: usize, shape: [usize; 3]) -> Result<Vec<f32>, Failure> {
    let len = images.saturating_mul(shape.iter().product());
    let mut values = vec![];
    values.try_reserve_exact(len).map_err(|_| {
        let mib = len.saturating_mul(4) >> 20;
        Failure::new("OutOfMemoryError", format!("no memory for the output of {images} images, {mib} MiB"))
    })?;
    Ok(values)
}

/// The values of an array that the Python half has brought into C order.
pub fn values<'a>(py: Python<'_>, array: &'a PyReadonlyArrayDyn<'_, f32>) -> PyResult<&'a [f32]> {
    let refused = || Failure::new("InputError", "array: expected values in C order");
    // `as_slice` takes columns first too.
    let values = array.as_slice().ok().filter(|_| array.is_c_contiguous());
    raise(py, values.ok_or_else(refused))
}

#[pymethods]
impl Core {
    /// Opens a file or a folder.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf, load: LoadArgs, options: SessionArgs) -> PyResult<Core> {
        outside(py, || Core::make(Source::Path(path), load.options()?, options))
    }

    /// Opens the bytes of a file.
    #[staticmethod]
    fn from_bytes(
        py: Python<'_>,
        data: PyBackedBytes,
        config: Option<String>,
        preprocessor: Option<String>,
        load: LoadArgs,
        options: SessionArgs,
    ) -> PyResult<Core> {
        let source = Source::Bytes { data: Arc::new(data), config, preprocessor };
        outside(py, || Core::make(source, load.options()?, options))
    }

    /// The same network on the same device, cut off at another value.
    fn with_output(&self, py: Python<'_>, choice: &str) -> PyResult<Core> {
        outside(py, || -> Result<Core, Failure> {
            let model = self.source.load_again(&self.load, &self.files)?;
            let options = self.options.clone().keep(Vec::<String>::new()).output(output(choice));
            let session = Owned::new(self.on_same_device(&model, &options)?);
            let (source, load, files) = (self.source.clone(), self.load.clone(), self.files.clone());
            Ok(Core { session, source, files, load, options: Owned::new(options), kept: BTreeMap::new() })
        })
    }

    /// Runs images, `[images, channels, height, width]`.
    fn run<'py>(&self, py: Python<'py>, array: PyReadonlyArrayDyn<'py, f32>) -> PyResult<Array<'py>> {
        let output = self.in_batches(py, values(py, &array)?)?;
        self.array(py, output)
    }

    /// Runs images, and gives the kept values too.
    fn run_keeping<'py>(
        &self,
        py: Python<'py>,
        array: PyReadonlyArrayDyn<'py, f32>,
    ) -> PyResult<(Array<'py>, BTreeMap<String, Array<'py>>)> {
        let input = values(py, &array)?;
        let [batch, channels, height, width] = self.session.input_shape();
        let image = channels * height * width;
        let images = input.len() / image;
        let mut output = raise(py, room(images, self.output_image()))?;
        let kept = self.kept.iter().map(|(name, shape)| Ok((name.clone(), room(images, *shape)?)));
        let mut kept: BTreeMap<String, Vec<f32>> = raise(py, kept.collect())?;
        for (part, first) in input.chunks(batch * image).zip((0..).step_by(batch)) {
            py.check_signals()?;
            let found = outside(py, || self.session.run_keeping(part).map_err(counted(first)))?;
            output.extend(found.output);
            for (name, value) in found.kept {
                kept.entry(name).or_default().extend(value);
            }
        }
        let kept = kept.into_iter().map(|(name, value)| {
            let [c, h, w] = self.kept[&name];
            Ok((name, value.into_pyarray(py).reshape(vec![images, c, h, w])?))
        });
        Ok((self.array(py, output)?, kept.collect::<PyResult<_>>()?))
    }

    /// What the network reads for up to a batch of images: paths, encoded bytes, and arrays of 8-bit pixels. Errors count images from
    /// `first`.
    fn prepare<'py>(&self, py: Python<'py>, images: Images<'py>, first: usize) -> PyResult<Array<'py>> {
        let [_, channels, height, width] = self.session.input_shape();
        let sources = images.sources(py, first)?;
        let input = outside(py, || decoded(&self.session, &sources))?;
        input.into_pyarray(py).reshape(vec![sources.len(), channels, height, width])
    }

    /// Prepares and runs up to a batch of images.
    fn run_images<'py>(&self, py: Python<'py>, images: Images<'py>, first: usize) -> PyResult<Array<'py>> {
        let sources = images.sources(py, first)?;
        let output = outside(py, || {
            let input = decoded(&self.session, &sources)?;
            self.session.run(&input).map_err(counted(first))
        })?;
        self.array(py, output)
    }

    /// The classes with the largest logits of one image.
    fn top_k(&self, py: Python<'_>, logits: PyReadonlyArrayDyn<'_, f32>, k: usize) -> PyResult<Vec<Class>> {
        let logits = values(py, &logits)?;
        let found = outside(py, || self.session.top_k(logits, k))?;
        Ok(found.into_iter().map(|p| (p.class, p.label, p.probability, p.logit)).collect())
    }

    /// Compares the network without residual connections with the original, on noise or on an input.
    fn verify(
        &self,
        py: Python<'_>,
        input: Option<PyReadonlyArrayDyn<'_, f32>>,
        seed: u64,
    ) -> PyResult<Proof> {
        let input = input.as_ref().map(|array| Ok::<_, PyErr>((values(py, array)?, array.shape()[0])));
        let input = input.transpose()?;
        outside(py, || -> Result<Proof, Failure> {
            let model = self.source.load_again(&self.load, &self.files)?;
            let model = self.options.output.of(&model).map_err(rmnet::Error::from)?.into_owned();
            verify::prove(&model, &self.options, input, seed, |model, options| {
                self.on_same_device(model, options)
            })
        })
    }

    /// The plan, as text or as an SVG picture.
    fn plan(&self, py: Python<'_>, svg: bool) -> PyResult<String> {
        let plan = self.session.plan();
        outside(py, || Ok::<_, Failure>(if svg { plan.to_svg() } else { plan.to_string() }))
    }

    /// Name, outcome and sentence of every residual block.
    #[getter]
    fn blocks(&self) -> Vec<(String, &'static str, String)> {
        let blocks = self.session.blocks().iter();
        blocks.map(|b| (b.block.clone(), outcome(&b.outcome), b.outcome.to_string())).collect()
    }

    /// Key and value of what was assumed, and whether the caller or a config file stated it.
    #[getter]
    fn assumed(&self) -> Vec<(String, String, bool)> {
        let assumed = self.session.assumed().iter();
        assumed.map(|a| (a.key.to_string(), a.value.clone(), a.stated)).collect()
    }

    /// Bytes of activations, scratch, weights and transfer.
    #[getter]
    fn memory(&self, py: Python<'_>) -> PyResult<(usize, usize, usize, usize)> {
        let m = outside(py, || Ok::<_, Failure>(self.session.memory()))?;
        Ok((m.activations, m.scratch, m.weights, m.transfer))
    }

    /// `[batch, channels, height, width]`
    #[getter]
    fn input_shape(&self) -> (usize, usize, usize, usize) {
        self.session.input_shape().into()
    }

    /// The shape of a whole batch's output.
    #[getter]
    fn output_shape(&self) -> Vec<usize> {
        self.shape(self.session.input_shape()[0])
    }

    #[getter]
    fn labels(&self) -> Option<Vec<String>> {
        self.session.labels().map(<[String]>::to_vec)
    }

    #[getter]
    fn device(&self) -> String {
        self.session.device_name()
    }

    #[getter]
    fn is_on_gpu(&self) -> bool {
        self.session.is_on_gpu()
    }

    #[getter]
    fn passed_over(&self) -> Vec<String> {
        self.session.passed_over().iter().map(ToString::to_string).collect()
    }

    /// Family, precision and problem of the kernels that are not used.
    #[getter]
    fn quarantined(&self) -> Vec<(String, String, String)> {
        let quarantined = self.session.quarantined().iter();
        quarantined.map(|q| (q.family.clone(), q.precision.to_string(), q.problem.clone())).collect()
    }

    #[getter]
    fn family(&self) -> &str {
        self.session.family()
    }

    #[getter]
    fn preprocess(&self) -> String {
        self.session.preprocess().to_string()
    }

    /// The number of dispatches that run a kernel of the tuning; `None` on the CPU.
    #[getter]
    fn tuned_dispatches(&self) -> Option<usize> {
        self.session.tuned().map(|tuned| tuned.dispatches)
    }
}

pub fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Removed { .. } => "removed",
        Outcome::Summed { .. } => "summed",
        _ => "kept",
    }
}

/// An adapter: what Vulkan, Metal or another API lists.
#[derive(IntoPyObject)]
pub struct Adapter {
    name: String,
    kind: &'static str,
    backend: &'static str,
    driver: String,
    pci: Option<String>,
    f16: bool,
    max_buffer_bytes: u64,
    problem: Option<String>,
}

impl From<AdapterReport> for Adapter {
    fn from(report: AdapterReport) -> Adapter {
        let AdapterReport { name, kind, backend, driver, pci, f16, max_buffer_bytes, problem, .. } = report;
        Adapter { name, kind, backend, driver, pci, f16, max_buffer_bytes, problem }
    }
}

/// Every adapter, best first.
#[pyfunction]
pub fn adapters(py: Python<'_>) -> PyResult<Vec<Adapter>> {
    outside(py, || Ok::<_, Failure>(rmnet::adapters().into_iter().map(Adapter::from).collect()))
}
