//! An app's own device and buffers: what is told of those that cannot serve, and what is held of those that do.

mod common;

use common::checked;
use common::random::{images, network};
use rmnet::gpu::{AdapterChoice, ExecOptions, Gpu, GpuError, GpuExecutor, GpuKind};
use rmnet::plan::{self, CheckedPlan, PlanOptions};
use rmnet::rewrite::{self, Mode};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wgpu::BufferUsages as Usage;

/// Software drivers share the cores, and some of these measure time: one test runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    wgpu::Instance::new(descriptor)
}

/// Every Vulkan adapter, each opened anew as an app does it.
fn apps() -> Vec<(String, Gpu)> {
    static ONE: std::sync::OnceLock<wgpu::Instance> = std::sync::OnceLock::new();
    apps_of(ONE.get_or_init(instance))
}

fn apps_of(instance: &wgpu::Instance) -> Vec<(String, Gpu)> {
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    let open = |adapter: wgpu::Adapter| {
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: Gpu::features_for(&adapter),
            required_limits: adapter.limits(),
            ..Default::default()
        }))
        .expect("the features that it has");
        (adapter.get_info().name, Gpu::from_device(device, queue))
    };
    let apps: Vec<_> = adapters.into_iter().map(open).collect();
    assert!(!apps.is_empty(), "no adapter; {}", rmnet::gpu::remedy());
    apps
}

fn small(seed: u64) -> (CheckedPlan, Vec<f32>) {
    let graph = network(seed);
    let rewritten = rewrite::for_mode(&graph, Mode::Structured).unwrap();
    (checked(&plan::compile(&rewritten.graph, &PlanOptions::default()).unwrap()), images(&graph, 1, seed))
}

fn buffer(gpu: &Gpu, label: &str, floats: usize, usage: Usage) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: 4 * floats as u64,
        usage,
        mapped_at_creation: false,
    })
}

fn executor(gpu: &Gpu, plan: &CheckedPlan) -> GpuExecutor {
    GpuExecutor::new(gpu, plan, &ExecOptions::default()).unwrap()
}

fn output_len(plan: &CheckedPlan) -> usize {
    plan.output().shape.elements()
}

#[test]
fn features_for_an_adapter_are_those_that_our_own_device_has() {
    let _alone = alone();
    for (i, report) in rmnet::gpu::adapters().iter().enumerate().filter(|(_, r)| r.backend == "vulkan") {
        let own = Gpu::new(&AdapterChoice::Index(i)).unwrap();
        let (_, app) = apps().into_iter().find(|(name, _)| *name == report.name).expect("the same adapter");
        assert_eq!(app.device().features(), own.device().features(), "{}", report.name);
        assert_eq!(app.capabilities(), own.capabilities(), "{}", report.name);
    }
}

#[test]
fn destroyed_and_foreign_buffers_are_refused_and_nothing_panics() {
    let _alone = alone();
    let (plan, input) = small(2);
    for ((name, gpu), (_, other)) in apps().into_iter().zip(apps()) {
        let executor = executor(&gpu, &plan);
        let expected = executor.run(&input).unwrap();
        let storage = |gpu: &Gpu, label, n| buffer(gpu, label, n, Usage::STORAGE | Usage::COPY_DST);
        let (from, to) = (storage(&gpu, "from", input.len()), storage(&gpu, "to", expected.len()));
        let gone = [storage(&gpu, "gone", input.len()), storage(&gpu, "gone", expected.len())];
        gone.iter().for_each(wgpu::Buffer::destroy);
        let foreign = [storage(&other, "foreign", input.len()), storage(&other, "foreign", expected.len())];
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (input, output) in [(&gone[0], &to), (&from, &gone[1]), (&foreign[0], &to), (&from, &foreign[1])]
        {
            let error = executor.encode(&mut encoder, input, output).unwrap_err();
            assert!(matches!(error, GpuError::Buffer { .. }), "{name}: {error}");
        }
        // Of an instance of its own, which made many buffers before: no such one is known here.
        let (_, stranger) = apps_of(&instance()).remove(0);
        let many: Vec<_> = (0..2000).map(|_| storage(&stranger, "strange", input.len())).collect();
        let error = executor.encode(&mut encoder, &many[1999], &to).unwrap_err();
        assert!(matches!(error, GpuError::Buffer { .. }), "{name}: {error}");
        // One that is destroyed after it served once.
        executor.encode(&mut encoder, &from, &to).unwrap();
        gpu.queue().submit([encoder.finish()]);
        to.destroy();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let error = executor.encode(&mut encoder, &from, &to).unwrap_err();
        assert!(matches!(error, GpuError::Buffer { .. }), "{name}: {error}");
        assert_eq!(executor.run(&input).unwrap(), expected, "{name}: afterwards");
    }
}

