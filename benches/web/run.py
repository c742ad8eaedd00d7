#!/usr/bin/env python3
"""Times rmnet beside other libraries for browsers, in one headless Chromium: the same weights and image, every answer checked.

    python3 benches/web/run.py [--only ID..] [--rounds 4] [--gpu-rounds 2] [--runs 15] [--seconds 8] [--limit 90] [-o FILE.md]
    python3 benches/web/run.py --list

ResNet-18, 224x224, f32, batch 1. Needs the built npm package (`bash bindings/web/build.sh`), Chromium, Python 3.12 (or 3.11.4) and, at
first, npm's registry and PyPI: packages are pinned and kept under target/web-bench. RMNET_ONNX_PYTHON names a Python that has NumPy,
onnx and onnxruntime already; CHROMIUM names a browser. CHROMIUM_FLAGS replaces the flags that ask for SwiftShader, the software GPU:
with a GPU, try CHROMIUM_FLAGS='--enable-unsafe-webgpu --enable-features=Vulkan'.

Each sample is a browser process with an empty profile, so that nothing is cached: a page imports one library, loads the network, and
runs it. A contender whose logits are off by more than 1e-4 of the largest, or that has no first result after --limit seconds, is listed
with its message and not tried again. Contenders take turns in every round, in another order each time; those on a GPU take part in the
first --gpu-rounds, and plain JavaScript in the first round. Figures are medians over all rounds. Writes Markdown and, beside it, JSON
with every time.
"""

import argparse
import dataclasses
import datetime
import gzip
import hashlib
import http.server
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import unquote, urlencode, urlsplit

import packages

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / "target" / "web-bench"
DIST = ROOT / "bindings" / "web" / "dist"
TOLERANCE = 1e-4  # of the largest logit
TYPES = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm",
         ".json": "application/json"}
SOFTWARE_GPU = "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader --enable-features=Vulkan --enable-unsafe-swiftshader"


@dataclasses.dataclass
class Contender:
    id: str
    name: str
    page: str  # module of contenders/ and its variant
    packages: tuple[str, ...] = ()
    gpu: bool = False
    slow: bool = False  # takes part in the first round only
    isolated: bool = False  # served with COOP and COEP, which threads need


def tfjs(backend: str) -> tuple[str, ...]:
    return "@tensorflow/tfjs-core", f"@tensorflow/tfjs-backend-{backend}"


CONTENDERS = [
    Contender("rmnet-cpu", "**rmnet**, `device: 'cpu'`", "rmnet:cpu"),
    Contender("ort-wasm", "onnxruntime-web", "onnxruntime:wasm", ("onnxruntime-web",)),
    Contender("ort-wasm-threads", "onnxruntime-web, COOP/COEP", "onnxruntime:wasm-threads", ("onnxruntime-web",),
              isolated=True),
    Contender("transformers-wasm", "transformers.js", "transformers:wasm",
              ("@huggingface/transformers", "onnxruntime-web-dev")),
    Contender("tfjs-wasm", "tfjs", "tfjs:wasm", tfjs("wasm")),
    Contender("tfjs-wasm-threads", "tfjs, COOP/COEP", "tfjs:wasm-threads", tfjs("wasm"), isolated=True),
    Contender("tfjs-cpu", "tfjs", "tfjs:cpu", tfjs("cpu"), slow=True),
    Contender("rmnet-webgpu", "**rmnet**, `device: 'webgpu'`", "rmnet:webgpu", gpu=True),
    Contender("ort-webgpu", "onnxruntime-web", "onnxruntime:webgpu", ("onnxruntime-web",), gpu=True),
    Contender("transformers-webgpu", "transformers.js", "transformers:webgpu",
              ("@huggingface/transformers", "onnxruntime-web-dev"), gpu=True),
    Contender("tfjs-webgpu", "tfjs", "tfjs:webgpu", tfjs("webgpu"), gpu=True),
    Contender("tfjs-webgl", "tfjs", "tfjs:webgl", tfjs("webgl"), gpu=True),
]


