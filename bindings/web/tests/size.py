#!/usr/bin/env python3
"""The bytes that a user downloads, gzipped: WebAssembly and JavaScript as `build.sh` writes them for publishing."""

import gzip
import sys
from pathlib import Path

# What it is, and a little room. A change that takes more says in its message what for.
LIMIT = 000_000

dist = Path(__file__).resolve().parents[1] / "dist"
sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in dist.iterdir() if path.suffix in (".js", ".wasm")}
total = sum(sizes.values())
print(f"the package: {total} bytes gzipped, {sizes['core_bg.wasm']} of them WebAssembly; at most {LIMIT}")
if total > LIMIT:
    sys.exit(f"the package is {total - LIMIT} bytes too large")