#[test]
fn an_apps_buffers_are_not_kept_alive() {
    let _alone = alone();
    let (plan, input) = small(2);
    for (name, gpu) in apps() {
        let executor = executor(&gpu, &plan);
        let held = || gpu.device().generate_allocator_report().map(|report| report.total_allocated_bytes);
        let (floats, out) = (4 << 20, output_len(&plan));
        assert!(floats > input.len());
        let use_pairs = |pairs: usize| {
            for _ in 0..pairs {
                let (from, to) = (
                    buffer(&gpu, "from", floats, Usage::STORAGE),
                    buffer(&gpu, "to", floats.max(out), Usage::STORAGE),
                );
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                executor.encode(&mut encoder, &from, &to).unwrap();
                gpu.queue().submit([encoder.finish()]);
                drop((from, to));
                gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
            }
            gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
        };
        use_pairs(1);
        let Some(before) = held() else { panic!("{name}: no report of what is allocated") };
        use_pairs(20);
        let after = held().unwrap();
        println!("{name}: {before} to {after} bytes allocated after 20 pairs of 32 MiB");
        assert!(after < before + (16 << 20), "{name}: {before} to {after} bytes");
    }
}

/// A device that is lost at every step that a user can take next; of our own and of an app's, which tells us nothing.
#[test]
fn a_lost_device_is_an_error_at_every_step() {
    let _alone = alone();
    let (plan, input) = small(4);
    let own = (0..apps().len()).map(|i| ("ours".to_string(), Gpu::new(&AdapterChoice::Index(i)).unwrap()));
    for (name, gpu) in own.chain(apps()) {
        let executor = executor(&gpu, &plan);
        executor.run(&input).unwrap();
        let (from, to) = (
            buffer(&gpu, "from", input.len(), Usage::STORAGE),
            buffer(&gpu, "to", output_len(&plan), Usage::STORAGE),
        );
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        gpu.device().destroy();
        type Step<'a> = (&'a str, Box<dyn FnMut() -> Option<GpuError> + 'a>);
        let steps: Vec<Step> = vec![
            ("encode", Box::new(|| executor.encode(&mut encoder, &from, &to).err())),
            ("run", Box::new(|| executor.run(&input).err())),
            ("run_keeping", Box::new(|| executor.run_keeping(&input).err())),
            ("run_async", Box::new(|| pollster::block_on(executor.run_async(&input)).err())),
            ("new", Box::new(|| GpuExecutor::new(&gpu, &plan, &ExecOptions::default()).err())),
            ("gpu_time", Box::new(|| executor.gpu_time(&input).err())),
            ("peak", Box::new(|| gpu.peak().err())),
        ];
        for (step, mut take) in steps {
            for _ in 0..2 {
                let error = take();
                assert!(matches!(error, Some(GpuError::DeviceLost { .. })), "{name} {step}: {error:?}");
            }
        }
    }
}

