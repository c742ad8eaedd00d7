//! Every kernel against plain loops, on every Vulkan adapter present (`VK_DRIVER_FILES` chooses), with and without subgroups.

mod common;

use common::{
    Gpu, adapters, arena, cases, check, check_conv, check_whole, data, in_parallel, on_each, sharing, specs,
};
use rmnet::kernel::{
    Capabilities, Class, FamilyId, Kernel, Operand, Spec, candidates, candidates_in, select,
};

/// Families of which one shader is for many specs.
const FOR_MANY: [FamilyId; 6] = [
    FamilyId::SoftwareConv,
    FamilyId::SoftwareDepthwise,
    FamilyId::SoftwareWinograd2,
    FamilyId::SoftwareWinograd4,
    FamilyId::SoftwareProjection2,
    FamilyId::SoftwareProjection4,
];

/// How the kernels of a case are judged.
#[derive(Clone, Copy)]
struct How {
    /// With wgpu's run-time checks.
    safe: bool,
    /// An alternative too, and not the static choice alone.
    alternative: bool,
}

/// Judges the kernels for a case; what is wrong, and how many there were. `KERNEL=TEXT` has those whose choice holds the text, all of them;
/// without it the static choice and the others in turn.
fn judge(
    gpu: &Gpu,
    case: usize,
    name: &str,
    spec: &Spec,
    caps: &Capabilities,
    how: How,
) -> (Vec<String>, usize) {
    let How { safe, alternative } = how;
    let mut kernels = candidates(spec, caps).expect("small specs fit every limit");
    if let Ok(wanted) = std::env::var("KERNEL") {
        let own = candidates_in(spec, caps, Some(&arena(spec))).expect("small specs fit every limit");
        kernels.extend(own.into_iter().filter(|_| caps.shares_buffers()));
        kernels.retain(|k| k.choice.to_string().contains(&wanted));
        let judged = kernels.iter().map(|kernel| check(gpu, name, spec, kernel, safe, 1));
        return (judged.filter_map(Result::err).collect(), kernels.len());
    }
    // Those have tests/shared_memory.rs and tests/matrices.rs.
    let elsewhere = [FamilyId::Gemm, FamilyId::GemmMatrix, FamilyId::WinogradFused];
    kernels.retain(|k| !elsewhere.contains(&k.choice.family));
    // The kernel that `select` gives, and the alternatives in turn: pipelines take long to make.
    let turn = 1 + case % kernels.len().max(2).saturating_sub(1);
    let some = kernels.into_iter().enumerate().filter(|(i, _)| *i == 0 || *i == turn && alternative);
    let mut kernels: Vec<Kernel> = some.map(|(_, kernel)| kernel).collect();
    if caps.class == Class::Software && caps.features.int64 {
        let in_arena = candidates_in(spec, caps, Some(&arena(spec))).expect("small specs fit every limit");
        // A few shaders for many cases; of the others a part is enough.
        for (i, kernel) in in_arena.into_iter().enumerate() {
            if FOR_MANY.contains(&kernel.choice.family) || i == 0 && case.is_multiple_of(3) {
                kernels.push(kernel);
            }
        }
    }
    let judged = kernels.iter().map(|kernel| check(gpu, name, spec, kernel, safe, 1));
    (judged.filter_map(Result::err).collect(), kernels.len())
}

fn cases(filter: &str) -> impl Iterator<Item = (String, Spec)> {
    cases::all().into_iter().filter(move |(name, _)| name.contains(filter))
}

/// Whether an adapter has a case that the software drivers have in turn. Pipelines take long to make there: what is one driver's fault
/// shows in the static choices, which all have; whether an alternative is right, and whether the software kernels are without subgroups,
/// one of them finds out. Hardware has every case.
fn takes_its_turn(gpus: &[Gpu], g: usize, case: usize) -> bool {
    gpus[g].caps.class != Class::Software || case % gpus.len() == g
}

