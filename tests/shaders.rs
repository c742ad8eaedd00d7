//! Every shader is valid WGSL without special demands, fits the default limits of WebGPU, and goes to every backend language.

#[path = "common/arena.rs"]
mod arena;
#[path = "common/cases.rs"]
mod cases;
#[path = "common/layers.rs"]
mod layers;
#[path = "common/parallel.rs"]
mod parallel;
#[path = "common/specs.rs"]
mod specs;

use naga::back::hlsl::{PipelineOptions, ShaderModel, Writer};
use naga::valid::{Capabilities as NagaCapabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Block, Expression, Function, GatherMode, Literal, Statement, StorageAccess};
use parallel::in_parallel;
use rmnet::kernel::{
    Capabilities, Class, Kernel, Operand, Role, Shader, Spec, candidates, candidates_in, select, select_in,
};
use specs::{conv, half, packed, range, whole};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{LazyLock, Mutex};

fn matrix_units() -> Capabilities {
    Capabilities::WEBGPU.with(|c| {
        c.features.subgroup_size = Some(32);
        c.features.matrix_units = true;
    })
}

fn capabilities() -> Vec<Capabilities> {
    let software = Capabilities::WEBGPU.with(|c| c.class = Class::Software);
    vec![
        Capabilities::WEBGPU,
        Capabilities::WEBGPU.with(|c| c.features.subgroup_size = Some(32)),
        Capabilities::WEBGPU.with(|c| c.class = Class::Discrete),
        matrix_units().with(|c| {
            c.class = Class::Discrete;
            c.limits.max_workgroup_memory = 48 << 10;
        }),
        software.clone(),
        software.clone().with(|c| c.features.subgroup_size = Some(4)),
        software.clone().with(|c| c.features.subgroup_size = Some(8)),
        software.clone().with(|c| {
            c.features.subgroup_size = Some(4);
            c.features.int64 = true;
        }),
        software.with(|c| {
            c.features.subgroup_size = Some(8);
            c.features.int64 = true;
        }),
    ]
}

/// A case in f32 and in f16.
fn both((name, spec): (String, Spec)) -> [(String, Spec); 2] {
    [(format!("{name}, f16"), half(spec.clone())), (name, spec)]
}

fn check(name: &str, kernel: &Kernel, caps: &Capabilities) {
    let context = format!("{name} [{}]", kernel.choice);
    let binds = |s: &Shader| s.bindings.iter().any(|b| b.role == Role::Scratch);
    assert_eq!(kernel.shaders.iter().any(binds), kernel.scratch > 0, "{context}");
    kernel.shaders.iter().for_each(|shader| check_shader(&context, shader, caps));
}

fn check_shader(context: &str, shader: &Shader, caps: &Capabilities) {
    assert!(shader.grid.iter().all(|&n| (1..=65535).contains(&n)), "{context}: {:?}", shader.grid);
    let wgsl = shader.wgsl();
    // Layers and kinds of adapters share many shaders: each is looked at once.
    static SEEN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Default::default);
    let Shader { entry, bindings, subgroup, int64, matrices, .. } = shader;
    let memory = caps.limits.max_workgroup_memory;
    let seen = format!("{entry} {bindings:?} {subgroup} {int64} {matrices} {memory} {wgsl}");
    if !SEEN.lock().expect("no thread panicked").insert(seen) {
        return;
    }
    let module = naga::front::wgsl::parse_str(&wgsl)
        .unwrap_or_else(|e| panic!("{context}: {}\n{wgsl}", e.emit_to_string(&wgsl)));
    // Core WGSL, which naga tells apart for old OpenGL: `unpack2x16float`.
    let mut allowed = NagaCapabilities::SHADER_FLOAT16_IN_FLOAT32;
    allowed.set(NagaCapabilities::SUBGROUP, shader.subgroup);
    allowed.set(NagaCapabilities::SHADER_INT64, shader.int64);
    allowed.set(NagaCapabilities::SHADER_FLOAT16 | NagaCapabilities::COOPERATIVE_MATRIX, shader.matrices);
    let mut validator = Validator::new(ValidationFlags::all(), allowed);
    if shader.subgroup {
        validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
        validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    }
    let info =
        validator.validate(&module).unwrap_or_else(|e| panic!("{context}: {}", e.emit_to_string(&wgsl)));

    let mut bound = vec![];
    let mut workgroup_memory = 0;
    for (_, variable) in module.global_variables.iter() {
        match variable.space {
            AddressSpace::Storage { access } => {
                let binding = variable.binding.expect("a storage buffer is bound");
                assert_eq!(binding.group, 0, "{context}");
                let name = variable.name.clone().expect("a name");
                bound.push((binding.binding, name, access.contains(StorageAccess::STORE)));
            }
            AddressSpace::WorkGroup => {
                workgroup_memory += module.types[variable.ty].inner.size(module.to_ctx());
            }
            other => panic!("{context}: a variable in {other:?}"),
        }
    }
    bound.sort();
    let stated: Vec<_> =
        shader.bindings.iter().enumerate().map(|(i, b)| (i as u32, b.name.clone(), b.writable)).collect();
    assert_eq!(bound, stated, "{context}");
    assert!(bound.len() <= 8 && workgroup_memory <= caps.limits.max_workgroup_memory, "{context}");
    assert_eq!(module.entry_points.len(), 1, "{context}");
    let entry = &module.entry_points[0];
    assert_eq!(entry.name, shader.entry, "{context}");
    assert!(entry.workgroup_size.iter().product::<u32>() <= 256, "{context}");
    // Kernels that shuffle have workgroups of one subgroup: no lane beyond it may be asked.
    let functions = module.functions.iter().map(|(_, f)| f).chain([&entry.function]);
    for lane in functions.flat_map(|f| lanes_asked(f, &f.body)) {
        assert!(lane.is_some_and(|lane| lane < entry.workgroup_size[0]), "{context}: lane {lane:?}");
    }
    translate(context, &module, &info, shader, workgroup_memory);
}

