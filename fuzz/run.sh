#!/usr/bin/env bash
# Builds the fuzz targets on stable Rust and runs each for a while, two at a time.
#   bash fuzz/run.sh                       every target for 60 s, from the committed seeds, with a fixed seed
#   bash fuzz/run.sh 600                   for ten minutes each
#   bash fuzz/run.sh 600 plan pickle       only these
# SEED=n draws other inputs, JOBS=n runs as many at a time, KEEP=1 goes on from the inputs of the last run.
# Prints for each: executions, edges covered (cov), features (ft) and what was found; fails if anything was. New inputs
# are kept under target/fuzz/corpus, what was found under target/fuzz/artifacts.
#   ASAN=1 bash fuzz/run.sh ...            under AddressSanitizer (see README.md)
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
all=(checkpoint saved config preprocess tuning images pickle onnx plan kernels)
seconds=${1:-60}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")
seed=${SEED:-1} jobs=${JOBS:-2} work=target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
bins=$work/release rss=2048

# Coverage of this crate and of the parsers it feeds, not of wgpu and of the rest: fuzz/instrument.sh adds the flags.
export RUSTC_WRAPPER="$PWD/fuzz/instrument.sh"
build=(cargo build --locked --release --manifest-path fuzz/Cargo.toml --target-dir "$work" --bins)
if [ -n "${ASAN:-}" ]; then
    # RUSTC_BOOTSTRAP lets stable take -Zsanitizer; its runtime comes with the toolchain.
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers"
    work=target/fuzz-asan bins=target/fuzz-asan/$host/release rss=6144
    build=(cargo build --locked --release --manifest-path fuzz/Cargo.toml --target-dir "$work" --target "$host" --bins)
    # Memory that cannot be had is asked for on purpose (rmnet::memory). Drivers are not instrumented and leak.
    export ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=0:${ASAN_OPTIONS:-}"
fi
"${build[@]}"
unset RUSTC_WRAPPER

# One thread for each process: two run on a machine of two cores.
export RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-1} LP_NUM_THREADS=${LP_NUM_THREADS:-1}
mkdir -p "$work/artifacts" "$work/logs"
fuzz() {
    local target=$1 corpus=$work/corpus/$1 timeout=60
    [ "$target" != kernels ] || timeout=300 # a driver compiles each shader when it first runs
    [ -n "${KEEP:-}" ] || rm -rf "$corpus"
    mkdir -p "$corpus"
    local folders=("$corpus" "fuzz/corpus/$target") options=()
    [ ! -d "fuzz/regressions/$target" ] || folders+=("fuzz/regressions/$target")
    [ ! -f "fuzz/dictionaries/$target" ] || options+=("-dict=fuzz/dictionaries/$target")
    "$bins/$target" "${folders[@]}" "${options[@]}" -seed="$seed" -max_total_time="$seconds" -timeout="$timeout" -report_slow_units="$timeout" \
        -rss_limit_mb="$rss" -malloc_limit_mb=0 -artifact_prefix="$work/artifacts/$target-" -print_final_stats=1 -max_len=8192 \
        >"$work/logs/$target" 2>&1
}
report() {
    local log=$work/logs/$1 executions coverage features took found
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -ao 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2) || true
    features=$(grep -ao 'ft: [0-9]*' "$log" | tail -1 | cut -d' ' -f2) || true
    found=$(grep -ao 'Test unit written to .*' "$log" | sed 's/.* to //') || true
    printf '%-11s %9s executions  cov %6s  ft %6s  %s\n' "$1" "${executions:--}" "${coverage:--}" "${features:--}" "${found:-$2}"
}

failed=()
run() { # one target in the background; its outcome in a file
    if fuzz "$1"; then echo ok; else echo "FAILED, see $work/logs/$1"; fi >"$work/logs/$1.outcome"
    report "$1" "$(cat "$work/logs/$1.outcome")"
}
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
    run "$target" &
done
wait
for target in "${targets[@]}"; do
    [ "$(cat "$work/logs/$target.outcome")" = ok ] || failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
    for target in "${failed[@]}"; do
        echo "--- $target"
        tail -n 60 "$work/logs/$target" | cut -c 1-400
    done
    echo "found by: ${failed[*]}; inputs in $work/artifacts; one is run again by: $bins/TARGET INPUT"
    exit 1
fi
