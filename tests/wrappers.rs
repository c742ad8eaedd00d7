//! Checkpoints as people hold them: names behind wrappers, tensors of training beside a network, heads under other names, and
//! what no tensor shows, stated.

mod common;

use common::spoil::{File, put, torchvision};
use rmnet::LoadOptions;
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::{Activation, Graph, Op};
use rmnet::models::saved::{self, About};
use rmnet::models::{self, Assume, Model, ModelError, OutputKind, Scores};
use rmnet::{Mode, reference, rewrite};
use serde_json::json;

/// The file with values of its own for every tensor, so that no two layers are alike.
fn varied(mut file: File) -> File {
    for (n, (name, (_, values))) in file.tensors.iter_mut().enumerate() {
        let positive = name.ends_with("running_var");
        for (i, v) in values.iter_mut().enumerate() {
            *v = ((n * 31 + i * 17) % 23) as f32 / 23.0 - if positive { -0.5 } else { 0.45 };
        }
    }
    file
}

fn computed(graph: &Graph) -> Vec<f64> {
    let len = graph.input_shape().len();
    let input: Vec<f64> = (0..len).map(|i| ((i * 37) % 101) as f64 / 50.5 - 1.0).collect();
    reference::run(graph, &input, 1)
}

fn load(file: &File, stated: &[(&str, &str)]) -> Result<Model, ModelError> {
    let mut assume = Assume::default();
    for (key, value) in stated {
        assume.state(key, value)?;
    }
    let config = file.config.as_ref().map(|c| c.to_string());
    let checkpoint = Checkpoint::from_bytes(file.to_bytes(), config.as_deref()).unwrap();
    Model::load(&checkpoint, &LoadOptions::default().size([32, 32]).assume(assume))
}

#[track_caller]
fn refused(file: &File, stated: &[(&str, &str)], words: &[&str]) {
    let error = load(file, stated).map(|m| m.family).expect_err(&format!("{words:?}")).to_string();
    for word in words {
        assert!(error.contains(word), "expected {word:?} in {error:?}");
    }
}

/// Names that begin with `from` begin with `to`.
fn renamed(file: &File, from: &str, to: &str) -> File {
    let mut file = file.clone();
    file.rename(from, to);
    file
}

#[test]
fn any_prefix_is_looked_behind() {
    let bare = varied(torchvision());
    let expected = computed(&load(&bare, &[]).unwrap().graph);
    for prefix in [
        "module.",
        "_orig_mod.",
        "model.",
        "encoder.",
        "resnet.",
        "0.",
        "state_dict.model.module.",
        "a.name.of.ones.own.",
    ] {
        let model = load(&renamed(&bare, "", prefix), &[]).unwrap_or_else(|e| panic!("{prefix}: {e}"));
        assert_eq!(computed(&model.graph), expected, "{prefix}");
        assert_eq!(model.ignored, [""; 0], "{prefix}");
    }
}

#[test]
fn a_head_beside_the_network_is_its_head() {
    let bare = varied(torchvision());
    let expected = computed(&load(&bare, &[]).unwrap().graph);
    for (body, from, to) in [
        ("backbone.", "backbone.fc.", "head.fc."),
        ("model.backbone.", "model.backbone.fc.", "model.classifier."),
        ("backbone.", "backbone.fc.", "head."),
        ("0.", "0.fc.", "1."),
        ("model.0.", "model.0.fc.", "model.2."),
    ] {
        let file = renamed(&renamed(&bare, "", body), from, to);
        let model = load(&file, &[]).unwrap_or_else(|e| panic!("{to}: {e}"));
        assert_eq!(computed(&model.graph), expected, "{to}");
        assert_eq!(model.output, OutputKind::Logits);
    }
}

