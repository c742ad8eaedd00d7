"""Times rmnet beside other libraries in one run: the same weights, the same input, every answer checked.

    python3 benches/rivals/run.py [NETWORK..] [--adapter llvmpipe] [--rounds 5] [--runs 10] [--only ID..] [-o FILE.md]

NETWORK is a torchvision ResNet or MobileNetV2: resnet18 resnet50 mobilenet_v2 unless named. f32, batch 1, 224x224, host tensor to
host logits. Everything is set up first, under target/rivals: environments from PyPI, projects from crates.io, all versions pinned.

First each contender runs once with no shader cache, from the start of its process to the first logits. Its logits are compared with
PyTorch's in f64: who is off by more than 1e-4 of the largest is listed as wrong, and not timed. Then the rounds: in each, every
contender gets one process that warms up and times its runs, so that whatever else the machine does meets them all alike. Figures are
medians over all rounds. Python 3.11 or later runs this, without packages.
"""

import argparse
import datetime
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile

import report
from contenders import HERE, ROOT, TARGET, Contender, Failure, Sample, contenders, environment, floats


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["resnet18", "resnet50", "mobilenet_v2"], metavar="NETWORK")
    parser.add_argument("--adapter", default="vulkan", help="rmnet's adapter, as its own --adapter")
    parser.add_argument("--icd", type=pathlib.Path, help="the one Vulkan driver that everyone gets (an ICD's JSON file)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10, help="runs of a process, at most")
    parser.add_argument("--seconds", type=float, default=10, help="seconds of a process's runs, at most")
    parser.add_argument("--limit", type=float, default=300, help="seconds a process may take in all")
    parser.add_argument("--only", nargs="+", metavar="ID", help="contenders that take part, beside rmnet")
    parser.add_argument("--list", action="store_true", help="print the contenders' ids")
    parser.add_argument("-o", "--output", type=pathlib.Path, help="default: benches/results/rivals-DEVICE.md")
    return parser.parse_args()


def surroundings(icd: pathlib.Path | None) -> dict:
    threads = str(os.cpu_count())
    env = dict(os.environ, RIVALS_THREADS=threads, OMP_NUM_THREADS=threads, RAYON_NUM_THREADS=threads)
    if icd:
        env["VK_DRIVER_FILES"] = env["VK_ICD_FILENAMES"] = str(icd.resolve(strict=True))
    return env


def without_caches(env: dict, folder: str) -> dict:
    """No shader is kept from an earlier process."""
    return env | {"MESA_SHADER_CACHE_DISABLE": "true", "__GL_SHADER_DISK_CACHE": "0", "CUDA_CACHE_DISABLE": "1",
                  "XDG_CACHE_HOME": folder}


def error(logits, expected) -> float:
    """The largest difference over the largest logit; infinite where it is none."""
    if len(logits) != len(expected) or not all(map(math.isfinite, logits)):
        return math.inf
    return max(abs(a - b) for a, b in zip(logits, expected)) / max(map(abs, expected))


def measure(name: str, taking_part: list[Contender], args: argparse.Namespace) -> dict:
    """One network: `rows` by contender's id, and `failures`."""
    folder, env = TARGET / "networks" / name, surroundings(args.icd)
    if not (folder / "done").exists():
        say(f"{name}: writing the network for everyone")
        python, quiet = environment(HERE / "pytorch"), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([python, HERE / "networks.py", name, folder], check=True, env=env, cwd=TARGET, **quiet)
    expected = floats(folder / "expected.f64", "d")
    rows, failures = {}, {}
    with tempfile.TemporaryDirectory() as empty:
        for c in taking_part:
            try:
                cold = c.sample(folder, 0, args.seconds, without_caches(env, empty), args.limit)
                off = error(cold.logits, expected)
                say(f"{name} {c.id}: first logits after {cold.first / 1e9:.2f} s, off by {off:.1e}")
                if off > c.tolerance:
                    raise Failure(f"wrong: logits are off by {off:.1e} of the largest")
                rows[c.id] = {"name": c.name, "gpu": c.gpu, "error": off, "ready_ns": cold.ready, "first_ns": cold.first,
                              "cold_peak": cold.peak, "peak": cold.peak, "version": cold.version, "ns": []}
            except Failure as e:
                failures[c.id] = f"{c.name}: {e}"
                say(f"{name} {failures[c.id]}")
    for turn in range(args.rounds):
        for c in taking_part:
            if c.id not in rows:
                continue
            row = rows[c.id]
            try:
                warm: Sample = c.sample(folder, args.runs, args.seconds, env, args.limit)
                off = error(warm.logits, expected)
                if off > c.tolerance:
                    raise Failure(f"wrong in round {turn + 1}: logits are off by {off:.1e} of the largest")
            except Failure as e:
                del rows[c.id]
                failures[c.id] = f"{c.name}: {e}"
                say(f"{name} {failures[c.id]}")
                continue
            row["ns"] += warm.runs
            row |= {"peak": max(row["peak"], warm.peak), "error": max(row["error"], off), "device": warm.device}
            say(f"{name} round {turn + 1} {c.id}: {statistics.median(warm.runs) / 1e6:.1f} ms")
    return {"rows": rows, "failures": failures}


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    try:
        cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        pass
    return f"{os.cpu_count()} cores of {cpu}, {platform.system()} {platform.machine()}"


def nvidia() -> bool:
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0
    except OSError:
        return False


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    args = arguments()
    everyone = contenders(args.adapter)
    if args.list:
        print("\n".join(f"{c.id:<24} {c.name.replace('*', '')}" for c in everyone))
        return
    unknown = set(args.only or []) - {c.id for c in everyone}
    if unknown:
        sys.exit(f"--only: there is no {', '.join(sorted(unknown))}; --list prints the ids")
    if args.adapter == "cpu":
        sys.exit("--adapter: name a GPU's adapter; the CPU executor takes part anyway")
    TARGET.mkdir(parents=True, exist_ok=True)
    taking_part, absent, with_nvidia = [], {}, nvidia()
    for c in everyone:
        if args.only and c.id not in args.only and not c.id.startswith("rmnet"):
            continue
        if c.nvidia and not with_nvidia:
            absent[c.id] = f"{c.name}: not tried, there is no NVIDIA GPU"
            continue
        try:
            c.set_up()
            taking_part.append(c)
        except Failure as e:
            absent[c.id] = f"{c.name}: cannot be set up, {e}"
            say(absent[c.id])
    if not any(c.id == "rmnet-gpu" for c in taking_part):
        sys.exit(1)

    load, results = os.getloadavg(), {}
    for name in args.networks:
        results[name] = measure(name, taking_part, args)
        rmnet = results[name]["rows"].get("rmnet-gpu")
        if rmnet is None:
            sys.exit(f"{name}: rmnet itself did not run on its adapter")
        about = {
            "machine": machine(), "device": rmnet["device"], "date": datetime.date.today().isoformat(),
            "load": [round(load[0], 1), round(os.getloadavg()[0], 1)],
            "rounds": args.rounds, "runs": args.runs, "seconds": args.seconds,
            "command": " ".join(["python3", "benches/rivals/run.py", *sys.argv[1:]]),
        }
        # After each network: what has been measured is not lost with what comes next.
        written = report.write(args.output or results_file(about["device"]), about, results, absent)
    print("\n".join(map(str, written)))


def results_file(device: str) -> pathlib.Path:
    """Named after the adapter and its driver's version: `rivals-llvmpipe-22.3.md`."""
    version = re.search(r"\d+\.\d+", device.rsplit(", ", 1)[-1])
    name = f"{device.split('(')[0].split(',')[0]} {version[0] if version else ''}"
    return ROOT / "benches" / "results" / f"rivals-{re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')}.md"


if __name__ == "__main__":
    main()