class Server:
    """Serves the pages, and takes their reports. `served` lists the files of the network and of the libraries that a page fetched."""

    def __init__(self):
        self.reports: queue.Queue[dict] = queue.Queue()
        self.served: set[pathlib.Path] = set()
        self.process = 0
        self.folders = {"network": TARGET / "network", "rmnet": DIST, "page": HERE}
        self.ports = {isolated: self.listen(isolated) for isolated in (False, True)}

    def listen(self, isolated: bool) -> int:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                report = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.reports.put(report | {"cpu": cpu_seconds(server.process)})  # the page waits for the answer
                self.answer(204, b"")

            def do_GET(self):
                path = server.file(unquote(urlsplit(self.path).path))
                if path is None:
                    return self.answer(404, b"not found")
                self.answer(200, path.read_bytes(), TYPES.get(path.suffix, "application/octet-stream"))

            def answer(self, status, body, kind="text/plain"):
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                if isolated:
                    self.send_header("cross-origin-opener-policy", "same-origin")
                    self.send_header("cross-origin-embedder-policy", "require-corp")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # a connection that ended with its browser

        served = Quiet(("127.0.0.1", 0), Handler)
        threading.Thread(target=served.serve_forever, daemon=True).start()
        return served.server_address[1]

    def file(self, url: str) -> pathlib.Path | None:
        parts = url.strip("/").split("/")
        if parts[0] == "packages":
            count = 3 if parts[1].startswith("@") else 2
            folder, rest = packages.unpacked("/".join(parts[1:count]), TARGET / "packages"), parts[count:]
        elif parts[0] in self.folders:
            folder, rest = self.folders[parts[0]], parts[1:]
        else:
            return None
        path = folder.joinpath(*rest).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            return None
        if parts[0] != "page" and path.parent != self.folders["network"]:
            self.served.add(path)
        return path


def sample(server: Server, contender: Contender, args: argparse.Namespace, number: int) -> dict:
    """One browser process: what its page reported, `failed` with the reason if it came to no end."""
    port = server.ports[contender.isolated]
    wanted = {"contender": contender.page, "page": number, "runs": args.runs, "seconds": args.seconds, "warm": args.warm}
    result, server.served = {}, set()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = opened(f"http://localhost:{port}/page/page.html?{urlencode(wanted)}", profile)
        server.process = process.pid
        end = time.monotonic() + args.limit + 10  # for the browser itself to start
        try:
            while not {"failed", "times"} & result.keys():
                report = server.reports.get(timeout=max(0.1, end - time.monotonic()))
                if report.pop("page") != str(number):
                    continue
                cpu = report.pop("cpu")
                match report.pop("kind"):
                    case "start":
                        end = time.monotonic() + args.limit
                    case "loaded":
                        result["loaded"] = report["ms"]
                    case "first":
                        result |= {"first": report["ms"], "error": report["error"]}
                    case "failed":
                        result["failed"] = report["text"]
                    case "warm":
                        result["cpu"] = -cpu
                    case "done":
                        result |= report | {"cpu": (result["cpu"] + cpu) * 1000 / len(report["times"])}
        except queue.Empty:
            stage = "loading" if "loaded" not in result else "the first run" if "first" not in result else "later runs"
            result["failed"] = f"ended after {args.limit:g} s, in {stage}"
        finally:
            end_group(process)
    if result.get("error", 0) > TOLERANCE:
        result["failed"] = f"wrong: logits are off by {result['error']:.1e} of the largest"
        result.pop("times", None)
    return result | {"served": server.served}


