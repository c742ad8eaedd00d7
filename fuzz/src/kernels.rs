//! GPU kernels on every Vulkan adapter: random networks, kinds of GPU, limits and kernels, against the f64 oracle.

use crate::common::random::Rng;
use crate::judge::{Exact, Run, is_small, planned};
use crate::network::network_of;
use crate::source::Source;
use rmnet::Precision;
use rmnet::gpu::{ExecOptions, Gpu, GpuError, GpuExecutor, GpuKind, SelfTests, TunedKernel, Tuning};
use rmnet::plan::{CheckedPlan, Plan, PlanOptions, Values};
use rmnet::rewrite::{self, Rewritten};
use rmnet::verify;
use std::collections::HashMap;
use std::sync::OnceLock;
use wgpu::Features;

/// Least number of adapters: with none, or fewer than the variable says, nothing would be tried.
const ADAPTERS: &str = "RMNET_TEST_ADAPTERS";

/// Devices on every Vulkan adapter: with all it has, with WebGPU's defaults, and with fewer buffers to bind.
///
/// # Panics
/// When there are fewer adapters than [`ADAPTERS`] says, at least one.
fn devices() -> &'static [Gpu] {
    static DEVICES: OnceLock<Vec<Gpu>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::VULKAN;
        let instance = wgpu::Instance::new(descriptor);
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        let wanted = std::env::var(ADAPTERS).map_or(1, |n| n.parse().expect("a number of adapters"));
        assert!(adapters.len() >= wanted.max(1), "{} of {wanted} Vulkan adapters found", adapters.len());
        adapters.iter().flat_map(open).collect()
    })
}

fn open(adapter: &wgpu::Adapter) -> Vec<Gpu> {
    let all = Features::SUBGROUP | Features::SHADER_INT64 | Features::MAPPABLE_PRIMARY_BUFFERS;
    let own = adapter.limits();
    let small = wgpu::Limits {
        max_storage_buffers_per_shader_stage: 5,
        max_compute_invocations_per_workgroup: 128,
        max_compute_workgroup_size_x: 128,
        ..wgpu::Limits::defaults()
    };
    let kinds =
        [(all, own.clone()), (Features::SUBGROUP, wgpu::Limits::defaults()), (Features::empty(), small)];
    let open = |(features, limits): (Features, wgpu::Limits)| {
        let descriptor = wgpu::DeviceDescriptor {
            required_features: adapter.features() & features,
            required_limits: limits,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
        Gpu::from_device(device, queue)
    };
    kinds.into_iter().map(open).collect()
}

pub fn kernels(data: &[u8]) {
    let s = &mut Source::new(data);
    let gpu = s.pick(devices()).clone();
    let gpu = match s.below(3) {
        0 => gpu,
        1 => gpu.with_kernels_for(GpuKind::Integrated),
        _ => gpu.with_kernels_for(GpuKind::Discrete),
    };
    // Few layers: a driver takes a tenth of a second and more to compile each shader.
    let original = network_of(s, 4);
    if !is_small(&original) {
        return;
    }
    let Run { form, mut options } = Run::choose(s);
    options.target = gpu.plan_target();
    let rewritten = rewrite::for_mode(&original, form).expect("a network is rewritten");
    if !is_small(&rewritten.graph) {
        return;
    }
    let input: Vec<f32> = Rng(s.seed())
        .values(options.batch * original.input_shape().len())
        .iter()
        .map(|v| *v as f32)
        .collect();
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
    let exact = Exact::of(&original, &wide, options.batch, options.precision);
    run(&gpu, &rewritten, &options, &input, &exact, s);
}

/// The output of a plan as it is made, then each layer of one that keeps them all.
fn run(
    gpu: &Gpu,
    rewritten: &Rewritten,
    options: &PlanOptions,
    input: &[f32],
    exact: &Exact,
    s: &mut Source,
) {
    let graph = &rewritten.graph;
    let half = options.precision == Precision::F16;
    let (most, unit) = if half { (6e3, 2f64.powi(-10)) } else { (1e30, 2f64.powi(-23)) };
    let fits = exact.largest < most;
    let Some(plan) = planned(graph, options) else { return };
    let Some((executor, output)) = start(gpu, &plan, input, fits, s) else { return };
    if !fits {
        return;
    }
    // Winograd's transforms grow what is rounded; each layer's own bound is looked at below.
    let unit = if executor.kernels().iter().any(|k| k.to_string().contains("winograd")) {
        64.0 * unit
    } else {
        unit
    };
    let unit = unit + rewritten.deviation;
    if let Some(what) = exact.off(output.output.iter().map(|v| f64::from(*v)), unit) {
        let kernels = executor.kernels();
        panic!("{}: wrong: {what}\n{kernels:?}\n{plan}\n{graph}", gpu.adapter());
    }
    drop(executor);
    let keep: Vec<String> = graph.nodes()[1..].iter().map(|n| n.name.clone()).collect();
    let Some(plan) = planned(graph, &PlanOptions { keep, ..options.clone() }) else { return };
    let Some((executor, output)) = start(gpu, &plan, input, fits, s) else { return };
    let mut values: HashMap<String, Vec<f32>> = output.kept.into_iter().collect();
    // As on the CPU: a copy may have been kept.
    values.insert(graph.node(graph.output()).name.clone(), output.output);
    let rounding = |name: &str| executor.rounding(name);
    let checks = verify::check_layers(graph, input, options.batch, &values, options.precision, rounding);
    if let Some(bad) = checks.iter().find(|c| !c.passed()) {
        let kernels = executor.kernels();
        let (adapter, layer, off) = (gpu.adapter(), &bad.layer, bad.of_bound);
        panic!("{adapter}: layer {layer} is {off} times its bound off\n{kernels:?}\n{plan}\n{graph}");
    }
}

/// An executor of kernels that are chosen from all there are, and the output of a run.
fn start(gpu: &Gpu, plan: &Plan, input: &[f32], fits: bool, s: &mut Source) -> Option<(GpuExecutor, Values)> {
    let mut tuning = Tuning::default();
    for (i, d) in plan.dispatches.iter().enumerate() {
        if s.one_in(2) {
            let candidates = gpu.candidates(plan, i).unwrap_or_else(|e| panic!("{e}\n{plan}"));
            let kernel = s.pick(&candidates).choice;
            let choice = TunedKernel { kernel, time_ns: 1, default: kernel, default_ns: 1 };
            tuning.set(gpu.adapter(), &d.spec, choice);
        }
    }
    // Shaders run checked in one of two: what they may do wrong shows as another value, and unchecked they run in the others.
    let options = ExecOptions { safe_shaders: s.one_in(2), tuning, ..ExecOptions::default() };
    // The self-test tests a kernel once in a process: in some plans again, with other shapes. These drivers are right.
    let gpu = &match plan.dispatches.len() % 4 {
        0 => gpu.clone().with_self_tests(SelfTests::default()),
        _ => gpu.clone(),
    };
    let checked = CheckedPlan::new(plan.clone()).unwrap_or_else(|e| panic!("{e}\n{plan}"));
    let executor = match GpuExecutor::new(gpu, &checked, &options) {
        Ok(executor) => executor,
        Err(e @ GpuError::Overflow { .. }) if !fits => {
            drop(e.to_string());
            return None;
        }
        Err(e) => panic!("{}: {e}\n{plan}", gpu.adapter()),
    };
    assert_eq!(gpu.quarantined(), [], "{}\n{plan}", gpu.adapter());
    match executor.run_keeping(input) {
        Ok(output) => Some((executor, output)),
        Err(e) => panic!("{}: {e}\n{plan}", gpu.adapter()),
    }
}
