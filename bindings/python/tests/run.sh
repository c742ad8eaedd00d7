#!/usr/bin/env bash
# The tests of the Python package. The native half is the one that the workspace's tests are built with, so that nothing is compiled twice;
# Python's packages are installed from PyPI under target/.
#   bash bindings/python/tests/run.sh              everything
#   bash bindings/python/tests/run.sh -k images    with arguments of pytest
# RMNET_TEST_PYTHON names another interpreter, such as one that has torch.
set -euo pipefail
cd "$(dirname "$0")/../../.."
target="${CARGO_TARGET_DIR:-$PWD/target}"

bash bindings/python/tests/cargo.sh
package="$target/python-package"
rm -rf "$package"
mkdir -p "$package"
cp -r bindings/python/python/rmnet "$package/rmnet"
case "$(uname)" in
Darwin) native=lib_rmnet.dylib ;;
*) native=lib_rmnet.so ;;
esac
# In place of one that `maturin develop` has left in the sources.
rm -f "$package"/rmnet/*.so "$package"/rmnet/*.pyd
ln -sf "$target/debug/$native" "$package/rmnet/_rmnet.abi3.so"

python="${RMNET_TEST_PYTHON:-}"
if [ -z "$python" ]; then
    venv="$target/python-venv"
    list=bindings/python/tests/requirements.txt
    if ! cmp -s "$list" "$venv/installed.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-compile --only-binary :all: -r "$list"
        cp "$list" "$venv/installed.txt"
    fi
    python="$venv/bin/python"
fi
# Bytecode under target/ like all else, and of what is imported alone: pip would compile every file of Ray's and pandas'.
PYTHONPATH="$package" PYTHONPYCACHEPREFIX="$target/pycache" RMNET_PROGRAM="$target/debug/rmnet" \
    "$python" -m pytest -q -rs -p no:cacheprovider -c bindings/python/pyproject.toml bindings/python/tests "$@"
