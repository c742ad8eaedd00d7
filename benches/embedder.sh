#!/usr/bin/env bash
# What the library costs a small app: crates, seconds of `cargo build --release` from nothing, bytes of the stripped program.
#   bash benches/embedder.sh                  the library of this checkout with each set of features
#   bash benches/embedder.sh FOLDER DEFAULT   that of another checkout, with its default features and no others
#   EMBEDDER=FILE bash benches/embedder.sh .. another app, for a checkout whose API is another
# The app opens the bundled model and runs one input; one that does not run ends the script.
set -euo pipefail
library=$(cd "${1:-$(dirname "$0")/..}" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
app=$root/target/embedder
mkdir -p "$app/src"
cat >"$app/src/main.rs" <<'RUST'
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("the folder of a model")?;
    let session = rmnet::Session::open(folder, &rmnet::Options::default())?;
    let logits = session.run(&vec![0.5; session.input_len()])?;
    println!("{} logits", logits.len());
    Ok(())
}
RUST
[ -z "${EMBEDDER:-}" ] || cp "$EMBEDDER" "$app/src/main.rs"
measure() { # a name, and the line of Cargo.toml that has the library
    printf '[package]\nname = "embedder"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[profile.release]\nstrip = true\n[dependencies]\nrmnet = { path = "%s"%s }\n' \
        "$library" "$2" >"$app/Cargo.toml"
    cp "$library/Cargo.lock" "$app/Cargo.lock"
    local crates start seconds
    crates=$(cd "$app" && cargo tree -e normal,build --prefix none | sed 's/ (\*)$//' | sort -u | wc -l)
    rm -rf "$app/target"
    (cd "$app" && cargo fetch -q)
    start=$(date +%s.%N)
    (cd "$app" && cargo build --release -q)
    seconds=$(awk "BEGIN { print $(date +%s.%N) - $start }")
    # Without the feature `cpu` it needs a GPU, which may not be there; it is only built then.
    case "$1" in
    gpu) ;;
    *)
        (cd "$root" && "$app/target/release/embedder" assets/digits) >"$app/said" 2>&1 || true
        grep -q '10 logits' "$app/said" || { echo "it does not run: $(cat "$app/said")" >&2; exit 1; }
        ;;
    esac
    # Without itself.
    printf '%-32s %6d crates %7.0f s %9d bytes\n' "$1" $((crates - 1)) "$seconds" "$(stat -c %s "$app/target/release/embedder")"
}
if [ -n "${2:-}" ]; then
    measure "default" ""
else
    measure "default (gpu, cpu, pickle)" ""
    measure "cpu" ', default-features = false, features = ["cpu"]'
    measure "gpu" ', default-features = false, features = ["gpu"]'
    measure "default, images, onnx" ', features = ["images", "onnx"]'
fi
