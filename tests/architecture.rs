//! The invariants of ARCHITECTURE.md, read off the source.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the ground up: each may use those of lower floors only.
const FLOORS: &[(&str, u32)] = &[
    ("tensor", 0),
    ("files", 0),
    ("output", 0),
    ("memory", 0),
    ("threads", 0),
    ("graph", 1),
    ("images", 1),
    ("checkpoint", 1),
    ("kernel", 2),
    ("preprocess", 2),
    ("models", 3),
    ("rewrite", 3),
    ("reference", 3),
    ("onnx", 4),
    ("plan", 4),
    ("gpu", 5),
    ("cpu", 5),
    ("verify", 5),
    ("session", 6),
    ("bench", 7),
    ("tune", 7),
    ("cli", 8),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "wgsl") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![];
    sources(&root.join("src"), &mut paths);
    sources(&root.join("shaders"), &mut paths);
    assert!(paths.len() > 20, "only {} sources found", paths.len());
    paths
        .into_iter()
        .map(|p| {
            let name = p.strip_prefix(root).expect("inside the root").display().to_string();
            (name, fs::read_to_string(&p).expect("a readable source"))
        })
        .collect()
}

/// `src/plan/lower.rs` and `src/reference.rs` belong to `plan` and `reference`.
fn module(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("src/")?;
    let first = rest.split('/').next()?;
    Some(first.trim_end_matches(".rs")).filter(|m| !matches!(*m, "lib" | "main"))
}

#[test]
fn modules_use_lower_floors_only() {
    let floors: BTreeMap<&str, u32> = FLOORS.iter().copied().collect();
    let mut edges = 0;
    for (name, text) in all_sources() {
        let Some(own) = module(&name) else { continue };
        let floor = *floors.get(own).unwrap_or_else(|| panic!("{name}: module {own} has no floor"));
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, _) in code.match_indices("crate::") {
            let used: String =
                code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(used_floor) = floors.get(used.as_str())
                && used != own
            {
                edges += 1;
                assert!(*used_floor < floor, "{name} (floor {floor}) uses {used} (floor {used_floor})");
            }
        }
    }
    assert!(edges > 20, "only {edges} uses seen: the test reads the source wrongly");
}

#[test]
fn only_the_gpu_and_the_public_face_name_wgpu() {
    for (name, text) in all_sources() {
        let allowed = matches!(module(&name), Some("gpu" | "session" | "cli")) || name == "src/lib.rs";
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        assert!(allowed || !code.clone().any(|l| l.contains("wgpu::")), "{name} names wgpu");
    }
}

#[test]
fn the_gpu_never_sees_a_graph() {
    for (name, text) in all_sources() {
        if matches!(module(&name), Some("gpu" | "cpu")) {
            assert!(!text.contains("graph::Graph"), "{name} names Graph");
        }
    }
}

#[test]
fn files_stay_short() {
    for (name, text) in all_sources() {
        let lines = text.lines().count();
        assert!(lines <= 450, "{name} has {lines} lines: find its seam");
    }
}
