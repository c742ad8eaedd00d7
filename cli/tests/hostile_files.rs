//! Files that are none, names that are no text, outputs in odd places, and signals in the middle: the program neither hangs nor panics,
//! and leaves nothing behind.
#![cfg(target_os = "linux")]

#[path = "common/root.rs"]
mod root;

use root::at_root;
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const DIGITS: &str = "assets/digits";
const SEVEN: &str = "assets/digits/images/0374_7.png";

/// More than any of these commands takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

fn start(args: &[&OsStr], cache: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmnet"));
    let as_ever = || {
        // A shell starts what runs in the background with some of them ignored.
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: it may be called in a child before it runs its program.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: as above, and nothing else is done there.
    unsafe { command.pre_exec(as_ever) };
    command
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("RMNET_CACHE_DIR", cache)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

/// Its output, where it ends in time.
#[track_caller]
fn end(mut child: Child, what: &dyn std::fmt::Debug) -> Output {
    let start = Instant::now();
    while child.try_wait().expect("a state").is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().expect("it is killed");
            panic!("{what:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("its output")
}

#[track_caller]
fn run(args: &[&OsStr]) -> (i32, String, String) {
    run_with(args, Path::new("none"))
}

#[track_caller]
fn run_with(args: &[&OsStr], cache: &Path) -> (i32, String, String) {
    let output = end(start(args, cache), &args);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (out, said) = (text(output.stdout), text(output.stderr));
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    (output.status.code().unwrap_or(-1), out, said)
}

fn os<'a>(args: &[&'a str]) -> Vec<&'a OsStr> {
    args.iter().map(|a: &&'a str| OsStr::new(*a)).collect()
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> =
        fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    names
}

#[test]
fn what_is_no_file_is_refused_wherever_a_file_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (pipe, socket) = (at("pipe"), at("socket"));
    mkfifo(&pipe);
    let _held = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let strange =
        [pipe.as_path(), &socket, Path::new("/dev/zero"), Path::new("/dev/random"), Path::new("/dev/stdin")];
    for path in strange {
        let path = path.as_os_str();
        let read: [&[&str]; 9] = [
            &["inspect"],
            &["run", DIGITS, "--adapter", "cpu"],
            &["run", DIGITS, SEVEN, "--adapter", "cpu", "--labels"],
            &["run", DIGITS, SEVEN, "--adapter", "cpu", SEVEN],
            &["verify", DIGITS, "--adapter", "cpu"],
            &[
                "prune",
                DIGITS,
                "-o",
                "target/never.safetensors",
                "--ratio",
                "0.1",
                "--criterion",
                "mean",
                "--calibration",
            ],
            &["bench", DIGITS, "--adapter", "cpu", "--baseline"],
            &["wgsl", DIGITS, "--adapter", "cpu", "--tuning"],
            &["plan"],
        ];
        for args in read {
            let args: Vec<&OsStr> = [&os(args)[..], &[path]].concat();
            let (code, _, said) = run(&args);
            let refused = said.contains("regular file") || said.contains("--adapter cpu");
            assert!(matches!(code, 2 | 3) && refused, "{args:?}: {code}, {said}");
        }
    }
    // Beside the weights, as the index of shards, among the images of a folder, and as what an earlier run kept.
    for config in ["config.json", "preprocessor_config.json", "processor_config.json"] {
        let model = at(&format!("beside-{config}"));
        fs::create_dir(&model).expect("a folder");
        fs::copy(at_root(format!("{DIGITS}/model.safetensors")), model.join("model.safetensors"))
            .expect("a copy");
        mkfifo(&model.join(config));
        let (code, _, said) = run(&[OsStr::new("inspect"), model.as_os_str()]);
        assert!(code == 3 && said.contains(config) && said.contains("regular file"), "{said}");
        fs::remove_file(model.join(config)).expect("a pipe");
        symlink("/dev/zero", model.join(config)).expect("a link");
        let (code, _, said) = run(&[OsStr::new("inspect"), model.as_os_str()]);
        assert!(code == 3 && said.contains(config) && said.contains("regular file"), "{said}");
    }
    let index = at("model.safetensors.index.json");
    fs::write(&index, json!({ "weight_map": { "a": "pipe" } }).to_string()).expect("a file");
    let (code, _, said) = run(&[OsStr::new("inspect"), index.as_os_str()]);
    assert!(code == 3 && said.contains("regular file"), "{said}");
    let images = at("images");
    fs::create_dir(&images).expect("a folder");
    fs::copy(at_root(SEVEN), images.join("seven.png")).expect("a copy");
    mkfifo(&images.join("pipe.png"));
    symlink("/dev/zero", images.join("zero.png")).expect("a link");
    let folder_of_images =
        [&os(&["run", DIGITS])[..], &[images.as_os_str()], &os(&["--adapter", "cpu"])].concat();
    let (code, out, said) = run(&folder_of_images);
    assert!(code == 0 && out.contains("seven.png") && said.contains("2 files"), "{said}");
    let cache = at("cache");
    fs::create_dir(&cache).expect("a folder");
    mkfifo(&cache.join("tuning.json"));
    // With an adapter where there is one: the kept tuning is looked for there.
    let (code, _, said) = run_with(&os(&["run", DIGITS, SEVEN, "--adapter", "vulkan"]), &cache);
    assert!(code == 4 || said.contains("tuning.json"), "{code}, {said}");
}

