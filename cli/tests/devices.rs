//! Where a network runs: the default device, adapters asked for, what is passed over and how the program says so. The tests hold
//! on any machine, with and without GPUs; where drivers are hidden they are hidden from the loader of Vulkan.

use rmnet::gpu::{self, AdapterChoice, AdapterReport, Gpu, HardwareGpu};
use rmnet::models::Model;
use rmnet::{Device, Options, Session};
use serde_json::Value;
use std::process::{Command, Output};

const DIGITS: &str = "assets/digits";
const IMAGE: &str = "assets/digits/images/0374_7.png";

/// Which drivers the program sees.
#[derive(Clone, Copy, PartialEq)]
enum Drivers {
    Installed,
    /// None of Vulkan's. OpenGL may still be there.
    Hidden,
}

fn rmnet(drivers: Drivers, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmnet"));
    command
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("RUST_LOG", "off")
        .env("RMNET_CACHE_DIR", "none");
    if drivers == Drivers::Hidden {
        for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(variable, "/no/such/driver.json");
        }
        command.env_remove("VK_ADD_DRIVER_FILES");
    }
    command.output().expect("the program runs")
}

/// The JSON object of a run with that exit code, and its standard error.
#[track_caller]
fn json(drivers: Drivers, args: &[&str], code: i32) -> (Value, String) {
    let output = rmnet(drivers, &[args, &["--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    (serde_json::from_slice(&output.stdout).expect("one JSON object"), stderr)
}

/// The adapters that `devices` lists, and its default: a position, or none for the CPU.
fn listed(drivers: Drivers) -> (Vec<Value>, Option<usize>) {
    let (report, _) = json(drivers, &["devices"], 0);
    let default = report["default"].as_u64().map(|i| i as usize);
    assert_eq!(default.is_none(), report["default"] == "cpu");
    (report["adapters"].as_array().expect("a list").clone(), default)
}

fn usable(adapter: &Value) -> bool {
    adapter["problem"].is_null()
}

#[test]
fn runs_at_a_time_are_timed() {
    let of = |verb: &[&str]| json(Drivers::Installed, verb, 0).0;
    let short = ["bench", DIGITS, "--adapter", "cpu", "--runs", "3", "--seconds", "0"];
    assert!(of(&short).get("in_flight").is_none());
    let found = of(&[&short as &[&str], &["--in-flight", "5"]].concat());
    assert_eq!(found["in_flight"]["requests"], 5);
    assert_eq!(found["in_flight"]["end_to_end"]["count"], 15);
    assert!(found["in_flight"]["images_per_second"].as_f64().is_some_and(|n| n > 0.0), "{found}");
}

#[test]
fn the_default_is_the_first_hardware_gpu_else_the_cpu() {
    for drivers in [Drivers::Installed, Drivers::Hidden] {
        let (adapters, default) = listed(drivers);
        assert_eq!(default, adapters.iter().position(|a| a["kind"] != "software" && usable(a)));
        let verbs: [&[&str]; 3] = [
            &["run", DIGITS, IMAGE],
            &["verify", DIGITS, IMAGE],
            &["bench", DIGITS, "--runs", "1", "--seconds", "0"],
        ];
        for verb in verbs {
            let (report, stderr) = json(drivers, verb, 0);
            let device = report["device"].as_str().expect("a device");
            let passed_over = report["passed_over"].as_array().expect("a list");
            match default {
                Some(i) => {
                    assert!(device.starts_with(adapters[i]["name"].as_str().expect("a name")), "{device}");
                    assert!(passed_over.is_empty() && !stderr.contains("note:"), "{verb:?}: {stderr}");
                }
                None => {
                    assert!(device.starts_with("cpu"), "{verb:?}: {device}");
                    assert!(stderr.contains("CPU executor"), "{verb:?}: {stderr}");
                    assert_eq!(passed_over.len(), adapters.len());
                    for (i, (adapter, passed)) in adapters.iter().zip(passed_over).enumerate() {
                        let name = adapter["name"].as_str().expect("a name");
                        assert_eq!(
                            (passed["adapter"].as_u64(), &passed["name"]),
                            (Some(i as u64), &adapter["name"])
                        );
                        assert!(stderr.contains(name), "{verb:?}: {stderr}");
                        assert_eq!(stderr.contains(&format!("`--adapter {i}`")), usable(adapter), "{stderr}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_asked_for_runs_there_without_a_note() {
    let (adapters, _) = listed(Drivers::Installed);
    for (i, adapter) in adapters.iter().enumerate().filter(|(_, a)| usable(a)) {
        let (report, stderr) =
            json(Drivers::Installed, &["run", DIGITS, IMAGE, "--adapter", &i.to_string()], 0);
        let device = report["device"].as_str().expect("a device");
        assert!(device.starts_with(adapter["name"].as_str().expect("a name")), "{device}");
        assert!(!stderr.contains("note:") && report["passed_over"] == Value::Array(vec![]), "{stderr}");
    }
    let (report, stderr) = json(Drivers::Installed, &["run", DIGITS, IMAGE, "--adapter", "cpu"], 0);
    assert!(report["device"].as_str().expect("a device").starts_with("cpu") && !stderr.contains("note:"));
    // Never another device than the one asked for.
    let (report, _) = json(Drivers::Hidden, &["run", DIGITS, IMAGE, "--adapter", "vulkan"], 4);
    let error = report["error"].as_str().expect("an error");
    assert!(error.contains("no adapter for `vulkan`") && error.contains("`--adapter cpu`"), "{error}");
}

#[test]
fn merging_is_measured_on_the_default_device_too() {
    let model = "tests/fixtures/tv_mobilenet_v2";
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("merged.safetensors");
    let convert = ["convert", model, "--merge", "auto", "-o", to.to_str().expect("text")];
    let (report, _) = json(Drivers::Hidden, &convert, 0);
    let (adapters, default) = listed(Drivers::Hidden);
    let device = report["merge"]["device"].as_str().expect("measured");
    assert_eq!(device.starts_with("cpu"), default.is_none(), "{device}");
    assert_eq!(
        report["merge"]["passed_over"].as_array().map(Vec::len),
        Some(default.map_or(adapters.len(), |_| 0))
    );
}

#[test]
fn tuning_wants_a_hardware_gpu_or_an_adapter_by_name() {
    for drivers in [Drivers::Installed, Drivers::Hidden] {
        let (adapters, default) = listed(drivers);
        if default.is_some() {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("tuning.json");
        let (report, _) = json(drivers, &["tune", DIGITS, "-o", to.to_str().expect("text")], 4);
        let error = report["error"].as_str().expect("an error");
        assert!(error.contains("nothing to tune"), "{error}");
        for (i, adapter) in adapters.iter().enumerate().filter(|(_, a)| usable(a)) {
            let name = adapter["name"].as_str().expect("a name");
            assert!(error.contains(name) && error.contains(&format!("--adapter {i}")), "{error}");
        }
        assert!(!to.exists());
    }
}

#[test]
fn the_demo_runs_on_every_device_and_they_agree() {
    for drivers in [Drivers::Installed, Drivers::Hidden] {
        let (adapters, default) = listed(drivers);
        let (demo, _) = json(drivers, &["demo"], 0);
        assert_eq!(demo["right"], 14);
        let devices = demo["devices"].as_array().expect("a list");
        assert_eq!(devices.len(), adapters.len() + 1);
        for (i, device) in devices.iter().enumerate() {
            let name = device["device"].as_str().expect("a name");
            match adapters.get(i) {
                Some(adapter) => {
                    assert!(name.starts_with(adapter["name"].as_str().expect("a name")), "{name}");
                    assert_eq!(device["adapter"], i.to_string());
                    if !usable(adapter) {
                        assert_eq!(device["problem"], adapter["problem"]);
                        continue;
                    }
                }
                None => assert!(name.starts_with("cpu") && device["adapter"] == "cpu", "{name}"),
            }
            assert!(device["relative_difference"].as_f64().is_some_and(|d| d <= 1e-5), "{device}");
            for figure in ["time_ns", "activation_bytes", "weight_bytes"] {
                assert!(device[figure].as_u64().is_some_and(|n| n > 0), "{figure} of {device}");
            }
        }
        let shown = default.unwrap_or(adapters.len());
        assert_eq!(demo["device"], devices[shown]["device"]);
        assert_eq!(demo["modes"]["structured"]["time_ns"], devices[shown]["time_ns"]);

        let text = String::from_utf8(rmnet(drivers, &[]).stdout).expect("text");
        assert!(text.contains("all agree"), "{text}");
        let names = devices.iter().map(|d| d["device"].as_str().expect("a name"));
        names.for_each(|name| assert!(text.lines().any(|l| l.starts_with(name)), "{name}: {text}"));
    }
    let (one, _) = json(Drivers::Installed, &["demo", "--adapter", "cpu"], 0);
    assert_eq!(one["devices"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_doctor_names_the_default_device() {
    for drivers in [Drivers::Installed, Drivers::Hidden] {
        let (adapters, default) = listed(drivers);
        let (report, _) = json(drivers, &["doctor"], 0);
        let name = default.map_or("cpu".into(), |i| adapters[i]["name"].clone());
        assert_eq!(report["default"], name);
        assert_eq!(report["gpu"].is_null(), default.is_none());
        let text = String::from_utf8(rmnet(drivers, &["doctor"]).stdout).expect("text");
        assert_eq!(text.contains("default device: the CPU executor"), default.is_none(), "{text}");
        for (i, _) in adapters.iter().enumerate().filter(|(_, a)| default.is_none() && usable(a)) {
            assert!(text.contains(&format!("--adapter {i}")), "{text}");
        }
    }
}

#[test]
fn a_card_is_found_by_its_pci_address() {
    for address in ["pci:ffff:ff:1f.7", "pci:", "PCI:nowhere"] {
        let (report, _) = json(Drivers::Installed, &["run", DIGITS, IMAGE, "--adapter", address], 4);
        let error = report["error"].as_str().expect("an error");
        assert!(error.contains(&format!("no adapter for `{}`", address.to_lowercase())), "{error}");
    }
    for (i, adapter) in gpu::adapters().into_iter().enumerate().filter(|(_, a)| a.problem.is_none()) {
        let Some(address) = adapter.pci else { continue };
        let text = format!("pci:{}", address.to_uppercase());
        let found = Gpu::new(&text.parse().expect("a choice")).expect("the card");
        assert_eq!(found.adapter().pci.as_ref(), Some(&address));
        assert_eq!(
            found.adapter().name,
            Gpu::new(&AdapterChoice::Index(i)).expect("an adapter").adapter().name
        );
    }
}

#[test]
fn the_library_s_default_is_the_program_s() {
    assert_eq!(Options::default().device, Device::Auto);
    let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/digits")).expect("the model");
    let session = Session::new(&model, &Options::default()).expect("a session");
    let adapters = gpu::adapters();
    let hardware = adapters.iter().find(|a| AdapterReport::is_usable_hardware(a));
    assert_eq!(session.is_on_gpu(), hardware.is_some());
    match (hardware, Gpu::hardware().expect("no driver that fails")) {
        (Some(adapter), HardwareGpu::Open(gpu)) => {
            assert_eq!((&gpu.adapter().name, session.device_name()), (&adapter.name, adapter.to_string()));
            assert!(session.passed_over().is_empty());
        }
        (None, HardwareGpu::Absent(passed_over)) => {
            assert!(session.device_name().starts_with("cpu"));
            assert_eq!(session.passed_over(), passed_over);
            assert_eq!(passed_over.into_iter().map(|p| p.adapter).collect::<Vec<_>>(), adapters);
        }
        (_, other) => panic!("{other:?}"),
    }
    let asked = Session::new(&model, &Options::default().device(Device::Cpu)).expect("a session");
    assert!(asked.passed_over().is_empty(), "it was asked for");
}
