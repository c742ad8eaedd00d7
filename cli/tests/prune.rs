//! `rmnet prune` as scripts use it.

use std::path::Path;
use std::process::Command;

fn cli(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rmnet")).args(args).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

#[test]
fn the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (out, plain) = (path("out.safetensors"), path("plain.safetensors"));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/digits").display().to_string();
    let expected = format!("{model}/expected.safetensors");
    let go = |more: &[&str]| cli(&[&["prune", &model, "-o", &out], more].concat());
    for (args, says) in [
        (&["--ratio", "0.2", "--macs", "0.5"][..], "--macs"),
        (&[], "--ratio"),
        (&["--ratio", "1.5"], "ratio: expected"),
        (&["--ratio", "-1"], "ratio: expected"),
        (&["--ratio", "0.3", "--criterion", "mean"], "--calibration"),
        (&["--ratio", "0.3", "--calibration", &expected], "--criterion mean"),
        (&["--ratio", "0.3", "--limit", "nosuch=0.3"], "nosuch"),
        (&["--ratio", "0.3", "--limit", "conv1"], "LAYER=R"),
        (&["--ratio", "0.3", "--keep-at-least", "x"], "keep-at-least"),
        (&["--ratio", "0.3", "--criterion", "best"], "criterion"),
    ] {
        let (code, text) = go(args);
        assert!(code == 2 && text.contains(says), "{args:?}: {code} {text}");
        assert!(!Path::new(&out).exists(), "{args:?}");
    }
    let (code, text) = go(&[
        "--ratio",
        "0.3",
        "--criterion",
        "mean",
        "--calibration",
        &expected,
        "--limit",
        "conv1=0",
        "--json",
    ]);
    assert_eq!(code, 0, "{text}");
    // Beside it stands what the network rests on, on standard error.
    let json = text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{text}"));
    let report: serde_json::Value = serde_json::from_str(json).unwrap();
    assert!(report["removed"].as_u64() > Some(180) && report["schema_version"] == 1);
    assert_eq!(report["layers"][0]["own"], serde_json::json!({ "before": 16, "after": 16 }));
    let half = |key: &str| {
        report[key]["after"].as_u64().unwrap() as f64 / report[key]["before"].as_u64().unwrap() as f64
    };
    assert!(half("macs") < 0.6 && half("activation_bytes") < 1.0 && half("parameters") < 0.6, "{text}");
    assert_eq!(cli(&["convert", &out, "-o", &plain, "--literal"]).0, 0);
    for file in [&out, &plain] {
        let (code, text) = cli(&["run", file, &expected, "--adapter", "cpu", "--top", "1"]);
        assert!(code == 0 && text.contains('%'), "{text}");
        assert_eq!(cli(&["plan", file]).0, 0);
        assert_eq!(cli(&["verify", file, "--no-device"]).0, 0);
    }
}
