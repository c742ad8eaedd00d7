//! The self-test of kernels: a driver that is right passes, and what is wrong is not used. The faults are planted in the shaders.

mod common;

use common::difference;
use common::fixtures::{self, Fixture};
use rmnet::gpu::{AdapterChoice, Gpu, GpuError, GpuKind, SelfTests, TunedKernel, Tuning};
use rmnet::kernel::{FamilyId, Kernel, Shader};
use rmnet::{Device, Error, ErrorKind, Options, Precision, Session};

const NETWORK: &str = "tests/fixtures/tv_resnet18";

/// Positions of the usable Vulkan adapters.
fn usable() -> Vec<usize> {
    let reports = rmnet::gpu::adapters();
    let usable = |i: &usize| reports[*i].backend == "vulkan" && reports[*i].problem.is_none();
    let found: Vec<usize> = (0..reports.len()).filter(usable).collect();
    assert!(!found.is_empty(), "no adapter; {}", rmnet::gpu::remedy());
    found
}

/// An adapter with a record of its own.
fn adapter(i: usize) -> Gpu {
    let gpu = Gpu::new(&AdapterChoice::Index(i)).expect("an adapter that is listed");
    gpu.with_self_tests(SelfTests::default())
}

/// Every Vulkan adapter, and the first with the kernels of every kind of GPU.
fn gpus() -> Vec<Gpu> {
    let first = usable()[0];
    let kinds = [GpuKind::Integrated, GpuKind::Discrete].map(|kind| adapter(first).with_kernels_for(kind));
    usable().into_iter().map(adapter).chain(kinds).collect()
}

/// The first adapter with the kernels of a discrete card.
fn card() -> Gpu {
    adapter(usable()[0]).with_kernels_for(GpuKind::Discrete)
}

fn open(gpu: &Gpu, fixture: &Fixture) -> Result<Session, Error> {
    Session::with_gpu(gpu, &fixture.model, &Options::default().batch(fixture.batch))
}

/// The largest error of a session's logits, relative to the largest logit.
fn error(session: &Session, fixture: &Fixture) -> f64 {
    let logits = session.run(&fixture.input).expect("a run");
    difference(&logits.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), &fixture.logits).1
}

fn change(kernel: &mut Kernel, families: &[FamilyId], from: &str, to: &str) {
    if !families.contains(&kernel.choice.family) {
        return;
    }
    for shader in &mut kernel.shaders {
        let text = shader.wgsl();
        let mut changed =
            Shader::from_wgsl(text.replace(from, to), shader.entry, shader.bindings.clone(), shader.grid);
        (changed.subgroup, changed.int64) = (shader.subgroup, shader.int64);
        *shader = changed;
    }
}

/// Multiplies a factor of every product by 1 + 2^-9, far beyond the rounding of f32.
fn scale_products(kernel: &mut Kernel, families: &[FamilyId]) {
    change(kernel, families, "fma(", "fma(1.001953125 * ");
    change(kernel, families, " * w", " * 1.001953125 * w");
}

fn one_wrong(kernel: &mut Kernel) {
    scale_products(kernel, &[FamilyId::Direct]);
}

fn convolutions_wrong(kernel: &mut Kernel) {
    scale_products(kernel, &[FamilyId::Direct, FamilyId::Gemm, FamilyId::WinogradFused, FamilyId::Stem]);
}

/// Wrong where values are stored in f16.
fn halves_wrong(kernel: &mut Kernel) {
    change(kernel, &[FamilyId::Average], "(pack2x16float(rounded", "(pack2x16float(1.01 * rounded");
}

/// Wrong on software Vulkan, where buffers are ranges of an arena.
fn software_wrong(kernel: &mut Kernel) {
    scale_products(kernel, &[FamilyId::SoftwareConv]);
}

/// Wrong for the values of the second run alone: this value is negative in the first.
fn right_once(kernel: &mut Kernel) {
    let wrong = "store(select(1.0, 1.01, quad_v0(0u, 0u, 2u).x > 0.0) * sum";
    change(kernel, &[FamilyId::Average], "store(sum", wrong);
}

#[test]
fn what_is_right_passes_and_is_tested_once() {
    let fixture = fixtures::load(NETWORK);
    for gpu in gpus() {
        let name = gpu.adapter().to_string();
        let session = open(&gpu, &fixture).expect("a session");
        assert_eq!(session.quarantined(), [], "{name}");
        assert!(error(&session, &fixture) < 1e-5, "{name}");
        let record = gpu.self_tests();
        for kernel in session.kernels() {
            assert!(record.to_json().contains(&format!("\"{kernel}\"")), "{name}: {kernel} was not tested");
        }
        // From one start to the next.
        let kept = SelfTests::from_json(&record.to_json()).expect("what was written");
        assert_eq!(kept, record);
        // Nothing is tested again: what is wrong now is not seen.
        let again = gpu.clone().with_self_tests(kept).with_changed_kernels(one_wrong);
        let session = open(&again, &fixture).expect("a session");
        assert_eq!((session.quarantined(), again.self_tests()), (&[][..], record), "{name}");
    }
}