/// The children of a ResNet in a sequence, as feature extractors are made, and what is put behind them.
#[test]
fn numbered_children_are_a_network() {
    let bare = varied(torchvision());
    let numbered = {
        let mut file = bare.clone();
        for (from, to) in [("conv1.", "0."), ("bn1.", "1."), ("layer1.", "4."), ("layer2.", "5.")] {
            file.rename(from, to);
        }
        file
    };
    let with = |from: &str, to: &str| renamed(&numbered, from, to);
    let expected = computed(&load(&bare, &[]).unwrap().graph);
    for (file, prefix) in
        [(with("fc.", "9."), ""), (with("fc.", "10."), ""), (with("fc.", "9.1."), "module.")]
    {
        let model = load(&renamed(&file, "", prefix), &[]).unwrap_or_else(|e| panic!("{prefix}: {e}"));
        assert_eq!(computed(&model.graph), expected);
    }
    // Beside layers that have names a number is no place in a sequence.
    let mut stray = bare.clone();
    stray.remove("fc.weight");
    stray.remove("fc.bias");
    stray.set("9.weight", &[5, 8]);
    refused(&stray, &[], &["`9.weight`", "no layer of the network"]);
    let mut cut = numbered.clone();
    cut.remove("fc.weight");
    cut.remove("fc.bias");
    assert_eq!(load(&cut, &[]).unwrap().output, OutputKind::Features);
}

