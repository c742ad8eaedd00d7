#!/usr/bin/env bash
# Builds the native half as the workspace's tests are built: with a test beside it, and in the profile of tests, its dependencies have the
# features that `cargo test --workspace` gives them, and nothing is compiled twice. `cargo test` does not build a library that nothing is
# linked with.
#   bash bindings/python/tests/cargo.sh             builds it
#   CARGO=bindings/python/tests/cargo.sh maturin    a wheel of it: maturin builds by `cargo rustc`
set -euo pipefail
root="$(cd "$(dirname "$0")/../../.." && pwd)"
build=(cargo build --manifest-path "$root/Cargo.toml" --locked --workspace --profile test --lib --bin rmnet --test architecture)
case "${1:-}" in
'')
    exec "${build[@]}" -q
    ;;
rustc)
    # What maturin tells PyO3 is so anyway. Cargo would build PyO3 again for it.
    for name in $(compgen -e PYO3_); do unset "$name"; done
    exec "${build[@]}" --message-format json-render-diagnostics
    ;;
*)
    exec cargo "$@"
    ;;
esac
