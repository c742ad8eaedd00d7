#!/usr/bin/env bash
# Everything that must hold: formatting, lints, docs, and all tests on the CPU executor and on two software Vulkan drivers
# (Mesa's llvmpipe, and the SwiftShader that comes with Debian's Chromium), and on ONNX Runtime what is exported. Installs the
# drivers where they are missing, and ONNX Runtime and what the Python package's tests take from PyPI under target/.
#   bash tests/all.sh            everything
#   bash tests/all.sh removal    only the test targets whose name is given
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never

icd() { # the first ICD file that exists
    for file in "$@"; do [ -f "$file" ] && echo "$file" && return; done
    return 1
}
llvmpipe() { icd /usr/share/vulkan/icd.d/lvp_icd.x86_64.json /usr/share/vulkan/icd.d/lvp_icd.*.json; }
swiftshader() { icd /usr/lib/chromium/vk_swiftshader_icd.json; }
install() {
    command -v apt-get >/dev/null || { echo "cannot install $1: this is no Debian; install it by hand" >&2; exit 1; }
    local root=(); [ "$(id -u)" = 0 ] || root=(sudo)
    [ -n "${updated:-}" ] || { "${root[@]}" apt-get update -qq; updated=1; }
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
step() { echo "=== $SECONDS s: $*"; }
llvmpipe >/dev/null && ldconfig -p | grep -q libvulkan.so.1 || install mesa-vulkan-drivers libvulkan1
swiftshader >/dev/null || install chromium
# The C interface is tested with programs in C and C++; libFuzzer is C++.
command -v cc >/dev/null || install gcc libc6-dev
command -v c++ >/dev/null || install g++
command -v pkg-config >/dev/null || install pkg-config
# A screen for the example with a window, and the judge of SPIR-V.
command -v xvfb-run >/dev/null || install xvfb xauth libx11-6 libx11-xcb1 libxcursor1 libxi6 libxrandr2 libxkbcommon-x11-0
command -v spirv-val >/dev/null || install spirv-tools
VK_DRIVER_FILES="$(llvmpipe):$(swiftshader)"
export VK_DRIVER_FILES RMNET_TEST_ADAPTERS=2 # tests fail, rather than skip, where fewer adapters are seen
echo "drivers: $VK_DRIVER_FILES"

# ONNX Runtime in an environment of its own, made again where the list of packages is another.
venv="$PWD/target/onnx-venv"
if ! cmp -s tests/onnx/requirements.txt "$venv/installed.txt"; then
    python3 -c 'import ensurepip' 2>/dev/null || install python3 python3-venv
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --only-binary :all: -r tests/onnx/requirements.txt
    cp tests/onnx/requirements.txt "$venv/installed.txt"
fi
export PROPTEST_RNG_SEED=1 # one commit, one verdict; plain `cargo test` draws new cases every time
export RMNET_ONNX_PYTHON="$venv/bin/python" # the tests that are ignored without it are run below

if [ $# -gt 0 ]; then
    exec cargo test --locked --workspace "${@/#/--test=}" -- --include-ignored
fi
step formatting and lints
cargo fmt --all --check
cargo fmt --check --manifest-path fuzz/Cargo.toml
cargo fmt --check --manifest-path tests/public_api/Cargo.toml
cargo clippy --locked --workspace --all-targets -- -D warnings
# The library with one executor, with the other, with neither; the docs below are built as apps have it.
for features in cpu gpu ""; do
    cargo clippy --locked -p rmnet --lib --no-default-features --features "$features" -- -D warnings
done
cargo clippy --locked -p rmnet-c --no-default-features -- -D warnings
step the package for browsers
# Where the standard library for browsers is to be had: lints, the package as it is published, its types, and its tests in Chromium.
cargo fmt --check --manifest-path bindings/web/bindgen/Cargo.toml
if rustup target add wasm32-unknown-unknown; then
    RUSTFLAGS="-Ctarget-feature=+simd128" cargo clippy --locked -p rmnet-web --features rmnet/images \
        --target wasm32-unknown-unknown --target-dir target/web -- -D warnings
    command -v npx >/dev/null || install nodejs npm
    bash bindings/web/build.sh
    python3 bindings/web/tests/size.py
    bash bindings/web/tests/types.sh
    python3 bindings/web/tests/run.py
else
    echo "NOT TESTED: the package for browsers, as rustup could not add wasm32-unknown-unknown" >&2
fi
step documentation and the public face
# Docs with what is below the public face, and as users see them, which stay.
RUSTDOCFLAGS="-D warnings" cargo doc --locked -p rmnet --no-deps --features images,onnx,internals
RUSTDOCFLAGS="-D warnings" cargo doc --locked -p rmnet -p rmnet-simd --no-deps --features images,onnx
bash tests/public_api.sh
step build of the tests
cargo test --locked --workspace --no-run -q
step tests
cargo test --locked --workspace -- --include-ignored
python3 tests/translators.py --only spirv-val --every 8
step the Python package
VK_DRIVER_FILES="$(llvmpipe)" bash bindings/python/tests/run.sh
step llvmpipe as on ARM
# llvmpipe with vectors of 128 bits, as it has on ARM and on processors without AVX: subgroups of four.
VK_DRIVER_FILES="$(llvmpipe)" RMNET_TEST_ADAPTERS=1 LP_NATIVE_VECTOR_WIDTH=128 \
    cargo test --locked --workspace --test executors --test kernels -- the_gpu_computes with_subgroups
step fuzzing
# Every fuzz target for a short while, two at a time.
bash fuzz/run.sh 20
step done