def opened(url: str, profile: str) -> subprocess.Popen:
    """A headless browser with a profile of its own that opens one page."""
    command = [
        browser(), "--headless=new", "--no-sandbox", f"--user-data-dir={profile}", "--no-first-run", "--disable-quic",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", *flags().split(), url,
    ]
    env = {k: v for k, v in os.environ.items() if k != "VK_DRIVER_FILES"} | {"HOME": profile}
    with open(pathlib.Path(profile) / "browser.log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)


def end_group(process: subprocess.Popen) -> None:
    """Ends the browser, then whatever of its processes is left, so that its profile can be removed."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
    time.sleep(0.5)


def cpu_seconds(root: int) -> float:
    """CPU time so far of a process and its descendants."""
    parents, ticks = {}, {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended
        pid = int(stat.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    inside = {root}
    while more := {pid for pid, parent in parents.items() if parent in inside and pid not in inside}:
        inside |= more
    return sum(ticks.get(pid, 0) for pid in inside) / os.sysconf("SC_CLK_TCK")


def browser() -> str:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return found or sys.exit("Chromium is not installed; CHROMIUM names one")


def flags() -> str:
    return os.environ.get("CHROMIUM_FLAGS", SOFTWARE_GPU)


def measure(taking_part: list[Contender], args: argparse.Namespace) -> dict[str, dict]:
    server, rows, number = Server(), {}, 0
    for c in taking_part:
        rows[c.id] = {"name": c.name, "variant": c.page.split(":")[1], "gpu": c.gpu, "samples": []}
    for turn in range(max(args.rounds, args.gpu_rounds)):
        order = taking_part[turn % len(taking_part):] + taking_part[:turn % len(taking_part)]
        for c in order:
            row, rounds = rows[c.id], args.gpu_rounds if c.gpu else args.rounds
            if "failed" in row or turn >= (min(rounds, 1) if c.slow else rounds):
                continue
            number += 1
            found = sample(server, c, args, number)
            row["files"] = sorted(set(row.get("files", [])) | found.pop("served"))
            if "failed" in found:
                row["failed"] = found.pop("failed")
            row["samples"].append(found)
            median = f"median {statistics.median(found['times']):.0f} ms" if found.get("times") else row.get("failed", "")
            shown = ", ".join(f"{key} {found[key]:.0f} ms" for key in ("loaded", "first") if key in found)
            say(f"round {turn + 1} {c.id}: {shown}, {median}")
    rows = {c: row for c, row in rows.items() if row["samples"]}
    for row in rows.values():
        row["versions"] = sorted({name for name in map(package_version, row["files"]) if name})
        row |= sizes(row.pop("files"))
    return rows


def package_version(path: pathlib.Path) -> str | None:
    folder = TARGET / "packages"
    return path.relative_to(folder).parts[0] if path.is_relative_to(folder) else None


def sizes(files: list[pathlib.Path]) -> dict:
    """Bytes of a first visit: the library's files, raw and gzipped, and those of the network."""
    library = [path for path in files if not path.is_relative_to(TARGET / "network")]
    return {
        "runtime_files": {path.name: path.stat().st_size for path in library},
        "runtime_bytes": sum(path.stat().st_size for path in library),
        "runtime_gzip_bytes": sum(len(gzip.compress(path.read_bytes(), 9)) for path in library),
        "model_bytes": sum(path.stat().st_size for path in files if path not in library),
    }


def ms(values: list[float], pick=statistics.median) -> str:
    if not values:
        return ""
    value = pick(values)
    return f"{value / 1000:.1f} s" if value >= 10000 else f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"


def figures(row: dict) -> tuple[list[float], list[float]]:
    """Every timed run, and the CPU time per run of every page, in ms."""
    done = [s for s in row["samples"] if "times" in s]
    return [t for s in done for t in s["times"]], [s["cpu"] for s in done]


def device(row: dict) -> str:
    """What the contender says it runs on, else the variant that was asked for."""
    return next((s["device"] for s in row["samples"] if "device" in s), row["variant"])


def ratio(values: list[float], to: list[float]) -> str:
    return f"{statistics.median(values) / statistics.median(to):.2f}" if values and to else ""


def table(rows: dict[str, dict]) -> str:
    lines = [
        "| | on | library, gzip | model | load | first result | median | fastest | to rmnet | CPU | CPU to rmnet | error |",
        "|---" * 12 + "|",
    ]
    for row in rows.values():
        times, cpu = figures(row)
        our_times, our_cpu = figures(rows.get("rmnet-webgpu" if row["gpu"] else "rmnet-cpu", {"samples": []}))
        errors = [s["error"] for s in row["samples"] if "error" in s]
        cells = [
            row["name"],
            device(row),
            f"{row['runtime_gzip_bytes'] / 1e6:.2f} MB",
            f"{row['model_bytes'] / 1e6:.1f} MB",
            *(ms([s[key] for s in row["samples"] if key in s]) for key in ("loaded", "first")),
            ms(times),
            ms(times, min),
            ratio(times, our_times),
            ms(cpu),
            ratio(cpu, our_cpu),
            f"{max(errors):.1e}" if errors else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines += [f"* {row['name']}, {device(row)}: {row['failed'].splitlines()[0]}" for row in rows.values() if "failed" in row]
    return "\n".join(lines).rstrip() + "\n"


NOTES = """\
* *On*: what the library says, or was asked for.
* *Library*: JavaScript and WebAssembly that the page fetched, each file gzipped (-9); *model*: weights and configs, as served.
* *Load*: from the import of the library to a network that is ready; files come from this machine, nothing is cached. *First result*: from
  the same moment to the first logits.
* *Median*, *fastest*: warm, host array to host logits, all runs of all rounds.
* *CPU*: processor time of the whole browser per run, median of the rounds; other work on the machine inflates it less than the median.
* *To rmnet*, *CPU to rmnet*: over rmnet's figure on the CPU or, for contenders on a GPU, on WebGPU.
* *Error*: largest difference from NumPy's f64 logits over the largest logit.

rmnet runs in its worker, the others on the page. rmnet reads the checkpoint with its batch norms; the ONNX file and tfjs's weights have
them folded, and tfjs gets its image as NHWC."""


def write(output: pathlib.Path, about: dict, rows: dict[str, dict]) -> None:
    text = [
        f"# In {about['browser']}\n",
        "ResNet-18, 224x224, f32, batch 1, the same weights and image for all, every answer checked.\n",
        f"* {about['machine']}; load average {about['load'][0]} at the start, {about['load'][1]} at the end",
        f"* {about['agent']}, `{about['flags']}`" + ("; the GPU is SwiftShader, software on the same cores" if software() else ""),
        f"* {about['date']}, commit `{about['commit']}`; {about['rounds']} rounds on the CPU, "
        f"{about['gpu_rounds']} on the GPU, at most {about['runs']} runs or {about['seconds']:g} s in each",
        f"* {', '.join(sorted({v for row in rows.values() for v in row['versions']}))}",
        f"* `{about['command']}`\n",
        NOTES + "\n",
        table(rows),
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(text))
    output.with_suffix(".json").write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


def software() -> bool:
    return "swiftshader" in flags()


def machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores of {cpu[1] if cpu else 'unknown'}, Linux {os.uname().machine}"


def network_python() -> str:
    """A Python with the packages of requirements.txt."""
    if given := os.environ.get("RMNET_ONNX_PYTHON"):
        return given
    venv = TARGET / "venv"
    python, installed, wanted = venv / "bin" / "python", venv / "installed.txt", (HERE / "requirements.txt").read_text()
    if not installed.exists() or installed.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
        installed.write_text(wanted)
    return str(python)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="ID", help="contenders that take part")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of the contenders on the CPU; 0: none of them")
    parser.add_argument("--gpu-rounds", type=int, default=2, help="rounds of the contenders on a GPU; 0: none of them")
    parser.add_argument("--runs", type=int, default=15, help="timed runs of a page, at most")
    parser.add_argument("--warm", type=int, default=3, help="runs before them, beside the first")
    parser.add_argument("--seconds", type=float, default=8, help="seconds of a page's runs, at most")
    parser.add_argument("--limit", type=float, default=90, help="seconds that a page may take in all")
    parser.add_argument("--list", action="store_true", help="print the contenders' ids")
    parser.add_argument("-o", "--output", type=pathlib.Path, help="default: benches/results/web-BROWSER.md")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{c.id:<22}{c.name.replace('*', '')} ({c.page.split(':')[1]})" for c in CONTENDERS))
        return
    if unknown := set(args.only or []) - {c.id for c in CONTENDERS}:
        sys.exit(f"--only: there is no {', '.join(sorted(unknown))}; --list prints the ids")
    if not (DIST / "index.js").exists():
        sys.exit("the npm package is not built: bash bindings/web/build.sh")
    taking_part = [c for c in CONTENDERS if not args.only or c.id in args.only]
    for package in {p for c in taking_part for p in c.packages}:
        packages.unpacked(package, TARGET / "packages")
    done, maker = TARGET / "network" / "done", hashlib.sha256((HERE / "network.py").read_bytes()).hexdigest()
    if not done.exists() or done.read_text() != maker:
        subprocess.run([network_python(), HERE / "network.py", TARGET / "network"], check=True)

    load, version = os.getloadavg(), subprocess.run([browser(), "--version"], capture_output=True, text=True).stdout.strip()
    rows = measure(taking_part, args)
    agents = [s["agent"] for row in rows.values() for s in row["samples"] if "agent" in s]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    about = {
        "machine": machine(), "browser": version, "agent": agents[0] if agents else "", "flags": flags(), "commit": commit,
        "date": datetime.date.today().isoformat(), "load": [round(load[0], 1), round(os.getloadavg()[0], 1)],
        "rounds": args.rounds, "gpu_rounds": args.gpu_rounds, "runs": args.runs, "seconds": args.seconds, "limit": args.limit,
        "command": " ".join(["python3", "benches/web/run.py", *sys.argv[1:]]),
    }
    major = re.search(r"(\w+) (\d+)", version)
    output = args.output or ROOT / "benches" / "results" / f"web-{'-'.join(major.groups()).lower() if major else 'browser'}.md"
    write(output, about, rows)
    print(table(rows))


if __name__ == "__main__":
    main()