#[test]
fn a_wrong_family_is_not_used() {
    let fixture = fixtures::load(NETWORK);
    let gpu = card().with_changed_kernels(one_wrong);
    let untested = Options::default().batch(fixture.batch).self_test(false);
    let session = Session::with_gpu(&gpu, &fixture.model, &untested).expect("a session");
    let uses = |session: &Session| session.kernels().iter().any(|k| k.starts_with("direct"));
    assert!(uses(&session), "the fault is planted where nothing is computed");
    let wrong = error(&session, &fixture);
    assert!(wrong > 1e-4, "the fault does not show: {wrong}");

    let session = open(&gpu, &fixture).expect("a session with other kernels");
    let right = error(&session, &fixture);
    assert!(right < 1e-5, "{right}");
    assert!(!uses(&session), "{:?}", session.kernels());
    let quarantined = session.quarantined();
    assert_eq!(quarantined.iter().map(|q| &*q.family).collect::<Vec<_>>(), ["direct"]);
    let text = quarantined[0].to_string();
    assert!(
        text.contains("`direct`") && text.contains("in f32") && text.contains("first run, image 0 channel"),
        "{text}"
    );

    // At the next start it is known, and clones share what is known.
    let known = card().with_self_tests(SelfTests::from_json(&gpu.self_tests().to_json()).expect("a record"));
    let session = open(&known.clone(), &fixture).expect("a session");
    assert!(!uses(&session) && session.quarantined() == known.quarantined());
    assert_eq!(known.quarantined(), gpu.quarantined());
}

#[test]
fn what_is_right_only_once_is_wrong() {
    let fixture = fixtures::load(NETWORK);
    let gpu = card().with_changed_kernels(right_once);
    // The only family that averages: no other can take its place.
    let Err(error) = open(&gpu, &fixture) else { panic!("a session that averages wrong") };
    assert_eq!(error.kind(), ErrorKind::Adapter);
    let Error::Gpu(GpuError::WrongResults { problems, .. }) = &error else { panic!("{error}") };
    assert!(problems.contains("`average`") && problems.contains("second run"), "{error}");
}

#[test]
fn kernels_of_another_class_take_over() {
    let fixture = fixtures::load(NETWORK);
    let gpu = card().with_changed_kernels(convolutions_wrong);
    let session = open(&gpu, &fixture).expect("a session with the kernels of software Vulkan");
    let right = error(&session, &fixture);
    assert!(right < 1e-5, "{right}");
    assert!(session.kernels().iter().any(|k| k.starts_with("software")), "{:?}", session.kernels());
    assert!(session.quarantined().iter().any(|q| q.family == "direct"), "{:?}", session.quarantined());
}

#[test]
fn sessions_that_open_together_know_the_same() {
    let fixture = fixtures::load(NETWORK);
    let gpu = card().with_changed_kernels(one_wrong);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let session = open(&gpu, &fixture).expect("a session with other kernels");
                assert!(error(&session, &fixture) < 1e-5 && session.quarantined().len() == 1);
            });
        }
    });
}

#[test]
fn a_tuning_does_not_bring_back_what_is_wrong() {
    let fixture = fixtures::load(NETWORK);
    let right = card();
    let session = open(&right, &fixture).expect("a session");
    // Every convolution tuned to the kernel that it has without a tuning.
    let mut tuning = Tuning::default();
    let plan = session.plan();
    for (dispatch, kernel) in plan.dispatches.iter().zip(session.kernels()) {
        let kernel = kernel.parse().expect("a kernel");
        tuning.set(
            right.adapter(),
            &dispatch.spec,
            TunedKernel { kernel, time_ns: 1, default: kernel, default_ns: 1 },
        );
    }
    for change in [one_wrong as fn(&mut Kernel), convolutions_wrong] {
        let gpu = card().with_changed_kernels(change);
        let options = Options::default().batch(fixture.batch).tuning(tuning.clone());
        let session =
            Session::with_gpu(&gpu, &fixture.model, &options).expect("a session with other kernels");
        assert!(error(&session, &fixture) < 1e-5);
        let tuned = session.tuned().expect("a GPU");
        assert!(tuned.unknown.is_empty() && tuned.dispatches < plan.dispatches.len(), "{tuned:?}");
    }
}