fn run(subgroups: bool, safe: bool) {
    let filter = std::env::var("SPEC").unwrap_or_default();
    let gpus = adapters();
    assert!(!gpus.is_empty(), "no Vulkan adapter");
    let mut wanted = vec![];
    for (g, gpu) in gpus.iter().enumerate() {
        let in_turn = |case: usize| takes_its_turn(&gpus, g, case / 3);
        let how = |case: usize| How { safe, alternative: case.is_multiple_of(3) && in_turn(case) };
        let mut caps = gpu.caps.clone();
        if !subgroups {
            caps.features.subgroup_size = None;
        }
        // With runtime checks a part of the table is enough: the same shaders, compiled otherwise.
        let some = cases(&filter).enumerate().step_by(if safe { 5 } else { 1 });
        let some = some.filter(|(case, _)| subgroups || in_turn(*case));
        wanted.extend(some.map(|case| (gpu, how(case.0), case, caps.clone())));
        // As a GPU would have it: larger workgroups, slices.
        if !subgroups {
            caps.class = Class::Integrated;
            // All of those whose invocations meet in workgroup memory, of the others a part.
            let meets = |name: &str| name.contains("deep");
            let some = cases(&filter).enumerate().filter(|(i, (n, _))| i % 3 == 0 && in_turn(*i) || meets(n));
            wanted.extend(some.map(|case| (gpu, how(case.0), case, caps.clone())));
        }
    }
    // While one driver compiles a case the other has its own.
    wanted.sort_by_key(|(_, _, (case, _), _)| *case);
    let judged = in_parallel(&wanted, |(gpu, how, (case, (name, spec)), caps)| {
        judge(gpu, *case, name, spec, caps, *how)
    });
    let count: usize = judged.iter().map(|(_, count)| count).sum();
    let wrong: Vec<String> = judged.into_iter().flat_map(|(wrong, _)| wrong).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 0, "no kernel was judged: no case of SPEC is offered one of KERNEL");
}

#[test]
fn with_subgroups() {
    run(true, false);
}

#[test]
fn without_subgroups() {
    run(false, false);
}

#[test]
fn with_runtime_checks() {
    run(true, true);
}

