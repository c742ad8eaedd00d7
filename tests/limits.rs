//! Bounds on what a file can make us do: large graphs take time near their size, sizes beyond the limits are refused by name, and
//! channels that are only handed on take no weights.

mod common;

use common::difference;
use proptest::prelude::*;
use rmnet::checkpoint::Checkpoint;
use rmnet::gpu::{AdapterChoice, ExecOptions, Gpu, GpuExecutor};
use rmnet::graph::{
    Activation, BatchNorm, Block, BlockWeight, Conv2d, Graph, MAX_BLOCKS, MAX_NAME, MAX_NODES, MaxPool, Op,
    Shape, ValueId, Weight,
};
use rmnet::kernel::{Capabilities, Class};
use rmnet::models::{self, saved};
use rmnet::plan::{self, Plan, PlanError, PlanOptions, PlanTarget};
use rmnet::rewrite::{self, Mode};
use rmnet::tensor::Tensor;
use rmnet::{preprocess::Preprocess, reference};
use std::time::{Duration, Instant};

/// What a stage may take in a build with checks on a busy machine: for 20 000 nodes most take some hundredths of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// What those may take that have to be done in under a second.
const SECOND: Duration = Duration::from_secs(1);

const MANY: usize = 20_000;

fn in_time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    within(PATIENCE, what, work)
}

fn within<T>(limit: Duration, what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    println!("{what}: {took:?}");
    assert!(took < limit, "{what} took {took:?}");
    result
}

fn graph(channels: usize, size: [usize; 2]) -> Graph {
    Graph::new(Shape { channels, height: size[0], width: size[1] })
}

fn values(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 1009.0 - 0.4).collect()
}

/// Values that f32 holds.
fn weight(shape: [usize; 4], seed: usize) -> Weight {
    let values = values(shape.iter().product(), seed).into_iter().map(|v| v as f32).collect();
    Weight::new(Tensor::from_f32(shape.to_vec(), values))
}

fn norm(channels: usize) -> Op {
    Op::BatchNorm(BatchNorm {
        weight: values(channels, 1).iter().map(|v| 1.0 + v).collect(),
        bias: values(channels, 2),
        mean: values(channels, 3),
        variance: values(channels, 4).iter().map(|v| 1.0 + v).collect(),
        epsilon: 1e-5,
    })
}

/// A chain of convolutions, pools and functions, with an Add now and then.
fn long(nodes: usize) -> Graph {
    let mut graph = graph(4, [6, 6]);
    let mut x = ValueId::INPUT;
    for i in 1..nodes {
        let name = format!("layer.{i}");
        let relu = Op::Activation(Activation::Relu);
        let conv =
            |kernel: usize| Conv2d::dense(weight([4, 4, kernel, kernel], i), 1, [1, 1], [kernel / 2; 2]);
        let before = ValueId::INPUT.max(graph.node(x).inputs.first().copied().unwrap_or(x));
        x = match i % 7 {
            0 if graph.shape(before) == graph.shape(x) => {
                graph.push(name, Op::Add(Activation::Identity), &[x, before])
            }
            1 => graph.push(name, norm(4), &[x]),
            2 | 5 => graph.push(name, relu, &[x]),
            3 => graph.push(name, Op::Conv2d(conv(3)), &[x]),
            _ => graph.push(name, Op::Conv2d(conv(1)), &[x]),
        }
        .unwrap();
    }
    graph
}

#[test]
fn twenty_thousand_nodes_take_seconds() {
    let graph = within(SECOND, "building", || long(MANY));
    within(SECOND, "finding", || assert!(graph.nodes().iter().all(|n| graph.find(&n.name).is_some())));
    within(SECOND, "resizing", || graph.resized(8, 8)).unwrap();
    within(SECOND, "showing", || assert!(graph.to_string().len() > MANY));
    within(SECOND, "consumers", || graph.consumers());
    within(SECOND, "up to", || graph.up_to(graph.output()));
    within(SECOND, "signs", || graph.non_negative());
    for mode in [Mode::Structured, Mode::Residual] {
        let rewritten = in_time("rewriting", || rewrite::for_mode(&graph, mode)).unwrap().graph;
        let keep: Vec<String> = rewritten.nodes().iter().skip(1).map(|n| n.name.clone()).collect();
        for keep in [vec![], keep] {
            let options = PlanOptions { keep, target: PlanTarget::CPU, ..PlanOptions::default() };
            let plan = in_time("planning", || plan::compile(&rewritten, &options)).unwrap();
            within(SECOND, "checking", || plan::check(&plan)).unwrap();
            within(SECOND, "showing the plan", || assert!(plan.to_string().len() > MANY));
        }
    }
}

