#!/bin/sh
# A rustdoc that writes JSON, which stable has under RUSTC_BOOTSTRAP. Of cargo's processes only this one has it: build scripts that see
# it, and all that depends on them, would be built anew.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@" -Z unstable-options --output-format json