#[test]
fn configs_and_other_texts_are_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = folder.path().join("large");
    fs::File::create(&large).expect("a file").set_len(20 << 20).expect("a length");
    let large = large.as_os_str();
    for args in [
        &["run", DIGITS, SEVEN, "--adapter", "cpu", "--labels"][..],
        &["bench", DIGITS, "--adapter", "cpu", "--baseline"],
    ] {
        let (code, _, said) = run(&[&os(args)[..], &[large]].concat());
        assert!(code == 3 && said.contains("bytes at most"), "{said}");
    }
    let model = folder.path().join("model");
    fs::create_dir(&model).expect("a folder");
    fs::copy(at_root(format!("{DIGITS}/model.safetensors")), model.join("model.safetensors"))
        .expect("a copy");
    for config in ["config.json", "preprocessor_config.json"] {
        let text = format!("{{{}\"a\": 1}}", " ".repeat(1 << 20));
        fs::write(model.join(config), text).expect("a file");
        let (code, _, said) = run(&[OsStr::new("inspect"), model.as_os_str()]);
        assert!(code == 3 && said.contains(config) && said.contains("1048576 bytes"), "{said}");
        fs::remove_file(model.join(config)).expect("a file");
    }
}

/// Verbs that write a file, without its name.
fn writers() -> Vec<Vec<&'static OsStr>> {
    vec![
        os(&["convert", DIGITS, "-o"]),
        os(&["convert", DIGITS, "--format", "onnx", "-o"]),
        os(&["prune", DIGITS, "--ratio", "0.2", "-o"]),
        os(&["run", DIGITS, SEVEN, "--adapter", "cpu", "--logits"]),
        os(&["plan", DIGITS, "--svg"]),
        os(&["verify", DIGITS, "--no-device", "--certificate"]),
        os(&["profile", DIGITS, "--adapter", "cpu", "--seconds", "0", "--runs", "1", "--trace"]),
    ]
}

#[test]
fn names_that_are_no_text_and_names_as_long_as_can_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = "x".repeat(255);
    for name in [OsStr::from_bytes(b"out\xff\xfe\x1b[2J"), OsStr::new(&long)] {
        let path = folder.path().join(name);
        for args in writers() {
            for json in [&[][..], &os(&["--json"])] {
                let args = [&args[..], &[path.as_os_str()], json].concat();
                let (code, out, said) = run(&args);
                assert_eq!(code, 0, "{args:?}: {said}");
                assert!(json.is_empty() || serde_json::from_str::<Value>(&out).is_ok(), "{out}");
                assert!(!steers(&out) && !steers(&said), "{args:?}: {out:?} {said:?}");
                assert_eq!(names(folder.path()), [name], "{args:?}");
                fs::remove_file(&path).expect("a file");
            }
        }
    }
    // As input: a checkpoint, a folder with one, an image, labels, a baseline.
    let strange = folder.path().join(OsStr::from_bytes(b"in\xff\n\x1b[2J"));
    fs::create_dir(&strange).expect("a folder");
    let weights = strange.join(OsStr::from_bytes(b"w\xff.safetensors"));
    fs::copy(at_root(format!("{DIGITS}/model.safetensors")), &weights).expect("a copy");
    let image = strange.join(OsStr::from_bytes(b"i\xff\n.png"));
    fs::copy(at_root(SEVEN), &image).expect("a copy");
    for (args, path, code) in [
        (os(&["inspect"]), &weights, 0),
        (os(&["inspect"]), &strange, 0),
        (os(&["run", DIGITS, "--adapter", "cpu"]), &image, 0),
        (os(&["run", DIGITS, "--adapter", "cpu"]), &strange, 0),
        (os(&["run", DIGITS, "--jsonl", "--adapter", "cpu"]), &image, 0),
        (os(&["run", DIGITS, SEVEN, "--adapter", "cpu", "--labels"]), &image, 3),
        (os(&["bench", DIGITS, "--adapter", "cpu", "--baseline"]), &image, 3),
        (os(&["run", DIGITS, SEVEN, "--adapter", "cpu", "--tuning"]), &image, 2),
        (os(&["run", DIGITS, SEVEN, "--adapter", "cpu", "--cache"]), &strange, 0),
        (os(&["no-such-verb"]), &image, 2),
    ] {
        let args = [&args[..], &[path.as_os_str()]].concat();
        let (found, out, said) = run(&args);
        assert_eq!(found, code, "{args:?}: {said}");
        assert!(!steers(&out) && !steers(&said), "{args:?}: {out:?} {said:?}");
    }
}