/// Every kernel over f16 buffers, in turn as each kind of adapter would have it.
#[test]
fn in_f16() {
    let filter = std::env::var("SPEC").unwrap_or_default();
    let (gpus, cases) = (adapters(), cases(&filter).collect::<Vec<_>>());
    let judged = in_parallel(&on_each(&gpus, &cases), |&(gpu, case, (name, spec))| {
        // In f32 every driver has every case.
        let g = gpus.iter().position(|g| std::ptr::eq(g, gpu)).expect("one of them");
        if !takes_its_turn(&gpus, g, case / 4) {
            return vec![];
        }
        let caps = gpu.caps.clone().with(|c| {
            if case % 4 < 2 {
                c.features.subgroup_size = None;
            }
            if case % 4 == 0 {
                c.class = Class::Integrated;
            }
        });
        let how = How { safe: case % 7 == 0, alternative: case.is_multiple_of(3) };
        judge(gpu, case, &format!("{name}, f16"), &specs::half(spec.clone()), &caps, how).0
    });
    let wrong = judged.concat();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Strips of more than two pooled rows, which only large maps have; the last one reaches below the map.
#[test]
fn long_strips() {
    let mut wrong = vec![];
    for gpu in &adapters() {
        for (height, width, stride) in [(118, 112, 2), (93, 130, 3)] {
            let image = specs::range(specs::whole(0, specs::planar(2, 3, height, width)), 3, 1, 1, 1);
            let spec = Spec::Conv(specs::pooled(specs::conv(vec![image], 64), 3, stride, 1));
            let kernels = candidates(&spec, &gpu.caps).expect("small specs fit every limit");
            let name = format!("{height}x{width} pooled by {stride}");
            let judged = kernels.iter().take(2).map(|k| check(gpu, &name, &spec, k, false, 7));
            wrong.extend(judged.filter_map(Result::err));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Where no invocations share what they load, a small map leaves few of a workgroup without work: those have other channels.
#[test]
fn small_maps_fill_their_workgroups() {
    let caps = Capabilities::WEBGPU;
    for (side, batch) in [(7, 1), (7, 3), (4, 1), (14, 1)] {
        for kernel in [1, 3] {
            let from = specs::whole(0, specs::packed(batch, 512, side, side));
            let spec = specs::conv(vec![specs::range(from, kernel, 1, kernel / 2, 1)], 512);
            let chosen = select(&Spec::Conv(spec), &caps).expect("within the limits");
            let shader = &chosen.shaders[0];
            let constant = |name: &str| -> usize {
                let wgsl = shader.wgsl();
                let at = wgsl.find(&format!("const {name} = ")).expect("a constant");
                let text = &wgsl[at..].split(['=', 'u', ';']).nth(1).expect("its value");
                text.trim().parse().expect("a number")
            };
            let tile = constant("TILE_PIXELS") * 4 * constant("TILE_QUADS");
            let workgroups: usize = shader.grid.iter().map(|n| *n as usize).product();
            let computed = workgroups * constant("WORKGROUP") / constant("SPLIT_K") * tile;
            let invocations = workgroups * constant("WORKGROUP");
            assert!(invocations >= 2048, "{}: {invocations} invocations", chosen.choice);
            let needed = batch * side * side * 512;
            assert!(3 * computed <= 4 * needed, "{}: {computed} values for {needed}", chosen.choice);
        }
    }
}

/// The one shader of depthwise convolutions, where the taps of several tiles meet every kind of window and view.
#[test]
fn depthwise_windows_and_views() {
    let part =
        Operand { first_channel: 4, channels: 9, stride: 2, ..specs::whole(0, specs::packed(2, 14, 19, 37)) };
    let maps =
        [specs::whole(0, specs::packed(2, 20, 6, 17)), specs::whole(0, specs::packed(1, 9, 9, 30)), part];
    let mut wrong = vec![];
    for gpu in &sharing() {
        for from in maps {
            for (kernel, stride, padding, dilation) in [
                (3, 1, 1, 1),
                (3, 2, 1, 1),
                (5, 1, 2, 1),
                (5, 2, 1, 1),
                (3, 1, 2, 2),
                (3, 3, 0, 1),
                (2, 1, 1, 1),
                (7, 1, 3, 1),
            ] {
                let range = specs::range(from, kernel, stride, padding, dilation);
                let mut spec = specs::grouped(specs::conv(vec![range], from.channels), from.channels);
                // A second range beside the first, of the same size, with its padding on one side.
                if kernel == 3 && stride == 1 {
                    let mut beside = specs::range(specs::whole(1, from.shape), 2, 1, 0, 1);
                    beside.from = Operand { buffer: 1, ..from };
                    (beside.padding, beside.groups) = ([1, 0], from.channels);
                    beside.padding_end = [0, 1];
                    spec.k_ranges.push(beside);
                }
                let name =
                    format!("{:?} by {kernel}x{kernel}, stride {stride}, dilation {dilation}", from.size());
                let whole = Spec::Conv(spec.clone());
                let kernels =
                    candidates_in(&whole, &gpu.caps, Some(&arena(&whole))).expect("within the limits");
                let kernel = kernels
                    .iter()
                    .find(|k| k.choice.family == FamilyId::SoftwareDepthwise)
                    .expect("a kernel of it");
                wrong.extend(check_conv(gpu, &name, &spec, kernel, false, 1).err());
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The oracle sees one wrong element and a NaN.
#[test]
fn wrong_answers_are_seen() {
    let (_, spec) = cases::all().into_iter().find(|(name, _)| name == "copy").expect("a case of that name");
    let Spec::Conv(conv) = &spec else { panic!("a convolution") };
    let data = data(&spec, 1);
    let shape = conv.outputs[0].shape;
    let mut right = vec![0.0; shape.elements()];
    for n in 0..shape.batch {
        for c in 0..shape.channels {
            for pixel in 0..shape.height * shape.width {
                let at = shape.index(n, c, pixel / shape.width, pixel % shape.width);
                right[at] = (data.bias[c] + data.reads[0][at]).max(0.0);
            }
        }
    }
    assert_eq!(check_whole(&spec, &data, &[right.clone()]), Ok(()));
    for (at, value) in [(5, 0.123), (7, f32::NAN)] {
        let mut wrong = right.clone();
        wrong[at] += value;
        assert!(check_whole(&spec, &data, &[wrong]).is_err());
    }
}
