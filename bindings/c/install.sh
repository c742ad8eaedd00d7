#!/usr/bin/env bash
# Installs librmnet, rmnet.h and rmnet.pc without cargo-c, on Linux and macOS: the shared and the static library of a release build.
#   bash bindings/c/install.sh PREFIX            builds first
#   bash bindings/c/install.sh PREFIX FOLDER     takes librmnet_c as cargo has left it in FOLDER; it has no SONAME
# With DESTDIR set, files are written below it, for a package; they work once they are at PREFIX.
# The shared library has the version in its name, with the links that linkers and programs look for:
#   librmnet.so -> librmnet.so.0.1 -> librmnet.so.0.1.0            librmnet.dylib -> librmnet.0.1.dylib -> librmnet.0.1.0.dylib
# cargo-c (README.md) does more: Windows, cross compilation.
set -euo pipefail
umask 022
[ $# -ge 1 ] || { sed -n '2,4s/^# *//p' "$0" >&2; exit 2; }
fail() { echo "install.sh: $*" >&2; exit 1; }
here="$(cd "$(dirname "$0")" && pwd)"
case "$1" in /*) prefix="${1%/}" ;; *) prefix="$PWD/${1%/}" ;; esac
root="${DESTDIR:-}$prefix"
version="$(sed -n 's/^#define RMNET_VERSION "\(.*\)"/\1/p' "$here/include/rmnet.h")"

# Versions that agree in the first number that is not 0 go together; what names a pre-release is ignored, as by cargo-c.
numbers="${version%%[-+]*}"
[[ "$numbers" =~ ^([0-9]+)\.([0-9]+)\.([0-9]+)$ ]] || fail "rmnet.h has no RMNET_VERSION of three numbers: '$version'"
major="${BASH_REMATCH[1]}" minor="${BASH_REMATCH[2]}" sover="$numbers"
[ "$minor" = 0 ] || sover="0.$minor"
[ "$major" = 0 ] || sover="$major"

if [ "$(uname -s)" = Darwin ]; then
    built_name=librmnet_c.dylib plain=librmnet.dylib compatible="librmnet.$sover.dylib" full="librmnet.$numbers.dylib"
    soname="-Wl,-install_name,$prefix/lib/$compatible"
    private="-liconv -lSystem -lc -lm"
else
    built_name=librmnet_c.so plain=librmnet.so compatible="librmnet.so.$sover" full="librmnet.so.$numbers"
    soname="-Wl,-soname,$compatible"
    private="-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc"
fi
if [ $# -ge 2 ]; then
    built="$2"
else
    target="${CARGO_TARGET_DIR:-$here/../../target}"
    log="$(mktemp)"
    trap 'rm -f "$log"' EXIT
    CARGO_TERM_COLOR=never cargo rustc --release --locked --manifest-path "$here/Cargo.toml" --target-dir "$target" --lib -- \
        -C "link-arg=$soname" --print native-static-libs 2>&1 | tee "$log" >&2
    private="$(sed -n 's/^note: native-static-libs: *//p' "$log" | tail -n 1)"
    [ -n "$private" ] || fail "rustc has not said which libraries the static library needs (native-static-libs)"
    built="$target/release"
fi
for file in "$built_name" librmnet_c.a; do
    [ -f "$built/$file" ] || fail "$built/$file is missing"
done

mkdir -p "$root/include" "$root/lib/pkgconfig"
lib="$root/lib"
# A program that runs keeps the file that it has opened.
rm -f "$lib/$full" "$lib/$compatible" "$lib/$plain" "$lib/librmnet.a"
install -m 755 "$built/$built_name" "$lib/$full"
install -m 644 "$built/librmnet_c.a" "$lib/librmnet.a"
[ "$compatible" = "$full" ] || ln -s "$full" "$lib/$compatible"
ln -s "$compatible" "$lib/$plain"
install -m 644 "$here/include/rmnet.h" "$root/include/rmnet.h"
pc="$lib/pkgconfig/rmnet.pc"
cat >"$pc" <<EOF
prefix=$prefix
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: rmnet
Description: Image inference for the ResNet family, on any GPU or on CPU threads
Version: $version
Libs: -L\${libdir} -lrmnet
Libs.private: $private
Cflags: -I\${includedir}
EOF
chmod 644 "$pc"