#[test]
fn each_precision_has_its_own_tests() {
    let fixture = fixtures::load(NETWORK);
    let gpu = card().with_changed_kernels(halves_wrong);
    let options = Options::default().batch(fixture.batch);
    let half = Session::with_gpu(&gpu, &fixture.model, &options.clone().precision(Precision::F16));
    let Err(Error::Gpu(GpuError::WrongResults { problems, .. })) = half else {
        panic!("a session that averages wrong")
    };
    assert!(problems.contains("`average` kernels wrong in f16"), "{problems}");
    // The same kernels in f32 are right.
    for checks in [true, false] {
        let session = Session::with_gpu(&gpu, &fixture.model, &options.clone().safe_shaders(checks));
        assert!(error(&session.expect("a session"), &fixture) < 1e-5);
    }
    let text = gpu.self_tests().to_json();
    assert!(text.contains("checks\"") && text.contains("\"f16\"") && text.contains("\"f32\""), "{text}");
}

#[test]
fn without_self_tests_everything_is_used() {
    let fixture = fixtures::load(NETWORK);
    let gpu = card().with_changed_kernels(one_wrong);
    open(&gpu, &fixture).expect("a session with other kernels");
    let untested = Options::default().batch(fixture.batch).self_test(false);
    let session = Session::with_gpu(&gpu, &fixture.model, &untested).expect("a session");
    assert!(session.quarantined().is_empty() && error(&session, &fixture) > 1e-4);
}

#[test]
fn buffers_in_an_arena_are_tested() {
    let fixture = fixtures::load(NETWORK);
    let software = usable().into_iter().map(adapter).find(|gpu| gpu.capabilities().shares_buffers());
    let gpu = software.expect("llvmpipe").with_changed_kernels(software_wrong);
    match open(&gpu, &fixture) {
        Ok(session) => {
            assert!(error(&session, &fixture) < 1e-5);
            assert!(session.quarantined().iter().any(|q| q.family == "software-conv"));
        }
        Err(Error::Gpu(GpuError::WrongResults { problems, .. })) => {
            assert!(problems.contains("`software-conv`"), "{problems}");
        }
        Err(e) => panic!("{e}"),
    }
    assert!(gpu.self_tests().to_json().contains("arena"));
}

#[test]
fn records_are_merged() {
    let fixture = fixtures::load(NETWORK);
    let (right, wrong) = (card(), card().with_changed_kernels(one_wrong));
    for gpu in [&right, &wrong] {
        open(gpu, &fixture).expect("a session");
    }
    let [mut one, mut other] = [right.self_tests(), wrong.self_tests()];
    let (first, second) = (one.clone(), other.clone());
    one.merge(second);
    other.merge(first);
    for merged in [one, other] {
        let gpu = card().with_self_tests(merged);
        assert_eq!(gpu.quarantined(), wrong.quarantined());
    }
}

#[test]
fn damaged_records_are_no_records() {
    let folder = std::env::temp_dir().join(format!("rmnet-self-tests-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("self-tests.json");
    assert_eq!(SelfTests::read(&file).expect("no file"), SelfTests::default());
    for text in ["", "{", "[]", r#"{ "schema_version": 2, "drivers": [] }"#, r#"{ "schema_version": 1 }"#] {
        assert_eq!(SelfTests::from_json(text), None, "{text}");
        std::fs::write(&file, text).expect("a file");
        assert_eq!(SelfTests::read(&file).expect("a file"), SelfTests::default());
    }
    SelfTests::default().write(&file).expect("a file");
    assert!(SelfTests::from_json(&std::fs::read_to_string(&file).expect("a file")).is_some());
    assert!(SelfTests::read(&folder).is_err(), "a folder");
    std::fs::remove_dir_all(&folder).expect("a folder");
}

/// What an app adds to the record of the process is known to every GPU that has no record of its own.
#[test]
fn the_record_of_the_process_can_be_kept() {
    let other = r#"{ "schema_version": 1, "drivers": [{ "adapter": "another card", "driver": "1.0", "backend": "vulkan",
        "rmnet": "0.0.1", "kernels": [{ "kernel": "average", "precision": "f32", "with": "" }] }] }"#;
    SelfTests::from_json(other).expect("a record").add_to_process();
    let gpu = Gpu::new(&AdapterChoice::Index(usable()[0])).expect("an adapter that is listed");
    let session = Session::open(
        "assets/digits",
        &Options::default().device(Device::Gpu(AdapterChoice::Index(usable()[0]))),
    )
    .expect("a session");
    let known = SelfTests::of_process();
    assert_eq!(gpu.self_tests(), known);
    assert!(known.to_json().contains("another card"));
    for kernel in session.kernels() {
        assert!(known.to_json().contains(&format!("\"{kernel}\"")), "{kernel} is not on record");
    }
}