#[test]
fn links_are_followed_and_devices_are_not_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("far")).expect("a folder");
    for args in writers() {
        symlink("far/out", at("link")).expect("a link");
        // Dangling, and then over what is there.
        for _ in 0..2 {
            let (code, _, said) = run(&[&args[..], &[at("link").as_os_str()]].concat());
            assert_eq!(code, 0, "{args:?}: {said}");
            assert!(fs::symlink_metadata(at("link")).expect("a link").is_symlink());
            assert_eq!(names(&at("far")), ["out"], "{args:?}");
        }
        fs::remove_file(at("far/out")).expect("a file");
        fs::remove_file(at("link")).expect("a link");
    }
    symlink("loop", at("loop")).expect("a link");
    symlink("far", at("to-folder")).expect("a link");
    mkfifo(&at("pipe"));
    symlink("pipe", at("to-pipe")).expect("a link");
    let before = names(folder.path());
    let null = fs::symlink_metadata("/dev/null").expect("a device").file_type();
    let refused = ["loop", "to-folder", "pipe", "to-pipe", "none/out", "far/"].map(at);
    let devices = ["/dev/null", "/dev/full", "/dev/stdout", "/proc/self/fd/1"].map(PathBuf::from);
    for path in refused.iter().chain(&devices) {
        for args in writers() {
            let args = [&args[..], &[path.as_os_str()]].concat();
            let (code, out, said) = run(&args);
            assert!(matches!(code, 2 | 3) && !said.is_empty(), "{args:?}: {code}, {said}");
            assert!(out.is_empty(), "{args:?}: refused after it ran: {out}");
        }
    }
    assert_eq!(names(folder.path()), before);
    assert_eq!(fs::symlink_metadata("/dev/null").expect("a device").file_type(), null);
}

/// Whether a text has characters that steer a terminal.
fn steers(text: &str) -> bool {
    let bidi =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|c| (c.is_control() && c != '\n') || bidi(c))
}

const STEERING: &str = "\u{1b}[31mred\u{7}\r\u{9b}2J\u{202e}x\u{2066}\u{0}\u{7f}";

/// A safetensors file of these tensors.
fn write_tensors(path: &Path, metadata: Value, tensors: &[(&str, &[usize])]) {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), metadata);
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        header.insert(
            name.to_string(),
            json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] }),
        );
    }
    let header = Value::from(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    // No zeros, which a convolution would do without.
    bytes.extend(0.01f32.to_le_bytes().repeat(end / 4));
    fs::write(path, &bytes).expect("a file");
}

/// The metadata of a saved chain: the mean of the map, then 1x1 convolutions of these widths. All but the first have the same weights.
fn chain(widths: &[usize], layer: &str, family: &str, labels: Value) -> Value {
    let mut nodes = vec![json!({ "name": "mean", "inputs": [0], "op": "global_average" })];
    for (i, pair) in widths.windows(2).enumerate() {
        let (from, to) = (pair[0], pair[1]);
        nodes.push(json!({
            "name": format!("{layer}{i}"), "inputs": [i + 1], "op": "conv2d", "in_channels": from, "out_channels": to,
            "kernel": [1, 1], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1],
            "blocks": [{ "out": { "start": 0, "end": to }, "input": { "start": 0, "end": from }, "kind": "dense",
                "tensor": format!("w{}", i.min(1)), "groups": 1 }],
            "bias": format!("b{}", i.min(1)), "activation": [[{ "start": 0, "end": to }, "identity"]],
        }));
    }
    let chain = json!({
        "version": 1, "family": family, "labels": labels, "input": [3, 4, 4], "nodes": nodes,
        "preprocess": { "size": [4, 4], "resize": "none", "interpolation": "bilinear", "crop_rule": "torchvision",
            "crop_pct": 1.0, "rescale": 0.004, "mean": [0, 0, 0], "std": [1, 1, 1] },
    });
    json!({ "rmnet": chain.to_string() })
}

