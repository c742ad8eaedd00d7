//! Every file of `shaders/` is WGSL as it stands, with its markers as comments, and every marker in it is understood.

use super::files::{ALL, FUNCTIONS, without_comments};
use super::prelude::ShaderSource;
use super::spec::Output;
use super::*;
use crate::graph;
use naga::valid::{ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use std::collections::BTreeSet;

fn shape(channels: usize, side: usize, layout: Layout, precision: Precision) -> BufferShape {
    BufferShape { batch: 1, channels, height: side, width: side, layout, precision }
}

fn whole(buffer: usize, shape: BufferShape) -> Operand {
    Operand { buffer, shape, first_channel: 0, channels: shape.channels, stride: 1, avg_pool_2x2: false }
}

fn range(from: Operand, kernel: usize, stride: usize) -> KRange {
    let padding = [kernel / 2; 2];
    KRange {
        from,
        prologue: None,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding,
        padding_end: padding,
        dilation: [1; 2],
        groups: 1,
    }
}

fn conv(k_ranges: Vec<KRange>, to: BufferShape, function: Function) -> ConvSpec {
    let channels = to.channels;
    ConvSpec {
        k_ranges,
        adds: vec![],
        in_place: 0,
        out_channels: channels,
        size: [to.height, to.width],
        activation: vec![(0..channels, function)],
        pool: None,
        outputs: vec![Output { channels: 0..channels, shape: to, first_channel: 0 }],
    }
}

/// Specs that between them need every file.
fn specs() -> Vec<Spec> {
    let packed = |channels, side| shape(channels, side, Layout::Packed, Precision::F32);
    let half = |channels, side| shape(channels, side, Layout::Packed, Precision::F16);
    let planar = |channels, side| shape(channels, side, Layout::Planar, Precision::F32);
    let pool = graph::MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };

    let mut stem = conv(vec![range(whole(0, planar(3, 64)), 7, 2)], packed(64, 32), Function::Relu);
    stem.pool = Some(pool);
    (stem.outputs[0].shape.height, stem.outputs[0].shape.width) = (16, 16);
    let mut plain = conv(vec![range(whole(0, packed(64, 14)), 3, 1)], packed(64, 14), Function::Relu);
    let simple = plain.clone();
    let single = conv(vec![range(whole(0, packed(64, 14)), 1, 1)], packed(64, 14), Function::Relu);
    let own = whole(1, packed(64, 14));
    let gate = whole(2, packed(64, 1));
    plain.k_ranges.push(range(whole(3, packed(64, 14)), 1, 1));
    let beside = plain.clone();
    plain.k_ranges[1].prologue = Some(Function::Relu6);
    plain.adds = vec![
        Add { from: Operand { first_channel: 3, channels: 7, ..own }, first_out: 2, gate: None },
        Add { from: own, first_out: 0, gate: Some(gate) },
        Add { from: whole(4, planar(64, 14)), first_out: 0, gate: None },
        Add {
            from: Operand { first_channel: 3, channels: 7, ..whole(4, planar(64, 14)) },
            first_out: 2,
            gate: None,
        },
    ];
    plain.activation = vec![(0..6, Function::Relu), (6..64, Function::Sigmoid)];
    let mut slopes = simple.clone();
    slopes.activation[0].1 = Function::PRelu;
    slopes.outputs[0].shape = planar(64, 14);
    let mut groups = simple.clone();
    groups.k_ranges[0].groups = 32;
    let mut depthwise = simple.clone();
    depthwise.k_ranges[0].groups = 64;
    let mut stored = simple.clone();
    stored.k_ranges[0].from.shape = half(64, 14);
    stored.outputs[0].shape = half(64, 14);
    let mut clipped = stored.clone();
    clipped.activation[0].1 = Function::Relu6;
    let mut pooled = stored.clone();
    pooled.pool = Some(pool);
    pooled.outputs[0].shape = half(64, 7);
    let dense = |precision| {
        let from = shape(512, 1, Layout::Packed, precision);
        conv(vec![range(whole(0, from), 1, 1)], planar(1000, 1), Function::Identity)
    };
    let mut none = simple.clone();
    none.k_ranges.clear();
    none.adds = vec![Add { from: whole(0, packed(64, 14)), first_out: 0, gate: None }];
    let convolutions = [
        stem,
        single,
        plain,
        simple,
        beside,
        slopes,
        groups,
        depthwise,
        stored,
        clipped,
        pooled,
        dense(Precision::F32),
        dense(Precision::F16),
        none,
    ];
    let mut specs: Vec<Spec> = convolutions.into_iter().map(Spec::Conv).collect();
    let from = whole(0, packed(64, 14));
    specs.push(Spec::MaxPool(PoolSpec { from, pool, to: packed(64, 7) }));
    specs.push(Spec::Average(AverageSpec { from, to: packed(64, 1) }));
    specs
}