/// A run that is in flight as the device goes.
#[test]
fn a_device_lost_in_the_middle_of_runs_ends_all_of_them() {
    let _alone = alone();
    let (plan, input) = small(4);
    for (name, gpu) in apps() {
        let executor = executor(&gpu, &plan);
        let expected = executor.run(&input).unwrap();
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..3)
                .map(|i| {
                    let (executor, input) = (&executor, &input);
                    scope.spawn(move || {
                        loop {
                            let result = match i {
                                0 => executor.run(input),
                                _ => pollster::block_on(executor.run_async(input)),
                            };
                            match result {
                                Ok(logits) => {
                                    assert_eq!(logits.len(), executor.plan().output().shape.elements())
                                }
                                Err(e) => return e,
                            }
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(100));
            gpu.device().destroy();
            for run in runs {
                let error = run.join().expect("no panic");
                assert!(matches!(error, GpuError::DeviceLost { .. }), "{name}: {error}");
            }
        });
        assert!(!expected.is_empty());
    }
}

/// A driver that does not answer in the time it is given: here one that has other work before it.
#[test]
fn a_driver_that_does_not_answer_in_time_is_an_error() {
    let _alone = alone();
    let (plan, input) = small(5);
    let mut late = 0;
    for (name, gpu) in apps() {
        // As a hardware GPU it is not waited for while it compiles.
        let hasty =
            gpu.clone().with_kernels_for(GpuKind::Integrated).with_timeout(Duration::from_millis(300));
        let executor = executor(&hasty, &plan);
        let busy = Busy::new(&gpu);
        let (mut in_time, work) = (true, Duration::from_secs(4));
        for aside in [false, true] {
            busy.submit_for(work);
            let start = std::time::Instant::now();
            let result = match aside {
                false => executor.run(&input),
                true => pollster::block_on(executor.run_async(&input)),
            };
            let took = start.elapsed();
            match result {
                Err(GpuError::Timeout { after, .. }) => {
                    assert_eq!(after, Duration::from_millis(300));
                    // As below, where the time was up just as the driver came back: then not before the work was done.
                    let early = took < Duration::from_secs(2);
                    assert!(early || took >= work / 2, "{name}: {took:?}");
                    in_time &= early;
                }
                // A driver that does not come back from its own calls before the work is done cannot be left: llvmpipe's.
                Ok(_) => {
                    println!("{name}: waits until the work is done, {took:?}");
                    in_time = false;
                }
                Err(e) => panic!("{name}: {e}"),
            }
            gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
        }
        if !in_time {
            continue;
        }
        late += 1;
        // Each has its own patience, whoever is waited for first.
        let patient =
            gpu.clone().with_kernels_for(GpuKind::Integrated).with_timeout(Duration::from_secs(120));
        let patient = GpuExecutor::new(&patient, &plan, &ExecOptions::default()).unwrap();
        busy.submit_for(Duration::from_secs(4));
        std::thread::scope(|scope| {
            let runs = [&patient, &executor, &patient].map(|executor| {
                let run = scope.spawn(|| {
                    let start = std::time::Instant::now();
                    (pollster::block_on(executor.run_async(&input)), start.elapsed())
                });
                std::thread::sleep(Duration::from_millis(50));
                run
            });
            let [first, hasty, last] = runs.map(|run| run.join().expect("no panic"));
            assert!(first.0.is_ok() && last.0.is_ok(), "{name}: {first:?}, {last:?}");
            assert!(matches!(hasty.0, Err(GpuError::Timeout { .. })), "{name}: {hasty:?}");
            assert!(hasty.1 < Duration::from_secs(2), "{name}: {hasty:?}");
        });
        // It answers again, and so do we.
        let patient = gpu.clone().with_timeout(Duration::from_secs(120));
        let again = GpuExecutor::new(&patient, &plan, &ExecOptions::default()).unwrap();
        assert_eq!(again.run(&input).unwrap().len(), output_len(&plan), "{name}");
    }
    assert!(late > 0, "no driver whose waits end");
}

/// Work that takes as long as is wanted.
struct Busy {
    gpu: Gpu,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
}

impl Busy {
    fn new(gpu: &Gpu) -> Busy {
        let source = "@group(0) @binding(0) var<storage, read_write> sum: array<u32>;
            @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3u) {
                var x = at.x;
                for (var i = 0u; i < 200000u; i++) { x = x * 1664525u + 1013904223u + i; }
                sum[at.x & 0xffffu] = x;
            }";
        let device = gpu.device();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let sums = buffer(gpu, "sums", 1 << 16, Usage::STORAGE);
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: sums.as_entire_binding() }],
        });
        Busy { gpu: gpu.clone(), pipeline, group }
    }

    /// Whether the driver's own wait ends when its time is over. llvmpipe's of Mesa 22.3 does not.
    fn keeps_time(&self) -> bool {
        self.submit_for(Duration::from_secs(2));
        let start = std::time::Instant::now();
        let timeout = Some(Duration::from_millis(100));
        let waited = self.gpu.device().poll(wgpu::PollType::Wait { submission_index: None, timeout });
        let keeps = waited.is_err() && start.elapsed() < Duration::from_secs(1);
        self.gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
        keeps
    }

    /// Submits what takes so long at least, by what a part of it takes.
    fn submit_for(&self, time: Duration) {
        const PART: u32 = 64;
        let part = || {
            let start = std::time::Instant::now();
            self.submit(PART);
            self.gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
            start.elapsed()
        };
        part(); // compiles
        // What else the machine does makes a part longer, never shorter.
        let quickest = (0..3).map(|_| part()).min().expect("three of them");
        let parts = time.as_secs_f64() / quickest.as_secs_f64().max(1e-4);
        self.submit((f64::from(PART) * parts).clamp(1.0, 65535.0) as u32);
    }

    fn submit(&self, groups: u32) {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        }
        self.gpu.queue().submit([encoder.finish()]);
    }
}