#[test]
fn texts_of_a_file_never_steer_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let small: [(&str, &[usize]); 2] = [("w0", &[2, 3, 1, 1]), ("b0", &[2])];
    write_tensors(&at("layer.safetensors"), chain(&[3, 2], STEERING, "x", Value::Null), &small);
    write_tensors(&at("family.safetensors"), chain(&[3, 2], "l", STEERING, Value::Null), &small);
    write_tensors(&at("labels.safetensors"), chain(&[3, 2], "l", "x", json!([STEERING, "a\nb"])), &small);
    let tensor = format!("{STEERING}\n.weight");
    write_tensors(&at("tensor.safetensors"), json!({}), &[(&tensor, &[2, 3, 1, 1])]);
    write_tensors(
        &at("both.safetensors"),
        chain(&[3, 2], "l", "x", Value::Null),
        &[small[0], small[1], (&tensor, &[1])],
    );
    write_tensors(&at("metadata.safetensors"), json!({ STEERING: STEERING, "rmnet": STEERING }), &small);
    let config = at("config");
    fs::create_dir(&config).expect("a folder");
    fs::copy(at_root(format!("{DIGITS}/model.safetensors")), config.join("model.safetensors"))
        .expect("a copy");
    fs::write(config.join("config.json"), json!({ "architecture": STEERING, STEERING: 1 }).to_string())
        .expect("a file");
    let image = at(&format!("i{}\n.png", STEERING.replace('\0', "")));
    fs::copy(at_root(SEVEN), &image).expect("a copy");
    let cut = at(&format!("cut{}\n.png", STEERING.replace('\0', "")));
    fs::write(&cut, &fs::read(at_root(SEVEN)).expect("an image")[..60]).expect("a file");
    let labels = at("labels.txt");
    fs::write(&labels, format!("{}\n", STEERING.replace('\r', "")).repeat(10)).expect("a file");

    let mut commands: Vec<Vec<OsString>> = vec![];
    let mut add = |args: &[&OsStr]| commands.push(args.iter().map(|a| a.into()).collect());
    let checkpoints = ["layer", "family", "labels", "tensor", "both", "metadata"];
    for name in checkpoints.map(|n| at(&format!("{n}.safetensors"))).iter().chain([&config]) {
        let name = name.as_os_str();
        for verb in ["inspect", "plan", "wgsl"] {
            add(&[OsStr::new(verb), name]);
        }
        add(&[&os(&["verify", "--no-device"])[..], &[name]].concat());
        add(&[&os(&["run", "--adapter", "cpu"])[..], &[name, OsStr::new(SEVEN)]].concat());
    }
    for image in [&image, &cut] {
        add(&[&os(&["run", "--adapter", "cpu", DIGITS])[..], &[image.as_os_str()]].concat());
    }
    add(&[&os(&["run", "--adapter", "cpu", DIGITS, SEVEN, "--labels"])[..], &[labels.as_os_str()]].concat());
    let mut done = 0;
    for command in &commands {
        let args: Vec<&OsStr> = command.iter().map(OsString::as_os_str).collect();
        let (code, out, said) = run(&args);
        assert!(matches!(code, 0 | 3), "{args:?}: {code}, {said}");
        done += usize::from(code == 0);
        assert!(!steers(&out) && !steers(&said), "{args:?}: {out:?} {said:?}");
        // A name is on one line, whatever it says.
        assert!(said.lines().all(|l| l.contains(": ") || l.contains("are skipped")), "{args:?}: {said}");
        let (again, json, _) = run(&[&args[..], &os(&["--json"])].concat());
        assert_eq!(again, code, "{args:?}");
        assert!(!steers(&json), "{args:?}: {json:?}");
        serde_json::from_str::<Value>(&json).unwrap_or_else(|e| panic!("{args:?}: {e} in {json}"));
    }
    assert!(done >= 5, "only {done} of {} commands came to an end without an error", commands.len());
}