#[test]
fn what_training_leaves_is_listed_and_what_may_be_a_layer_is_refused() {
    let bare = varied(torchvision());
    let expected = computed(&load(&bare, &[]).unwrap().graph);
    let mut strays = renamed(&bare, "", "module.");
    for (name, shape) in [
        ("n_averaged", &[][..]),
        ("queue", &[16, 8]),
        ("criterion.weight", &[5]),
        ("optimizer.state.0.exp_avg", &[4, 3, 7, 7]),
        ("normalize.mean", &[1, 3, 1, 1]),
    ] {
        strays.set(name, shape);
    }
    let model = load(&strays, &[]).unwrap();
    assert_eq!(computed(&model.graph), expected);
    assert_eq!(
        model.ignored,
        ["criterion.weight", "n_averaged", "normalize.mean", "optimizer.state.0.exp_avg", "queue"]
    );

    for (name, shape) in [
        ("projector.0.weight", &[16, 8][..]),
        ("neck.running_mean", &[8]),
        ("decoder.conv.weight", &[8, 8, 3, 3]),
        ("module.extra.weight", &[3, 3]),
    ] {
        let mut file = strays.clone();
        file.set(name, shape);
        refused(&file, &[], &[&format!("`{name}`"), "no layer of the network", "`head=none`"]);
        // Who names the head, or says that there is none, has seen the rest.
        let model = load(&file, &[("head", "fc")]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(computed(&model.graph), expected, "{name}");
        assert!(model.ignored.contains(&name.to_string()), "{:?}", model.ignored);
        let features = load(&file, &[("head", "none")]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(features.output, OutputKind::Features);
        assert!(features.ignored.contains(&"module.fc.weight".to_string()), "{:?}", features.ignored);
    }
    // Under a block's own names everything must be read.
    // A single learned value may be a part of the function as well.
    for name in ["module.global_pool.p", "temperature", "scale.s"] {
        let mut file = strays.clone();
        file.set(name, &[1]);
        refused(&file, &[], &[&format!("`{name}`"), "part of its function"]);
    }
    for name in ["module.layer1.0.extra", "module.conv1.scale"] {
        let mut file = strays.clone();
        file.set(name, &[1]);
        refused(&file, &[], &["unexpected", &format!("`{name}`")]);
    }
}

#[test]
fn of_two_networks_one_is_named() {
    let (student, mut teacher) = (varied(torchvision()), varied(torchvision()));
    teacher.value("conv1.weight", 0, 0.75);
    let of = |teacher: &File| {
        let mut both = renamed(&student, "", "student.");
        both.tensors.extend(renamed(teacher, "", "teacher.").tensors);
        both
    };
    let both = of(&teacher);
    refused(&both, &[], &["several networks", "`student`", "`teacher`", "`prefix`"]);
    for (prefix, file) in [("student", &student), ("teacher.", &teacher)] {
        let model = load(&both, &[("prefix", prefix)]).unwrap();
        assert_eq!(computed(&model.graph), computed(&load(file, &[]).unwrap().graph));
        assert_eq!(model.ignored.len(), student.tensors.len());
    }
    refused(&both, &[("prefix", "other")], &["`prefix=other`", "`student`", "`teacher`"]);
    // Twice the same values are one network.
    let twice = load(&of(&student), &[]).unwrap();
    assert_eq!(computed(&twice.graph), computed(&load(&student, &[]).unwrap().graph));
    assert_eq!(twice.ignored, ["teacher.* (the same network again)"]);
    // A part of a prefix will do where it names one.
    let deep =
        renamed(&renamed(&both, "student.", "student.module.backbone."), "teacher.", "teacher.backbone.");
    let chosen = load(&deep, &[("prefix", "teacher")]).unwrap();
    assert_eq!(computed(&chosen.graph), computed(&load(&teacher, &[]).unwrap().graph));
    refused(&deep, &[("prefix", "backbone")], &["`student.module.backbone`", "`teacher.backbone`"]);
    // Who names a network has not seen what is in it.
    let mut neck = deep.clone();
    neck.set("teacher.backbone.neck.weight", &[8, 8]);
    refused(&neck, &[("prefix", "teacher")], &["`teacher.backbone.neck.weight`"]);
}

#[test]
fn heads_of_every_form_load() {
    let without = {
        let mut file = torchvision();
        file.remove("fc.weight");
        file.remove("fc.bias");
        file
    };
    let with = |layers: &[(&str, &[usize])]| {
        let mut file = without.clone();
        layers.iter().for_each(|(name, shape)| file.set(name, shape));
        varied(file)
    };
    let features = load(&with(&[]), &[]).unwrap();
    assert_eq!(
        (features.output, features.graph.shape(features.graph.output()).channels),
        (OutputKind::Features, 8)
    );
    assert!(models::in_words(&features.assumed).contains("pooled features"), "{:?}", features.assumed);

    let relus = |m: &Model| {
        let is_relu = |n: &&rmnet::graph::Node| n.name.ends_with(".relu") && n.shape.size() == [1, 1];
        m.graph.nodes().iter().filter(is_relu).count()
    };
    type Layers = &'static [(&'static str, &'static [usize])];
    let cases: [(Layers, usize); 9] = [
        (&[("fc.weight", &[5, 8])], 0),
        (&[("fc.1.weight", &[5, 8]), ("fc.1.bias", &[5])], 0),
        (&[("fc.weight", &[5, 8, 1, 1]), ("fc.bias", &[5])], 0),
        (&[("head.fc.weight", &[5, 8]), ("head.fc.bias", &[5])], 0),
        (&[("classifier.weight", &[5, 8]), ("classifier.bias", &[5])], 0),
        (&[("last_linear.weight", &[5, 8]), ("last_linear.bias", &[5])], 0),
        (&[("fc.0.weight", &[6, 8]), ("fc.2.weight", &[5, 6])], 1),
        (&[("fc.0.0.weight", &[6, 8]), ("fc.1.weight", &[5, 6])], 1),
        (&[("head.fc1.weight", &[6, 8]), ("head.fc2.weight", &[5, 6])], 1),
    ];
    for (layers, between) in cases {
        let model = load(&with(layers), &[]).unwrap_or_else(|e| panic!("{layers:?}: {e}"));
        assert_eq!(model.graph.shape(model.graph.output()).channels, 5, "{layers:?}");
        assert_eq!(relus(&model), between, "{layers:?}");
        if between > 0 {
            assert!(models::in_words(&model.assumed).contains("ReLU between"), "{:?}", model.assumed);
            assert_eq!(relus(&load(&with(layers), &[("head_activation", "none")]).unwrap()), 0);
        }
    }
    let mut norm = with(&[("fc.0.weight", &[6, 8]), ("fc.3.weight", &[5, 6])]);
    norm.norm("fc.1", 6);
    assert_eq!(relus(&load(&norm, &[]).unwrap()), 1);
    // The same a module deeper: neighbours under one name are neighbours.
    let mut deeper = with(&[("head.fc.1.weight", &[6, 8]), ("head.fc.5.weight", &[5, 6])]);
    deeper.norm("head.fc.2", 6);
    let model = load(&deeper, &[]).unwrap();
    assert!(model.graph.find("head.fc.5.relu").is_some() && relus(&model) == 1);

    // A batch norm in front, as fastai has it: no ReLU before the first linear layer. Behind it two places are free.
    let mut fastai = with(&[("fc.2.weight", &[6, 8]), ("fc.6.weight", &[5, 6])]);
    fastai.norm("fc.0", 8);
    assert_eq!(relus(&load(&fastai, &[]).unwrap()), 1);
    fastai.norm("fc.4", 6);
    let model = load(&fastai, &[]).unwrap();
    assert!(model.graph.find("fc.4.relu").is_some() && relus(&model) == 1);
    // Neighbours have no place between them: a list of modules, or no function at all.
    let list = with(&[("fc.0.weight", &[6, 8]), ("fc.1.weight", &[5, 6])]);
    refused(&list, &[], &["`fc.0`", "`fc.1`", "`head_activation`"]);
    assert_eq!(relus(&load(&list, &[("head_activation", "none")]).unwrap()), 0);
    assert_eq!(relus(&load(&list, &[("head_activation", "relu")]).unwrap()), 1);
    // Names without numbers have no order, unless it is stated; a neck is a part of the head that is stated.
    let named = with(&[("head.proj.weight", &[8, 8]), ("head.cls.weight", &[5, 8])]);
    refused(&named, &[], &["order", "`head.cls`", "`head.proj`"]);
    let model = load(&named, &[("head", "head.proj,head.cls"), ("head_activation", "none")]).unwrap();
    let at = |name: &str| model.graph.find(name).expect(name);
    assert!(at("head.proj") < at("head.cls"));
    let mut neck = with(&[("classifier.weight", &[5, 8])]);
    neck.norm("bottleneck", 8);
    refused(&neck, &[], &["`bottleneck.", "`head=classifier`"]);
    let model = load(&neck, &[("head", "bottleneck,classifier")]).unwrap();
    assert!(model.graph.find("bottleneck") < model.graph.find("classifier") && model.ignored.is_empty());

    let two = with(&[("fc.weight", &[5, 8]), ("classifier.weight", &[5, 8])]);
    refused(&two, &[], &["several heads", "`fc`", "`classifier`"]);
    let own = with(&[("my_head.weight", &[4, 8])]);
    refused(&own, &[], &["`my_head.weight`", "`head=my_head`"]);
    assert_eq!(load(&own, &[("head", "my_head")]).unwrap().graph.nodes().last().unwrap().shape.channels, 4);
    assert_eq!(load(&own, &[("head", "none")]).unwrap().ignored, ["my_head.weight"]);
    refused(&own, &[("head", "other")], &["`head=other`", "no tensor of the name"]);
    refused(&with(&[("fc.weight", &[5, 9])]), &[], &["`fc.weight`", "[any, 8]", "[5, 9]"]);
    refused(&with(&[("fc.weight", &[8])]), &[], &["`fc.weight`", "vector"]);
    // A config that says that there is a classifier is believed.
    let mut cut = with(&[]);
    cut.config =
        Some(json!({ "architecture": "resnet10", "num_classes": 5, "model_args": { "layers": [1, 1] } }));
    refused(&cut, &[], &["missing", "`fc.weight`"]);
}

/// Stride and dilation of a convolution.
fn step(model: &Model, name: &str) -> (usize, usize) {
    let node = model.graph.node(model.graph.find(name).expect(name));
    let Op::Conv2d(conv) = &node.op else { panic!("{name} is no convolution") };
    (conv.stride[0], conv.dilation[0])
}

#[test]
fn what_no_tensor_shows_is_listed_and_can_be_stated() {
    let file = torchvision();
    let model = load(&file, &[]).unwrap();
    assert_eq!(
        models::in_words(&model.assumed),
        "stem stride 2, max-pool; stage strides 1 2; no dilation; batch norm eps 1e-5; ReLU; no anti-aliasing; average pool at the \
         end; images to 36 at the shorter side, bilinear, cropped to 32x32, mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225"
    );
    assert!(model.assumed.iter().all(|a| !a.stated));

    let stated = |pairs: &[(&str, &str)]| load(&file, pairs).unwrap_or_else(|e| panic!("{pairs:?}: {e}"));
    assert_eq!(step(&stated(&[("stem_stride", "1")]), "conv1").0, 1);
    assert_eq!(stated(&[("stem_pool", "false")]).graph.find("maxpool"), None);
    assert_eq!(step(&stated(&[("stage_strides", "1,1")]), "layer2.0.conv1").0, 1);
    assert_eq!(step(&stated(&[("block_strides", "1,4")]), "layer2.0.conv1").0, 4);
    // The first block of a dilated stage convolves as the stage before, and strides no more.
    let dilated = stated(&[("dilation", "1,2")]);
    assert_eq!(step(&dilated, "layer2.0.conv1"), (1, 1));
    assert_eq!(step(&dilated, "layer2.0.conv2"), (1, 2));
    let relu6 = stated(&[("activation", "relu6")]);
    let clipped = |n: &rmnet::graph::Node| matches!(n.op, Op::Activation(Activation::Relu6));
    assert!(relu6.graph.nodes().iter().filter(|n| clipped(n)).count() >= 5);
    let eps = stated(&[("batch_norm_eps", "0.001")]);
    let node = eps.graph.node(eps.graph.find("layer2.0.bn2").unwrap());
    assert!(matches!(&node.op, Op::BatchNorm(bn) if bn.epsilon == 1e-3));
    assert!(eps.assumed.iter().any(|a| a.stated && a.to_string() == "batch_norm_eps=0.001"));

    for (pairs, words) in [
        (&[("stage_strides", "1,2,2")][..], &["`stage_strides=1,2,2`", "2 stages"][..]),
        (&[("stage_strides", "2,2")], &["missing", "`layer1.0.downsample.0.weight`"]),
        (&[("stride_in", "1x1")], &["`stride_in=1x1`", "depends"]),
        (&[("activation", "prelu")], &["missing", "relu"]),
        (&[("anti_alias", "3")], &["anti-aliased", "3"]),
        (&[("shortcut_pool", "true")], &["`shortcut_pool=true`", "depends"]),
        (&[("head_activation", "none")], &["`head_activation=none`"]),
        (&[("stem", "1")], &["stem_stride"]),
    ] {
        refused(&file, pairs, words);
    }
    // The same in config.json, and what is stated at the call counts for more.
    let mut with_config = file.clone();
    put(&mut with_config, "rmnet", json!({ "stem_pool": false, "stage_strides": [1, 1] }));
    let model = load(&with_config, &[]).unwrap();
    assert_eq!((model.graph.find("maxpool"), step(&model, "layer2.0.conv1").0), (None, 1));
    assert!(load(&with_config, &[("stem_pool", "true")]).unwrap().graph.find("maxpool").is_some());
    put(&mut with_config, "rmnet", json!({ "stem_pol": false }));
    refused(&with_config, &[], &["stem_pol", "stem_pool"]);
}

#[test]
fn a_stated_stride_allows_a_projection_that_it_does_not_need() {
    let mut file = torchvision();
    // A network whose last stage keeps its width and, changed by hand, its size.
    file.unit(["conv1", "bn1"].map(|w| format!("layer2.0.{w}")), [4, 4, 3, 3]);
    file.unit(["conv2", "bn2"].map(|w| format!("layer2.0.{w}")), [4, 4, 3, 3]);
    file.unit(["downsample.0", "downsample.1"].map(|w| format!("layer2.0.{w}")), [4, 4, 1, 1]);
    file.set("fc.weight", &[5, 4]);
    assert_eq!(step(&load(&file, &[]).unwrap(), "layer2.0.downsample.0").0, 2);
    assert_eq!(step(&load(&file, &[("stage_strides", "1,1")]).unwrap(), "layer2.0.downsample.0").0, 1);
}

#[test]
fn slopes_show_a_prelu() {
    let mut file = torchvision();
    file.set("relu.weight", &[4]);
    file.set("layer1.0.relu.weight", &[1]);
    file.set("layer2.0.relu.weight", &[8]);
    let model = load(&file, &[]).unwrap();
    let slopes = |n: &rmnet::graph::Node| matches!(n.op, Op::Activation(Activation::PRelu(_)));
    assert_eq!(model.graph.nodes().iter().filter(|n| slopes(n)).count(), 5);
    assert!(!models::in_words(&model.assumed).contains("ReLU"));
    refused(&file, &[("activation", "relu")], &["`activation=relu`", "prelu"]);
}

#[test]
fn a_written_file_keeps_what_it_rests_on() {
    let model = load(&varied(torchvision()), &[("stem_pool", "false")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.safetensors");
    let graph = rewrite::for_mode(&model.graph, Mode::Structured).unwrap().graph;
    saved::save(&path, &graph, &About::model(&model)).unwrap();
    let loaded = models::load(&Checkpoint::open(&path).unwrap(), None).unwrap();
    assert_eq!((&loaded.assumed, loaded.scores, loaded.output), (&model.assumed, model.scores, model.output));
    assert!(loaded.assumed.iter().any(|a| a.stated && a.to_string() == "stem_pool=false"));
    let mut assume = Assume::default();
    assume.state("stem_pool", "true").unwrap();
    let error = Model::load(&Checkpoint::open(&path).unwrap(), &LoadOptions::default().assume(assume))
        .unwrap_err()
        .to_string();
    assert!(error.contains("stem_pool"), "{error}");
}

#[test]
fn scores_follow_the_problem() {
    let scores = |file: &File| load(file, &[]).unwrap().scores;
    let mut file = torchvision();
    assert_eq!(scores(&file), Scores::Softmax);
    for (problem, expected) in [
        ("multi_label_classification", Scores::Sigmoid),
        ("single_label_classification", Scores::Softmax),
        ("regression", Scores::Raw),
    ] {
        put(&mut file, "problem_type", json!(problem));
        assert_eq!(scores(&file), expected, "{problem}");
    }
    put(&mut file, "problem_type", json!("guess"));
    refused(&file, &[], &["`problem_type`", "guess"]);
    let mut one = torchvision();
    one.set("fc.weight", &[1, 8]);
    one.set("fc.bias", &[1]);
    assert_eq!(scores(&one), Scores::Sigmoid);
}

#[test]
fn metadata_of_another_program_is_no_chain() {
    let file = varied(torchvision());
    let bytes = file.to_bytes();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for text in ["1.2", "not json", "{\"trained_by\": \"me\"}"] {
        let metadata = std::collections::HashMap::from([("rmnet".to_string(), text.to_string())]);
        let bytes = safetensors::serialize(tensors.tensors(), Some(metadata)).unwrap();
        let model = models::load(&Checkpoint::from_bytes(bytes, None).unwrap(), Some([32, 32])).unwrap();
        assert_eq!(model.ignored, ["metadata `rmnet`"], "{text}");
        assert_eq!(computed(&model.graph), computed(&load(&file, &[]).unwrap().graph));
    }
}
