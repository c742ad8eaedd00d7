#!/usr/bin/env python3
"""Runs the fixtures on every backend that this machine has, and prints the largest relative error and the time of each.

    python3 benches/backends.py RMNET                        a selection of networks that has every operation
    python3 benches/backends.py RMNET --networks all         every fixture with logits (software WebGPU takes some 10 s for each)
    python3 benches/backends.py RMNET --only cpu,chromium    only backends whose name has one of these texts
    python3 benches/backends.py RMNET --markdown FILE        writes the table too

RMNET is the program (`cargo build --release` makes target/release/rmnet). Browsers need `bash bindings/web/build.sh`. What is not
here is named, never counted as passed:
  LLVMPIPE_25=FILE       ICD file of a second Mesa, unpacked from its packages: it names its library by the whole path
  RMNET_WINDOWS=FILE     rmnet.exe, which Wine runs with DX12, over that Mesa if there is one (older ones compute wrong there): needs a
                         display (DISPLAY, such as Xvfb's) and beside it bcryptprimitives.dll and d3dcompiler_47.dll of Windows, no dxcompiler.dll
The errors are relative to the largest logit by PyTorch; they must stay below 1e-5, as in `verify::F32_LOGITS_BOUND`. Exits with 1 if one does not.
"""

import argparse
import array
import json
import math
import os
import platform
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bindings/web/tests"))
FIXTURES = ROOT / "tests/fixtures"
BOUND = 1e-5
LIMIT = 600
SELECTION = """chain_rmnext cifar_resnet20 hf_bottleneck_stride_first hf_mobilenet_v2_odd repvgg rmnet_preact timm_resnet18d
timm_resnetv2_50d timm_seresnet18 tv_bottleneck tv_mobilenet_v2 tv_resnet18 tv_resnext tv_wide_resnet""".split()
LLVMPIPE = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"
SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"


class Absent(Exception):
    """A backend that this machine lacks."""