fn adapters() -> Vec<Capabilities> {
    let software = Capabilities::WEBGPU.with(|c| {
        c.class = Class::Software;
        c.features = Features { subgroup_size: Some(8), int64: true, matrix_units: false };
    });
    let units = Capabilities::WEBGPU.with(|c| {
        c.class = Class::Discrete;
        c.features = Features { subgroup_size: Some(32), int64: false, matrix_units: true };
        c.limits.max_workgroup_memory = 48 << 10;
    });
    vec![Capabilities::WEBGPU, software, units]
}

/// The buffers of a spec that are quads of f32 as ranges of one.
fn arena(spec: &Spec) -> Arena {
    let own = |s: &BufferShape| (s.layout == Layout::Packed && s.precision == Precision::F32).then_some(1);
    let mut reads = vec![None; 1 + spec.operands().iter().map(|o| o.buffer).max().unwrap_or(0)];
    spec.operands().iter().for_each(|o| reads[o.buffer] = own(&o.shape));
    Arena { reads, writes: spec.outputs().iter().map(own).collect() }
}

fn parse(wgsl: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| e.emit_to_string(wgsl))?;
    Validator::new(ValidationFlags::all(), naga::valid::Capabilities::all())
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(wgsl))?;
    Ok(())
}

/// What a file calls of others only where another spec has them.
fn others() -> Vec<(&'static str, &'static str, String)> {
    let pair = "fn octet(index: u32) -> Pair {\n    return Pair();\n}\n";
    let added = "const A0_MOVED = false;\nconst A0_GATED = false;\n".to_string();
    vec![
        ("added_a0", files::ADDED, added + &ShaderSource::part(files::ADDED, ('a', 'a'))),
        ("octet", "", pair.to_string()),
        ("channel_r0", files::CHANNEL, ShaderSource::part(files::CHANNEL, ('r', 'r'))),
        ("moved_a0", files::MOVED, ShaderSource::part(files::MOVED, ('v', 'a'))),
        ("quad_a0", files::QUAD, ShaderSource::part(files::QUAD, ('v', 'a'))),
        ("quad_g0", files::QUAD, ShaderSource::part(files::QUAD, ('v', 'g'))),
    ]
}

/// The size of a list's first item, `A0_PLANE`, that an error misses: of a list that has none.
fn size_of_a_first_item(error: &str) -> Option<String> {
    let name = error.split("identifier: `").nth(1)?.split('`').next()?;
    let listed =
        name.len() > 3 && name[1..].starts_with("0_") && name.starts_with(|c: char| "ARGFO".contains(c));
    listed.then(|| name.to_string())
}

/// The text of a shader with its markers as comments, completed by what only other specs have.
fn as_it_stands(source: &ShaderSource) -> Result<Vec<&'static str>, String> {
    let mut wgsl = source.unexpanded();
    let (mut missing, mut files) = (others(), source.files().collect::<Vec<_>>());
    loop {
        let error = match parse(&wgsl) {
            Ok(()) => return Ok(files),
            Err(e) => e,
        };
        let of = |name: &str| error.contains(&format!("identifier: `{name}`"));
        let function = FUNCTIONS.iter().find(|(name, ..)| of(name) || *name == "pair_of" && of("Pair"));
        if let Some((_, text, _)) = function {
            wgsl.push_str(text);
        } else if let Some(n) = missing.iter().position(|(name, ..)| of(name)) {
            let (_, file, text) = missing.swap_remove(n);
            wgsl.push_str(&text);
            files.push(file);
        } else if let Some(name) = size_of_a_first_item(&error) {
            wgsl.push_str(&format!("const {name} = 1u;\n"));
        } else {
            return Err(error);
        }
    }
}

#[test]
fn files_are_wgsl_as_they_stand() {
    let (mut tried, mut valid, mut errors) = (BTreeSet::new(), BTreeSet::new(), vec![]);
    for spec in specs() {
        for caps in adapters() {
            let arena = caps.shares_buffers().then(|| arena(&spec));
            for shared in [None, arena.as_ref()] {
                for kernel in candidates_in(&spec, &caps, shared).expect("within the limits") {
                    for source in kernel.shaders.iter().filter_map(Shader::source) {
                        // That what is expanded is valid is looked at in `tests/shaders.rs`.
                        if source.files().all(|f| valid.contains(f)) {
                            continue;
                        }
                        tried.extend(source.files());
                        match as_it_stands(source) {
                            Ok(files) => valid.extend(files),
                            Err(e) => errors.push((source.clone(), format!("{}: {e}", kernel.choice))),
                        }
                    }
                }
            }
        }
    }
    let peaks = ["peak/multiply.wgsl", "peak/copy.wgsl"];
    let never = |(path, text): &&(&str, &str)| !peaks.contains(path) && !valid.contains(text);
    if let Some((path, text)) = ALL.iter().find(never) {
        let of = |(source, e): &(ShaderSource, String)| source.files().any(|f| f == *text).then(|| e.clone());
        let error = errors.iter().find_map(of);
        let untried = "no spec above is offered a kernel of it: add one to `specs`".to_string();
        panic!("{path}: {}", if tried.contains(text) { error.unwrap_or_default() } else { untried });
    }
    for probe in Probe::multiply(&Capabilities::WEBGPU).iter().chain([&Probe::copy(&Capabilities::WEBGPU)]) {
        parse(&probe.wgsl).expect("a probe");
    }
}