#[test]
fn one_value_of_many_readers_and_many_adds_take_seconds() {
    // Every node reads the input; then all are added up, from the first to the last: all live at one time.
    let mut graph = graph(4, [2, 2]);
    let conv = Conv2d::dense(weight([4, 4, 1, 1], 1), 1, [1, 1], [0, 0]);
    let all: Vec<ValueId> = (0..MANY / 2)
        .map(|i| graph.push(format!("read.{i}"), Op::Conv2d(conv.clone()), &[ValueId::INPUT]).unwrap())
        .collect();
    let mut sum = all[0];
    for (i, v) in all[1..].iter().enumerate() {
        sum = graph.push(format!("add.{i}"), Op::Add(Activation::Identity), &[sum, *v]).unwrap();
    }
    let rewritten = in_time("rewriting", || rewrite::for_mode(&graph, Mode::Structured)).unwrap().graph;
    let options = PlanOptions { target: PlanTarget::CPU, ..PlanOptions::default() };
    let plan = in_time("planning", || plan::compile(&rewritten, &options)).unwrap();
    within(SECOND, "checking", || plan::check(&plan)).unwrap();
}

/// A safetensors file of F32 zeros by name and shape.
fn file(tensors: &[(String, Vec<usize>)], metadata: &str) -> Vec<u8> {
    let mut at = 0;
    let mut header: Vec<String> = vec![];
    if !metadata.is_empty() {
        header.push(format!("\"__metadata__\":{metadata}"));
    }
    for (name, shape) in tensors {
        let end = at + 4 * shape.iter().product::<usize>();
        header.push(format!(
            "{}:{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}",
            serde_json::json!(name)
        ));
        at = end;
    }
    let header = format!("{{{}}}", header.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.resize(bytes.len() + at, 0);
    bytes
}

/// What loading says, in time.
fn loaded(
    what: &str,
    tensors: &[(String, Vec<usize>)],
    config: Option<&str>,
) -> Result<models::Model, String> {
    let bytes = file(tensors, "");
    in_time(what, || {
        let checkpoint = Checkpoint::from_bytes(bytes, config).map_err(|e| e.to_string())?;
        models::load(&checkpoint, None).map_err(|e| e.to_string())
    })
}

#[test]
fn many_keys_take_seconds() {
    const KEYS: usize = 200_000;
    let one = |name: String| (name, vec![1]);
    let flat: Vec<_> = (0..KEYS).map(|i| one(format!("key{i}.weight"))).collect();
    assert!(loaded("many keys", &flat, None).unwrap_err().contains("unknown network"));
    let deep: Vec<_> = (0..KEYS / 4).map(|i| one(format!("a{i}.b.c.d.e.f.g.h.i{i}.weight"))).collect();
    assert!(loaded("deep keys", &deep, None).is_err());
    let networks: Vec<_> = (0..KEYS / 4).map(|i| one(format!("net{i}.layer1.0.conv1.weight"))).collect();
    assert!(loaded("many networks", &networks, None).is_err());
    let children: Vec<_> = (0..KEYS / 4)
        .map(|i| (format!("{i}.0.conv1.weight"), vec![1]))
        .chain([("0.weight".into(), vec![1, 1, 1, 1]), ("1.running_mean".into(), vec![1])])
        .collect();
    assert!(loaded("many stages", &children, None).is_err());
    let beside: Vec<_> = (0..KEYS / 4)
        .map(|i| (format!("{}.weight", i + 1), vec![1, 1]))
        .chain([
            ("0.layer1.0.conv1.weight".into(), vec![1, 1, 3, 3]),
            ("0.conv1.weight".into(), vec![1, 3, 7, 7]),
        ])
        .collect();
    assert!(loaded("many layers beside", &beside, None).is_err());
    for dots in
        [format!("fc{}.weight", ".0".repeat(500_000)), ".".repeat(1_000_000), "layer1.0.".repeat(100_000)]
    {
        let tensors =
            [("conv1.weight".into(), vec![1, 3, 7, 7]), one("layer1.0.conv1.weight".into()), one(dots)];
        assert!(loaded("a name of many dots", &tensors, None).is_err());
    }
}

#[test]
fn a_long_chain_of_numbers_takes_seconds() {
    let n = MANY / 2;
    let conv = r#"{"op": "conv2d", "stride": 1, "padding": 0}, {"op": "relu"}"#;
    let list = vec![conv; n].join(",");
    let config = format!(r#"{{"rmnet_chain": [{list}, {{"op": "global_average"}}]}}"#);
    let tensors: Vec<_> = (0..n).map(|i| (format!("{}.weight", 2 * i), vec![3, 3, 1, 1])).collect();
    let model = loaded("a chain", &tensors, Some(&config)).unwrap();
    assert_eq!(model.graph.nodes().len(), 2 * n + 2);
    // Written by us and read again.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chain.safetensors");
    let chain = in_time("rewriting", || rewrite::for_mode(&model.graph, Mode::Structured)).unwrap().graph;
    in_time("saving", || saved::save(&path, &chain, &saved::About::model(&model))).unwrap();
    let again = in_time("opening", || {
        models::Model::load(&Checkpoint::open(&path).unwrap(), &rmnet::LoadOptions::default().size([40, 40]))
    })
    .unwrap();
    assert_eq!(again.graph.nodes().len(), chain.nodes().len());
}

/// The text of a saved chain's nodes as a file.
fn chain(input: [usize; 3], nodes: &str, tensors: &[(String, Vec<usize>)]) -> Result<models::Model, String> {
    let size = [input[1], input[2]];
    let about = saved::About::new("x", Preprocess::cifar().with_size(size));
    let mut json = serde_json::to_value(&about).unwrap();
    json["version"] = 1.into();
    json["input"] = input.to_vec().into();
    json["nodes"] = serde_json::from_str(&format!("[{nodes}]")).unwrap();
    let metadata = serde_json::json!({ "rmnet": json.to_string() }).to_string();
    let checkpoint = Checkpoint::from_bytes(file(tensors, &metadata), None).unwrap();
    models::load(&checkpoint, None).map_err(|e| e.to_string())
}

fn relus(n: usize) -> String {
    let relu = |i: usize| format!(r#"{{"name":"{i}","inputs":[{i}],"op":"activation","activation":"relu"}}"#);
    (0..n).map(relu).collect::<Vec<_>>().join(",")
}

#[test]
fn what_a_file_may_come_to_is_bounded() {
    let refused = |input, nodes: &str, tensors: &[(String, Vec<usize>)], limit: &str| {
        let error = chain(input, nodes, tensors).err().unwrap_or_else(|| panic!("{limit} is not kept"));
        assert!(error.contains(limit) && error.contains("found"), "{error}");
    };
    refused([4, 1, 1], &relus(MAX_NODES), &[], "at most 100000 layers");
    refused([65536, 1, 1], &relus(200), &[], "at most 8388608 channels");
    refused([65536, 16384, 16384], &relus(1), &[], "at most 4398046511104 values");
    let name = "n".repeat(MAX_NAME + 1);
    let named = format!(r#"{{"name":"{name}","inputs":[0],"op":"global_average"}}"#);
    refused([4, 1, 1], &named, &[], "a name of at most 65536 bytes");
    // One tensor of 4 MiB, read a hundred times.
    let block =
        |kind: &str| format!(r#"{{"out":{{"start":0,"end":1024}},"input":{{"start":0,"end":1024}},{kind}}}"#);
    let conv = |i: usize, blocks: &[String]| {
        let blocks = blocks.join(",");
        format!(
            r#"{{"name":"c{i}","inputs":[{i}],"op":"conv2d","in_channels":1024,"out_channels":1024,"kernel":[1,1],"stride":[1,1],
            "padding":[0,0],"dilation":[1,1],"blocks":[{blocks}],"bias":"b","activation":[[{{"start":0,"end":1024}},"identity"]]}}"#
        )
    };
    let tensors = [("b".to_string(), vec![1024]), ("w".to_string(), vec![1024, 1024, 1, 1])];
    let dense = [block(r#""kind":"pointwise","tensor":"w""#)];
    let many: Vec<String> = (0..100).map(|i| conv(i, &dense)).collect();
    refused([1024, 1, 1], &many.join(","), &tensors, "tensors that layers read");
    let blocks = vec![block(r#""kind":"dirac""#); MAX_BLOCKS + 1];
    refused([1024, 1, 1], &conv(0, &blocks), &tensors[..1], "at most 1024 blocks");
    assert!(chain([1024, 1, 1], &conv(0, &blocks[1..]), &tensors[..1]).is_ok());
}

#[test]
fn weights_out_of_proportion_are_refused() {
    // Blocks of one input and 80 rows, which overlap by a channel: every K range has all rows.
    let channels = 64 * 1000;
    let blocks = (0..1000).map(|i| Block {
        out: i * 64..((i + 1) * 64 + 1).min(channels),
        input: i..i + 1,
        weight: BlockWeight::Pointwise(weight([(channels - i * 64).min(65), 1, 1, 1], 0)),
    });
    let one = Conv2d::dense(weight([channels, 1, 1, 1], 1), 1, [1, 1], [0, 0]);
    let conv = Conv2d { in_channels: 1000, blocks: blocks.collect(), ..one };
    let mut graph = graph(1000, [1, 1]);
    graph.push("staggered", Op::Conv2d(conv), &[ValueId::INPUT]).unwrap();
    let error = in_time("planning", || {
        plan::compile(&graph, &PlanOptions { target: PlanTarget::CPU, ..PlanOptions::default() })
    });
    assert!(
        matches!(error, Err(PlanError::TooLarge { what: "bytes of weights up to there", .. })),
        "{error:?}"
    );
}

/// Networks of channels that are handed on, scaled or averaged, but never mixed: (name, graph).
fn unmixed(channels: usize, size: [usize; 2]) -> Vec<(&'static str, Graph)> {
    let x = ValueId::INPUT;
    let relu6 = || Op::Activation(Activation::Relu6);
    let mut all = vec![];
    let mut net = |name, build: &dyn Fn(&mut Graph)| {
        let mut graph = graph(channels, size);
        build(&mut graph);
        all.push((name, graph));
    };
    net("lone activations", &|g| {
        let a = g.push("a", Op::Activation(Activation::Relu), &[x]).unwrap();
        let b = g.push("b", Op::Activation(Activation::Sigmoid), &[a]).unwrap();
        g.push("c", relu6(), &[b]).unwrap();
    });
    net("a batch norm of the input", &|g| {
        g.push("n", norm(channels), &[x]).unwrap();
    });
    net("batch norms and PReLU", &|g| {
        let a = g.push("a", Op::Activation(Activation::PRelu(values(channels, 5).into())), &[x]).unwrap();
        let b = g.push("b", norm(channels), &[a]).unwrap();
        let c = g.push("c", relu6(), &[b]).unwrap();
        g.push("d", norm(channels), &[c]).unwrap();
    });
    for first in [1, 2, 7] {
        let name = ["slices from 1", "slices from 2", "slices from 7"][first / 3];
        net(name, &|g| {
            let s = g.push("s", Op::Slice(first..channels - 2), &[x]).unwrap();
            let a = g.push("a", relu6(), &[s]).unwrap();
            let t = g.push("t", Op::Slice(3..g.shape(a).channels), &[a]).unwrap();
            let n = g.push("n", norm(g.shape(t).channels), &[t]).unwrap();
            g.push("end", Op::Activation(Activation::Sigmoid), &[n]).unwrap();
        });
    }
    net("Dirac rows in another order", &|g| {
        let turned = |at: usize| Conv2d {
            blocks: vec![
                Block { out: 0..at, input: channels - at..channels, weight: BlockWeight::Dirac },
                Block { out: at..channels, input: 0..channels - at, weight: BlockWeight::Dirac },
            ],
            bias: values(channels, 6),
            ..Conv2d::pointwise_function(channels, Activation::Relu)
        };
        let a = g.push("a", Op::Conv2d(turned(5)), &[x]).unwrap();
        let b = g.push("b", Op::Conv2d(turned(channels / 2 + 1)), &[a]).unwrap();
        g.push("c", Op::Conv2d(turned(3)), &[b]).unwrap();
    });
    net("diagonals beside Diracs in a sum", &|g| {
        let (half, scale) = (channels / 2 - 1, values(channels, 7));
        let a = g.push("a", relu6(), &[x]).unwrap();
        let conv = Conv2d {
            blocks: vec![
                Block { out: 0..channels, input: 0..channels, weight: BlockWeight::Dirac },
                Block {
                    out: 1..half + 1,
                    input: 2..half + 2,
                    weight: BlockWeight::Diagonal(scale[..half].into()),
                },
                Block { out: half..2 * half, input: 1..half + 1, weight: BlockWeight::Dirac },
            ],
            ..Conv2d::pointwise_function(channels, Activation::Relu)
        };
        g.push("b", Op::Conv2d(conv), &[a]).unwrap();
    });
    net("means and maxima", &|g| {
        let m = g.push("m", Op::AvgPool2x2, &[x]).unwrap();
        let n = g.push("n", norm(channels), &[m]).unwrap();
        let r = g.push("r", Op::Activation(Activation::Relu), &[n]).unwrap();
        let s = g.push("s", Op::Slice(1..channels), &[r]).unwrap();
        let k = g.push("k", Op::AvgPool2x2, &[s]).unwrap();
        let pool = MaxPool { kernel: [1, 2], stride: [1, 1], padding: [0, 1] };
        let p = g.push("p", Op::MaxPool(pool), &[k]).unwrap();
        g.push("o", Op::AvgPool2x2, &[p]).unwrap();
    });
    net("a gate", &|g| {
        let a = g.push("a", relu6(), &[x]).unwrap();
        let m = g.push("m", Op::GlobalAverage, &[a]).unwrap();
        let own = g.push("own", Op::Slice(3..channels), &[m]).unwrap();
        let s = g.push("s", Op::Activation(Activation::Sigmoid), &[own]).unwrap();
        let gated = g.push("gate", Op::Gate { first: 3 }, &[a, s]).unwrap();
        let part = g.push("part", Op::Slice(1..channels), &[gated]).unwrap();
        g.push("end", Op::Activation(Activation::Sigmoid), &[part]).unwrap();
    });
    net("strides that differ", &|g| {
        let a = g.push("a", relu6(), &[x]).unwrap();
        let b = g.push("b", Op::Slice(1..channels), &[a]).unwrap();
        let conv = Conv2d { stride: [1, 2], ..Conv2d::pointwise_function(channels - 1, Activation::Sigmoid) };
        g.push("c", Op::Conv2d(conv), &[b]).unwrap();
    });
    all
}

/// CPU, and adapters of each class.
fn targets() -> Vec<PlanTarget> {
    let software = Capabilities::WEBGPU.with(|c| {
        c.class = Class::Software;
        c.features.subgroup_size = Some(8);
        c.features.int64 = true;
    });
    let discrete = Capabilities::WEBGPU.with(|c| {
        c.class = Class::Discrete;
        c.features.subgroup_size = Some(32);
    });
    let adapters = [Capabilities::WEBGPU, software, discrete];
    adapters.iter().map(PlanTarget::of).chain([PlanTarget::CPU]).collect()
}

fn planned(graph: &Graph, mode: Mode, target: PlanTarget) -> (Plan, usize) {
    let rewritten = rewrite::for_mode(graph, mode).unwrap().graph;
    let plan = plan::compile(&rewritten, &PlanOptions { target, ..PlanOptions::default() }).unwrap();
    plan::check(&plan).unwrap();
    let weights = plan.dispatches.iter().filter_map(|d| d.weights.as_ref()).map(|w| w.bytes()).sum();
    (plan, weights)
}

#[test]
fn channels_that_are_not_mixed_take_weights_in_proportion() {
    for target in targets() {
        for mode in [Mode::Structured, Mode::Residual, Mode::Literal] {
            for (name, graph) in unmixed(32_768, [4, 4]) {
                // The literal form is what multiplies Diracs.
                if mode == Mode::Literal && (name.contains("Dirac") || name.contains("gate")) {
                    continue;
                }
                let (plan, bytes) = planned(&graph, mode, target);
                // A bias, a slope and a factor for each channel of some dispatches.
                let most = 32_768 * 4 * 4 * plan.dispatches.len();
                assert!(bytes <= most, "{name}, {mode}: {bytes} bytes of weights, {most} expected\n{plan}");
                let macs = plan.macs() / (32_768 * 16);
                assert!(macs <= 8, "{name}, {mode}: {macs} multiplications an element\n{plan}");
            }
        }
    }
}

fn judge(name: &str, graph: &Graph, input: &[f64], found: &[f32], plan: &Plan) {
    let expected = reference::run(graph, input, 1);
    let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
    let (_, relative) = difference(&found, &expected);
    assert!(relative < 1e-5, "{name}: {relative:e}\n{plan}");
}

#[test]
fn channels_that_are_not_mixed_keep_their_values() {
    let gpus: Vec<Gpu> = (0..rmnet::gpu::adapters().len())
        .filter(|i| rmnet::gpu::adapters()[*i].backend != "gl")
        .filter_map(|i| Gpu::new(&AdapterChoice::Index(i)).ok())
        .collect();
    assert!(!gpus.is_empty(), "no adapter; {}", rmnet::gpu::remedy());
    // Small ones have dense K ranges here and there; those of 75 channels have none.
    for channels in [19, 75] {
        for (name, graph) in unmixed(channels, [4, 6]) {
            let input: Vec<f32> = values(channels * 24, 9).iter().map(|v| *v as f32 * 4.0).collect();
            let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
            let (plan, _) = planned(&graph, Mode::Structured, PlanTarget::CPU);
            judge(name, &graph, &wide, &common::cpu(&plan).run(&input).unwrap(), &plan);
            // Shaders take long to compile: one size is enough.
            for gpu in gpus.iter().filter(|_| channels == 75) {
                let (plan, _) = planned(&graph, Mode::Structured, gpu.plan_target());
                let executor =
                    GpuExecutor::new(gpu, &common::checked(&plan), &ExecOptions::default()).unwrap();
                judge(name, &graph, &wide, &executor.run(&input).unwrap(), &plan);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// No sum of sizes overflows, whatever the sizes: it is refused, or planned within what can be counted.
    #[test]
    fn any_size_is_planned_or_refused(
        dims in prop::array::uniform3(0u32..64), batch in 0u32..64, kernel in 1usize..5, steps in 1usize..4, plus in 0usize..3,
    ) {
        let dims = dims.map(|bits| (1usize << bits).saturating_add(plus));
        let batch = (1usize << batch).wrapping_sub(plus);
        let mut graph = Graph::new(Shape { channels: dims[0], height: dims[1], width: dims[2] });
        let (mut x, mut refused) = (ValueId::INPUT, false);
        for i in 0..steps {
            let op = match (i + plus) % 4 {
                0 => Op::AvgPool2x2,
                1 => Op::MaxPool(MaxPool { kernel: [kernel; 2], stride: [1, 1], padding: [kernel / 2; 2] }),
                2 => Op::Activation(Activation::Relu),
                _ => Op::GlobalAverage,
            };
            match graph.push(format!("{i}"), op, &[x]) {
                Ok(v) => x = v,
                Err(_) => refused = true,
            }
        }
        let _ = (graph.to_string(), graph.macs(), graph.parameters(), graph.resized(7, 9).is_ok());
        let huge = dims.iter().fold(1usize, |n, d| n.saturating_mul(*d)) > 1 << 43;
        prop_assert!(refused || !huge, "{dims:?}");
        // Channels take memory once they are planned.
        if dims[0] > 4096 {
            return Ok(());
        }
        for target in [PlanTarget::CPU, PlanTarget::default()] {
            if let Ok(plan) = plan::compile(&graph, &PlanOptions { batch, target, ..PlanOptions::default() }) {
                plan::check(&plan).unwrap();
                prop_assert!(plan.activation_bytes() <= 1 << 50 && plan.lower_bound <= 1 << 50);
                let _ = (plan.to_string(), plan.macs());
            }
        }
    }
}

/// A window of sixteen million taps is gathered a pixel at a time, in memory that was asked for: 64 MiB for each thread.
#[test]
fn patches_of_large_windows_are_bounded() {
    let side = 2001;
    let mut graph = Graph::new(Shape { channels: 1, height: 4, width: 4 });
    let weight = Weight::new(Tensor::from_f32(vec![1, 1, side, side], vec![0.5; side * side]));
    let conv = Conv2d::dense(weight, 1, [1, 1], [side / 2; 2]);
    graph.push("conv", Op::Conv2d(conv), &[ValueId::INPUT]).unwrap();
    let (plan, _) = planned(&graph, Mode::Structured, PlanTarget::CPU);
    let executor = common::cpu(&plan);
    let input: Vec<f32> = (0..16).map(|i| i as f32).collect();
    let found = executor.run(&input).unwrap();
    // Every output sees the whole input.
    assert!(found.iter().all(|v| (v - 60.0).abs() < 1e-3), "{found:?}");
    let memory = executor.memory();
    let patch = 4 * side * side;
    assert!(memory.scratch >= patch, "{memory:?}: the window is gathered");
    assert!(memory.scratch <= executor.threads().count() * patch.max(16 << 20), "{memory:?}");
}