/// The lanes that a function's shuffles ask; `None` for one that is no constant.
fn lanes_asked(function: &Function, block: &Block) -> Vec<Option<u32>> {
    let inner = |b: &Block| lanes_asked(function, b);
    let of = |statement: &Statement| match statement {
        Statement::SubgroupGather { mode: GatherMode::Shuffle(lane), .. } => {
            match function.expressions[*lane] {
                Expression::Literal(Literal::U32(lane)) => vec![Some(lane)],
                _ => vec![None],
            }
        }
        Statement::SubgroupGather { .. } => vec![None],
        Statement::Block(b) => inner(b),
        Statement::If { accept, reject, .. } => [inner(accept), inner(reject)].concat(),
        Statement::Loop { body, continuing, .. } => [inner(body), inner(continuing)].concat(),
        Statement::Switch { cases, .. } => cases.iter().flat_map(|case| inner(&case.body)).collect(),
        _ => vec![],
    };
    block.iter().flat_map(of).collect()
}

fn translate(
    context: &str,
    module: &naga::Module,
    info: &naga::valid::ModuleInfo,
    shader: &Shader,
    workgroup_memory: u32,
) {
    let options = naga::back::spv::Options { lang_version: (1, 3), ..Default::default() };
    let spirv = naga::back::spv::write_vec(module, info, &options, None)
        .unwrap_or_else(|e| panic!("{context}: SPIR-V: {e}"));
    let keep = |language, text: &[u8]| keep(shader, workgroup_memory, language, text);
    keep("spv", &spirv.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
    keep("wgsl", shader.wgsl().as_bytes());
    if shader.matrices {
        return; // For Vulkan alone: the 16x16 of f16 are nowhere else.
    }
    let options =
        naga::back::msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    naga::back::msl::write_string(module, info, &options, &Default::default())
        .unwrap_or_else(|e| panic!("{context}: MSL: {e}"));
    for (shader_model, language) in [(ShaderModel::V5_1, "fxc.hlsl"), (ShaderModel::V6_0, "dxc.hlsl")] {
        if shader_model >= ShaderModel::V6_0 || !(shader.subgroup || shader.int64) {
            let text = hlsl(module, info, shader, shader_model)
                .unwrap_or_else(|e| panic!("{context}: HLSL for {language}: {e}"));
            keep(language, text.as_bytes());
        }
    }
}

/// HLSL as wgpu has naga write it for a pipeline of this library: without run-time checks.
fn hlsl(
    module: &naga::Module,
    info: &naga::valid::ModuleInfo,
    shader: &Shader,
    shader_model: ShaderModel,
) -> Result<String, naga::back::hlsl::Error> {
    let options = naga::back::hlsl::Options {
        shader_model,
        restrict_indexing: false,
        force_loop_bounding: false,
        zero_initialize_workgroup_memory: false,
        ..Default::default()
    };
    let pipeline = PipelineOptions { entry_point: Some((naga::ShaderStage::Compute, shader.entry.into())) };
    let mut text = String::new();
    let written = Writer::new(&mut text, &options, &pipeline).write(module, info, None)?;
    // The name of a kept file tells its entry point.
    assert!(matches!(&written.entry_point_names[..], [Ok(name)] if name == shader.entry), "{}", shader.entry);
    Ok(text)
}

/// Writes a shader for the compilers of others into the folder `RMNET_SHADERS`, as `tests/translators.py` asks; its name tells what it needs beyond
/// WebGPU's defaults.
fn keep(shader: &Shader, workgroup_memory: u32, language: &str, text: &[u8]) {
    let Some(folder) = std::env::var_os("RMNET_SHADERS") else { return };
    let mut hasher = DefaultHasher::new();
    shader.wgsl().hash(&mut hasher);
    let mut name = format!("{:016x}-{}", hasher.finish(), shader.entry);
    let large = workgroup_memory > 16 << 10;
    let needs = [
        (shader.subgroup, "subgroups"),
        (shader.int64, "int64"),
        (shader.matrices, "matrices"),
        (large, "large"),
    ];
    for (has, feature) in needs {
        if has {
            name += &format!("-{feature}");
        }
    }
    let file = Path::new(&folder).join(format!("{name}.{language}"));
    std::fs::write(&file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

#[test]
fn every_shader_is_valid_everywhere() {
    let networks = ["resnet18", "resnet50", "mobilenet_v2"].into_iter().flat_map(|n| layers::network(n, 1));
    let layers: Vec<_> = networks.map(|l| (l.name, l.spec)).flat_map(both).collect();
    let cases: Vec<_> = cases::all().into_iter().flat_map(both).collect();
    for caps in capabilities() {
        // Kernels that share workgroup memory differ by nothing but 64-bit loads.
        let every = caps.class == Class::Discrete || caps.features.int64;
        let shared = |k: &Kernel| k.shaders[0].wgsl().contains("var<workgroup>");
        in_parallel(&layers, |(name, spec)| {
            for kernel in candidates(spec, &caps).expect("within the limits") {
                assert!(caps.features.subgroup_size.is_some() || !kernel.shaders[0].subgroup);
                if every || !shared(&kernel) {
                    check(name, &kernel, &caps);
                }
            }
        });
        in_parallel(&cases, |(name, spec)| {
            check(name, &select(spec, &caps).expect("within the limits"), &caps);
            if every {
                let kernels = candidates(spec, &caps).expect("within the limits");
                kernels.iter().for_each(|k| check(name, k, &caps));
            }
        });
    }
}

/// Where the buffers of a dispatch are ranges of one, every kernel is as sound, and one shader does for most of a network.
#[test]
fn shaders_that_share_a_buffer_are_valid_and_few() {
    for caps in capabilities()
        .into_iter()
        .filter(|c| c.class == Class::Software && c.features.int64 && c.features.subgroup_size.is_some())
    {
        for (name, spec) in cases::all() {
            let kernels = candidates_in(&spec, &caps, Some(&arena::arena(&spec))).expect("within the limits");
            kernels.iter().for_each(|kernel| check(&name, kernel, &caps));
        }
        for (network, most) in [("resnet18", 8), ("resnet50", 8)] {
            let mut texts = vec![];
            for layer in layers::network(network, 1) {
                let kernel =
                    select_in(&layer.spec, &caps, Some(&arena::arena(&layer.spec))).expect("a kernel");
                check(&layer.name, &kernel, &caps);
                texts.extend(kernel.shaders.into_iter().map(|s| s.wgsl()));
            }
            texts.sort();
            texts.dedup();
            assert!(texts.len() <= most, "{network}: {} shaders", texts.len());
        }
    }
}

#[test]
fn a_limit_that_is_too_small_is_named() {
    let spec = conv(vec![range(whole(0, packed(1, 64, 8, 8)), 3, 1, 1, 1)], 64);
    let refused = |caps: Capabilities| {
        let error = select(&Spec::Conv(spec.clone()), &caps).expect_err("over a limit");
        assert!(error.needed > error.allowed);
        error.limit
    };
    let few = Capabilities::WEBGPU.with(|c| c.limits.max_storage_buffers = 2);
    assert_eq!(refused(few), "storage buffers");
    let small = Capabilities::WEBGPU.with(|c| c.limits.max_binding_bytes = 100 << 10);
    assert_eq!(refused(small), "bytes of packed weights");
    let tiny = Capabilities::WEBGPU.with(|c| c.limits.max_binding_bytes = 1 << 10);
    assert_eq!(refused(tiny), "bytes of a binding");
}

#[test]
fn a_large_grid_is_folded() {
    let caps = Capabilities::WEBGPU.with(|c| c.limits.max_workgroups = 10);
    let from = Operand { stride: 1, ..whole(0, packed(1, 4, 100, 100)) };
    let kernel = select(&Spec::Conv(conv(vec![range(from, 3, 1, 1, 1)], 8)), &caps).expect("folded");
    let grid = kernel.shaders[0].grid;
    assert!(grid.iter().all(|&n| n <= 10) && grid[2] > 1, "{grid:?}");
}
