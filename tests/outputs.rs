//! Outputs other than the logits: pooled features and maps of layers, on every device, through files; each value in one form in turn.

mod common;

use common::random::{images, network};
use common::{devices, difference, fixtures, in_parallel};
use fixtures::Fixture;
use proptest::prelude::*;
use rmnet::checkpoint::Checkpoint;
use rmnet::error::OutputError;
use rmnet::gpu::{AdapterChoice, ExecOptions, Gpu, GpuExecutor, GpuKind};
use rmnet::graph::{Activation, Graph, Op, Shape, ValueId};
use rmnet::models::saved::{self, About};
use rmnet::models::{self, Model, Naming, OutputKind};
use rmnet::plan::{self, Place, Plan, PlanTarget};
use rmnet::rewrite::{self, Form, Mode};
use rmnet::{Device, Error, LoadOptions, Options, OutputChoice, Precision, Session};
use rmnet::{preserved_layers, reference, verify};

/// What is asked of f32 values: their distance from f64 ones over the largest.
const BOUND: f64 = verify::F32_LOGITS_BOUND;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn fixture(name: &str) -> Fixture {
    fixtures::load(&format!("tests/fixtures/{name}"))
}

fn block(name: &str) -> OutputChoice {
    name.parse().unwrap()
}

/// The value that a choice names, by the oracle on the whole original graph.
fn oracle(f: &Fixture, node: &str) -> Vec<f64> {
    let wanted = f.model.graph.find(node).expect("a node of that name");
    let mut found = vec![];
    reference::visit(&f.model.graph, &wide(&f.input), f.batch, |v, value| {
        if v == wanted {
            found = value.to_vec();
        }
    });
    found
}

#[test]
fn a_cut_graph_keeps_what_its_output_needs() {
    let graph = fixture("tv_basic_odd_widths").model.graph;
    for v in graph.values() {
        let cut = graph.up_to(v);
        assert_eq!(
            (cut.shape(cut.output()), &cut.node(cut.output()).name),
            (graph.shape(v), &graph.node(v).name)
        );
        assert_eq!(cut.output().index() + 1, cut.nodes().len());
        let read = cut.consumers();
        assert!(
            cut.values().all(|v| v == cut.output() || v == ValueId::INPUT || !read[v.index()].is_empty())
        );
    }
    assert_eq!(graph.up_to(graph.output()).nodes().len(), graph.nodes().len());
}

