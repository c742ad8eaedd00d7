#!/usr/bin/env python3
"""Every shader of the tests through the compilers of others: spirv-val on what naga writes for Vulkan, Tint (Dawn's compiler, which is
Chromium's too) on the WGSL itself.

    python3 tests/translators.py [--only spirv-val tint]

`cargo test --test shaders` writes the shaders to target/shaders. spirv-val is of the package spirv-tools; Tint comes with the npm package
`webgpu`, pinned here by its checksum and kept under target/, and needs Node and a Vulkan driver. What is missing is named, and the exit
code is then 2; where a compiler refuses a shader it is 1.
"""

import argparse
import base64
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHADERS = ROOT / "target/shaders"
# Dawn demands what naga 30 refuses.
PACKAGES = {
    "webgpu": (
        "https://registry.npmjs.org/webgpu/-/webgpu-0.6.2.tgz",
        "3L4GfmqJLvYUIEWJngEQY+2HQiUlAFkg8+P8NDDj3Xx5hHHIFO/r8JW+ynfqBj7kHN4mbnwO74uB+lrRtLhp4Q==",
    ),
    "debug": (
        "https://registry.npmjs.org/debug/-/debug-4.4.3.tgz",
        "RGwwWnwQvkVfavKVt22FGLw+xYSdzARwm0ru6DhTVA3umU5hZc28V3kO4stgYryrTlLpuvgI9GiijltAjNbcqA==",
    ),
    "ms": (
        "https://registry.npmjs.org/ms/-/ms-2.1.3.tgz",
        "6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA==",
    ),
}
TINT = """
import { create, globals } from 'webgpu';
import { readdirSync, readFileSync } from 'node:fs';
Object.assign(globalThis, globals);
const [folder] = process.argv.slice(2);
const adapter = await create([]).requestAdapter();
if (!adapter) { console.log(JSON.stringify({ missing: 'an adapter for Dawn' })); process.exit(0); }
const wanted = ['subgroups', 'shader-f16'].filter((f) => adapter.features.has(f));
const limits = ['maxStorageBufferBindingSize', 'maxBufferSize', 'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize', 'maxComputeInvocationsPerWorkgroup'];
const requiredLimits = Object.fromEntries(limits.map((l) => [l, adapter.limits[l]]));
const device = await adapter.requestDevice({ requiredFeatures: wanted, requiredLimits });
let judged = 0;
const left = {}, refused = [];
for (const name of readdirSync(folder).filter((n) => n.endsWith('.wgsl')).sort()) {
  const [entry, ...features] = name.slice(17, -5).split('-');
  // Of wgpu alone: 64-bit integers and matrix units are no part of WebGPU.
  const beyond = features.find((f) => f === 'int64' || f === 'matrices' || !device.features.has(f));
  if (beyond) { left[beyond] = (left[beyond] ?? 0) + 1; continue; }
  const code = features.map((f) => `enable ${f};\\n`).join('') + readFileSync(`${folder}/${name}`, 'utf8');
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const messages = (await module.getCompilationInfo()).messages.filter((m) => m.type !== 'info');
  try {
    await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: entry } });
  } catch (e) { messages.push({ lineNum: 0, message: e.message }); }
  await device.popErrorScope();
  judged++;
  if (messages.length) refused.push(`${name}: ${messages.map((m) => `${m.lineNum}: ${m.message}`).join('; ')}`);
}
console.log(JSON.stringify({ adapter: adapter.info.description || adapter.info.device, judged, left, refused }));
process.exit(0);
"""


def spirv_val() -> list[str] | None:
    program = shutil.which("spirv-val")
    if not program:
        print("spirv-val: NOT RUN, it is missing (apt-get install spirv-tools)")
        return None
    files = sorted(SHADERS.glob("*.spv"))

    def judge(file: pathlib.Path) -> str | None:
        # The environment that wgpu asks for where it writes SPIR-V 1.3.
        run = subprocess.run([program, "--target-env", "vulkan1.1", file], capture_output=True, text=True)
        return None if run.returncode == 0 else f"{file.name}: {run.stdout}{run.stderr}".strip()

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        refused = [problem for problem in pool.map(judge, files) if problem]
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    print(f"spirv-val ({version}): {len(files) - len(refused)} of {len(files)} shaders are valid")
    return refused


def tint() -> list[str] | None:
    if not shutil.which("node"):
        print("Tint: NOT RUN, Node is missing (apt-get install nodejs)")
        return None
    modules = ROOT / "target/dawn/node_modules"
    for name, (address, checksum) in PACKAGES.items():
        install(modules / name, address, checksum)
    script = ROOT / "target/dawn/tint.mjs"
    script.write_text(TINT)
    run = subprocess.run(["node", script, SHADERS], capture_output=True, text=True)
    if run.returncode != 0 or not run.stdout:
        print(f"Tint: NOT RUN, Dawn ended with {run.returncode}: {run.stderr.strip()[-800:]}")
        return None
    found = json.loads(run.stdout.splitlines()[-1])
    if "missing" in found:
        print(f"Tint: NOT RUN, there is not {found['missing']}")
        return None
    judged, refused = found["judged"], found["refused"]
    left = ", ".join(f"{count} use {feature}" for feature, count in found["left"].items())
    print(f"Tint (Dawn on {found['adapter']}): {judged - len(refused)} of {judged} shaders are valid; left out: {left or 'none'}")
    return refused


def install(folder: pathlib.Path, address: str, checksum: str) -> None:
    """Unpacks a package of npm's registry, unless it is there."""
    stamp = folder / "checksum"
    if stamp.exists() and stamp.read_text() == checksum:
        return
    with urllib.request.urlopen(address, timeout=120) as response:
        packed = response.read()
    found = base64.b64encode(hashlib.sha512(packed).digest()).decode()
    if found != checksum:
        sys.exit(f"{address}: expected sha512-{checksum}, found sha512-{found}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = folder.parent / f"{folder.name}.tgz"
    archive.write_bytes(packed)
    with tarfile.open(archive) as tar:
        tar.extractall(folder.parent, filter="data")
    (folder.parent / "package").rename(folder)
    archive.unlink()
    stamp.write_text(checksum)


def main() -> None:
    judges = {"spirv-val": spirv_val, "tint": tint}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=judges, default=list(judges), help="these compilers [default: all]")
    only = parser.parse_args().only
    shutil.rmtree(SHADERS, ignore_errors=True)
    SHADERS.mkdir(parents=True)
    command = ["cargo", "test", "--locked", "--workspace", "-q", "--test", "shaders", "--", "valid"]
    written = subprocess.run(command, cwd=ROOT, env=os.environ | {"RMNET_SHADERS": str(SHADERS)}, capture_output=True, text=True)
    if written.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{written.stdout}{written.stderr}")
    if not any(SHADERS.iterdir()):
        sys.exit("no shader was written")
    answers = [judges[name]() for name in only]
    for refused in answers:
        for problem in (refused or [])[:10]:
            print(f"  {problem}")
    sys.exit(1 if any(answers) else 2 if None in answers else 0)


if __name__ == "__main__":
    main()
