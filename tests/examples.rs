//! The examples, as cargo has built them for the tests, on the drivers there are and with those of Vulkan hidden.

use rmnet::adapters;
use safetensors::SafeTensors;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Which drivers an example sees.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Drivers {
    Installed,
    /// None of Vulkan's. OpenGL may still be there.
    Hidden,
}

const BOTH: [Drivers; 2] = [Drivers::Installed, Drivers::Hidden];

/// An example, built beside this test: `target/PROFILE/examples/NAME`.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps");
    let path = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    // `cargo test` builds them, unless only some targets are asked for.
    assert!(path.exists(), "{} is not there: `cargo build --examples` makes it", path.display());
    path
}

fn run(name: &str, drivers: Drivers, args: &[&str], required: Option<&str>) -> Output {
    let mut command = Command::new(example(name));
    command.args(args).env_remove("REQUIRE_GPU").envs(required.map(|required| ("REQUIRE_GPU", required)));
    if drivers == Drivers::Hidden {
        for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(variable, "/no/such/driver.json");
        }
        command.env_remove("VK_ADD_DRIVER_FILES");
    }
    command.output().expect("the example runs")
}

/// What an example that ends well writes.
#[track_caller]
fn written(name: &str, drivers: Drivers, args: &[&str]) -> String {
    let output = run(name, drivers, args, None);
    let text = String::from_utf8(output.stdout).expect("text");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name} {args:?}, {drivers:?}: {text}{stderr}");
    text
}

/// Every adapter that rmnet can use here, by what an example prints of it. The test command says how many it has set up.
fn usable() -> Vec<(usize, String)> {
    let found = adapters().into_iter().enumerate().filter(|(_, a)| a.problem.is_none());
    let found: Vec<_> = found.map(|(i, adapter)| (i, adapter.to_string())).collect();
    if let Ok(wanted) = std::env::var("RMNET_TEST_ADAPTERS") {
        let wanted: usize = wanted.parse().expect("a number");
        assert!(found.len() >= wanted, "{} of {wanted} adapters found", found.len());
    }
    found
}

#[test]
fn classify_reads_every_digit() {
    for drivers in BOTH {
        let text = written("classify", drivers, &[]);
        let images: Vec<&str> = text.lines().filter(|line| line.contains(".png")).collect();
        assert_eq!(images.len(), 14, "{text}");
        for line in images {
            // 0374_7.png     7 100.00 %  ..
            let (name, best) = line.split_once(".png").expect("a name");
            assert_eq!(name.chars().last(), best.trim().chars().next(), "{line}");
        }
    }
    let one = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits/images/0374_7.png");
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
    assert_eq!(written("classify", Drivers::Hidden, &[digits, one]).matches(".png").count(), 1);
    let refused = run("classify", Drivers::Hidden, &[digits, "no such image"], None);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("no such image"));
}

#[test]
fn features_of_one_digit_are_alike() {
    for drivers in BOTH {
        let text = written("features", drivers, &[]);
        let line = text.lines().last().expect("a line");
        let pair = line.strip_prefix("most alike: ").expect("the result").split_once(" and ").expect("two");
        let digit = |name: &str| name.split(['_', '.']).nth(1).expect("INDEX_DIGIT.png").to_string();
        assert_eq!(digit(pair.0), digit(pair.1), "{line}");
    }
}

#[test]
fn an_app_s_own_passes_go_with_the_network() {
    for drivers in BOTH {
        let text = written("own_device", drivers, &[]);
        let end = text.lines().last().expect("a line");
        match end {
            "they agree" => assert!(text.contains("one encoder: class 1,"), "{text}"),
            _ => assert!(end.starts_with("no GPU here"), "{text}"),
        }
        if drivers == Drivers::Installed && !usable().is_empty() {
            assert_eq!(end, "they agree");
        }
    }
}

#[test]
fn frames_in_flight_equal_single_runs() {
    let last = "all answers equal those of single runs";
    for drivers in BOTH {
        let text = written("frames", drivers, &[]);
        assert_eq!(text.lines().last(), Some(last), "{text}");
    }
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
    for (i, adapter) in usable() {
        let text = written("frames", Drivers::Installed, &[digits, &i.to_string()]);
        assert!(text.contains(&adapter), "{text}");
        assert_eq!(text.lines().last(), Some(last), "{text}");
    }
}

#[test]
fn the_harness_tests_every_device() {
    let adapters = usable();
    let required = (!adapters.is_empty()).then_some("any");
    let installed = run("test_harness", Drivers::Installed, &[], required);
    let text = String::from_utf8_lossy(&installed.stdout);
    assert!(installed.status.success() && text.starts_with("cpu: off by"), "{text}");
    assert!(text.contains(&format!("{} devices agree", 1 + adapters.len())), "{text}");
    for (_, adapter) in adapters {
        assert!(text.contains(&format!("{adapter}: off by")), "{text}");
    }
}

#[test]
fn the_harness_fails_where_a_gpu_is_asked_for_in_vain() {
    let text = written("test_harness", Drivers::Hidden, &[]);
    let gpus: Vec<&str> =
        text.lines().filter(|line| line.contains(" allowed") && !line.starts_with("cpu")).collect();
    assert_eq!(text.contains("no GPU was tested"), gpus.is_empty(), "{text}");
    let hardware = gpus.iter().any(|line| !line.contains(", software"));
    for (required, there) in [("any", !gpus.is_empty()), ("hardware", hardware), ("yes", false)] {
        let output = run("test_harness", Drivers::Hidden, &[], Some(required));
        assert_eq!(output.status.success(), there, "{required}: {text}");
    }
}

#[test]
fn the_harness_fails_where_a_device_differs() {
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
    let mut bytes = std::fs::read(format!("{digits}/expected.safetensors")).expect("the golden file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let logits = file.tensor("logits").expect("logits").data();
    let at = logits.as_ptr() as usize - bytes.as_ptr() as usize;
    let first: [u8; 8] = logits[..8].try_into().expect("eight bytes");
    bytes[at..at + 8].copy_from_slice(&(f64::from_le_bytes(first) + 0.01).to_le_bytes());
    let folder = tempfile::tempdir().expect("a folder");
    let golden = folder.path().join("golden.safetensors");
    std::fs::write(&golden, bytes).expect("written");
    let output = run("test_harness", Drivers::Installed, &[digits, golden.to_str().expect("text")], None);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.matches("FAILED: off by").count(), 1 + usable().len(), "{text}");
}
