#!/usr/bin/env python3
"""The bytes that a user downloads, gzipped: WebAssembly and JavaScript as `build.sh` writes them for publishing."""

import gzip
import sys
from pathlib import Path

# What it takes today, and a little room. A commit that takes more says what for.
LIMITS = {".wasm": 525_000, ".js": 16_500}

dist = Path(__file__).resolve().parents[1] / "dist"
sizes = dict.fromkeys(LIMITS, 0)
for path in dist.iterdir():
    if path.suffix in sizes:
        sizes[path.suffix] += len(gzip.compress(path.read_bytes(), 9))
print("the package, gzipped: " + ", ".join(f"{size} bytes of {suffix}" for suffix, size in sizes.items()))
if "\n    " in (dist / "core.js").read_text():
    print("NOT TESTED: the size of the JavaScript, which is not minified", file=sys.stderr)
    del LIMITS[".js"]
too_large = [f"{suffix}: {sizes[suffix]} bytes, {limit} at most" for suffix, limit in LIMITS.items() if sizes[suffix] > limit]
if too_large:
    sys.exit("\n".join(too_large))
