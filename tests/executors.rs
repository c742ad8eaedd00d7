//! The executors on random networks, judged by the f64 oracle.

mod common;

use common::difference;
use common::random::{f32_error, images, network};
use proptest::prelude::*;
use rmnet::cpu::{CpuError, CpuExecutor, Instructions};
use rmnet::gpu::{AdapterChoice, ExecOptions, Gpu, GpuError, GpuExecutor, GpuKind};
use rmnet::graph::{Conv2d, Graph, Op, Shape, ValueId, Weight};
use rmnet::plan::{self, Plan, PlanOptions, PlanTarget};
use rmnet::reference;
use rmnet::rewrite::{self, Form, Mode};
use rmnet::tensor::Tensor;
use rmnet::threads::Threads;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rounding of f32 through the random networks' few layers; a wrong tap is off by far more.
const F32_BOUND: f64 = 1e-5;

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Every adapter but OpenGL's, opened once; the first as each kind of GPU too, on a device of its own: llvmpipe compiles on the queue's
/// thread.
///
/// # Panics
/// Without an adapter (`mesa-vulkan-drivers` is one): these tests are about it.
fn gpus() -> &'static [Gpu] {
    static GPUS: OnceLock<Vec<Gpu>> = OnceLock::new();
    GPUS.get_or_init(|| {
        let reports = rmnet::gpu::adapters();
        let usable: Vec<usize> = (0..reports.len())
            .filter(|&i| reports[i].backend != "gl" && reports[i].problem.is_none())
            .collect();
        assert!(!usable.is_empty(), "no adapter; {}", rmnet::gpu::remedy());
        let open = |&i: &usize| Gpu::new(&AdapterChoice::Index(i)).expect("an adapter that is listed");
        let as_kind = |kind| open(&usable[0]).with_kernels_for(kind);
        let as_kinds = [GpuKind::Integrated, GpuKind::Discrete].map(as_kind);
        usable.iter().map(open).chain(as_kinds).collect()
    })
}

fn gpu() -> &'static Gpu {
    &gpus()[0]
}

/// Values of a graph by name, in f64.
fn oracle(graph: &Graph, input: &[f32], batch: usize, name: &str) -> Vec<f64> {
    let wanted = graph.find(name).expect("a node of that name");
    let mut found = vec![];
    reference::visit(graph, &widened(input), batch, |v, value| {
        if v == wanted {
            found = value.to_vec();
        }
    });
    found
}

/// A way to run: the output, then the kept values.
type Execute<'a> = &'a dyn Fn(&Plan, &[f32], &[String]) -> (Vec<f32>, Vec<Vec<f32>>);

fn on_cpu(plan: &Plan, input: &[f32], keep: &[String]) -> (Vec<f32>, Vec<Vec<f32>>) {
    // Each set of instructions in turn.
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let all = Instructions::available();
    let instructions = all[RUNS.fetch_add(1, Ordering::Relaxed) % all.len()];
    let threads = Threads::shared().unwrap();
    let cpu = CpuExecutor::with_instructions(instructions, &threads, &common::checked(plan)).unwrap();
    let first = cpu.run(input).unwrap();
    let values = cpu.run_keeping(input).unwrap();
    assert_eq!(values.output, first, "a second run");
    (first, keep.iter().map(|name| values.kept[name].clone()).collect())
}

fn on_gpu(gpu: &Gpu, plan: &Plan, input: &[f32], keep: &[String], safe: bool) -> (Vec<f32>, Vec<Vec<f32>>) {
    let options = ExecOptions { safe_shaders: safe, ..ExecOptions::default() };
    let gpu = GpuExecutor::new(gpu, &common::checked(plan), &options).unwrap();
    let first = gpu.run(input).unwrap();
    let values = gpu.run_keeping(input).unwrap();
    assert_eq!(values.output, first, "a second run");
    (first, keep.iter().map(|name| values.kept[name].clone()).collect())
}

fn forms() -> [Form; 4] {
    let merged = Form { mode: Mode::Structured, merge: true };
    [merged, Mode::Structured.into(), Mode::Literal.into(), Mode::Residual.into()]
}

