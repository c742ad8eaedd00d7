#!/bin/sh
# A rustc wrapper: adds libFuzzer's coverage to the crates whose coverage is worth following.
rustc=$1
shift
case " $* " in
*" --crate-name "rmnet" "* | *" --crate-name "rmnet_fuzz" "* | *" --crate-name "png" "* | *" --crate-name "libjpeg_turbo_rs" "* | \
    *" --crate-name "safetensors" "* | *" --crate-name "serde_json" "* | *" --crate-name "rawzip" "*)
    exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$rustc" "$@" ;;
esac
