//! The oldest Rust that is promised is what Cargo.toml says (`rust-version`). That the code itself compiles with it is checked where that
//! Rust is there: by the job `msrv` of `.github/workflows/ci.yml`, which reads the version from Cargo.toml too.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).current_dir(ROOT).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The packages of this repository, and those that they are built with on this machine.
fn packages() -> [Vec<Value>; 2] {
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let metadata = cargo(&["metadata", "--locked", "--format-version", "1", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let all = metadata["packages"].as_array().expect("packages").iter().cloned();
    let (own, others) = all.partition(|package| package["source"].is_null());
    [own, others]
}

/// `1.89` as numbers to compare; a package that says nothing goes with every Rust.
fn rust_version(package: &Value) -> Vec<u32> {
    let text = package["rust_version"].as_str().unwrap_or("0");
    text.split('.').map(|part| part.parse().expect("a number")).collect()
}

#[test]
fn every_package_states_one_rust_and_no_dependency_wants_a_newer_one() {
    let [own, others] = packages();
    let stated = rust_version(&own[0]);
    assert!(stated >= vec![1, 85], "the oldest Rust of this edition is 1.85, and {stated:?} is stated");
    for package in &own {
        assert_eq!(
            rust_version(package),
            stated,
            "{} states another Rust than {}",
            package["name"],
            own[0]["name"]
        );
    }
    assert!(others.len() > 50, "only {} dependencies seen", others.len());
    for package in &others {
        let wanted = rust_version(package);
        assert!(wanted <= [&stated[..], &[u32::MAX]].concat(), "{} wants Rust {wanted:?}", package["id"]);
    }
}

#[test]
fn workflows_do_not_state_it_again() {
    let [own, _] = packages();
    let stated = own[0]["rust_version"].as_str().expect("a version");
    let mut reads = 0;
    for file in std::fs::read_dir(Path::new(ROOT).join(".github/workflows")).expect("workflows") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let again = text.lines().find(|line| line.contains(stated));
        assert_eq!(again, None, "{} states the Rust of Cargo.toml again", path.display());
        reads += text.matches(".rust_version").count();
    }
    assert_eq!(reads, 1, "one job reads rust-version");
}
