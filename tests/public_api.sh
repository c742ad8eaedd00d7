#!/usr/bin/env bash
# The public face of the library, one item a line, with features `images` and `onnx`: docs/public-api.txt. A change of the face is a
# change of that file, which is seen in review.
#   bash tests/public_api.sh          fails where the file is another
#   bash tests/public_api.sh write    writes it
# rustdoc's JSON is of one compiler: the file names the one that it was made by, and others do not compare.
set -euo pipefail
cd "$(dirname "$0")/.."
file=docs/public-api.txt
rustc="$(rustc --version)"
[ "${1:-}" = write ] || [ -f "$file" ] || { echo "$file is missing: bash tests/public_api.sh write" >&2; exit 1; }
if [ "${1:-}" != write ] && ! head -1 "$file" | grep -qF "$rustc"; then
    echo "NOT COMPARED: the public face, as $file was made by another compiler than $rustc" >&2
    exit 0
fi
target="${CARGO_TARGET_DIR:-$PWD/target}"
export CARGO_TARGET_DIR="$target"
# cargo removes the documentation in HTML first, and would not know later that it is gone.
html="$target/doc/rmnet"
restore() { [ ! -d "$html.kept" ] || { rm -rf "$html" && mv "$html.kept" "$html"; }; }
restore
[ ! -d "$html" ] || mv "$html" "$html.kept"
trap restore EXIT
# What comes after `--` tells cargo that this is not that documentation.
RUSTDOC="$PWD/tests/public_api/rustdoc.sh" \
    cargo rustdoc --locked -q -p rmnet --lib --features images,onnx -- --cap-lints allow
found="$target/public-api.txt"
echo "# The public items of rmnet with features images and onnx, by $rustc; written by tests/public_api.sh." >"$found"
cargo run --locked -q --manifest-path tests/public_api/Cargo.toml -- \
    "$target/doc/rmnet.json" >>"$found"
if [ "${1:-}" = write ]; then
    cp "$found" "$file"
else
    diff -u "$file" "$found" || { echo "the public face has changed: bash tests/public_api.sh write" >&2; exit 1; }
fi
