//! Runs every target on its seeds and on every input that ever found something. Needs no libFuzzer.

use rmnet_fuzz::{TARGETS, Target};
use std::path::{Path, PathBuf};

/// Files of a target under a folder, by name.
fn files(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
    let Ok(entries) = std::fs::read_dir(&folder) else { return vec![] };
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

fn replay(of: impl Fn(&str) -> bool) {
    for (name, run) in TARGETS.into_iter().filter(|(name, _): &Target| of(name)) {
        let seeds = files("corpus", name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for path in seeds.into_iter().chain(files("regressions", name)) {
            println!("{name} {}", path.display());
            run(&std::fs::read(&path).expect("a file"));
        }
    }
}

#[test]
fn seeds_and_regressions() {
    replay(|name| name != "kernels");
}

/// Where `RMNET_TEST_ADAPTERS` says that there are adapters.
#[test]
fn seeds_and_regressions_of_kernels() {
    if std::env::var_os("RMNET_TEST_ADAPTERS").is_some() {
        replay(|name| name == "kernels");
    }
}