/// A converter that has begun to write its file, in this folder, and has a quarter of a gigabyte to go; and the file that it reads.
fn converting(folder: &Path) -> (Child, PathBuf) {
    let file = folder.join("large.safetensors");
    // Every layer is written with weights of its own: 64 MiB. More of them would be out of proportion to the file.
    let mut widths = vec![3];
    widths.extend([4096; 5]);
    let tensors: [(&str, &[usize]); 4] =
        [("w0", &[4096, 3, 1, 1]), ("b0", &[4096]), ("w1", &[4096, 4096, 1, 1]), ("b1", &[4096])];
    write_tensors(&file, chain(&widths, "l", "x", Value::Null), &tensors);
    let out = folder.join("out");
    fs::create_dir(&out).expect("a folder");
    let to = out.join("out.safetensors");
    let mut child = start(
        &[OsStr::new("convert"), file.as_os_str(), OsStr::new("-o"), to.as_os_str()],
        Path::new("none"),
    );
    let start = Instant::now();
    // The file that is not whole is in a folder of its own.
    let inside = |entry: fs::DirEntry| fs::read_dir(entry.path()).into_iter().flatten().flatten();
    let begun = |entry: fs::DirEntry| entry.metadata().is_ok_and(|m| m.len() > 0);
    while !fs::read_dir(&out).expect("a folder").flatten().flat_map(inside).any(begun) {
        assert!(start.elapsed() < PATIENCE, "nothing is written");
        assert_eq!(child.try_wait().expect("a state"), None, "it ended");
        std::thread::sleep(Duration::from_micros(200));
    }
    (child, file)
}

#[test]
fn a_signal_leaves_nothing_behind_and_ends_it_as_ever() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let in_time = || {
            let folder = tempfile::tempdir().expect("a folder");
            let (child, _) = converting(folder.path());
            // SAFETY: a child that was not waited for yet.
            assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
            let output = end(child, &signal);
            if output.status.success() {
                // It was done before it heard: then its file is whole.
                assert_eq!(names(&folder.path().join("out")), ["out.safetensors"]);
                return false;
            }
            assert_eq!(output.status.signal(), Some(signal), "{:?}", output.status);
            assert_eq!(names(&folder.path().join("out")), [] as [&str; 0]);
            true
        };
        assert!((0..10).any(|_| in_time()), "signal {signal} never came in time");
    }
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.safetensors");
    let script = format!(
        "trap '' HUP; {} convert {DIGITS} -o {} & pid=$!; for i in 1 2 3 4 5 6 7 8; do kill -HUP $pid 2>/dev/null; done; wait $pid",
        env!("CARGO_BIN_EXE_rmnet"),
        out.display()
    );
    let status = Command::new("sh")
        .args(["-c", &script])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("a shell");
    assert_eq!(status.status.code(), Some(0), "{}", String::from_utf8_lossy(&status.stderr));
    assert_eq!(names(folder.path()), ["out.safetensors"]);
}

#[test]
fn a_file_that_is_cut_while_it_is_read_ends_with_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let (child, file) = converting(folder.path());
    fs::OpenOptions::new().write(true).open(&file).expect("a file").set_len(4096).expect("a length");
    let output = end(child, &"convert");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{:?}: {said}", output.status);
    assert!(said.contains("cut short while it was read"), "{said}");
    assert_eq!(names(&folder.path().join("out")), [] as [&str; 0]);
}

/// Standard error and output on a full device: an error, no panic.
#[test]
fn nowhere_to_write_is_no_panic() {
    for (args, code) in [
        (&["inspect", DIGITS][..], 3),
        (&["inspect", "no-such-file"], 3),
        (&["no-such-verb"], 2),
        (&["run", DIGITS, SEVEN, "--adapter", "cpu"], 3),
        (&["run", DIGITS, SEVEN, "--adapter", "cpu", "--jsonl"], 3),
        (&["run", DIGITS, SEVEN, "--adapter", "cpu", "--json"], 3),
    ] {
        let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let status = Command::new(env!("CARGO_BIN_EXE_rmnet"))
            .args(args)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stdout(full())
            .stderr(full())
            .status()
            .expect("the program runs");
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

/// With less and less memory the program runs, or says that there is too little: it neither hangs nor panics. Where not even the loader has
/// what it needs, the system ends it.
#[test]
#[cfg(target_os = "linux")]
fn too_little_memory_for_threads_is_said() {
    let limited = |kib: usize, args: &str| {
        let script = format!("ulimit -v {kib}; exec {} {args}", env!("CARGO_BIN_EXE_rmnet"));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        end(child.expect("a shell"), &script)
    };
    let starts = |kib: &usize| limited(*kib, "--version").status.success();
    let least = (8..200).map(|n| n * 4096).find(starts).expect("it starts in 800 MiB");
    let mut refused = 0;
    for more in (0..20).map(|n| n * 2048) {
        let output = limited(least + more, &format!("run {DIGITS} {SEVEN} --adapter cpu"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(101), "{} KiB: {said}", least + more);
        if output.status.code() == Some(6) {
            assert!(said.contains("memory") || said.contains("cannot be had"), "{said}");
            refused += 1;
        }
    }
    assert!(refused > 0, "there was always enough");
    assert!(limited(1 << 22, &format!("run {DIGITS} {SEVEN} --adapter cpu")).status.success());
}
