//! `include/rmnet.h` is what cbindgen makes of `src/`. `RMNET_WRITE=1 cargo test --workspace --test header` writes it anew.

use std::path::Path;

/// The sources in the order of the header.
const SOURCES: &[&str] =
    &["status", "version", "logging", "options", "session", "image", "predict", "about", "adapters"];

fn generated(root: &Path) -> String {
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("a config");
    let [major, minor, patch] =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    config.after_includes = Some(format!(
        "\n/** The version of this header. rmnet_version() is that of the library. */\n\
         #define RMNET_VERSION \"{}\"\n\
         #define RMNET_VERSION_MAJOR {major}\n\
         #define RMNET_VERSION_MINOR {minor}\n\
         #define RMNET_VERSION_PATCH {patch}\n\
         #define RMNET_VERSION_NUMBER \\\n    (1000000 * RMNET_VERSION_MAJOR + 1000 * RMNET_VERSION_MINOR + RMNET_VERSION_PATCH)",
        env!("CARGO_PKG_VERSION")
    ));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        builder = builder.with_src(root.join(format!("src/{name}.rs")));
    }
    let mut text = vec![];
    builder.generate().expect("sources that cbindgen reads").write(&mut text);
    String::from_utf8(text).expect("text")
}

#[test]
fn the_header_is_that_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (path, found) = (root.join("include/rmnet.h"), generated(root));
    if std::env::var_os("RMNET_WRITE").is_some() {
        std::fs::write(&path, &found).expect("a header that can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(
        committed == found,
        "include/rmnet.h is another than that of src/ (from line {}): RMNET_WRITE=1 cargo test --workspace --test header writes it",
        differs.map_or(0, |at| at + 1)
    );
}

/// Every source with functions for C is in the list above.
#[test]
fn no_source_is_left_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(root.join("src")).expect("sources") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a readable source");
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(SOURCES.contains(&name) || !text.contains("no_mangle"), "{name} is not among the sources");
        assert!(text.lines().count() <= 450, "{name} is longer than 450 lines: find its seam");
    }
}