def expected(name):
    """Logits by PyTorch, [images][classes]."""
    data = (FIXTURES / name / "expected.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8 : 8 + length])["logits"]
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    values = array.array("d" if entry["dtype"] == "F64" else "f", data[begin:end])
    classes = entry["shape"][1]
    return [list(values[i : i + classes]) for i in range(0, len(values), classes)]


def native(program, adapter, env):
    """The networks by the program on one adapter: (name, device, error, seconds) of each."""

    def run(names):
        for name in names:
            folder = FIXTURES / name
            line = [*program, "run", str(folder), str(folder / "expected.safetensors"), "--adapter", adapter, "--json", "--top", "100000"]
            start = time.monotonic()
            done = subprocess.run(line, env=dict(os.environ, **env), capture_output=True, text=True, timeout=LIMIT)
            seconds = time.monotonic() - start
            if done.returncode == 4:
                raise Absent(done.stderr.strip().splitlines()[-1])
            if done.returncode:
                raise RuntimeError(f"{name}: exit {done.returncode}: {done.stderr.strip()}")
            report = json.loads(done.stdout)
            yield name, report["device"], difference(name, report["images"]), seconds

    return run


def difference(name, images):
    logits = expected(name)
    if len(images) != len(logits):
        raise RuntimeError(f"{name}: expected {len(logits)} images, found {len(images)}")
    largest = max(abs(value) for image in logits for value in image)
    worst = 0.0
    for image, wanted in zip(images, logits):
        found = {top["class"]: top["logit"] for top in image["top"]}
        if sorted(found) != list(range(len(wanted))):
            raise RuntimeError(f"{name}: expected {len(wanted)} classes, found {len(found)}")
        if not all(math.isfinite(value) for value in found.values()):
            raise RuntimeError(f"{name}: a logit is not finite")
        worst = max([worst, *(abs(found[c] - value) for c, value in enumerate(wanted))])
    return worst / largest


def web(browser, device, env):
    """The networks by the npm package in a browser."""

    def run(names):
        if not (ROOT / "bindings/web/dist/core_bg.wasm").is_file():
            raise Absent("bindings/web/dist is not built")
        import run as suite

        try:
            for report in suite.browse(browser, env, only="backend", device=device, names=",".join(names)):
                if report["kind"] == "network":
                    yield report["name"], report["device"], report["off"], report["seconds"]
                if report["kind"] == "failed":
                    raise RuntimeError(report["text"])
        except FileNotFoundError as e:
            raise Absent(str(e)) from None

    return run


def backends(rmnet):
    """Every backend by name; one that cannot even be tried is a reason instead."""

    def vulkan(icd, what):
        return native([rmnet], "vulkan", {"VK_DRIVER_FILES": icd}) if icd and Path(icd).is_file() else f"{what} is not here"

    newer, its_env = os.environ.get("LLVMPIPE_25"), {}
    if newer and Path(newer).is_file():
        libraries = Path(json.loads(Path(newer).read_text())["ICD"]["library_path"]).parent
        its_env = {"VK_DRIVER_FILES": newer, "LD_LIBRARY_PATH": str(libraries)}
    windows, wine = os.environ.get("RMNET_WINDOWS"), shutil.which("wine64") or shutil.which("wine")
    dx12 = native([wine, windows], "dx12", {"WINEDEBUG": "-all", "WINEDLLOVERRIDES": "d3dcompiler_47=n", **its_env})
    return {
        "CPU, native": native([rmnet], "cpu", {}),
        "CPU, WebAssembly in Chromium": web("chromium", "cpu", {}),
        "Vulkan, the hardware GPU": native([rmnet], "best", {}) if has_hardware(rmnet) else "no hardware GPU",
        "Vulkan, llvmpipe of the system": vulkan(LLVMPIPE, "mesa-vulkan-drivers"),
        "Vulkan, llvmpipe 25": native([rmnet], "vulkan", its_env) if its_env else "LLVMPIPE_25 is not here",
        "Vulkan, SwiftShader": vulkan(SWIFTSHADER, "SwiftShader of Debian's chromium"),
        "OpenGL, llvmpipe": native([rmnet], "gl", {"VK_DRIVER_FILES": "/nowhere"}),
        "WebGPU in Chromium, SwiftShader": web("chromium", "webgpu", {}),
        "WebGPU in Firefox, llvmpipe": web("firefox", "webgpu", {"VK_DRIVER_FILES": LLVMPIPE}),
        "DX12 under Wine": dx12 if windows and wine else "RMNET_WINDOWS or Wine is not here",
        "Metal": native([rmnet], "metal", {}) if platform.system() == "Darwin" else "no macOS",
    }


def has_hardware(rmnet):
    found = subprocess.run([rmnet, "devices", "--json"], capture_output=True, text=True, timeout=LIMIT)
    return any(a["kind"] != "software" and not a["problem"] for a in json.loads(found.stdout)["adapters"])


def measured(name, backend, networks):
    """A row of the table, and whether it is wrong."""
    if isinstance(backend, str):
        return [name, f"not here: {backend}", "", "", ""], False
    worst, device, seconds, count = ("", 0.0), "", 0.0, 0
    try:
        for network, device, off, took in backend(networks):
            worst = max(worst, (network, off), key=lambda pair: pair[1] if pair[1] == pair[1] else float("inf"))
            seconds, count = seconds + took, count + 1
            print(f"  {name}: {network} {off:.1e} {took:.1f} s", file=sys.stderr)
    except Absent as e:
        return [name, f"not here: {e}", "", "", ""], False
    except (RuntimeError, subprocess.TimeoutExpired, TimeoutError, ChildProcessError) as e:
        return [name, f"FAILED: {e}", str(count), "", f"{seconds:.0f}"], True
    wrong = not worst[1] < BOUND or count != len(networks)
    row = [name, device, str(count), f"{worst[1]:.1e} ({worst[0]})", f"{seconds:.0f}"]
    return row if not wrong else [*row[:1], f"WRONG: {device}", *row[2:]], wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rmnet", help="the program")
    parser.add_argument("--networks", default=",".join(SELECTION), help="names of fixtures, or `all`")
    parser.add_argument("--only", default="", help="parts of names of backends")
    parser.add_argument("--markdown", help="a file for the table")
    options = parser.parse_args()
    every = sorted(p.parent.name for p in FIXTURES.glob("*/expected.safetensors"))
    networks = every if options.networks == "all" else options.networks.split(",")
    unknown = [n for n in networks if n not in every]
    if unknown:
        parser.error(f"no such fixture: {', '.join(unknown)}")
    chosen = {n: b for n, b in backends(os.path.abspath(options.rmnet)).items() if any(o in n for o in options.only.split(","))}
    if not chosen:
        parser.error(f"no backend has {options.only} in its name")
    rows = [measured(name, backend, networks) for name, backend in chosen.items()]
    head = ["backend", "device", "networks", "largest error", "seconds, with start and compilation"]
    lines = [head, ["---"] * len(head), *(row for row, _ in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    print(table)
    if options.markdown:
        Path(options.markdown).write_text(table + "\n")
    sys.exit(any(wrong for _, wrong in rows))


if __name__ == "__main__":
    main()
