#!/usr/bin/env bash
# Installs librmnet, rmnet.h and rmnet.pc without cargo-c: the shared and the static library of a release build.
#   bash bindings/c/install.sh PREFIX            builds first
#   bash bindings/c/install.sh PREFIX FOLDER     takes librmnet_c as cargo has left it in FOLDER
# cargo-c (README.md) does more: versioned file names with symbolic links, Windows, cross compilation.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,4s/^# *//p' "$0" >&2; exit 2; }
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$1/include" "$1/lib/pkgconfig"
prefix="$(cd "$1" && pwd)"
version="$(sed -n 's/^#define RMNET_VERSION "\(.*\)"/\1/p' "$here/include/rmnet.h")"
suffix=so
[ "$(uname -s)" != Darwin ] || suffix=dylib
private="-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc" # of Linux; a build asks rustc
if [ $# -ge 2 ]; then
    built="$2"
else
    # The name that programs look for at run time changes with every version that is not compatible.
    soname="-Wl,-soname,librmnet.so.${version%.*}"
    [ "$suffix" = so ] || soname="-Wl,-install_name,$prefix/lib/librmnet.dylib"
    private="$(CARGO_TERM_COLOR=never cargo rustc --release --locked --manifest-path "$here/Cargo.toml" --lib -- \
        -C "link-arg=$soname" --print native-static-libs 2>&1 | tee /dev/stderr | sed -n 's/^note: native-static-libs: //p')"
    built="${CARGO_TARGET_DIR:-$here/../../target}/release"
fi
for file in "librmnet_c.$suffix" librmnet_c.a; do
    [ -f "$built/$file" ] || { echo "$built/$file is missing" >&2; exit 1; }
    rm -f "$prefix/lib/${file/_c/}" # a program that runs keeps the old one
    cp "$built/$file" "$prefix/lib/${file/_c/}"
done
[ $# -ge 2 ] || [ "$suffix" != so ] || ln -sf librmnet.so "$prefix/lib/librmnet.so.${version%.*}"
cp "$here/include/rmnet.h" "$prefix/include/rmnet.h"
sed -e "s|@prefix@|$prefix|" -e "s|@version@|$version|" -e "s|@private@|$private|" \
    "$here/rmnet.pc.in" >"$prefix/lib/pkgconfig/rmnet.pc"
