#!/usr/bin/env bash
# Builds the npm package under bindings/web/dist: WebAssembly, its JavaScript, and the hand-written part.
#   bash bindings/web/build.sh              small, as it is published; JavaScript is minified where esbuild can be had from npm
#   PROFILE=dev bash bindings/web/build.sh  quickly, for tests
set -euo pipefail
cd "$(dirname "$0")"
root=$PWD/../..
profile=${PROFILE:-web}
folder=$([ "$profile" = dev ] && echo debug || echo "$profile")
rustup target add wasm32-unknown-unknown >/dev/null 2>&1 || true # where rustup is not, the target may be there all the same
# A folder of its own: other flags would rebuild what other builds share.
RUSTFLAGS="-Ctarget-feature=+simd128" cargo build --locked --manifest-path "$root/Cargo.toml" -p rmnet-web \
    --target wasm32-unknown-unknown --profile "$profile" --target-dir "$root/target/web"
cargo build --locked --manifest-path bindgen/Cargo.toml --target-dir "$root/target/web-bindgen"
rm -rf dist
mkdir dist
"$root/target/web-bindgen/debug/rmnet-web-bindgen" \
    "$root/target/web/wasm32-unknown-unknown/$folder/rmnet_web.wasm" dist
cp js/* dist/
# Each file by itself, so that bundlers find the worker and the WebAssembly as before.
if [ "$profile" != dev ]; then
    npx --yes esbuild@0.28.2 dist/*.js --minify --outdir=dist --allow-overwrite --log-level=warning ||
        echo "NOT MINIFIED: the JavaScript of the package, as esbuild could not be had from npm" >&2
fi