/// A random network in these forms, its block outputs kept or not.
fn judge(
    seed: u64,
    batch: usize,
    (split, keeping): (bool, bool),
    forms: &[Form],
    target: PlanTarget,
    execute: Execute,
) {
    let original = network(seed);
    let input = images(&original, batch, seed);
    for &form in forms {
        let mode = form.mode;
        let rewritten = rewrite::for_mode(&original, form).unwrap();
        let keeping = keeping && !form.merge;
        let outputs = rewritten.blocks.iter().map(|b| b.output.clone());
        let keep: Vec<String> = outputs.filter(|_| keeping).collect();
        let options = PlanOptions { batch, split, keep: keep.clone(), target, ..PlanOptions::default() };
        let plan = plan::compile(&rewritten.graph, &options).unwrap();
        let (logits, kept) = execute(&plan, &input, &keep);
        let relative = f32_error(&original, &input, batch, &logits);
        assert!(relative < F32_BOUND, "{mode}: {relative:e}\n{plan}");
        for (name, value) in keep.iter().zip(kept) {
            let expected = oracle(&rewritten.graph, &input, batch, name);
            let (_, relative) = difference(&widened(&value), &expected);
            assert!(relative < F32_BOUND, "{mode} {name}: {relative:e}\n{plan}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_cpu_computes_what_the_oracle_does(seed: u64, batch in 1usize..4, split: bool, keeping: bool) {
        judge(seed, batch, (split, keeping), &forms(), PlanTarget::default(), &on_cpu);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn the_gpu_computes_what_the_oracle_does(
        seed: u64, batch in 1usize..4, split: bool, keeping: bool, safe: bool,
    ) {
        // Pipelines take long to make: each GPU has two of the forms, others than the next one and than in the next case.
        static CASES: AtomicUsize = AtomicUsize::new(0);
        let case = CASES.fetch_add(1, Ordering::Relaxed);
        let gpus: Vec<_> = gpus().iter().enumerate().collect();
        common::in_parallel(&gpus, |(g, gpu)| {
            let execute = |plan: &Plan, input: &[f32], keep: &[String]| on_gpu(gpu, plan, input, keep, safe);
            let form = |i: usize| forms()[(g + i + case) % 4];
            judge(seed, batch, (split, keeping), &[form(0), form(2)], gpu.plan_target(), &execute);
        });
    }
}

/// A plan of a small network with its input, that keeps `keep`.
fn small(seed: u64, keep: &[String]) -> (Plan, Vec<f32>) {
    let graph = network(seed);
    let input = images(&graph, 1, seed);
    let rewritten = rewrite::for_mode(&graph, Mode::Structured).unwrap();
    let options = PlanOptions { keep: keep.to_vec(), ..PlanOptions::default() };
    (plan::compile(&rewritten.graph, &options).unwrap(), input)
}

fn buffer(gpu: &Gpu, floats: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * floats as u64,
        usage,
        mapped_at_creation: false,
    })
}

/// A plan without limits of a network of one ReLU, on a map of so many pixels a side.
fn large(side: usize) -> Plan {
    let mut graph = Graph::new(Shape { channels: 1, height: side, width: side });
    let weight = Weight::new(Tensor::from_f32(vec![1, 1, 1, 1], vec![1.0]));
    let conv = Conv2d::dense(weight, 1, [1, 1], [0, 0]);
    graph.push("conv", Op::Conv2d(conv), &[ValueId::INPUT]).unwrap();
    plan::compile(&graph, &PlanOptions { target: PlanTarget::CPU, ..PlanOptions::default() }).unwrap()
}

#[test]
fn activations_beyond_memory_are_refused() {
    let error = CpuExecutor::new(&common::checked(&large(1 << 20))).err().expect("8 TiB of activations");
    assert!(
        matches!(error, CpuError::OutOfMemory(_)) && error.to_string().contains("activations"),
        "{error}"
    );
}

#[test]
fn wrong_inputs_are_refused() {
    let (plan, mut input) = small(1, &[]);
    let expected = input.len();
    input.pop();
    let cpu = common::cpu(&plan);
    let found = expected - 1;
    assert_eq!(cpu.run(&input).unwrap_err(), CpuError::InputLength { expected, found });
    let gpu = GpuExecutor::new(gpu(), &common::checked(&plan), &ExecOptions::default()).unwrap();
    assert_eq!(gpu.run(&input).unwrap_err(), GpuError::InputLength { expected, found });
}

#[test]
fn adapters_keep_their_order() {
    let first = rmnet::gpu::adapters();
    assert_eq!(rmnet::gpu::adapters(), first);
    assert_eq!(gpu().adapter().name, Gpu::new(&AdapterChoice::Best).unwrap().adapter().name);
}

#[test]
fn a_run_goes_between_threads() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let (plan, input) = small(6, &[]);
    let executor = GpuExecutor::new(gpu(), &common::checked(&plan), &ExecOptions::default()).unwrap();
    let logits = pollster::block_on(send(executor.run_async(&input))).unwrap();
    assert_eq!(logits, executor.run(&input).unwrap());
}