/// The folder has no file that nothing uses, and the lists above name none twice.
#[test]
fn every_file_is_used() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let mut found = vec![];
    let mut folders = vec![std::path::PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "wgsl") {
                found.push(std::fs::read_to_string(path).expect("a file"));
            }
        }
    }
    let functions = FUNCTIONS.iter().flat_map(|(_, single, half)| [*single, *half]);
    let used: BTreeSet<&str> = ALL.iter().map(|(_, text)| *text).chain(functions).collect();
    assert_eq!(found.len(), used.len());
    assert!(found.iter().all(|text| used.contains(text.as_str())));
}

/// What a download for browsers holds of a file.
#[test]
fn comments_are_left_out_and_markers_are_kept() {
    let text = "// what it is\nfn f() {\n    //\n    //# unroll\n    let url = 1u; // kept\n}\n  // end";
    let (bytes, length) = without_comments::<100>(text);
    let expected = "fn f() {\n    //# unroll\n    let url = 1u; // kept\n}\n";
    assert_eq!(str::from_utf8(&bytes[..length]), Ok(expected));
}

/// An adapter without optional features is offered kernels of the families in browsers alone.
#[test]
fn browsers_have_every_family_that_they_can_run() {
    for class in [Class::Integrated, Class::Discrete, Class::Software] {
        let caps = Capabilities::WEBGPU.with(|c| c.class = class);
        for spec in specs() {
            for kernel in candidates(&spec, &caps).expect("kernels") {
                let family = kernel.choice.family;
                assert!(select::FAMILIES_IN_BROWSERS.iter().any(|f| f.id() == family), "{family}");
            }
        }
    }
}

/// The table of `docs/adding-a-kernel.md`; and every family has a name that is read.
#[test]
fn the_table_of_families_is_true() {
    let listed: BTreeSet<FamilyId> = coverage().into_iter().map(|(id, _)| id).collect();
    assert_eq!(listed, FamilyId::ALL.into_iter().collect(), "`FAMILIES` and `FamilyId::ALL`");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/adding-a-kernel.md");
    let text = std::fs::read_to_string(root).expect("the document");
    let rows: String = coverage().iter().map(|(id, covers)| format!("| `{id}` | {covers} |\n")).collect();
    assert!(text.contains(&rows), "expected the table\n{rows}");
}

/// A buffer beyond every limit is an error, not a panic; a window of any reach has a text of a sensible length.
#[test]
fn extreme_sizes() {
    let packed = |channels, side| shape(channels, side, Layout::Packed, Precision::F32);
    let large = conv(vec![range(whole(0, packed(4, 70_000)), 1, 1)], packed(4, 70_000), Function::Relu);
    let mut apart = conv(vec![range(whole(0, packed(8, 64)), 3, 1)], packed(8, 64), Function::Relu);
    let window = &mut apart.k_ranges[0];
    (window.dilation, window.padding, window.padding_end) = ([4096; 2], [4096; 2], [4096; 2]);
    let mut stepped = conv(vec![range(whole(0, packed(8, 20_000)), 3, 4096)], packed(8, 5), Function::Relu);
    stepped.k_ranges[0].from.shape.height = 3;
    stepped.outputs[0].shape.height = 1;
    stepped.size = [1, 5];
    for caps in adapters() {
        let error = candidates(&Spec::Conv(large.clone()), &caps).map(|_| ()).expect_err("too large");
        assert_eq!(error.limit, "bytes of a binding");
        for spec in [&apart, &stepped] {
            for kernel in candidates(&Spec::Conv(spec.clone()), &caps).expect("within the limits") {
                let wgsl = kernel.shaders[0].wgsl();
                parse(&wgsl).unwrap_or_else(|e| panic!("{}: {e}", kernel.choice));
                assert!(wgsl.len() < 60_000, "{}: {} bytes", kernel.choice, wgsl.len());
            }
        }
    }
}
