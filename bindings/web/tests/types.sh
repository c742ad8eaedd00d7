#!/usr/bin/env bash
# Compiles `types.ts` against `index.d.ts`, with the TypeScript compiler and WebGPU's types from npm, unpacked under target/.
set -euo pipefail
cd "$(dirname "$0")"
tools=../../../target/web-types
fetched() { # package, version, sha1
    local folder=$tools/node_modules/$1
    grep -qs "\"version\": \"$2\"" "$folder/package.json" && return
    mkdir -p "$folder"
    python3 -c 'import sys, urllib.request as r; r.urlretrieve(*sys.argv[1:])' \
        "https://registry.npmjs.org/$1/-/${1##*/}-$2.tgz" "$tools/package.tgz" ||
        { echo "NOT TESTED: the types of the package, as npm's registry cannot be reached" >&2; exit 0; }
    echo "$3  $tools/package.tgz" | sha1sum -c --quiet
    tar xzf "$tools/package.tgz" -C "$folder" --strip-components 1
}
fetched typescript 5.9.3 5b4f59e15310ab17a216f5d6cf53ee476ede670f
fetched @webgpu/types 0.1.74 e0e0417074a90da1929c7bf710d6bb970aa91b13
node "$tools/node_modules/typescript/lib/tsc.js" --noEmit --strict --target es2022 --module nodenext --moduleResolution nodenext \
    --lib es2022,dom,dom.iterable,esnext.disposable --typeRoots "$tools/node_modules" --types @webgpu/types types.ts
echo "types.ts: as index.d.ts promises"