/// The values that the original libraries have at the end of every block.
#[test]
fn blocks_of_every_fixture_on_the_cpu() {
    let mut checked = 0;
    for name in fixtures::names() {
        let f = fixtures::load(&name);
        for (block, expected) in &f.blocks {
            let output = OutputChoice::Layer(block.clone());
            let options = Options::default().batch(f.batch).device(Device::Cpu).output(output);
            let session = Session::new(&f.model, &options).unwrap();
            let [batch, channels, height, width] = session.output_shape();
            assert_eq!(
                (batch, batch * channels * height * width),
                (f.batch, expected.len()),
                "{name} {block}"
            );
            let (_, relative) = difference(&wide(&session.run(&f.input).unwrap()), expected);
            assert!(relative < BOUND, "{name} {block}: {relative:e}");
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked} blocks");
}

#[test]
fn features_are_what_the_classifier_reads() {
    for name in fixtures::names() {
        let f = fixtures::load(&name);
        let options = Options::default().batch(f.batch).device(Device::Cpu).output(OutputChoice::Features);
        let session = Session::new(&f.model, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let [batch, channels, height, width] = session.output_shape();
        assert_eq!((batch, height, width), (f.batch, 1, 1), "{name}");
        let found = wide(&session.run(&f.input).unwrap());
        if f.model.output == OutputKind::Embedding {
            assert!(difference(&found, &f.logits).1 < BOUND, "{name}");
            continue;
        }
        // The last average is the main path's: gates' come before the block's end.
        let mut pools = f.model.graph.nodes().iter().filter(|n| matches!(n.op, Op::GlobalAverage));
        let last = pools.next_back().expect("a pooled network");
        assert_eq!(last.shape.channels, channels, "{name}");
        let (_, relative) = difference(&found, &oracle(&f, &last.name));
        assert!(relative < BOUND, "{name}: {relative:e}");
    }
}

/// Families, and of each a block in the middle and the last one.
const SOME: [(&str, [&str; 2]); 5] = [
    ("tv_resnet18", ["layer2.0", "layer4.1"]),
    ("timm_resnetv2_18", ["stages.1.blocks.1", "stages.3.blocks.1"]),
    ("tv_mobilenet_v2", ["features.3", "features.16"]),
    ("repvgg", ["stage1.1", "stage3.1"]),
    ("rmrepvgg", ["feature.2", "feature.7"]),
];

/// Every GPU, and the first as each kind of GPU.
fn gpus() -> Vec<(String, Gpu)> {
    let choices = devices().into_iter().filter_map(|(name, device)| match device {
        Device::Gpu(choice) => Some((name, Gpu::new(&choice).expect("an adapter that is listed"))),
        _ => None,
    });
    let gpus: Vec<_> = choices.collect();
    assert!(!gpus.is_empty(), "no Vulkan adapter");
    let kinds = [("integrated", GpuKind::Integrated), ("discrete", GpuKind::Discrete)];
    let as_kinds: Vec<_> =
        kinds.map(|(name, kind)| (name.to_string(), gpus[0].1.clone().with_kernels_for(kind))).into();
    gpus.into_iter().chain(as_kinds).collect()
}

#[test]
fn some_of_every_family_on_every_gpu() {
    // Sessions take long to make on software: each GPU has other blocks and forms of each network.
    let gpus: Vec<_> = gpus().into_iter().enumerate().collect();
    in_parallel(&gpus, |&(g, (ref gpu_name, ref gpu))| {
        for (i, (name, blocks)) in SOME.iter().enumerate() {
            let f = fixture(name);
            let run = |output: OutputChoice, precision, mode| {
                let options =
                    Options::default().batch(f.batch).output(output).precision(precision).mode(mode);
                let session = Session::with_gpu(gpu, &f.model, &options).unwrap();
                let found = wide(&session.run(&f.input).unwrap());
                assert_eq!(found.len(), session.output_shape().iter().product::<usize>());
                found
            };
            let block = blocks[(g + i) % 2];
            let expected = &f.blocks.iter().find(|(n, _)| n == block).expect("a stored block").1;
            let mode = [Mode::Structured, Mode::Structured, Mode::Residual, Mode::Literal][(g + i) % 4];
            let precision = if i == 0 { Precision::F16 } else { Precision::F32 };
            let (_, relative) = difference(&run(self::block(block), precision, mode), expected);
            assert!(
                relative < verify::logits_bound(precision),
                "{gpu_name} {name} {block} {mode} {precision}: {relative:e}"
            );
            if (g + i) % 2 == 0 {
                let pooled = OutputChoice::Features.of(&f.model).unwrap();
                let pool = &pooled.graph.node(pooled.graph.output()).name;
                let found = run(OutputChoice::Features, Precision::F32, Mode::Structured);
                let (_, relative) = difference(&found, &oracle(&f, pool));
                assert!(relative < BOUND, "{gpu_name} {name} {pool}: {relative:e}");
            }
        }
    });
}

/// An app's buffer is filled with the map.
#[test]
fn a_map_goes_into_an_apps_buffer() {
    use wgpu::BufferUsages as Usage;
    let f = fixture("tv_resnet18");
    let gpu = Gpu::new(&AdapterChoice::Best).unwrap();
    let options = Options::default().batch(f.batch).output(block("layer3.1"));
    let session = Session::with_gpu(&gpu, &f.model, &options).unwrap();
    let expected = session.run(&f.input).unwrap();
    let buffer = |values: usize, usage| {
        let size = 4 * values as u64;
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    };
    let from = buffer(f.input.len(), Usage::STORAGE | Usage::COPY_DST);
    let to = buffer(expected.len(), Usage::STORAGE | Usage::COPY_SRC);
    let back = buffer(expected.len(), Usage::MAP_READ | Usage::COPY_DST);
    gpu.queue().write_buffer(&from, 0, bytemuck::cast_slice(&f.input));
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    session.encode(&mut encoder, &from, &to).unwrap();
    encoder.copy_buffer_to_buffer(&to, 0, &back, 0, back.size());
    gpu.queue().submit([encoder.finish()]);
    back.map_async(wgpu::MapMode::Read, .., |r| r.unwrap());
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let found: Vec<f32> = bytemuck::pod_collect_to_vec(&back.get_mapped_range(..).unwrap());
    assert_eq!(found, expected);
}

/// A network that ends with a block has the dispatches that it has up to there as part of the whole network, and not one more. Only a
/// chain whose block has carried channels in its value needs one for them: they lie in another buffer.
#[test]
fn an_output_costs_no_dispatch_of_its_own() {
    in_parallel(&fixtures::names(), |name| {
        let f = fixtures::load(name);
        for mode in [Mode::Structured, Mode::Literal, Mode::Residual] {
            let plan = |output| {
                let options = Options::default().batch(f.batch).mode(mode).output(output);
                rmnet::prepare(&f.model, &options, PlanTarget::CPU)
                    .unwrap_or_else(|e| panic!("{name} {mode}: {e}"))
            };
            let whole = plan(OutputChoice::Logits);
            for b in &f.model.blocks {
                let cut = plan(OutputChoice::Layer(b.clone()));
                assert_eq!(cut.plan.buffers.iter().filter(|b| b.place == Place::Output).count(), 1);
                let last = &cut.plan.dispatches.last().unwrap().name;
                let upto = whole.plan.dispatches.iter().rposition(|d| d.name == *last);
                let upto = 1 + upto.unwrap_or_else(|| panic!("{name} {mode} {b}: {last} in\n{}", whole.plan));
                let carries = usize::from(f.model.naming == Naming::RmNet);
                assert!(
                    cut.plan.dispatches.len() <= upto + carries,
                    "{name} {mode} {b}: {upto} of\n{}",
                    cut.plan
                );
                assert!(!last.ends_with(".copy"), "{name} {mode} {b}:\n{}", cut.plan);
            }
        }
    });
}

/// A way to run a plan on an input.
type Execute<'a> = &'a dyn Fn(&Plan, &[f32]) -> Vec<f32>;

/// Every value of a graph, or every `step`-th, as the output, each in one form in turn, from form `first` on. Pairs of values have one
/// form: in a chain of BasicBlocks every other value carries channels, and each of these has another form than the next. `step` is
/// odd, so that both kinds of values come up.
fn judge_values(
    original: &Graph,
    (batch, first): (usize, usize),
    step: usize,
    target: PlanTarget,
    execute: Execute,
) {
    assert!(!step.is_multiple_of(2));
    let input = images(original, batch, 7);
    let mut expected = vec![];
    reference::visit(original, &wide(&input), batch, |_, value| expected.push(value.to_vec()));
    let merged = Form { mode: Mode::Structured, merge: true };
    let forms = [merged, Mode::Structured.into(), Mode::Literal.into(), Mode::Residual.into()];
    for (i, v) in original.values().rev().step_by(step).enumerate() {
        let cut = original.up_to(v);
        let form = forms[(first + i / 2) % forms.len()];
        // Values that cancel are as exact as what they are computed from.
        let node = original.node(v);
        let near = node.inputs.iter().flat_map(|x| &expected[x.index()]).chain(&expected[v.index()]);
        let scale = near.fold(0.0f64, |m, x| m.max(x.abs()));
        let graph = rewrite::for_mode(&cut, form).unwrap().graph;
        let options = plan::PlanOptions { batch, target, ..plan::PlanOptions::default() };
        let plan = plan::compile(&graph, &options).unwrap_or_else(|e| panic!("{}: {e}\n{graph}", node.name));
        plan::check(&plan).unwrap_or_else(|e| panic!("{}: {e}\n{plan}", node.name));
        let shape = plan.output().shape;
        let Shape { channels, height, width } = node.shape;
        assert_eq!([shape.channels, shape.height, shape.width], [channels, height, width]);
        let found = wide(&execute(&plan, &input));
        let (off, _) = difference(&found, &expected[v.index()]);
        let mode = form.mode;
        assert!(off <= 1e-5 * scale, "{} {mode}: {off:e} of {scale:e}\n{plan}", node.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_value_of_random_networks_on_the_cpu(seed: u64, batch in 1usize..3) {
        judge_values(&network(seed), (batch, seed as usize), 1, PlanTarget::default(), &|plan, input| common::cpu(plan).run(input).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, ..ProptestConfig::default() })]

    #[test]
    fn any_value_of_random_networks_on_every_gpu(seed: u64, batch in 1usize..3) {
        let gpus: Vec<_> = gpus().into_iter().enumerate().collect();
        in_parallel(&gpus, |(g, (_, gpu))| {
            let execute = |plan: &Plan, input: &[f32]| {
                GpuExecutor::new(gpu, &common::checked(plan), &ExecOptions::default()).unwrap().run(input).unwrap()
            };
            judge_values(&network(seed), (batch, *g), 5, gpu.plan_target(), &execute);
        });
    }
}

/// A chain whose layers carry channels has them in its values: computed rows and rows that are handed on, in one output.
#[test]
fn carried_channels_are_part_of_a_chains_values() {
    let names =
        ["tv_basic_odd_widths", "timm_seresnet18", "timm_resnetv2_18", "timm_resnet18d", "tv_mobilenet_v2"];
    for (first, name) in names.into_iter().enumerate() {
        let f = fixture(name);
        let chain = rewrite::for_mode(&f.model.graph, Mode::Structured).unwrap().graph;
        let run = |plan: &Plan, input: &[f32]| common::cpu(plan).run(input).unwrap();
        // Two of the four forms for each value.
        for first in [first, first + 2] {
            judge_values(&chain, (2, first), 1, PlanTarget::default(), &run);
        }
    }
}

#[test]
fn carried_channels_on_a_gpu() {
    let chain =
        rewrite::for_mode(&fixture("tv_basic_odd_widths").model.graph, Mode::Structured).unwrap().graph;
    let gpu = Gpu::new(&AdapterChoice::Best).unwrap();
    let execute = |plan: &Plan, input: &[f32]| {
        GpuExecutor::new(&gpu, &common::checked(plan), &ExecOptions::default()).unwrap().run(input).unwrap()
    };
    judge_values(&chain, (1, 0), 3, gpu.plan_target(), &execute);
}

/// Saves a model in a form and loads it.
fn through_a_file(model: &Model, form: impl Into<Form>) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    let rewritten = rewrite::for_mode(&model.graph, form).unwrap();
    let about = About { layers: preserved_layers(model, &rewritten), ..About::model(model) };
    saved::save(&path, &rewritten.graph, &about).unwrap();
    models::load(&Checkpoint::open(&path).unwrap(), None).unwrap()
}

#[test]
fn converted_files_know_the_blocks() {
    for name in fixtures::names() {
        let f = fixtures::load(&name);
        if f.blocks.is_empty() || f.model.blocks.is_empty() {
            continue;
        }
        let once = through_a_file(&f.model, Mode::Structured);
        let forms = [through_a_file(&f.model, Mode::Literal), through_a_file(&once, Mode::Literal), once];
        for (model, (b, expected)) in forms.iter().flat_map(|m| f.blocks.iter().map(move |b| (m, b))) {
            if !f.model.blocks.contains(b) {
                continue;
            }
            let options = Options::default().batch(f.batch).device(Device::Cpu).output(block(b));
            let session = Session::new(model, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
            let (_, relative) = difference(&wide(&session.run(&f.input).unwrap()), expected);
            assert!(relative < BOUND, "{name} {b}: {relative:e}");
        }
        for model in &forms {
            // Its own layers are other ones than the original's of those names.
            let error = block("layer1.0.conv1").of(model).unwrap_err();
            assert!(matches!(error, OutputError::UnknownLayer { converted: true, .. }), "{error}");
            assert!(error.to_string().contains(f.model.blocks[0].as_str()), "{error}");
            let wanted = match f.model.output {
                OutputKind::Embedding => OutputKind::Embedding,
                _ => OutputKind::Features,
            };
            assert_eq!(OutputChoice::Features.of(model).unwrap().output, wanted, "{name}");
        }
    }
}

/// A file that ends with a map runs as one, at other sizes too.
#[test]
fn a_file_of_a_map() {
    let f = fixture("tv_resnet18");
    let cut = block("layer2.1").of(&f.model).unwrap();
    let saved = through_a_file(&cut, Mode::Structured);
    assert_eq!((saved.output, saved.labels.as_ref()), (OutputKind::Features, None));
    let options = Options::default().batch(f.batch).device(Device::Cpu);
    let session = Session::new(&saved, &options).unwrap();
    let expected = &f.blocks.iter().find(|(n, _)| n == "layer2.1").unwrap().1;
    assert!(difference(&wide(&session.run(&f.input).unwrap()), expected).1 < BOUND);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    let about = About { labels: None, ..About::model(&saved) };
    saved::save(&path, &saved.graph, &about).unwrap();
    let wider =
        Model::load(&Checkpoint::open(&path).unwrap(), &LoadOptions::default().size([64, 96])).unwrap();
    let Shape { height, width, .. } = wider.graph.shape(wider.graph.output());
    assert_eq!([height, width], [8, 12]);
}

#[test]
fn names_that_a_user_knows() {
    let ends = |fixture_name: &str, name: &str| {
        let f = fixture(fixture_name);
        let cut = block(name).of(&f.model).unwrap_or_else(|e| panic!("{fixture_name} {name}: {e}"));
        cut.graph.node(cut.graph.output()).name.clone()
    };
    for (f, name, node) in [
        ("tv_resnet18", "layer1.0", "layer1.0"),
        ("tv_resnet18", "layer1", "layer1.1"),
        ("tv_resnet18", "layer2.0.bn1", "layer2.0.bn1"),
        ("tv_resnet18", "layer2.0.downsample", "layer2.0.downsample.1"),
        ("timm_resnetv2_18", "stages.2", "stages.2.blocks.1"),
        ("timm_seresnet18", "layer1.0.se", "layer1.0.se"),
        ("timm_resnet18d", "conv1", "conv1.6"),
        // Without a residual connection the block has no node of its own.
        ("tv_mobilenet_v2", "features.2", "features.2.conv.3"),
        ("tv_mobilenet_v2", "features.2.conv", "features.2.conv.3"),
    ] {
        assert_eq!(ends(f, name), node, "{f} {name}");
    }
    let f = fixture("tv_resnet18");
    for name in ["layer9", "layer1.0.", "layer", "", "Layer1.0", "layer1.0.conv", "."] {
        let error = block(name).of(&f.model).unwrap_err();
        assert!(matches!(error, OutputError::UnknownLayer { converted: false, .. }), "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains(&format!("`{name}`")) && text.contains("layer4.1"), "{text}");
    }
    let session = Session::new(&f.model, &Options::default().output(block("layer9")));
    assert!(matches!(session.err(), Some(Error::Output(OutputError::UnknownLayer { .. }))));
    for choice in ["logits", "features", "layer1.0"] {
        assert_eq!(block(choice).to_string(), choice);
    }
}

#[test]
fn a_module_with_two_outputs_is_refused() {
    let mut graph = Graph::new(Shape { channels: 2, height: 3, width: 3 });
    let a = graph.push("m.a", Op::Activation(Activation::Relu), &[ValueId::INPUT]).unwrap();
    let b = graph.push("m.b", Op::Activation(Activation::Relu6), &[ValueId::INPUT]).unwrap();
    graph.push("sum", Op::Add(Activation::Identity), &[a, b]).unwrap();
    let model = Model { graph, blocks: vec![], ..fixture("tv_resnet18").model };
    let error = block("m").of(&model).unwrap_err();
    assert_eq!(error, OutputError::Several { name: "m".into(), values: vec!["m.a".into(), "m.b".into()] });
    assert!(error.to_string().contains("m.a, m.b"), "{error}");
}

#[test]
fn what_is_not_pooled_has_no_features() {
    let f = fixture("tv_resnet18");
    let cut = block("layer2.1").of(&f.model).unwrap();
    let error = OutputChoice::Features.of(&cut).unwrap_err();
    assert!(error.to_string().contains("layer2.1"), "{error}");
    assert!(matches!(error, OutputError::NotPooled { .. }));
}

/// Where a value is not finite the error says where in the map.
#[test]
fn a_value_that_is_not_finite_is_found_in_the_map() {
    let bytes = common::spoil::scaled("tv_resnet18", "layer3.0.conv1.weight", 1e38);
    let model = models::load(&Checkpoint::from_bytes(bytes, None).unwrap(), None).unwrap();
    let options = Options::default().device(Device::Cpu).output(block("layer4.1"));
    let session = Session::new(&model, &options).unwrap();
    let input: Vec<f32> = (0..session.input_len()).map(|i| ((i * 37) % 101) as f32 / 50.5 - 1.0).collect();
    let error = session.run(&input).expect_err("an overflow");
    assert!(error.to_string().contains("row"), "{error}");
    let Error::NotFinite { at: [image, c, y, x], shape, value, values, .. } = error else {
        panic!("{error}")
    };
    let [_, channels, height, width] = shape;
    assert_eq!(values.output[((image * channels + c) * height + y) * width + x].to_bits(), value.to_bits());
}
