#!/usr/bin/env python3
"""Every shader of the tests through the compilers of others: spirv-val on what naga writes for Vulkan, Tint (Dawn's compiler, which is
Chromium's too) on the WGSL itself, Microsoft's FXC and DXC on what naga writes for DirectX 12.

    python3 tests/translators.py [--only spirv-val tint fxc dxc] [--every 1]

`cargo test --test shaders` writes the shaders to target/shaders. spirv-val is of the package spirv-tools; Tint, FXC and DXC come with the
npm package `webgpu`, pinned here by its checksum and kept under target/. Tint needs Node. FXC and DXC are libraries for Windows: they
need Wine, and MinGW to build the program that calls them (tests/translators/hlslc.cpp), but no screen. What is missing is named, and the
exit code is then 2; where a compiler refuses a shader it is 1.
"""

import argparse
import base64
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHADERS = ROOT / "target/shaders"
DAWN = ROOT / "target/dawn"
WINDOWS = DAWN / "node_modules/webgpu/dist/win32-x64"
# With what they depend on.
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
import { readFileSync } from 'node:fs';
Object.assign(globalThis, globals);
const [folder, ...names] = process.argv.slice(2);
// Without a driver: what is judged is the WGSL.
const gpu = create(['backend=null']); // kept: what it gives ends with it
const adapter = await gpu.requestAdapter();
if (!adapter) { console.log(JSON.stringify({ missing: 'an adapter for Dawn' })); process.exit(0); }
const wanted = ['subgroups', 'shader-f16'].filter((f) => adapter.features.has(f));
const device = await adapter.requestDevice({ requiredFeatures: wanted });
let judged = 0;
const left = {}, refused = [];
for (const name of names) {
  const [entry, ...features] = name.slice(17, -5).split('-');
  // Of wgpu alone are 64-bit integers and matrix units; large is more than WebGPU's 16 KiB of workgroup memory.
  const beyond = features.find((f) => ['int64', 'matrices', 'large'].includes(f) || !device.features.has(f));
  if (beyond) { left[beyond] = (left[beyond] ?? 0) + 1; continue; }
  const code = features.map((f) => `enable ${f};\\n`).join('') + readFileSync(`${folder}/${name}`, 'utf8');
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const messages = (await module.getCompilationInfo()).messages.filter((m) => m.type !== 'info');
  device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: entry } });
  const error = await device.popErrorScope();
  if (error && !messages.length) messages.push({ lineNum: 0, message: error.message });
  judged++;
  if (messages.length) refused.push(`${name}: ${messages.map((m) => `${m.lineNum}: ${m.message}`).join('; ')}`);
}
console.log(JSON.stringify({ judged, left, refused }));
process.exit(0);
"""


def spirv_val(every: int) -> list[str] | None:
    program = shutil.which("spirv-val")
    if not program:
        print("spirv-val: NOT RUN, it is missing (apt-get install spirv-tools)")
        return None
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    files = sorted(SHADERS.glob("*.spv"))[::every]
    # Versions before 2023.4 do not know matrix units (SPV_KHR_cooperative_matrix).
    known = re.search(r"v(\d+)\.(\d+)", version)
    old = known is not None and (int(known[1]), int(known[2])) < (2023, 4)
    left = [file for file in files if old and "-matrices" in file.name]
    files = [file for file in files if file not in left]

    def judge(file: pathlib.Path) -> str | None:
        # The environment that wgpu asks for where it writes SPIR-V 1.3.
        run = subprocess.run([program, "--target-env", "vulkan1.1", file], capture_output=True, text=True)
        return None if run.returncode == 0 else f"{file.name}: {run.stdout}{run.stderr}".strip()

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        refused = [problem for problem in pool.map(judge, files) if problem]
    text = f"; left out: {len(left)} for matrix units, which this version does not know" if left else ""
    print(f"spirv-val ({version}): {len(files) - len(refused)} of {len(files)} shaders are valid{text}")
    return refused


def tint(every: int) -> list[str] | None:
    if not shutil.which("node"):
        print("Tint: NOT RUN, Node is missing (apt-get install nodejs)")
        return None
    install()
    script = DAWN / "tint.mjs"
    script.write_text(TINT)
    names = sorted(file.name for file in SHADERS.glob("*.wgsl"))[::every]

    # A process for some shaders each: Dawn crashes after thousands.
    def judge(first: int) -> dict:
        run = subprocess.run(["node", script, SHADERS, *names[first : first + 400]], capture_output=True, text=True)
        if run.returncode != 0 or not run.stdout:
            return {"missing": f"Dawn, which ended with {run.returncode}: {run.stderr.strip()[-800:]}"}
        return json.loads(run.stdout.splitlines()[-1])

    judged, left, refused = 0, collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(judge, range(0, len(names), 400)):
            if "missing" in found:
                print(f"Tint: NOT RUN, there is not {found['missing']}")
                return None
            judged += found["judged"]
            left.update(found["left"])
            refused += found["refused"]
    text = ", ".join(f"{count} need {feature}" for feature, count in sorted(left.items()))
    print(f"Tint (Dawn in the npm package webgpu 0.6.2): {judged - len(refused)} of {judged} shaders are valid; left out: {text or 'none'}")
    return refused


def fxc(every: int) -> list[str] | None:
    return microsoft("fxc", "5.1", {"subgroups", "int64"}, every)


def dxc(every: int) -> list[str] | None:
    return microsoft("dxc", "6.0", set(), every)


def microsoft(compiler: str, model: str, beyond: set[str], every: int) -> list[str] | None:
    """A compiler of HLSL under Wine. `beyond` is what the shader model does not have; matrix units are of Vulkan alone."""
    wine = shutil.which("wine64") or shutil.which("wine")
    mingw = shutil.which("x86_64-w64-mingw32-g++")
    for program, name, packages in [(wine, "Wine", "wine wine64"), (mingw, "MinGW's g++", "g++-mingw-w64-x86-64")]:
        if not program:
            print(f"{compiler.upper()}: NOT RUN, {name} is missing (apt-get install {packages})")
            return None
    install()
    source, program = ROOT / "tests/translators/hlslc.cpp", WINDOWS / "hlslc.exe"
    subprocess.run([mingw, "-std=c++17", "-O1", "-static", "-Wall", source, "-o", program, "-lole32"], check=True)
    # Microsoft's d3dcompiler_47.dll in place of Wine's own, and nothing that asks whether to install .NET.
    overrides = {"WINEPREFIX": str(DAWN / "wine"), "WINEDEBUG": "-all", "WINEDLLOVERRIDES": "d3dcompiler_47=n;mscoree=;mshtml="}
    environment = os.environ | overrides
    subprocess.run([wine, "wineboot", "-i"], env=environment, capture_output=True)  # once, before several start at a time
    left, names = collections.Counter(), []
    for name in sorted(file.stem for file in SHADERS.glob("*.wgsl"))[::every]:
        needs = [feature for feature in name.split("-")[2:] if feature in beyond | {"matrices"}]
        left.update(needs[:1])
        names += [] if needs else [name]

    def judge(first: int) -> list[str] | None:
        return compiled(compiler, [wine, program], names[first : first + 32], environment)

    refused: list[str] = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(judge, range(0, len(names), 32)):
            if found is None:
                return None
            refused += found
    text = ", ".join(f"{count} need {feature}" for feature, count in sorted(left.items()))
    origin = f"{compiler.upper()} (shader model {model}, in the npm package webgpu 0.6.2)"
    print(f"{origin}: {len(names) - len(refused)} of {len(names)} shaders are valid; left out: {text or 'none'}")
    return refused


def compiled(compiler: str, program: list, names: list[str], environment: dict[str, str]) -> list[str] | None:
    """What a compiler says of the shaders that it refuses; a shader in which its process ends is refused too."""
    refused: list[str] = []
    while names:
        listed = SHADERS / f"{names[0]}.{compiler}.list"
        listed.write_text("".join(f"{name}.{compiler}.hlsl {name.split('-')[1]}\n" for name in names))
        run = subprocess.run([*program, compiler, listed.name], cwd=SHADERS, env=environment, capture_output=True, text=True)
        first, *judged = [line for line in run.stdout.splitlines() if line.split(" ")[0] in ("ready", "valid", "refused")] or [""]
        if first != "ready":
            print(f"{compiler.upper()}: NOT RUN, it cannot be called: {(run.stdout + run.stderr).strip()[-800:]}")
            return None
        refused += [line.removeprefix("refused ").strip() for line in judged if line.startswith("refused ")]
        names = names[len(judged) :]
        if names:
            refused.append(f"{names[0]}: the compiler ended with {run.returncode}: {run.stderr.strip()[-400:]}")
            names = names[1:]
    return refused


def install() -> None:
    """Unpacks packages of npm's registry, unless they are there."""
    for name, (address, checksum) in PACKAGES.items():
        unpack(DAWN / "node_modules" / name, address, checksum)


def unpack(folder: pathlib.Path, address: str, checksum: str) -> None:
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
    judges = {"spirv-val": spirv_val, "tint": tint, "fxc": fxc, "dxc": dxc}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=judges, default=list(judges), help="these compilers [default: all]")
    parser.add_argument("--every", type=int, default=1, help="one shader of so many [default: 1]")
    args = parser.parse_args()
    shutil.rmtree(SHADERS, ignore_errors=True)
    SHADERS.mkdir(parents=True)
    command = ["cargo", "test", "--locked", "--workspace", "-q", "--test", "shaders", "--", "valid"]
    written = subprocess.run(command, cwd=ROOT, env=os.environ | {"RMNET_SHADERS": str(SHADERS)}, capture_output=True, text=True)
    if written.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{written.stdout}{written.stderr}")
    if not any(SHADERS.iterdir()):
        sys.exit("no shader was written")
    answers = [judges[name](args.every) for name in args.only]
    for refused in answers:
        for problem in (refused or [])[:10]:
            print(f"  {problem}")
    sys.exit(1 if any(answers) else 2 if None in answers else 0)


if __name__ == "__main__":
    main()