#[test]
fn an_apps_buffers_give_the_same_logits() {
    use wgpu::BufferUsages as Usage;
    let (plan, input) = small(2, &[]);
    // As an app would: its own device, here with default features and limits only.
    let ours = gpu();
    let app = Gpu::from_device(ours.device().clone(), ours.queue().clone());
    let executor = GpuExecutor::new(&app, &common::checked(&plan), &ExecOptions::default()).unwrap();
    let expected = executor.run(&input).unwrap();

    let from = buffer(&app, input.len(), Usage::STORAGE | Usage::COPY_DST);
    let to = buffer(&app, expected.len() + 3, Usage::STORAGE | Usage::COPY_SRC);
    let back = buffer(&app, expected.len(), Usage::MAP_READ | Usage::COPY_DST);
    app.queue().write_buffer(&from, 0, bytemuck::cast_slice(&input));
    for _ in 0..2 {
        let mut encoder = app.device().create_command_encoder(&Default::default());
        executor.encode(&mut encoder, &from, &to).unwrap();
        encoder.copy_buffer_to_buffer(&to, 0, &back, 0, back.size());
        app.queue().submit([encoder.finish()]);
        back.map_async(wgpu::MapMode::Read, .., |r| r.unwrap());
        app.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let found: Vec<f32> = bytemuck::pod_collect_to_vec(&back.get_mapped_range(..).unwrap());
        back.unmap();
        assert_eq!(found, expected);
    }

    let mut encoder = app.device().create_command_encoder(&Default::default());
    let mut refused = |input, output| executor.encode(&mut encoder, input, output).unwrap_err().to_string();
    let small = buffer(&app, input.len() - 1, Usage::STORAGE);
    let sizes = format!("must hold {} bytes, found {}", 4 * input.len(), 4 * input.len() - 4);
    assert_eq!(refused(&small, &to), format!("the input buffer {sizes}"));
    assert!(refused(&from, &back).contains("must have the usage STORAGE"));
    assert_eq!(refused(&from, &from), "the output buffer is the input buffer too");
}

#[test]
fn runs_from_several_threads_do_not_mix() {
    let (plan, input) = small(3, &[]);
    let executor = GpuExecutor::new(gpu(), &common::checked(&plan), &ExecOptions::default()).unwrap();
    let inputs: Vec<Vec<f32>> = (0..4).map(|i| input.iter().map(|v| v * (i + 1) as f32).collect()).collect();
    let expected: Vec<Vec<f32>> = inputs.iter().map(|i| executor.run(i).unwrap()).collect();
    std::thread::scope(|scope| {
        for (input, expected) in inputs.iter().zip(&expected) {
            let executor = &executor;
            scope.spawn(move || {
                for _ in 0..8 {
                    assert_eq!(&executor.run(input).unwrap(), expected);
                    assert_eq!(&pollster::block_on(executor.run_async(input)).unwrap(), expected);
                }
            });
        }
    });
    let one = 4 * (input.len() + expected[0].len());
    let transfer = executor.memory().transfer;
    assert!((2 * one..=9 * one).contains(&transfer), "{transfer} of {one}");
}

#[test]
fn a_lost_device_is_an_error() {
    let gpu = Gpu::new(&AdapterChoice::Best).unwrap();
    let (plan, input) = small(4, &[]);
    let executor = GpuExecutor::new(&gpu, &common::checked(&plan), &ExecOptions::default()).unwrap();
    executor.run(&input).unwrap();
    gpu.device().destroy();
    for _ in 0..2 {
        let error = executor.run(&input).unwrap_err();
        assert!(matches!(error, GpuError::DeviceLost { .. }), "{error}");
    }
    let again = GpuExecutor::new(&gpu, &common::checked(&plan), &ExecOptions::default()).err();
    assert!(matches!(again, Some(GpuError::DeviceLost { .. })), "{again:?}");
}

#[test]
fn a_plan_for_a_larger_adapter_is_refused() {
    let pixels = gpu().plan_target().max_binding_bytes / 4 + 1;
    let plan = large(pixels.isqrt() as usize + 1);
    let error = GpuExecutor::new(gpu(), &common::checked(&plan), &ExecOptions::default()).err();
    assert!(matches!(error, Some(GpuError::LimitTooSmall { .. })), "{error:?}");
}
