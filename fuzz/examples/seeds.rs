//! Writes the seeds under `corpus/`: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.
//!
//! Targets that read choices from their bytes get noise of several lengths; those that read files get small whole files too.

use std::fs;
use std::path::{Path, PathBuf};

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(next).collect()
}

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = here.join("../tests/fixtures");
    let read = |path: PathBuf| fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = here.join("corpus").join(target);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), bytes).expect("a file");
    };
    let raw = |first: u8, bytes: &[u8]| [&[first], bytes].concat();
    for (target, _) in rmnet_fuzz::TARGETS {
        for (i, length) in (0u64..).zip([48, 96, 160, 256, 400, 700]) {
            let mut bytes = noise(i + 1, length);
            bytes[0] |= 0xc0;
            write(target, &format!("noise{i}"), &bytes);
        }
    }
    // Files as they are.
    let pickles = [
        "legacy_parameters",
        "legacy_protocol1",
        "legacy_protocol5",
        "legacy_views",
        "zip_parameters",
        "zip_views",
        "zip_others",
        "zip_big_endian",
        "zip_protocol1",
    ];
    for name in pickles {
        let bytes = read(tests.join(format!("pickles/{name}.pth")));
        write("pickle", name, &raw(0, &bytes));
    }
    for name in ["alpha", "gray", "palette", "shapes", "noise"] {
        let bytes = read(tests.join(format!("pil/{name}.png")));
        write("images", name, &raw(0, &bytes));
        write("images", &format!("{name}_checked"), &raw(100, &bytes));
    }
    // Small JPEG and PNG files of every kind, as they lie in one file of tensors.
    let cases = read(tests.join("images/cases.safetensors"));
    let cases = safetensors::SafeTensors::deserialize(&cases).expect("a file of tensors");
    let mut names = cases.names();
    names.sort();
    for name in names {
        let data = cases.tensor(name).expect("a tensor").data();
        let jpeg = data.starts_with(b"\xff\xd8");
        if (jpeg || data.starts_with(b"\x89PNG")) && data.len() < 1500 {
            write("images", &name.replace(['/', '.'], "_"), &raw(0, data));
        }
    }
    // Tuning and config files as text: a first byte that a third of the numbers have.
    let tuning = br#"{"schema":1,"adapters":[{"adapter":"a","driver":"d","backend":"vulkan","rmnet":"0.1.0","kernels":{}}]}"#;
    write("tuning", "text", &raw(2, tuning));
    let config = read(tests.join("timm_resnet18/config.json"));
    write("config", "text", &[&[9, 2, 255, 7], config.as_slice()].concat());
    let weights = read(tests.join("rmrepvgg_cifar/model.safetensors"));
    write("checkpoint", "header", &raw(20, &weights[..weights.len().min(2000)]));
}