/// Runs that nobody awaits any more are on the device until it has done them: there are never more than a few.
#[test]
fn dropped_runs_do_not_pile_up() {
    let _alone = alone();
    use std::future::Future;
    let (plan, input) = small(5);
    let mut late = 0;
    for (name, gpu) in apps() {
        let executor = executor(&gpu, &plan);
        let expected = executor.run(&input).unwrap();
        let busy = Busy::new(&gpu);
        if !busy.keeps_time() {
            continue;
        }
        late += 1;
        // How long the work takes is a guess, which a busy machine makes too short: then all begins again behind more of it.
        let behind = (0..5).find_map(|attempt| {
            busy.submit_for(Duration::from_secs(2 << attempt));
            let mut began = 0;
            for _ in 0..100 {
                let mut run = Box::pin(executor.run_async(&input));
                let poll = run.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
                began = began.max(executor.in_flight());
                if poll.is_ready() {
                    return None;
                }
            }
            Some(began)
        });
        let began = behind.unwrap_or_else(|| panic!("{name}: the work never took as long as 100 runs"));
        assert!((2..=16).contains(&began), "{name}: {began} runs in flight");
        assert_eq!(executor.run(&input).unwrap(), expected, "{name}");
        assert!(executor.in_flight() <= 1, "{name}");
    }
    assert!(late > 0, "no driver whose waits end");
}

/// What compiles when a shader first runs is booked as compilation: the first run is like the next ones.
#[test]
fn the_first_run_compiles_nothing() {
    let _alone = alone();
    let (plan, input) = small(6);
    for (name, gpu) in apps() {
        let executor = executor(&gpu, &plan);
        let time = || {
            let start = std::time::Instant::now();
            executor.run(&input).unwrap();
            start.elapsed()
        };
        let first = time();
        let mut next: Vec<Duration> = (0..9).map(|_| time()).collect();
        next.sort();
        let (upload, compile) = executor.startup();
        println!("{name}: upload {upload:?}, compile {compile:?}, first run {first:?}, then {:?}", next[4]);
        if gpu.capabilities().class == rmnet::kernel::Class::Software {
            assert!(compile > upload, "{name}: {compile:?} of compilation, {upload:?} of uploads");
        }
        // Compiling takes a software driver a tenth of a second for each shader.
        assert!(first < 20 * next[4] + Duration::from_millis(50), "{name}: {first:?}, then {next:?}");
    }
}
